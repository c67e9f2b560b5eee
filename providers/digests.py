"""SHA-256 digests of texts and of JSON values."""

from __future__ import annotations

import hashlib
import json


def text_digest(text: str) -> str:
    """Return the hex SHA-256 of a text; unpaired surrogates are allowed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def json_digest(value: object) -> str:
    """Return the hex SHA-256 of a JSON value in canonical form: sorted keys, no white space, ASCII only.

    Values of other types, such as times, are converted to text.
    """
    canonical = json.dumps(value, default=str, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
