"""A session at a provider: validated settings and credentials, the HTTP client, and stored access tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from providers.contract.http import Http
from providers.contract.schemas import AccountSettings, Credentials

S = TypeVar("S", bound=AccountSettings)
C = TypeVar("C", bound=Credentials)


class TokenStore(Protocol):
    """Stores short-lived access tokens of one account, encrypted, for all processes."""

    def get(self, name: str) -> str | None:
        """Return the token; None if there is none or it has expired."""

    def put(self, name: str, value: str, expires_at: datetime) -> None:
        """Store a token until it expires."""

    def forget(self, name: str) -> None:
        """Delete a token that the provider no longer accepts."""


class MemoryTokens:
    """A token store in memory, for tests and short-lived sessions."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, datetime]] = {}

    def get(self, name: str) -> str | None:
        """See TokenStore."""
        value, expires_at = self._tokens.get(name, ("", datetime.min.replace(tzinfo=UTC)))
        return value if expires_at > datetime.now(UTC) else None

    def put(self, name: str, value: str, expires_at: datetime) -> None:
        """See TokenStore."""
        self._tokens[name] = (value, expires_at)

    def forget(self, name: str) -> None:
        """See TokenStore."""
        self._tokens.pop(name, None)


@dataclass(frozen=True, slots=True)
class ProviderSession(Generic[S, C]):
    """The inputs of API calls: validated settings and credentials, the HTTP client, and the token store."""

    settings: S
    credentials: C
    http: Http
    tokens: TokenStore = field(default_factory=MemoryTokens)
