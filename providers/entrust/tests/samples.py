"""Sample data shared by the Entrust tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from providers.contract.base import Registration
from providers.contract.parsing import InboundRequest
from providers.contract.schemas import validate
from providers.entrust.schemas import EntrustConfig, EntrustSettings
from providers.entrust.simulator import sign
from tests.harness.inbound import CALLBACK_URL, RECEIVED_AT

HOST = "acme.us.trustedauth.com"
APPLICATION_ID, SHARED_SECRET = "3c9a7d52-51c4-4c0a-9d5e-0a8f2b6c4e11", "a-shared-secret-of-the-tests"
ACCESS_TOKEN, OTHER_ACCESS_TOKEN = "access-token-one-0001", "access-token-two-0002"
SECRET = "demo-webhook-token-0001"
ID = "0f0e0d0c-3333-4444-8555-666677778888"
WEBHOOKS = "/api/web/v1/webhooks"
WEBHOOK: dict[str, object] = {
    "id": ID,
    "name": "hub",
    "callbackUrl": CALLBACK_URL,
    "enabled": True,
    "expired": False,
    "expiryDate": "2099-04-02T03:04:05",
    "events": [{"id": "e1", "type": "user.created"}, {"id": "e2", "type": "authentication.failed"}],
}
EXPIRY = datetime(2099, 4, 2, 3, 4, 5, tzinfo=UTC)
CANONICAL = {
    "events": [{"type": "authentication.failed", "filter": None}, {"type": "user.created", "filter": None}],
}
LOGIN_RESPONSE = {
    "authToken": ACCESS_TOKEN,
    "creationTime": "2026-01-02T03:04:05Z",
    "expirationTime": "2099-01-02T04:04:05Z",
}


def registration(**changes: Any) -> Registration[EntrustConfig]:
    """Return a registration whose request body is `BODY`, with the given changes."""
    config = validate(
        EntrustConfig,
        {
            "events": [{"type": "user.created"}, {"type": "credential.create", "filter": '[{"a": "b"}]'}],
            "expiry_days": 90,
        },
    )
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": None, "name": "hub"}
    return Registration(**{**values, **changes})


BODY = {
    "callbackUrl": CALLBACK_URL,
    "events": [{"type": "user.created"}, {"type": "credential.create", "filter": '[{"a": "b"}]'}],
    "enabled": True,
    "expiry": 90,
    "name": "hub",
}
UNKNOWN_NAME = {"errorCode": "invalid_json", "errorMessage": 'Unrecognized field "name"', "parameters": ["name"]}


def settings(**values: object) -> EntrustSettings:
    """Return account settings with the given values."""
    return validate(EntrustSettings, {"hostname": HOST, **values})


def signed(
    request: InboundRequest, key: bytes, *, digest: str = "sha-256", created: int | None = None
) -> InboundRequest:
    """Return the request with the three signature headers that the simulator sends."""
    url = f"{request.url}?{request.query}" if request.query else request.url
    timestamp = int(RECEIVED_AT.timestamp()) if created is None else created
    headers = sign(key, url, request.body, digest=digest, created=timestamp)
    return replace(request, headers=(*request.headers, *headers.items()))
