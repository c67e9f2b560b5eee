"""Find shared secrets and HMACs in request headers. All comparisons take constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MAX_JOINED = 8  # header lines that a server joined into one


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """The header that carries a secret, and the index of that secret."""

    header: str
    secret_index: int


def same(left: str, right: str) -> bool:
    """Return whether two texts are equal, in constant time for equal lengths. Any Unicode is accepted."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def find_shared_secrets(headers: Iterable[tuple[str, str]], secrets: Sequence[str]) -> tuple[HeaderMatch, ...]:
    """Return every header whose value is one of the shared secrets, in the order of the headers.

    All headers are checked, for providers that do not document which one they use. An empty secret never matches.
    Every pair is compared, even after a match. Servers join repeated headers as `a,b`, so each part is compared too.
    """
    accepted = [(index, _bytes(secret)) for index, secret in enumerate(secrets) if secret]
    matches: list[HeaderMatch] = []
    for name, value in headers:
        presented = [_bytes(value.strip())]
        if "," in value:
            presented += [_bytes(part.strip()) for part in value.split(",", MAX_JOINED)[:MAX_JOINED]]
        matching = [index for index, secret in accepted if sum(hmac.compare_digest(item, secret) for item in presented)]
        if matching:
            matches.append(HeaderMatch(header=name, secret_index=matching[0]))
    return tuple(matches)


def missing_secret_reason(headers: Sequence[tuple[str, str]], secrets: Sequence[str], expected: str) -> str:
    """Return why no header contains one of the shared secrets; `expected` is the header that should contain it."""
    if not any(secrets):
        return "No secret is known for this subscription."
    if any(name.lower() == expected.lower() for name, _ in headers):
        return f"The header {expected} contains {other_value(headers, expected)}. No other header contains it."
    return f"None of the {len(headers)} headers contains the secret; {expected} is not among them."


def other_value(headers: Iterable[tuple[str, str]], name: str) -> str:
    """Return what a header contains instead of the secret: one other value, or several."""
    values = [value for header, value in headers if header.lower() == name.lower()]
    several = len(values) > 1 or any("," in value for value in values)
    return "several values, none of which is a secret" if several else "another value, perhaps an older secret"


@dataclass(frozen=True, slots=True)
class HmacMatch:
    """The header that carries an HMAC, the index of its key, and its form.

    The form is `hex`, `base64` or `base64url`, with ` after sha256=` appended if the value has that prefix.
    """

    header: str
    secret_index: int
    form: str


def find_hmac_sha256(
    headers: Iterable[tuple[str, str]], body: bytes, secrets: Sequence[str | bytes]
) -> tuple[HmacMatch, ...]:
    """Return every header whose value is the HMAC-SHA256 of `body` with one of the keys, in the order of the headers.

    Hex in any case, base64 and base64url (with or without padding) are accepted, also after `sha256=`. An empty key
    never matches. Every pair is compared, even after a match; the body is hashed once per key. Never raises.
    """
    digests = [
        (index, hmac.new(secret if isinstance(secret, bytes) else _bytes(secret), body, hashlib.sha256).digest())
        for index, secret in enumerate(secrets)
        if secret
    ]
    matches: list[HmacMatch] = []
    for name, value in headers:
        text, prefix = value.strip(), ""
        if text[:7].lower() == "sha256=":
            text, prefix = text[7:].strip(), " after sha256="
        for index, digest in digests:
            forms = [form for form, presented, expected in _encodings(text, digest) if same(presented, expected)]
            matches += [HmacMatch(header=name, secret_index=index, form=form + prefix) for form in forms[:1]]
    return tuple(matches)


def _encodings(text: str, digest: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield each form with the normalized header text and the expected text."""
    bare = text.rstrip("=")
    yield "hex", text.lower(), digest.hex()
    yield "base64", bare, base64.b64encode(digest).decode().rstrip("=")
    yield "base64url", bare, base64.urlsafe_b64encode(digest).decode().rstrip("=")
