"""A recording session at a stub of the Entrust API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import MemoryTokens, ProviderSession
from providers.entrust import provider
from providers.entrust.auth import TOKEN_NAME
from providers.entrust.schemas import EntrustCredentials, EntrustSettings
from providers.entrust.tests.samples import (
    ACCESS_TOKEN,
    APPLICATION_ID,
    HOST,
    OTHER_ACCESS_TOKEN,
    SECRET,
    SHARED_SECRET,
)
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import StubServer


class StubClient:
    """A session at a stub API that records its exchanges; by default an access token is already cached."""

    def __init__(self, api: StubServer, *, token: str | None = ACCESS_TOKEN, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        self.http = Http(
            guard=LOOPBACK,
            secrets=[APPLICATION_ID, SHARED_SECRET],
            secret_keys=provider.secret_keys,
            record=self.exchanges.append,
        )
        self.tokens = MemoryTokens()
        if token:
            self.tokens.put(TOKEN_NAME, token, datetime.now(UTC) + timedelta(hours=1))
        checked = validate(EntrustSettings, {"hostname": HOST, "base_url": api.url, **settings})
        credentials = EntrustCredentials(application_id=APPLICATION_ID, shared_secret=SHARED_SECRET)
        self.session = ProviderSession(checked, credentials, self.http, self.tokens)

    def close(self) -> None:
        """Close the connections, and check that no recorded exchange contains a secret."""
        self.http.close()
        recorded = repr(self.exchanges)
        assert not [
            secret
            for secret in (APPLICATION_ID, SHARED_SECRET, ACCESS_TOKEN, OTHER_ACCESS_TOKEN, SECRET)
            if secret in recorded
        ]
