"""Template tags for markup that many pages share: icons, badges, label-value rows, notes, buttons and empty states."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers.dashboard import formatting
from providers.templatetags.formats import NOTHING

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return a Material Symbols icon. It is decorative, so screen readers skip it."""
    return format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>', name)


@register.simple_tag
def badge(state: str, label: str = "") -> SafeString:
    """Return a state as a badge with its colour and icon."""
    tone, symbol = formatting.tone_and_icon(state)
    text = label or ("OK" if state == "ok" else state.replace("_", " ").capitalize())
    return format_html('<span class="hk-badge hk-{}" data-state="{}">{}{}</span>', tone, state, icon(symbol), text)


@register.simple_tag
def fact(label: str, value: object, css: str = "") -> SafeString:
    """Return one row of a `<dl class="hk-facts">`; an empty value is shown as a dash."""
    return _fact(label, NOTHING if value in (None, "") else value, css)


@register.simple_block_tag
def factblock(content: str, label: str, css: str = "", id: str = "") -> SafeString:  # noqa: A002 - the HTML attribute
    """Return one row of a `<dl class="hk-facts">` whose value is the markup between the tags."""
    return _fact(label, content, css, id)


@register.simple_block_tag
def note(content: str, tone: str, symbol: str, id: str = "", role: str = "") -> SafeString:  # noqa: A002 - see above
    """Return a highlighted note. `tone` is good, warn, bad, busy, or empty for a neutral one."""
    return format_html(
        '<div class="hk-note{}"{}{}>{}<div>{}</div></div>',
        f" hk-{tone}" if tone else "",
        format_html(' id="{}"', id) if id else "",
        format_html(' role="{}"', role) if role else "",
        icon(symbol),
        content,
    )


@register.simple_block_tag
def statenote(content: str, state: str, id: str = "") -> SafeString:  # noqa: A002 - see above
    """Return a note in the colour and with the icon of a state."""
    tone, symbol = formatting.tone_and_icon(state)
    return note(content, tone if tone in (formatting.GOOD, formatting.WARN, formatting.BAD) else "", symbol, id)


@register.simple_block_tag
def empty_state(content: str, symbol: str, title: str) -> SafeString:
    """Return what a list shows without rows: an icon, a title, and the markup between the tags."""
    return format_html('<div class="hk-empty">{}<strong>{}</strong>{}</div>', icon(symbol), title, content)


@register.simple_tag
def link_button(label: str, url: str, symbol: str = "", css: str = "") -> SafeString:
    """Return a link that looks like a button. `css` is `hk-primary`, `hk-danger` or `hk-tiny`."""
    classes = f"hk-button {css}".strip()
    return format_html('<a class="{}" href="{}">{}{}</a>', classes, url, icon(symbol) if symbol else "", label)


@register.simple_tag
def submit_button(label: str, symbol: str = "", css: str = "", name: str = "", value: str = "1") -> SafeString:
    """Return a submit button that the page's script disables after the first click."""
    return format_html(
        '<button class="{}" type="submit"{} data-once>{}{}</button>',
        f"hk-button {css}".strip(),
        format_html(' name="{}" value="{}"', name, value) if name else "",
        icon(symbol) if symbol else "",
        label,
    )


@register.inclusion_tag("pages/post_button.html", takes_context=True)
def post_button(context: Any, label: str, url: str, symbol: str = "", css: str = "") -> dict[str, Any]:
    """Render a form of a single button that posts to `url`."""
    return {"csrf_token": context.get("csrf_token"), "label": label, "url": url, "symbol": symbol, "css": css}


def _fact(label: str, value: object, css: str, id: str = "") -> SafeString:  # noqa: A002 - the HTML attribute
    return format_html(
        "<div{}><dt>{}</dt><dd{}>{}</dd></div>",
        format_html(' id="{}"', id) if id else "",
        label,
        format_html(' class="{}"', css) if css else "",
        value,
    )
