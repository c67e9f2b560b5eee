"""Replace characters that databases and API responses cannot hold in text from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\ufffd"

# PostgreSQL rejects NUL in text, and UTF-8 cannot encode a lone surrogate.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether a text column can hold the text unchanged."""
    return not _UNSTORABLE.search(text)


def sanitize_text(text: str) -> str:
    """Return the text with U+FFFD in place of every character that cannot be stored."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def sanitize_json(value: Any) -> Any:
    """Return a JSON value in which every string, object keys included, can be stored."""
    if isinstance(value, str):
        return sanitize_text(value)
    if isinstance(value, Mapping):
        return {sanitize_text(str(key)): sanitize_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitize_json(item) for item in value]
    return value
