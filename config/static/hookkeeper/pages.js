// Progressive enhancement: every page works without this script.
(function () {
  "use strict";

  const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];

  function duration(seconds) {
    let left = Math.max(Math.floor(seconds), 0);
    if (left < 120) return left + " s";
    const words = [];
    for (const [unit, size] of UNITS) {
      if (left >= size && words.length < 2) {
        words.push(Math.floor(left / size) + " " + unit);
        left %= size;
      } else if (words.length) break;
    }
    return words.join(" ");
  }

  // Times are relative to the server's clock, because the browser's may be wrong.
  let serverOffset = 0;

  function tick() {
    const now = Date.now() + serverOffset;
    for (const item of document.querySelectorAll("time[data-relative]")) {
      const seconds = (Date.parse(item.dateTime) - now) / 1000;
      const due = item.dataset.relative === "until" && seconds < 0;
      item.textContent = due ? "due now" :
        Math.abs(seconds) < 1 ? "now" : seconds > 0 ? "in " + duration(seconds) : duration(-seconds) + " ago";
    }
  }

  function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    const done = function () {
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(function () { button.textContent = before; }, 1500);
    };
    if (navigator.clipboard) {
      navigator.clipboard.writeText(source.textContent.trim()).then(done, function () { select(source); });
    } else select(source);
  }

  function select(source) {
    const range = document.createRange();
    range.selectNodeContents(source);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  function addRow(button) {
    const rows = button.previousElementSibling;
    const row = rows.lastElementChild.cloneNode(true);
    for (const input of row.querySelectorAll("input, select")) input.value = "";
    rows.append(row);
    row.querySelector("input, select").focus();
  }

  // A template such as `tenant/{tenantId}`, with inputs for its placeholders, fills in the input that is sent.
  const PLACEHOLDER = /\{(\w+)\}/g;

  function fillTarget(fill) { return document.getElementById(fill.dataset.fill); }

  function fillParts(fill) {
    return [...fill.querySelectorAll("[data-fill-template]")]
      .filter(function (item) { return !item.hidden; })
      .flatMap(function (item) { return [...item.querySelectorAll("[data-fill-part]")]; });
  }

  function chooseTemplate(fill, template, values) {
    fill.querySelector("[data-fill-choice]").value = template;
    for (const item of fill.querySelectorAll("[data-fill-template]")) {
      item.hidden = !template || item.dataset.fillTemplate !== template;
    }
    for (const part of fillParts(fill)) part.value = values[part.dataset.fillPart] || "";
  }

  function filledIn(fill) {
    const values = {};
    for (const part of fillParts(fill)) values[part.dataset.fillPart] = part.value.trim();
    return values;
  }

  function compose(fill) {
    const template = fill.querySelector("[data-fill-choice]").value;
    if (!template) return;
    const values = filledIn(fill);
    fillTarget(fill).value = template.replace(PLACEHOLDER, function (all, name) { return values[name] || all; });
  }

  // Returns the values with which the template gives this text; null if it cannot.
  function readTemplate(template, text) {
    const names = [];
    const pattern = template.split(PLACEHOLDER).map(function (piece, index) {
      if (index % 2 === 0) return piece.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      names.push(piece);
      return "([^/]+)";
    }).join("");
    const found = new RegExp("^" + pattern + "$").exec(text);
    if (!found) return null;
    const values = {};
    names.forEach(function (name, index) {
      const value = found[index + 1];
      values[name] = value === "{" + name + "}" ? "" : value;
    });
    return values;
  }

  function recognizeTemplate(fill) {
    const text = fillTarget(fill).value.trim();
    for (const item of fill.querySelectorAll("[data-fill-template]")) {
      const values = readTemplate(item.dataset.fillTemplate, text);
      if (values) return chooseTemplate(fill, item.dataset.fillTemplate, values);
    }
    chooseTemplate(fill, "", {});
  }

  function countChosen(form) {
    const chosen = form.querySelectorAll("input[name=pk]:checked").length;
    for (const bar of form.querySelectorAll("[data-bulk]")) bar.hidden = !chosen;
    for (const place of form.querySelectorAll("[data-chosen]")) place.textContent = chosen;
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest("[data-copy], [data-add-row]");
    if (!button) return;
    event.preventDefault();
    if (button.dataset.copy) copy(button);
    else addRow(button);
  });

  document.addEventListener("input", function (event) {
    if (event.target.matches("[data-fill-part]")) compose(event.target.closest("[data-fill]"));
    for (const fill of document.querySelectorAll("[data-fill]")) {
      if (event.target === fillTarget(fill)) recognizeTemplate(fill);
    }
  });

  document.addEventListener("change", function (event) {
    const target = event.target;
    if (target.matches("[data-fill-choice]")) {
      const fill = target.closest("[data-fill]");
      chooseTemplate(fill, target.value, filledIn(fill));
      compose(fill);
    }
    if (target.matches("[data-choose-all]")) {
      for (const box of target.form.querySelectorAll("input[name=pk]")) box.checked = target.checked;
    }
    if (target.form && target.form.matches("[data-bulk-form]")) countChosen(target.form);
    if (target.matches(".hk-filters select")) target.form.requestSubmit();
  });

  // What was entered into a form is kept in this tab while it is sent, so that a session that has ended loses nothing.
  // Secrets are left out.
  const KEPT = "hookkeeper-form";

  function keepForm(form) {
    const values = {};
    for (const item of form.elements) {
      const skipped = item.type === "hidden" && item.name !== "seen";  // `seen`: what was stored when it was opened
      if (!item.name || skipped || ["password", "file", "submit", "button"].includes(item.type)) continue;
      values[item.name] = values[item.name] || [];
      if (!["checkbox", "radio"].includes(item.type) || item.checked) values[item.name].push(item.value);
    }
    if (Object.keys(values).length) {
      sessionStorage.setItem(KEPT, JSON.stringify({ page: location.pathname + location.search, values: values }));
    }
  }

  function restoreForm(kept) {
    const form = document.querySelector("main form[method=post][novalidate]");
    if (!form) return;
    for (const name of Object.keys(kept.values)) {
      const values = kept.values[name];
      let items = form.querySelectorAll('[name="' + CSS.escape(name) + '"]');
      const rows = items.length && items[0].closest(".hk-rows");
      while (rows && items.length < values.length) {
        addRow(rows.nextElementSibling);
        items = form.querySelectorAll('[name="' + CSS.escape(name) + '"]');
      }
      items.forEach(function (item, index) {
        if (["checkbox", "radio"].includes(item.type)) item.checked = values.includes(item.value);
        else item.value = values[index] || "";
      });
    }
    say(form, "Your session had ended. What you entered is here again, except secrets. Nothing was saved yet.");
  }

  function say(before, text) {
    const note = document.createElement("div");
    note.className = "hk-note hk-warn";
    note.setAttribute("role", "status");
    note.textContent = text;
    before.before(note);
  }

  function recoverForm() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
    if (!kept) return;
    const login = document.getElementById("login-form");
    if (login) {
      say(login, "Your session has ended. Log in again: what you entered is kept.");
      sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, loggedOut: true }));
      return;
    }
    sessionStorage.removeItem(KEPT);
    if (kept.loggedOut && kept.page === location.pathname + location.search) restoreForm(kept);
  }

  document.addEventListener("submit", function (event) {
    if (event.target.matches("main form[method=post][novalidate]")) keepForm(event.target);
    // API calls take seconds, and a second click would repeat them.
    if (event.target.matches("form[method=post]")) {
      for (const button of event.target.querySelectorAll("button[data-once]")) {
        setTimeout(function () { button.disabled = true; }, 0);
      }
    }
  });

  // Unfolds the target of a link.
  function openTarget() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  }

  window.addEventListener("hashchange", openTarget);

  document.addEventListener("DOMContentLoaded", function () {
    const root = document.querySelector("[data-now]");
    if (root) serverOffset = Date.parse(root.dataset.now) - Date.now();
    for (const form of document.querySelectorAll("[data-bulk-form]")) countChosen(form);
    for (const fill of document.querySelectorAll("[data-fill]")) recognizeTemplate(fill);
    for (const item of document.querySelectorAll("[data-script-only]")) item.hidden = false;
    // The names of icons are text, which screen readers would read out.
    for (const item of document.querySelectorAll(".material-symbols-outlined")) {
      const owner = item.closest("a, button");
      const named = !owner || owner.ariaLabel || owner.title || owner.textContent.trim() !== item.textContent.trim();
      if (named) item.setAttribute("aria-hidden", "true");
    }
    openTarget();
    recoverForm();
    const wrong = document.querySelector(".hk-wrong input, .hk-wrong select, .hk-wrong textarea");
    if (wrong) {
      for (let fold = wrong.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
      wrong.focus();
    }
    // Work in portions continues after a pause that is long enough to read the results or to stop.
    for (const form of document.querySelectorAll("form[data-auto-continue]")) setTimeout(() => form.requestSubmit(), 1000);
    tick();
    setInterval(tick, 1000);
  });
})();
