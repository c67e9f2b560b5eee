"""A recording session at a stub of the SideDrawer API."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sidedrawer import provider
from providers.sidedrawer.schemas import SideDrawerCredentials, SideDrawerSettings
from providers.sidedrawer.tests.samples import (
    ENTERED_TOKEN,
    SECRET,
    TENANT,
)
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import StubServer


class StubClient:
    """A session at a stub API that records its exchanges."""

    def __init__(self, api: StubServer, credentials: Mapping[str, str] | None = None, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        checked = validate(SideDrawerCredentials, credentials or {"access_token": ENTERED_TOKEN})
        self.http = Http(
            guard=LOOPBACK,
            secrets=[*checked.secret_values(), SECRET],
            secret_keys=provider.secret_keys,
            record=self.exchanges.append,
        )
        self.session = ProviderSession(
            validate(SideDrawerSettings, {"tenant_id": TENANT, "base_url": api.url, **settings}), checked, self.http
        )
