"""Sample responses and a stub session for the Egnyte MSP tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from providers.contract.base import Registration
from providers.contract.http import Exchange, Http
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.egnyte_msp import provider
from providers.egnyte_msp.schemas import MspConfig, MspCredentials, MspSettings
from tests.harness.inbound import CALLBACK_URL
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"
SECRET = "hk_" + "s3cr3t" * 6
TOKEN = "token-0123456789"
ID = "c0ffee00-2222-4333-8444-123456789abc"
SUMMARY = {"status": "enabled", "webhook_id": ID}
CANONICAL = {"event_types": ["RESELLER_MRR_CHANGED", "USER_ADDED"]}


class StubClient:
    """A session at a stub server, and the recorded exchanges."""

    def __init__(self, api: StubServer, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        # Only the token is passed as a secret: the auth header's value must be masked because of its key.
        self.http = Http(
            guard=LOOPBACK, secrets=[TOKEN], secret_keys=provider.secret_keys, record=self.exchanges.append
        )
        checked = validate(MspSettings, {"domain": "acme", "base_url": api.url, **settings})
        self.session = ProviderSession(checked, MspCredentials(access_token=TOKEN), self.http)


def registration(**changes: Any) -> Registration[MspConfig]:
    config = MspConfig(event_types=("RESELLER_MRR_CHANGED", "USER_ADDED"))
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": SECRET}
    return Registration(**{**values, **changes})


def settings(**values: object) -> MspSettings:
    return validate(MspSettings, {"domain": "acme", **values})


def event(**changes: object) -> dict[str, object]:
    return {
        "event_type": "USER_ADDED",
        "reseller_code": "RX12",
        "transaction_timestamp": "2026-01-02T03:04:05Z",
        **changes,
    }
