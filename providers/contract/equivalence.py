"""Recognize what a provider writes differently than it was sent, although it means the same."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit, urlunsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_OUR_PATH = re.compile(r"(.*/hooks/[A-Za-z0-9_-]+)/")  # the receiver treats a final slash like none

_WORDS = r"redacted|hidden|masked|filtered|removed|protected|encrypted|sensitive|omitted|secret"
_MASK = re.compile(
    rf"[*\u2022\u25cf\u2026\u00b7]|x{{4,}}|\.{{3,}}|\#{{4,}}|^-{{3,}}$|[\[<(\{{](?:{_WORDS})\b|^(?:{_WORDS})$",
    re.IGNORECASE,
)

_ENABLED = frozenset({"enabled", "active", "activated", "ok", "on", "running", "true", "yes"})
_DISABLED = frozenset(
    {"inactive", "disabled", "deactivated", "suspended", "paused", "stopped", "off", "blocked", "failed", "error",
     "cancelled", "canceled", "expired", "deleted", "revoked", "false", "no"}
)  # fmt: skip


def canonical_url(url: str) -> str:
    """Return a URL with scheme and host in lower case, without a default port and the final slash of a callback URL.

    Anything that is not an HTTP URL is returned unchanged.
    """
    try:
        parts = urlsplit(url.strip())
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return url
    except ValueError:
        return url
    user, at, host = parts.netloc.rpartition("@")
    host = host.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
    path = _OUR_PATH.fullmatch(parts.path)
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}", path=path.group(1) if path else parts.path))


def equivalent(left: object, right: object, *, ignore_case: bool = False) -> bool:
    """Return whether two canonical values mean the same: in any Unicode form, and URLs as in `canonical_url`."""
    return left == right or _folded(left, ignore_case) == _folded(right, ignore_case)


def _folded(value: object, ignore_case: bool) -> object:
    if isinstance(value, str):
        text = canonical_url(value).rstrip("/") if "://" in value else value
        return unicodedata.normalize("NFC", text.lower() if ignore_case else text)
    if isinstance(value, dict):
        return {key: _folded(item, ignore_case) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    items = [_folded(item, ignore_case) for item in value]
    texts = [item for item in value if isinstance(item, str)]
    # A list whose order has no meaning is sorted, but each form of a text sorts differently.
    return sorted(set(map(str, items))) if texts == sorted(texts) and len(texts) == len(items) else items


def is_masked(text: str) -> bool:
    """Return whether a text stands for a hidden one, such as `********`, `xxxxxxxx`, `[REDACTED]` or `abcd...`."""
    return bool(_MASK.search(text.strip()))


def read_enabled(value: object) -> bool | None:
    """Return what a status means, given as a boolean or as a word in any case; None if it is unknown."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in _ENABLED else False if word in _DISABLED else None
