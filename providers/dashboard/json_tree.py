"""JSON as a tree of `<details>` elements, which fold without any script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from providers.contract.sanitize import sanitize_text

MAX_NODES = 2000  # a larger tree is unusable on a page; the raw text has everything
MAX_DEPTH = 60
OPEN_DEPTH = 3
MAX_TEXT_LENGTH = 2000


class TooLarge(ValueError):
    """The value has too many nodes, or is nested too deeply, for a page."""


def tree(value: object) -> SafeString:
    """Return the value as nested lists. Raises TooLarge."""
    return _node("", value, 0, iter(range(MAX_NODES)))


def pretty(value: object) -> str:
    """Return the value as indented JSON text."""
    return sanitize_text(json.dumps(value, indent=2, ensure_ascii=False))


def _node(key: str, value: object, depth: int, budget: Iterator[int]) -> SafeString:
    """Return a value with its key, which only the root lacks. Each node takes one item from `budget`."""
    if next(budget, None) is None or depth > MAX_DEPTH:
        raise TooLarge
    name = format_html('<span class="hk-json-key">{}</span>', sanitize_text(key)) if depth else SafeString("")
    if isinstance(value, dict):
        return _branch(name, ((str(k), child) for k, child in value.items()), len(value), "{}", depth, budget)
    if isinstance(value, list):
        return _branch(name, ((str(i), child) for i, child in enumerate(value)), len(value), "[]", depth, budget)
    return name + _leaf(value)


def _branch(
    name: SafeString,
    items: Iterable[tuple[str, object]],
    count: int,
    brackets: str,
    depth: int,
    budget: Iterator[int],
) -> SafeString:
    if not count:
        return name + format_html('<span class="hk-json-empty">{}</span>', brackets)
    rows = mark_safe(  # noqa: S308 - joins what format_html escaped
        "".join(format_html("<li>{}</li>", _node(key, child, depth + 1, budget)) for key, child in items)
    )
    noun = "field" if brackets == "{}" else "element"
    return format_html(
        '<details class="hk-json-branch"{}><summary>{}{} {}{}</summary><ul>{}</ul></details>',
        mark_safe(" open") if depth < OPEN_DEPTH else "",
        name,
        count,
        noun,
        "" if count == 1 else "s",
        rows,
    )


def _leaf(value: object) -> SafeString:
    if isinstance(value, str):
        shown = value if len(value) <= MAX_TEXT_LENGTH else value[:MAX_TEXT_LENGTH] + " …"
        return format_html('<span class="hk-json-text">{}</span>', sanitize_text(shown))
    return format_html('<span class="hk-json-word">{}</span>', json.dumps(value))
