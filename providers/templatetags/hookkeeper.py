"""What the pages need to show times, states and JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from providers.audit import actors
from providers.contract import registry
from providers.dashboard import formatting, json_tree
from providers.times import readable_time

register = template.Library()
NOTHING = "\N{EN DASH}"
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
ABBREVIATIONS = re.compile(r"\b(?:url|id|api|ip)(?=s?\b)", re.IGNORECASE)
CODE = re.compile(r"`([^`]+)`")
JOINT = re.compile(r"(?<=[/:_])|(?<=[a-z])(?=[A-Z])")


@register.filter
def relative(moment: datetime | None) -> SafeString | str:
    """A time as `3 min ago` or `in 42 s`, kept up to date by the page; the exact time is its tooltip."""
    return NOTHING if moment is None else _time(moment, "ago", formatting.relative(moment, timezone.now()))


@register.filter
def until(moment: datetime | None) -> SafeString | str:
    """A time to come as `in 42 s`; once it has passed it is due."""
    return NOTHING if moment is None else _time(moment, "until", formatting.until(moment, timezone.now()))


@register.filter
def exact(moment: datetime | None) -> SafeString | str:
    """The time itself."""
    if moment is None:
        return NOTHING
    return format_html('<time class="hk-time" datetime="{}">{}</time>', moment.isoformat(), readable_time(moment))


@register.filter
def lasting(length: timedelta | float | None) -> str:
    """A length of time, or a number of seconds, in words."""
    if length is None:
        return NOTHING
    return formatting.duration(length.total_seconds() if isinstance(length, timedelta) else length)


@register.simple_tag
def badge(value: str, label: str = "") -> SafeString:
    """A word of state with its colour and icon."""
    tone, icon = formatting.tone_of(value)
    words = label or ("OK" if value == "ok" else value.replace("_", " ").capitalize())
    inner = format_html('<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}', icon, words)
    return format_html('<span class="hk-badge hk-{}" data-state="{}">{}</span>', tone, value, inner)


@register.simple_tag
def icon(value: str) -> str:
    """The icon of a word of state, as its badge has it."""
    return formatting.tone_of(value)[1]


@register.filter
def marked(text: str) -> SafeString:
    """A sentence of a plug-in; what it has in backticks is shown as code."""
    return mark_safe(CODE.sub(r'<code class="hk-mono">\1</code>', escape(text)))  # noqa: S308 - escaped first


@register.filter
def breakable(text: str) -> SafeString:
    """A long word such as a path or a type, which may be broken behind its separators rather than anywhere."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in JOINT.split(text)))


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
        return ", ".join(listed(item) for item in value) if value else NOTHING
    if isinstance(value, Mapping):
        filled = {name: item for name, item in value.items() if item not in (None, "", [], {})}
        if len(filled) == 1 and len(value) > 1:  # such as an event type whose filter is empty
            return listed(next(iter(filled.values())))
        return " ".join(f"{name}={listed(item)}" for name, item in filled.items()) or NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value in (None, "") else str(value)


@register.filter
def spoken(name: str) -> str:
    """A field's name as words: `config.event_types` is `Event types`, `clientId` is `Client ID`."""
    words = name.removeprefix("config.").removeprefix("settings.").removeprefix("credentials.")
    text = CAMEL.sub(" ", words).replace("_", " ").replace(".", " ").lower().capitalize()
    return ABBREVIATIONS.sub(lambda found: found[0].upper(), text)


@register.filter
def provider_name(slug: str) -> str:
    """The provider's name; the slug itself when its folder is gone."""
    plugin = registry.all_providers().get(slug)
    return plugin.name if plugin else slug


@register.filter
def thousands(count: int) -> str:
    """A number with its thousands set apart."""
    return f"{count:,}"


@register.filter
def bytes_size(count: int) -> str:
    """A number of bytes in words."""
    return formatting.size(count)


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
        case actors.SCHEDULER:
            return "Hookkeeper itself"
        case _:
            return name


def _time(moment: datetime, way: str, words: str) -> SafeString:
    return format_html(
        '<time class="hk-time" datetime="{}" title="{}" data-relative="{}">{}</time>',
        moment.isoformat(),
        readable_time(moment),
        way,
        words,
    )
