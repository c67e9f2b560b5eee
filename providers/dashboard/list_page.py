"""Lists of any length: newest first, filtered, with keyset pagination.

Rows are never counted, so a page takes the same time with a hundred rows as with millions. Only short lists have an
order of their own; their pages are found by the number of rows before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict

from providers.filters import Choices, Filter, row_number

PAGE_SIZE = 50
MAX_START = 100_000  # rows that a list with an order of its own skips at most
TIME_FILTERS = ("since", "until")
MAX_CHOICES = 200  # a longer select is not shown, and the filter is used only through links

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class ShownFilter:
    """A filter with its current value, for the page."""

    name: str
    label: str
    value: str
    choices: Choices | None
    placeholder: str = ""
    unset: str = "All"

    @property
    def value_label(self) -> str:
        """Return the value as shown to people."""
        label = dict(self.choices or ()).get(self.value, self.value)
        return label.replace("T", " ") if self.is_time else label

    @property
    def is_time(self) -> bool:
        """Return whether the value is picked as a time."""
        return self.name in TIME_FILTERS


@dataclass(frozen=True, slots=True)
class ListPage(Generic[M]):
    """One page of rows, with links to the newer and the older page."""

    rows: Sequence[M]
    filters: tuple[ShownFilter, ...]
    query: str  # the text of the search
    newer: str | None  # query strings of these pages
    older: str | None
    narrowed: bool  # whether a filter or a search applies

    @property
    def time_filters(self) -> list[ShownFilter]:
        """Return the filters by time, which the page shows collapsed."""
        return [item for item in self.filters if item.is_time]

    @property
    def time_filters_used(self) -> bool:
        """Return whether a filter by time applies."""
        return any(item.value for item in self.time_filters)


def build_page(
    request: HttpRequest,
    rows: QuerySet[M],
    *,
    filters: Sequence[Filter],
    search: Callable[[QuerySet[M], str], QuerySet[M]] | None = None,
    newest_first: bool = True,
) -> ListPage[M]:
    """Return the page that the query string selects. Invalid filter values are ignored, with a warning.

    Without `newest_first` the rows stay in their own order.
    """
    params = request.GET
    query = _parameter(params, "q") if search else ""
    used = 0
    for item in filters:
        value = _parameter(params, item.name)
        if not value:
            continue
        try:
            rows = item.apply_in_dashboard(rows, value)
            used += 1
        except ValidationError:
            messages.warning(request, f"“{value[:80]}” is not valid for the filter “{item.label}”, which was ignored.")
    if query and search:
        rows = search(rows, query)
    page_rows, newer, older = _page_rows(rows, params) if newest_first else _ordered_rows(rows, params)
    return ListPage(
        rows=page_rows,
        filters=tuple(shown_filters(params, filters)),
        query=query,
        newer=newer,
        older=older,
        narrowed=bool(used or query),
    )


def filter_rows(params: QueryDict, rows: QuerySet[M], filters: Sequence[Filter]) -> tuple[QuerySet[M], int]:
    """Return the matching rows and the number of filters that apply. Raises ValidationError for an invalid value."""
    used = 0
    for item in filters:
        if value := _parameter(params, item.name):
            rows = item.apply_in_dashboard(rows, value)
            used += 1
    return rows, used


def shown_filters(params: QueryDict, filters: Sequence[Filter]) -> list[ShownFilter]:
    """Return the filters with their current values."""
    return [_shown(item, params) for item in filters]


def _parameter(params: QueryDict, name: str) -> str:
    """Return a query parameter without NUL, which the database refuses."""
    return str(params.get(name, "")).replace("\0", "").strip()


def _shown(item: Filter, params: QueryDict) -> ShownFilter:
    value = _parameter(params, item.name)
    choices = list(item.choices())[: MAX_CHOICES + 1] if item.choices else None
    if choices is not None and len(choices) > MAX_CHOICES:
        choices = [(value, f"No. {value}")] if value else []
    return ShownFilter(item.name, item.label, value, choices, item.placeholder, item.unset)


def _page_rows(rows: QuerySet[M], params: QueryDict) -> tuple[list[M], str | None, str | None]:
    """Return one page, and the query strings of the newer and the older page. Reads one row more than it returns."""
    after, before = _key(params, "after"), _key(params, "before")
    if after is not None:
        page_rows = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE_SIZE + 1])
        more, page_rows = len(page_rows) > PAGE_SIZE, page_rows[:PAGE_SIZE][::-1]
        has_newer, has_older = more, True
    else:
        if before is not None:
            rows = rows.filter(pk__lt=before)
        page_rows = list(rows.order_by("-pk")[: PAGE_SIZE + 1])
        has_newer, has_older = before is not None, len(page_rows) > PAGE_SIZE
        page_rows = page_rows[:PAGE_SIZE]
    newer = _query(params, "after", page_rows[0].pk if page_rows else None) if has_newer else None
    older = _query(params, "before", page_rows[-1].pk) if has_older and page_rows else None
    return page_rows, newer, older


def _ordered_rows(rows: QuerySet[M], params: QueryDict) -> tuple[list[M], str | None, str | None]:
    """Return one page in the order of the rows, and the query strings of the previous and the next page."""
    start = min(_key(params, "start") or 0, MAX_START)
    page_rows = list(rows[start : start + PAGE_SIZE + 1])
    previous = max(start - PAGE_SIZE, 0)
    newer = _query(params, "start", previous or None) if start else None
    older = _query(params, "start", start + PAGE_SIZE) if len(page_rows) > PAGE_SIZE else None
    return page_rows[:PAGE_SIZE], newer, older


def _key(params: QueryDict, name: str) -> int | None:
    try:
        return row_number(str(params[name])) if name in params else None
    except ValidationError:
        return None


def _query(params: QueryDict, name: str, key: Any) -> str:
    """Return the query string of the page after or before a key; without a key, of the first page."""
    query = params.copy()
    for parameter in ("after", "before", "start"):
        query.pop(parameter, None)
    if key is not None:
        query[name] = str(key)
    return f"?{query.urlencode()}"
