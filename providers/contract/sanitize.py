"""Texts from outside, made such that databases and answers of ours can hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # no database's text has NUL, no UTF-8 half a surrogate pair


def storable_text(text: str) -> str:
    """The text with a replacement character for everything that cannot be kept."""
    return _UNSTORABLE.sub("\ufffd", text)


def storable(value: Any) -> Any:
    """JSON in which every text, keys included, can be kept."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, Mapping):
        return {storable_text(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
