"""Sample responses and a stub session for the Egnyte Connect tests."""

from __future__ import annotations

from typing import Any

from providers.contract.base import Registration
from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.egnyte_connect import provider
from providers.egnyte_connect.schemas import EgnyteConfig, EgnyteCredentials, EgnyteSettings
from tests.harness.inbound import CALLBACK_URL
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import StubServer

SECRET = "Bearer hk_" + "s3cr3t" * 6
TOKEN = "token-0123456789"
ID = "5b0f2a0e-1111-4222-8333-0a0b0c0d0e0f"


class StubClient:
    """A session at a stub server, and the recorded exchanges."""

    def __init__(self, api: StubServer, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        self.http = Http(
            guard=LOOPBACK, secrets=[TOKEN, SECRET], secret_keys=provider.secret_keys, record=self.exchanges.append
        )
        checked = validate(EgnyteSettings, {"domain": "acme", "base_url": api.url, **settings})
        self.session = ProviderSession(checked, EgnyteCredentials(access_token=TOKEN), self.http)


def registration(**changes: Any) -> Registration[EgnyteConfig]:
    config = EgnyteConfig(event_types=("link:*", "fs:add_file"), paths=("/Shared/Legal", "/Shared/Finance"))
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": SECRET}
    return Registration(**{**values, **changes})


def settings(**values: object) -> EgnyteSettings:
    return validate(EgnyteSettings, {"domain": "acme", **values})
