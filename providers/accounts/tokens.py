"""Short-lived access tokens, stored encrypted in the database for all processes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from providers.digests import json_digest
from providers.models import AccountToken, ProviderAccount


@dataclass(frozen=True, slots=True)
class DatabaseTokens:
    """A `providers.contract.session.TokenStore` for one account.

    A token that was obtained with other credentials is not found.
    """

    account: ProviderAccount

    def get(self, name: str) -> str | None:
        """Return the token, or None if there is none or it has expired."""
        rows = AccountToken.objects.filter(account=self.account, name=self._key(name))
        row = rows.filter(expires_at__gt=timezone.now()).first()
        return str(row.value) if row else None

    def put(self, name: str, value: str, expires_at: datetime) -> None:
        """Store a token until it expires."""
        AccountToken.objects.update_or_create(
            account=self.account, name=self._key(name), defaults={"value": value, "expires_at": expires_at}
        )

    def forget(self, name: str) -> None:
        """Delete a token that the provider no longer accepts."""
        AccountToken.objects.filter(account=self.account, name=self._key(name)).delete()

    def _key(self, name: str) -> str:
        # The digest keeps a token that was obtained with old credentials from being used after they change.
        return f"{name[:30]}:{json_digest(self.account.credentials)[:16]}"
