"""A recording session at a stub of the Files.com API."""

from __future__ import annotations

from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.files_com import provider
from providers.files_com.schemas import FilesComCredentials, FilesComSettings
from providers.files_com.tests.samples import (
    KEY,
)
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import StubServer


class StubClient:
    """A session at a stub API that records its exchanges."""

    def __init__(self, api: StubServer, token: str | None = None, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        self.http = Http(guard=LOOPBACK, secrets=[KEY], secret_keys=provider.secret_keys, record=self.exchanges.append)
        checked = validate(FilesComSettings, {"subdomain": "acme", "base_url": api.url, **settings})
        self.session = ProviderSession(checked, FilesComCredentials(api_key=KEY, verification_token=token), self.http)
