"""Template filters that format times, names, numbers and values for people."""

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
CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
ABBREVIATIONS = re.compile(r"\b(?:url|id|api|ip)(?=s?\b)", re.IGNORECASE)
BACKTICKS = re.compile(r"`([^`]+)`")
BREAK_POINTS = re.compile(r"(?<=[/:_])|(?<=[a-z])(?=[A-Z])")


@register.filter
def relative(moment: datetime | None) -> SafeString | str:
    """Return a time as `3 min ago` or `in 42 s`, kept current by the page's script. The tooltip has the exact time."""
    return NOTHING if moment is None else _time_element(moment, "ago", formatting.relative(moment, timezone.now()))


@register.filter
def until(moment: datetime | None) -> SafeString | str:
    """Return a future time as `in 42 s`, or `due now` once it has passed."""
    return NOTHING if moment is None else _time_element(moment, "until", formatting.until(moment, timezone.now()))


@register.filter
def exact(moment: datetime | None) -> SafeString | str:
    """Return a time in UTC, to the second."""
    if moment is None:
        return NOTHING
    return format_html('<time class="hk-time" datetime="{}">{}</time>', moment.isoformat(), readable_time(moment))


@register.filter
def duration(length: timedelta | float | None) -> str:
    """Return a length of time, given as a timedelta or in seconds, as `2 h 5 min`."""
    if length is None:
        return NOTHING
    return formatting.duration(length.total_seconds() if isinstance(length, timedelta) else length)


@register.filter
def inline_code(text: str) -> SafeString:
    """Return a text whose parts in backticks are shown as code."""
    return mark_safe(BACKTICKS.sub(r'<code class="hk-mono">\1</code>', escape(text)))  # noqa: S308 - escaped first


@register.filter
def breakable(text: str) -> SafeString:
    """Return a long word, such as a path or an event type, that may be wrapped after its separators."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in BREAK_POINTS.split(text)))


@register.filter
def as_tree(value: object) -> SafeString:
    """Return JSON as a tree that folds; for a very large value, only a hint at the raw text."""
    try:
        return json_tree.tree(value)
    except json_tree.TooLarge:
        return format_html('<p class="hk-muted">{}</p>', "Too large for a tree view. See the raw text.")


@register.filter
def as_json(value: object) -> str:
    """Return JSON as indented text. A string is returned unchanged."""
    return value if isinstance(value, str) else json_tree.pretty(value)


@register.filter
def config_value(value: object) -> str:
    """Return a value of a config as a short text: lists with commas, objects as `name=value`."""
    if isinstance(value, list | tuple):
        return ", ".join(config_value(item) for item in value) if value else NOTHING
    if isinstance(value, Mapping):
        filled = {name: item for name, item in value.items() if item not in (None, "", [], {})}
        if len(filled) == 1 and len(value) > 1:  # such as an event type whose filter is empty
            return config_value(next(iter(filled.values())))
        return " ".join(f"{name}={config_value(item)}" for name, item in filled.items()) or NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value in (None, "") else str(value)


@register.filter
def field_label(name: str) -> str:
    """Return a field's name as a label: `config.event_types` is `Event types`, `clientId` is `Client ID`."""
    bare = name.removeprefix("config.").removeprefix("settings.").removeprefix("credentials.")
    text = CAMEL_CASE.sub(" ", bare).replace("_", " ").replace(".", " ").lower().capitalize()
    return ABBREVIATIONS.sub(lambda match: match[0].upper(), text)


@register.filter
def provider_name(slug: str) -> str:
    """Return a provider's name, or the slug if that provider is not installed."""
    plugin = registry.all_providers().get(slug)
    return plugin.name if plugin else slug


@register.filter
def thousands(count: int) -> str:
    """Return a number with thousands separators."""
    return f"{count:,}"


@register.filter
def byte_size(count: int) -> str:
    """Return a number of bytes as `1.2 KiB`."""
    return formatting.size(count)


@register.filter
def actor_name(actor: str) -> str:
    """Return an actor's name: `staff:ann` is `ann`, `api:importer` is `importer (API)`, the scheduler is `System`."""
    kind, _, name = actor.partition(":")
    match kind:
        case "staff":
            return name
        case "api":
            return f"{name} (API)"
        case "command":
            return f"{name} (command)"
        case actors.SCHEDULER:
            return "System"
        case _:
            return actor


def _time_element(moment: datetime, direction: str, text: str) -> SafeString:
    return format_html(
        '<time class="hk-time" datetime="{}" title="{}" data-relative="{}">{}</time>',
        moment.isoformat(),
        readable_time(moment),
        direction,
        text,
    )
