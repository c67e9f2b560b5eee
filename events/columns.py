"""What comes from outside, made fit for the database's columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

# PostgreSQL refuses both in a text. The request's body and the event's data keep what was really sent.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"
MAX_DEPTH = 200


def column_text(value: str, limit: int | None = None) -> str:
    """The text without what a text column refuses, cut to the column's size."""
    return UNSTORABLE.sub(REPLACEMENT, value)[:limit]


def column_key(value: str, limit: int) -> str:
    """The key itself where it fits the column, else its hash: two different keys never become the same by cutting."""
    if len(value) <= limit and not UNSTORABLE.search(value):
        return value
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def nested_too_deeply(value: object) -> bool:
    """Whether JSON is nested so deeply that it could be written now and not be read in a deeper call later."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
