"""Secrets at rest: Fernet with ENCRYPTION_KEYS (the first encrypts, all decrypt)."""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Undecryptable(ValueError):
    """A stored value was encrypted with a key that is no longer in ENCRYPTION_KEYS."""


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """Return the text encrypted with the first of ENCRYPTION_KEYS."""
    return _fernet(tuple(settings.ENCRYPTION_KEYS)).encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Return the decrypted text of a token. Raises Undecryptable if no key decrypts it."""
    try:
        return _fernet(tuple(settings.ENCRYPTION_KEYS)).decrypt(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable(
            "A stored secret cannot be decrypted: the key it was encrypted with is missing from ENCRYPTION_KEYS."
        ) from None
