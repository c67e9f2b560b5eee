"""Proofs that inbound requests carry. All comparisons take constant time."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """Which header carried which of the accepted secrets."""

    header: str
    secret_index: int


def same(left: str, right: str) -> bool:
    """Whether two texts are equal, in constant time for equal lengths. Any Unicode is accepted."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def find_shared_secret(
    headers: Iterable[tuple[str, str]], secrets: Sequence[str], *, only: frozenset[str] | None = None
) -> HeaderMatch | None:
    """Looks for a shared secret among the header values.

    `only` (lower-case names) narrows the search; None compares with the value of every header, for providers that
    do not say which header they use. An empty secret never matches. Every pair is compared, found or not.
    """
    found: HeaderMatch | None = None
    for name, value in headers:
        if only is not None and name.lower() not in only:
            continue
        for index, secret in enumerate(secrets):
            if secret and same(value.strip(), secret) and found is None:
                found = HeaderMatch(header=name, secret_index=index)
    return found
