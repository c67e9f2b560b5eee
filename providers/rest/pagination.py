"""Pages by key: no OFFSET, no COUNT. A cursor names the row that the last page ended at."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

from django.db.models import QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

DEFAULT_LIMIT, MAX_LIMIT = 50, 250
PAGE_WEIGHT = 16 * 1024 * 1024  # bytes; a page of heavy rows ends earlier
PARAMETERS = ("cursor", "limit")
_LIMIT = re.compile(r"[0-9]{1,3}")
_CURSOR = re.compile(
    r"(?:(?P<kind>[lfs])(?P<way>[np])(?P<key>[0-9]{1,18})|(?P<merged>m)(?P<to>[np])(?P<place>[0-9]{1,38}))"
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one kind of list, and the way to go from there."""

    kind: str  # l: newest first, f: the feed, s: a list that is not in the database, m: merged from several tables
    back: bool
    key: int

    def __str__(self) -> str:
        text = f"{self.kind}{'p' if self.back else 'n'}{self.key}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, kind: str) -> Cursor:
        """Raises ValidationError for what is no cursor of this kind of list."""
        try:
            decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            _refuse("cursor", "This is no cursor.")
        match = _CURSOR.fullmatch(decoded)
        if match is None or (match["kind"] or match["merged"]) != kind:
            _refuse("cursor", "This is no cursor of this list.")
        return cls(kind, (match["way"] or match["to"]) == "p", int(match["key"] or match["place"]))


@dataclass(frozen=True, slots=True)
class Shape:
    """What is paged: the key's name, and whether it falls along the list."""

    kind: str
    key: str
    falling: bool


NEWEST_FIRST = Shape("l", "id", falling=True)
FEED = Shape("f", "position", falling=False)
SEQUENCE = Shape("s", "", falling=False)
MERGED = Shape("m", "", falling=True)


@runtime_checkable
class Merged(Protocol):
    """A list, newest first, that is put together from several tables."""

    def keyed(self, count: int, *, key: int | None, back: bool) -> list[tuple[int, Any]]:
        """The rows next to a key with their own keys, in the order in which they are met."""


class KeysetPagination(BasePagination):
    """Newest first by `id`. A view may have `feed_end()`: when it returns a position and not None, the list is the feed
    in commit order, `next` is never null, and an empty page leads to that position. A view may have `weight(row)` in
    bytes, so that a page of heavy rows ends earlier than at its limit."""

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any] | Merged, request: Request, view: Any = None
    ) -> list[Any]:
        """The rows of the page that the query string asks for. Raises ValidationError."""
        self.request = request
        limit = _limit(request)
        self.end: int | None = getattr(view, "feed_end", lambda: None)()
        self.shape = _shape(queryset, self.end)
        text = _single(request, "cursor")
        self.cursor = None if text is None else Cursor.read(text, self.shape.kind)
        if isinstance(queryset, QuerySet):
            keyed = self._from_database(queryset, limit + 1)
        elif isinstance(queryset, Merged):
            keyed = queryset.keyed(limit + 1, key=self.cursor.key if self.cursor else None, back=self._back)
        else:
            keyed = self._from_sequence(queryset)
        kept = _within(keyed[:limit], getattr(view, "weight", None))
        self.more = len(keyed) > len(kept)
        if self._back:
            kept.reverse()
        self.keys = [key for key, _ in kept]
        return [row for _, row in kept]

    def get_paginated_response(self, data: Any) -> Response:
        """The envelope; the links are also in the header, for answers without one."""
        links = {"next": self._link(self._next()), "previous": self._link(self._previous())}
        named = ", ".join(
            f'<{url}>; rel="{rel}"' for rel, url in (("next", links["next"]), ("prev", links["previous"])) if url
        )
        return Response({**links, "results": data}, headers={"Link": named} if named else None)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The envelope for the documentation."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """`limit` and `cursor` for the documentation."""
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        cursor = {"type": "string", "minLength": 1}
        return [
            _parameter("limit", "How many at most.", limit),
            _parameter(
                "cursor", "From `next` or `previous` of a page; made of nothing that a client should read.", cursor
            ),
        ]

    @property
    def _back(self) -> bool:
        return self.cursor is not None and self.cursor.back

    def _from_database(self, rows: QuerySet[Any], count: int) -> list[tuple[int, Any]]:
        key = self.shape.key
        if self.cursor is not None:
            smaller = self.shape.falling != self.cursor.back
            rows = rows.filter(**{f"{key}__{'lt' if smaller else 'gt'}": self.cursor.key})
        order = f"-{key}" if self.shape.falling != self._back else key
        page = rows.order_by(order)[:count]
        return [(row[key] if isinstance(row, dict) else getattr(row, key), row) for row in page]

    def _from_sequence(self, rows: Sequence[Any]) -> list[tuple[int, Any]]:
        keyed = list(enumerate(rows, 1))
        if self.cursor is None:
            return keyed
        if self.cursor.back:
            return [item for item in reversed(keyed) if item[0] < self.cursor.key]
        return [item for item in keyed if item[0] > self.cursor.key]

    def _next(self) -> Cursor | None:
        if self._back:
            return self._onward(self.keys[-1] if self.keys else self._beside(1))
        if self.more:
            return self._onward(self.keys[-1])
        if self.end is None:
            return None
        # Positions become visible in their order and without gaps, so nothing up to `end` can still appear. An end
        # before the cursor is that of a database which was set back: the cursor stays.
        return self._onward(max(self.end, self.cursor.key if self.cursor else 0, *self.keys[-1:]))

    def _previous(self) -> Cursor | None:
        if self.cursor is None or (self.cursor.back and not self.more):
            return None
        return Cursor(self.shape.kind, True, self.keys[0] if self.keys else self._beside(-1))

    def _onward(self, key: int) -> Cursor:
        return Cursor(self.shape.kind, False, key)

    def _beside(self, way: int) -> int:
        """The cursor's own place seen from the other side: 1 for going on after an empty page back, -1 for the way
        back from an empty page."""
        key = self.cursor.key if self.cursor else 0
        return max(key + (way if self.shape.falling else -way), 0)

    def _link(self, cursor: Cursor | None) -> str | None:
        if cursor is None:
            return None
        return replace_query_param(self.request.build_absolute_uri(), "cursor", str(cursor))


def _shape(rows: object, end: int | None) -> Shape:
    if isinstance(rows, Merged):
        return MERGED
    if not isinstance(rows, QuerySet):
        return SEQUENCE
    return NEWEST_FIRST if end is None else FEED


def _within(keyed: list[tuple[int, Any]], weight: Callable[[Any], int] | None) -> list[tuple[int, Any]]:
    if weight is None:
        return keyed
    total = 0
    for count, (_, row) in enumerate(keyed):
        total += weight(row)
        if total > PAGE_WEIGHT and count > 0:
            return keyed[:count]
    return keyed


def _limit(request: Request) -> int:
    text = _single(request, "limit")
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        _refuse("limit", f"Give a number from 1 to {MAX_LIMIT}.")
    return int(text)


def _single(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        _refuse(name, "Only one is possible.")
    return values[0] if values else None


def _refuse(name: str, message: str) -> NoReturn:
    raise ValidationError({name: [ErrorDetail(message, code="invalid")]})


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
