"""In a browser: from an empty installation to the first event, and back to an empty one."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from events.processing.normalize import normalize_pending, normalize_request
from providers.contract.errors import Refused
from subscriptions.models import Subscription
from tests.browser.conftest import add_account, log_in
from tests.harness.fake_provider import body_of, store_request
from tests.harness.fixtures import Control

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def refuse_the_path(*_: object, **__: object) -> None:
    """Raise the error of a provider that checks whether the folder exists."""
    raise Refused("There is no such folder.", field="paths.0")


def test_first_account_to_first_event_and_deletion(
    strict_page: Page, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = strict_page
    log_in(page, site)
    add_account(page)
    control = Control(settings.SANDBOX_URL or "", "egnyte-connect")
    control.post("options", calls_per_second=None)

    # Subscribe: the schema rejects a path, the provider rejects the registration, then the path; then all succeeds.
    page.get_by_role("link", name="Subscribe").click()
    page.locator("#id_name").fill("Finance")
    page.get_by_label("Every file and folder event").check()
    page.get_by_label("Paths").fill("/Shared/A,B")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.locator("[data-field='config.paths'] .hk-error")).to_contain_text("must not contain a comma")
    page.get_by_label("Paths").fill("/Shared/Finance")
    control.post("faults", status=400, times=1)
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_text("rejected the change")).to_be_visible()
    assert Subscription.objects.get().last_error
    page.get_by_role("link", name="Edit", exact=True).click()
    with monkeypatch.context() as refusing:
        refusing.setattr(type(Subscription.objects.get().account.plugin), "register", refuse_the_path)
        page.get_by_role("button", name="Save").click()
        refused = page.locator("[data-field='config.paths'] .hk-error")
        expect(refused).to_contain_text("Entry 1 (/Shared/Finance): There is no such folder")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".hk-title [data-state=active]")).to_be_visible()

    # An event arrives.
    control.post("emit", event_type="fs:add_file")
    normalize_pending()
    page.reload()
    expect(page.get_by_title("fs:add_file")).to_be_visible()
    page.get_by_role("link", name=re.compile("(ago|now) fs:add_file$")).first.click()
    expect(page.get_by_role("heading", name="Original payload")).to_be_visible()
    page.get_by_role("link", name="View the source request").click()
    expect(page.get_by_text("Its events were parsed and stored.")).to_be_visible()

    # The secret, on demand.
    page.get_by_role("link", name="Finance").first.click()
    page.get_by_role("button", name="Reveal").click()
    expect(page.locator("#secret")).to_contain_text(Subscription.objects.get().secrets[0])

    # Disable, then delete.
    page.get_by_role("link", name="Disable").click()
    expect(page.get_by_text("Changes at Egnyte Connect")).to_be_visible()
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".hk-title [data-state=disabled]")).to_be_visible()
    assert control.remotes()[0]["enabled"] is False
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Deleted here and at the provider.")).to_be_visible()
    assert control.remotes() == []
    page.goto(f"{site}/admin/providers/provideraccount/")
    page.get_by_role("link", name="Acme").click()
    page.locator(".hk-head").get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete account").click()
    expect(page.get_by_text("The account Acme was deleted.")).to_be_visible()
    expect(page.get_by_text("No accounts yet.")).to_be_visible()


def test_bulk_actions(strict_page: Page, site: str) -> None:
    page = strict_page
    log_in(page, site)
    add_account(page)
    control = Control(settings.SANDBOX_URL or "", "egnyte-connect")
    control.post("options", calls_per_second=None)
    for name in ("One", "Two"):
        page.goto(f"{site}/admin/subscriptions/subscription/add/")
        page.get_by_role("link", name="Acme").click()
        page.locator("#id_name").fill(name)
        page.get_by_label("Every link event").check()
        page.get_by_role("button", name="Subscribe").click()
        expect(page.locator(".hk-title [data-state=active]")).to_be_visible()
    page.goto(f"{site}/admin/subscriptions/subscription/")
    bar = page.locator("[data-bulk]")
    expect(bar).to_be_hidden()
    page.get_by_label("Select all on this page").check()
    expect(bar).to_contain_text("2 selected")
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("done for 2 of 2 subscriptions")).to_be_visible()
    assert [remote["enabled"] for remote in control.remotes()] == [False, False]


def test_no_page_scrolls_sideways(strict_page: Page, site: str) -> None:
    page = strict_page
    log_in(page, site)
    add_account(page)
    account = page.url
    subscribe = str(page.get_by_role("link", name="Subscribe").get_attribute("href"))
    lists = ("/admin/", "/admin/providers/provideraccount/", "/admin/events/event/", "/admin/config/apitoken/add/")
    for url in (account, *(f"{site}{path}" for path in (subscribe, *lists))):
        page.goto(url)
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (url, width)


def test_the_keyboard_reaches_everything_around_a_page(strict_page: Page, site: str) -> None:
    page = strict_page
    log_in(page, site)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    assert page.locator("main").count() == 1

    # Each link and button of the frame has a name, and no name contains that of an icon.
    names = [line.strip() for line in page.locator("#nav-sidebar").aria_snapshot().splitlines() if "- link" in line]
    assert '- link "Home":' in names or '- link "Home"' in names
    assert '- link "Problems":' in names
    assert not [name for name in names if name.startswith(("- link:", '- link ""'))]

    page.get_by_role("button", name="Account menu of ann").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Light")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_class(re.compile("dark"))
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()

    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("#nav-sidebar")).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Problems", exact=True)).to_be_visible()
    page.get_by_role("button", name="Close the menu").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#nav-sidebar")).to_be_hidden()

    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("button", name="Account menu of ann").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Log out").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/logout/")
    assert page.locator("main").count() == 1


def test_a_form_survives_the_end_of_the_session(strict_page: Page, site: str, hook: Subscription) -> None:
    page = strict_page
    log_in(page, site)
    edit = f"{site}/admin/subscriptions/channel/add/?kind=webhook"
    page.goto(edit)
    page.get_by_label("Name").fill("Operators")
    page.get_by_label("Webhook URL").fill("https://hooks.example.com/x")
    page.get_by_label("Notify when resolved").uncheck()
    page.get_by_label("Minimum severity").select_option("critical")
    page.context.clear_cookies(name="sessionid")
    page.locator("main").get_by_role("button", name="Add").or_(page.locator("main button[type=submit]")).first.click()
    expect(page.get_by_text("Your session has ended. Log in again")).to_be_visible()
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill("open-sesame")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("What you entered is here again")).to_be_visible()
    assert page.url == edit
    expect(page.get_by_label("Name")).to_have_value("Operators")
    expect(page.get_by_label("Notify when resolved")).not_to_be_checked()
    expect(page.get_by_label("Minimum severity")).to_have_value("critical")
    page.goto(edit)
    expect(page.get_by_label("Name")).to_have_value("")


# Sets every relative time to this text, and returns the table cells and date inputs that are too narrow.
CUT_CELLS = """(text) => {
  for (const item of document.querySelectorAll("time[data-relative]")) item.textContent = text;
  return [...document.querySelectorAll("td, input[type=datetime-local]")]
    .filter((item) => item.scrollWidth > item.clientWidth + 1).map((item) => item.outerHTML.slice(0, 200));
}"""


def test_times_fit_into_their_columns(strict_page: Page, site: str, hook: Subscription) -> None:
    page = strict_page
    normalize_request(store_request(hook, body_of({"id": 1, "type": "made", "path": "/Shared/Plan.docx"})).pk)
    log_in(page, site)
    subscription = f"/admin/subscriptions/subscription/{hook.pk}/change/"
    times = "since=2026-01-01T06:00:00&until=2030-12-31T18:00:00"
    for url in ("/admin/", subscription, f"/admin/events/event/?{times}", f"/admin/events/webhookrequest/?{times}"):
        page.goto(site + url)
        for width in (1440, 1280, 1100, 390):
            page.set_viewport_size({"width": width, "height": 900})
            for text in ("1 h 26 min ago", "23 h 59 min ago", "364 d 23 h ago"):
                assert page.evaluate(CUT_CELLS, text) == [], (url, width, text)
