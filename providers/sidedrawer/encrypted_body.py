"""Detect bodies that look encrypted.

SideDrawer says that the integrity key is used "for both client-side and server-side encryption/decryption", but not
how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REASON = (
    "The body looks encrypted ({form}). SideDrawer may encrypt events with the integrity key in an unpublished way. The"
    " body is kept whole and can be reprocessed once the encryption is known."
)
MIN_LENGTH = 32  # characters; shorter texts are words or IDs
MIN_HEX_LENGTH = 16  # for a text that is the whole body: an even number of hexadecimal digits is not a word

_JWE = re.compile(r"[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){4}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_PARTS = re.compile(r"[.:$|]")
_CIPHERTEXT_KEYS = ("ciphertext", "cipherText", "encrypted", "encryptedData", "encryptedBody", "encryptedPayload")
_WRAPPERS = ("data", "payload", "body", "event", "message", "content", "value")
_PARAMETER_KEYS = ("iv", "nonce", "authTag", "tag")  # parameters of a cipher; `tag` is also an ordinary word


def form_of_bytes(body: bytes) -> str | None:
    """Return the kind of ciphertext that a whole body may be; None if it does not look encrypted."""
    try:
        return form_of_text(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "binary data"


def form_of_text(text: str, *, min_hex: int = MIN_HEX_LENGTH) -> str | None:
    """Return the kind of ciphertext that a text may be: a JWE, hexadecimal or base64, possibly prefixed by a nonce."""
    text = _joined(text)
    if len(text) >= min_hex and _HEX.fullmatch(text):
        return "hexadecimal text"
    if len(text) < MIN_LENGTH:
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
    """Return the kind of ciphertext that a JSON object contains instead of an event; None for any other object."""
    for name in _CIPHERTEXT_KEYS:
        if isinstance(value.get(name), str) and value[name]:
            return f"in the field {name}"
    parameters = [name for name in _PARAMETER_KEYS if value.get(name)]
    for name in (*_WRAPPERS, *_CIPHERTEXT_KEYS):
        inner = value.get(name)
        if isinstance(inner, str) and (form := _form_of_field(inner, parameters)):
            return f"{form} in the field {name}"
        if (
            isinstance(inner, dict)
            and any(inner.get(key) for key in _PARAMETER_KEYS)
            and (form := form_of_object(inner))
        ):
            return f"{form} of {name}"
    return None


def form_of_list(values: Sequence[object]) -> str | None:
    """Return the kind of ciphertext of a list that contains only encrypted texts; None for any other list."""
    first: str | None = None
    for value in values:
        form = form_of_text(value) if isinstance(value, str) else None
        if form is None:
            return None
        first = first or f"{form} in a list"
    return first


def _form_of_field(text: str, parameters: Sequence[str]) -> str | None:
    """Return the kind of ciphertext of a field. A short text is an ID, unless there are parameters of a cipher."""
    if not parameters:
        return form_of_text(text, min_hex=MIN_LENGTH)
    form = form_of_text(text)
    if form or parameters == ["tag"]:
        return form
    text = _joined(text) if " " not in text else ""
    if _HEX.fullmatch(text):
        return "hexadecimal text"
    return "base64 text" if _BASE64.fullmatch(text) else None


def _joined(text: str) -> str:
    return "".join(text.split()) if len(text) < 1_000_000 else text.strip()
