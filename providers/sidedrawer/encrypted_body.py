"""Tells whether a body that cannot be read looks encrypted.

SideDrawer says that the integrity key is used "for both client-side and server-side encryption/decryption", but not
how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REASON = (
    "The body looks encrypted ({form}): SideDrawer may encrypt events with the integrity key, in a way that it does not"
    " publish. It is kept whole and can be read again when that is known."
)
SHORTEST = 32  # characters; shorter texts are words or ids
SHORTEST_HEX = 16  # where nothing else than the text is sent: an even number of hexadecimal digits is no word

_JWE = re.compile(r"[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){4}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_PARTS = re.compile(r"[.:$|]")
_MARKS = ("ciphertext", "cipherText", "encrypted", "encryptedData", "encryptedBody", "encryptedPayload")
_WRAPPERS = ("data", "payload", "body", "event", "message", "content", "value")
_BESIDE = ("iv", "nonce", "authTag", "tag")  # what a cipher needs beside its text; the last is also an everyday word


def form_of_bytes(body: bytes) -> str | None:
    """What kind of ciphertext a whole body may be; None when it does not look like one."""
    try:
        return form_of_text(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "binary data"


def form_of_text(text: str, *, shortest_hex: int = SHORTEST_HEX) -> str | None:
    """What kind of ciphertext a text may be: a JWE, hexadecimal or base64, in one piece or with its nonce before it."""
    text = _joined(text)
    if len(text) >= shortest_hex and _HEX.fullmatch(text):
        return "hexadecimal text"
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
    beside = [name for name in _BESIDE if value.get(name)]
    for name in (*_WRAPPERS, *_MARKS):
        inner = value.get(name)
        if isinstance(inner, str) and (form := _form_inside(inner, beside)):
            return f"{form} in the field {name}"
        if isinstance(inner, dict) and any(inner.get(mark) for mark in _BESIDE) and (form := form_of_object(inner)):
            return f"{form} of {name}"
    return None


def form_of_list(values: Sequence[object]) -> str | None:
    """What kind of ciphertext a list of nothing but encrypted texts holds; None for any other list."""
    forms = (form_of_text(value) if isinstance(value, str) else None for value in values)
    found: str | None = None
    for form in forms:
        if form is None:
            return None
        found = found or f"{form} in a list"
    return found


def _form_inside(text: str, beside: Sequence[str]) -> str | None:
    """Alone in a field, a short text is an id. Beside a nonce even the shortest is a ciphertext."""
    if not beside:
        return form_of_text(text, shortest_hex=SHORTEST)
    form = form_of_text(text)
    if form or beside == ["tag"]:
        return form
    text = _joined(text) if " " not in text else ""
    if _HEX.fullmatch(text):
        return "hexadecimal text"
    return "base64 text" if _BASE64.fullmatch(text) else None


def _joined(text: str) -> str:
    return "".join(text.split()) if len(text) < 1_000_000 else text.strip()
