"""Tells whether a body that cannot be read looks encrypted.

SideDrawer says that the integrity key is used "for both client-side and server-side encryption/decryption", but not
how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

REASON = (
    "The body looks encrypted ({form}): SideDrawer may encrypt events with the integrity key, in a way that it does not"
    " publish. It is kept whole and can be read again when that is known."
)
SHORTEST = 32  # characters; shorter texts are words or ids

_JWE = re.compile(r"[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){4}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_PARTS = re.compile(r"[.:$|]")
_MARKS = ("ciphertext", "cipherText", "encrypted", "encryptedData", "encryptedBody", "encryptedPayload")
_WRAPPERS = ("data", "payload", "body", "event", "message", "content")


def form_of_bytes(body: bytes) -> str | None:
    """What kind of ciphertext a whole body may be; None when it does not look like one."""
    try:
        return form_of_text(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "binary data" if len(body) >= SHORTEST // 2 else None


def form_of_text(text: str) -> str | None:
    """What kind of ciphertext a text may be: a JWE, hexadecimal or base64, in one piece or with its nonce before it."""
    text = "".join(text.split()) if len(text) < 1_000_000 else text.strip()
    if len(text) < SHORTEST:
        return None
    if _JWE.fullmatch(text):
        return "a JWE"
    parts = [part for part in _PARTS.split(text) if part]
    if not parts or len(parts) > 5 or text.isalpha():
        return None
    if all(_HEX.fullmatch(part) for part in parts):
        return "hexadecimal text"
    return "base64 text" if all(_BASE64.fullmatch(part) for part in parts) else None


def form_of_object(value: Mapping[str, object]) -> str | None:
    """What kind of ciphertext a JSON object carries instead of an event; None for any other object."""
    for name in _MARKS:
        if isinstance(value.get(name), str) and value[name]:
            return f"in the field {name}"
    for name in _WRAPPERS:
        inner = value.get(name)
        if isinstance(inner, str) and (form := form_of_text(inner)):
            return f"{form} in the field {name}"
    return None
