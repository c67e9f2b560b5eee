"""Replace characters that databases and API responses cannot hold in text from outside."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\ufffd"

# PostgreSQL rejects NUL in text, and UTF-8 cannot encode a lone surrogate.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

# An escape in JSON text: a surrogate pair, half of one (the group), or any other escape.
_JSON_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")


def is_storable(text: str) -> bool:
    """Return whether a text column can hold the text unchanged."""
    return not _UNSTORABLE.search(text)


def sanitize_text(text: str) -> str:
    """Return the text with U+FFFD in place of every character that cannot be stored."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def sanitize_json_text(text: str) -> str:
    """Return JSON text in ASCII with U+FFFD in place of escaped halves of surrogate pairs, which UTF-8 cannot encode.

    Everything else is unchanged. JSON permits such an escape, but many parsers reject it.
    """
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _JSON_ESCAPE.sub(lambda match: r"\ufffd" if match[1] else match[0], text)


def sanitize_json(value: Any) -> Any:
    """Return a JSON value in which every string, object keys included, can be stored, and every number is finite."""
    if isinstance(value, str):
        return sanitize_text(value)
    if isinstance(value, Mapping):
        return {sanitize_text(str(key)): sanitize_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitize_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return value
