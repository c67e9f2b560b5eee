"""Fit text from outside into the database's columns."""

from __future__ import annotations

import json

from providers.contract.sanitize import is_storable, sanitize_json_text, sanitize_text
from providers.digests import text_digest

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def column_json(value: object) -> str:
    """Return the value as JSON text, as JSONTextField writes it."""
    return sanitize_json_text(_encode(value))


def column_text(value: str, limit: int | None = None) -> str:
    """Return the text sanitized and cut to `limit` characters."""
    if value.isprintable():  # printable text needs no sanitizing, and this check is faster
        return value[:limit]
    return sanitize_text(value)[:limit]


def column_key(value: str, limit: int) -> str:
    """Return the key itself if it fits the column, else its hash, so that two different keys never become the same."""
    if len(value) <= limit and is_storable(value):
        return value
    return "sha256:" + text_digest(value)
