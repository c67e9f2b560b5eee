"""Keyset pagination, without OFFSET and COUNT. A cursor contains the key of the row at which the last page ended."""

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
    """A position in one kind of list, and the direction from there."""

    kind: str  # l: newest first, f: the feed, s: a list that is not in the database, m: merged from several tables
    back: bool
    key: int

    def __str__(self) -> str:
        text = f"{self.kind}{'p' if self.back else 'n'}{self.key}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, kind: str) -> Cursor:
        """Parse a cursor. Raises ValidationError if it is not one of this kind of list."""
        try:
            decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            _refuse("cursor", "This is not a cursor.")
        match = _CURSOR.fullmatch(decoded)
        if match is None or (match["kind"] or match["merged"]) != kind:
            _refuse("cursor", "This cursor belongs to another list.")
        return cls(kind, (match["way"] or match["to"]) == "p", int(match["key"] or match["place"]))


@dataclass(frozen=True, slots=True)
class Shape:
    """How a list is paged: the name of its key, and whether the key decreases along the list."""

    kind: str
    key: str
    descending: bool


NEWEST_FIRST = Shape("l", "id", descending=True)
FEED = Shape("f", "position", descending=False)
SEQUENCE = Shape("s", "", descending=False)
MERGED = Shape("m", "", descending=True)


@runtime_checkable
class Merged(Protocol):
    """A list, newest first, that is merged from several tables."""

    def keyed(self, count: int, *, key: int | None, back: bool) -> list[tuple[int, Any]]:
        """Return up to `count` rows after a key (or before it, if `back`), each with its own key."""


class KeysetPagination(BasePagination):
    """Keyset pagination, newest first by `id`.

    A view may have `feed_end()`. If that returns a position, the list is the feed in commit order: `next` is never
    null, and that of an empty page points to that position. A view may have `weight(row)`, in bytes, so that a page of
    large rows ends before its limit.
    """

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any] | Merged, request: Request, view: Any = None
    ) -> list[Any]:
        """Return the rows of the page that the query string selects. Raises ValidationError."""
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
        page = _within(keyed[:limit], getattr(view, "weight", None))
        self.more = len(keyed) > len(page)
        if self._back:
            page.reverse()
        self.keys = [key for key, _ in page]
        return [row for _, row in page]

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page in its envelope. The links are also in the Link header, for formats without an envelope."""
        links = {"next": self._link(self._next()), "previous": self._link(self._previous())}
        named = ", ".join(
            f'<{url}>; rel="{rel}"' for rel, url in (("next", links["next"]), ("prev", links["previous"])) if url
        )
        return Response({**links, "results": data}, headers={"Link": named} if named else None)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON Schema of the envelope."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return `limit` and `cursor` as OpenAPI parameters."""
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        cursor = {"type": "string", "minLength": 1}
        return [
            _parameter("limit", "The maximum number of results.", limit),
            _parameter("cursor", "An opaque value from `next` or `previous` of a page.", cursor),
        ]

    @property
    def _back(self) -> bool:
        return self.cursor is not None and self.cursor.back

    def _from_database(self, rows: QuerySet[Any], count: int) -> list[tuple[int, Any]]:
        key = self.shape.key
        if self.cursor is not None:
            smaller = self.shape.descending != self.cursor.back
            rows = rows.filter(**{f"{key}__{'lt' if smaller else 'gt'}": self.cursor.key})
        order = f"-{key}" if self.shape.descending != self._back else key
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
            return self._forward(self.keys[-1] if self.keys else self._mirrored(1))
        if self.more:
            return self._forward(self.keys[-1])
        if self.end is None:
            return None
        # Positions become visible in order, so nothing up to `end` can still appear. An end before
        # the cursor comes from a database that was restored: the cursor stays.
        return self._forward(max(self.end, self.cursor.key if self.cursor else 0, *self.keys[-1:]))

    def _previous(self) -> Cursor | None:
        if self.cursor is None or (self.cursor.back and not self.more):
            return None
        return Cursor(self.shape.kind, True, self.keys[0] if self.keys else self._mirrored(-1))

    def _forward(self, key: int) -> Cursor:
        return Cursor(self.shape.kind, False, key)

    def _mirrored(self, way: int) -> int:
        """Return the cursor's key as seen from the other direction.

        `way` is 1 to continue forward after an empty page back, and -1 to go back from an empty page.
        """
        key = self.cursor.key if self.cursor else 0
        return max(key + (way if self.shape.descending else -way), 0)

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
        _refuse(name, "Give this parameter only once.")
    return values[0] if values else None


def _refuse(name: str, message: str) -> NoReturn:
    raise ValidationError({name: [ErrorDetail(message, code="invalid")]})


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
