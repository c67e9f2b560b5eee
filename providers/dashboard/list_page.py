"""Lists of any length: newest first, filtered, paged by key. Nothing is counted, so millions of rows cost no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.contrib import messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict

PAGE = 50
MOMENTS = ("since", "until")
MOST_CHOICES = 200  # a longer select helps nobody; such a filter is reached by links

M = TypeVar("M", bound=Model)
Choices = Sequence[tuple[str, str]]


class NotUnderstood(ValueError):
    """A filter's value means nothing."""


@dataclass(frozen=True, slots=True)
class Filter(Generic[M]):
    """One filter of a list. `apply` narrows the rows and raises NotUnderstood. With `choices` it is a select; with a
    `placeholder` something to type; without either it is reached by links. `since` and `until` are times."""

    name: str
    label: str
    apply: Callable[[QuerySet[M], str], QuerySet[M]]
    choices: Callable[[], Choices] | None = None
    placeholder: str = ""
    unset: str = "All"  # what a select shows without it


@dataclass(frozen=True, slots=True)
class ShownFilter:
    """A filter with its present value, for the page."""

    name: str
    label: str
    value: str
    choices: Choices | None
    placeholder: str = ""
    unset: str = "All"

    @property
    def value_label(self) -> str:
        """The value in words."""
        words = dict(self.choices or ()).get(self.value, self.value)
        return words.replace("T", " ") if self.is_moment else words

    @property
    def is_moment(self) -> bool:
        """Whether it is picked as a time."""
        return self.name in MOMENTS


@dataclass(frozen=True, slots=True)
class ListPage(Generic[M]):
    """One page of rows and the way to its neighbours."""

    rows: Sequence[M]
    filters: tuple[ShownFilter, ...]
    query: str  # what was searched for
    newer: str | None  # query strings
    older: str | None
    narrowed: bool  # a filter or a search is at work

    @property
    def moments(self) -> list[ShownFilter]:
        """The filters that are picked as times; they fold away, as few people need them."""
        return [item for item in self.filters if item.is_moment]

    @property
    def moments_open(self) -> bool:
        """Whether one of them is at work."""
        return any(item.value for item in self.moments)


def among(field: str, values: Callable[[], Choices]) -> Callable[[QuerySet[M], str], QuerySet[M]]:
    """Rows whose field has the value, which must be one of the choices."""

    def apply(rows: QuerySet[M], value: str) -> QuerySet[M]:
        if value not in dict(values()):
            raise NotUnderstood
        return rows.filter(**{field: value})

    return apply


def related(field: str) -> Callable[[QuerySet[M], str], QuerySet[M]]:
    """Rows that belong to the one with that number."""

    def apply(rows: QuerySet[M], value: str) -> QuerySet[M]:
        return rows.filter(**{field: number(value)})

    return apply


def number(value: str) -> int:
    """A row's number. Raises NotUnderstood."""
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise NotUnderstood
    return int(value)


def moment(value: str) -> datetime:
    """A time as typed or picked, in UTC unless it says otherwise. Raises NotUnderstood."""
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise NotUnderstood from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def page_of(
    request: HttpRequest,
    rows: QuerySet[M],
    *,
    filters: Sequence[Filter[M]],
    search: Callable[[QuerySet[M], str], QuerySet[M]] | None = None,
) -> ListPage[M]:
    """The page that the query string asks for. What it has that is not understood is said, and ignored."""
    asked = request.GET
    query = _text(asked, "q") if search else ""
    used = 0
    for item in filters:
        value = _text(asked, item.name)
        if not value:
            continue
        try:
            rows = item.apply(rows, value)
            used += 1
        except NotUnderstood:
            messages.warning(request, f"The filter “{item.label}” does not understand “{value[:80]}” and was ignored.")
    if query and search:
        rows = search(rows, query)
    found, newer, older = _cut(rows, asked)
    return ListPage(
        rows=found,
        filters=tuple(shown_filters(asked, filters)),
        query=query,
        newer=newer,
        older=older,
        narrowed=bool(used or query),
    )


def narrow(asked: QueryDict, rows: QuerySet[M], filters: Sequence[Filter[M]]) -> tuple[QuerySet[M], int]:
    """The rows that pass, and how many filters are at work. Raises NotUnderstood: where to ignore one is wrong."""
    used = 0
    for item in filters:
        if value := _text(asked, item.name):
            rows = item.apply(rows, value)
            used += 1
    return rows, used


def shown_filters(asked: QueryDict, filters: Sequence[Filter[M]]) -> list[ShownFilter]:
    """The filters with their present values."""
    return [_shown(item, asked) for item in filters]


def _text(asked: QueryDict, name: str) -> str:
    """Without NUL, which no text in a database can have."""
    return str(asked.get(name, "")).replace("\0", "").strip()


def _shown(item: Filter[M], asked: QueryDict) -> ShownFilter:
    value = _text(asked, item.name)
    choices = list(item.choices())[: MOST_CHOICES + 1] if item.choices else None
    if choices is not None and len(choices) > MOST_CHOICES:
        choices = [(value, f"number {value}")] if value else []
    return ShownFilter(item.name, item.label, value, choices, item.placeholder, item.unset)


def _cut(rows: QuerySet[M], asked: QueryDict) -> tuple[list[M], str | None, str | None]:
    """One page, and the query strings of its newer and older neighbours. Reads one row more than it shows."""
    after, before = _key(asked, "after"), _key(asked, "before")
    if after is not None:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        more, found = len(found) > PAGE, found[:PAGE][::-1]
        has_newer, has_older = more, True
    else:
        if before is not None:
            rows = rows.filter(pk__lt=before)
        found = list(rows.order_by("-pk")[: PAGE + 1])
        has_newer, has_older = before is not None, len(found) > PAGE
        found = found[:PAGE]
    newer = _query(asked, "after", found[0].pk if found else None) if has_newer else None
    older = _query(asked, "before", found[-1].pk) if has_older and found else None
    return found, newer, older


def _key(asked: QueryDict, name: str) -> int | None:
    try:
        return number(str(asked[name])) if name in asked else None
    except NotUnderstood:
        return None


def _query(asked: QueryDict, name: str, key: Any) -> str:
    """Without a key, the first page."""
    kept = asked.copy()
    for old in ("after", "before"):
        kept.pop(old, None)
    if key is not None:
        kept[name] = str(key)
    return f"?{kept.urlencode()}"
