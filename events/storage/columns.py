"""What comes from outside, made fit for the database's columns."""

from __future__ import annotations

import json
import re

from providers.digests import text_digest

# PostgreSQL refuses both in a text. The request's body and the event's data keep what was really sent.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"
column_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # as JSONTextField writes it


def column_text(value: str, limit: int | None = None) -> str:
    """The text without what a text column refuses, cut to the column's size."""
    if value.isprintable():  # as most is, and then it holds neither; this is told sooner
        return value[:limit]
    return UNSTORABLE.sub(REPLACEMENT, value)[:limit]


def column_key(value: str, limit: int) -> str:
    """The key itself where it fits the column, else its hash: two different keys never become the same by cutting."""
    if len(value) <= limit and not UNSTORABLE.search(value):
        return value
    return "sha256:" + text_digest(value)
