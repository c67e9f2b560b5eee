"""Proofs that inbound requests carry. All comparisons take constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """Which header carried which of the accepted secrets."""

    header: str
    secret_index: int


def same(left: str, right: str) -> bool:
    """Whether two texts are equal, in constant time for equal lengths. Any Unicode is accepted."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def find_shared_secrets(headers: Iterable[tuple[str, str]], secrets: Sequence[str]) -> tuple[HeaderMatch, ...]:
    """Every header whose value is one of the shared secrets, in the order of the headers.

    All values are looked at, for providers that do not say which header they use. An empty secret never matches. Every
    pair is compared, found or not.
    """
    accepted = [(index, _bytes(secret)) for index, secret in enumerate(secrets) if secret]
    found: list[HeaderMatch] = []
    for name, value in headers:
        presented = _bytes(value.strip())
        matching = [index for index, secret in accepted if hmac.compare_digest(presented, secret)]
        if matching:
            found.append(HeaderMatch(header=name, secret_index=matching[0]))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class HmacMatch:
    """Which header holds an HMAC under which of the accepted keys, and how it is written: `hex`, `base64` or
    `base64url`, perhaps ` after sha256=`."""

    header: str
    secret_index: int
    form: str


def find_hmac_sha256(headers: Iterable[tuple[str, str]], body: bytes, secrets: Sequence[str]) -> tuple[HmacMatch, ...]:
    """Every header whose value is the HMAC-SHA256 of `body` under one of the keys, in the order of the headers.

    Accepted are hex in any case, base64 and base64url (with or without padding), each also after `sha256=`. An empty
    key never matches. Every pair is compared, found or not; the body is hashed once a key. Never raises.
    """
    digests = [
        (index, hmac.new(_bytes(secret), body, hashlib.sha256).digest())
        for index, secret in enumerate(secrets)
        if secret
    ]
    found: list[HmacMatch] = []
    for name, value in headers:
        text, where = value.strip(), ""
        if text[:7].lower() == "sha256=":
            text, where = text[7:].strip(), " after sha256="
        for index, digest in digests:
            forms = [form for form, presented, expected in _writings(text, digest) if same(presented, expected)]
            found += [HmacMatch(header=name, secret_index=index, form=form + where) for form in forms[:1]]
    return tuple(found)


def _writings(text: str, digest: bytes) -> Iterator[tuple[str, str, str]]:
    """Form, the presented text made comparable, and what it would have to be."""
    bare = text.rstrip("=")
    yield "hex", text.lower(), digest.hex()
    yield "base64", bare, base64.b64encode(digest).decode().rstrip("=")
    yield "base64url", bare, base64.urlsafe_b64encode(digest).decode().rstrip("=")
