"""What the pages need to show times, states and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers import json_tree, wording
from providers.registry import all_providers

register = template.Library()


@register.filter
def relative(moment: datetime | None) -> SafeString | str:
    """A time as `3 min ago` or `in 42 s`, kept up to date by the page; the exact time is its tooltip."""
    if moment is None:
        return "–"
    return format_html(
        '<time class="hk-time" datetime="{}" title="{}" data-relative>{}</time>',
        moment.isoformat(),
        wording.exact(moment),
        wording.relative(moment, timezone.now()),
    )


@register.filter
def exact(moment: datetime | None) -> SafeString | str:
    """The time itself."""
    if moment is None:
        return "–"
    return format_html('<time class="hk-time" datetime="{}">{}</time>', moment.isoformat(), wording.exact(moment))


@register.simple_tag
def badge(value: str, label: str = "", link: str = "") -> SafeString:
    """A word of state with its colour and icon."""
    tone, icon = wording.tone_of(value)
    words = label or value.replace("_", " ").capitalize()
    inner = format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}', icon, words)
    if link:
        return format_html('<a class="hk-badge hk-{}" href="{}">{}</a>', tone, link, inner)
    return format_html('<span class="hk-badge hk-{}" data-state="{}">{}</span>', tone, value, inner)


@register.filter
def tree(value: object) -> SafeString:
    """JSON as a tree; a very large value is only pointed at."""
    try:
        return json_tree.tree(value)
    except json_tree.TooLarge:
        return format_html('<p class="hk-muted">{}</p>', "Too large to be shown as a tree; see the raw text.")


@register.filter
def pretty(value: object) -> str:
    """JSON as indented text, or a text as it is."""
    return value if isinstance(value, str) else json_tree.pretty(value)


@register.filter
def listed(value: object) -> str:
    """A value of a config in a few words."""
    if isinstance(value, list | tuple):
        return ", ".join(listed(item) for item in value) if value else "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {listed(item)}" for name, item in value.items()) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value in (None, "") else str(value)


@register.filter
def spoken(name: str) -> str:
    """A field's name as words: `config.event_types` is `Event types`."""
    return name.removeprefix("config.").removeprefix("settings.").replace("_", " ").capitalize()


@register.filter
def provider_name(slug: str) -> str:
    """The provider's name; the slug itself when its folder is gone."""
    plugin = all_providers().get(slug)
    return plugin.name if plugin else slug


@register.filter
def bytes_size(count: int) -> str:
    """A number of bytes in words."""
    return wording.size(count)


@register.filter
def actor(name: str) -> str:
    """Who did it, for people: `staff:ann` is `ann`, `api:importer` is `importer (API)`."""
    kind, _, who = name.partition(":")
    match kind:
        case "staff":
            return who
        case "api":
            return f"{who} (API)"
        case "command":
            return f"{who} (command)"
        case "clock":
            return "Hookkeeper itself"
        case _:
            return name


@register.simple_tag
def without(query: Any, name: str) -> str:
    """The query string without one parameter and without the place in the list."""
    kept = query.copy()
    for key in (name, "before", "after"):
        kept.pop(key, None)
    text: str = kept.urlencode()
    return f"?{text}"
