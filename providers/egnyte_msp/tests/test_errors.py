"""Error responses of Egnyte MSP."""

from __future__ import annotations

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)
from providers.egnyte_msp import provider
from providers.egnyte_msp.tests.samples import ID, StubClient, registration
from tests.harness.stub_server import Scripted, StubServer

LIMIT = {"message": "Max webhook limit exceeded.", "code": "webhook_limit_exceeded_error"}
QPS = {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}
RATE = {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_RATE"}


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (403, {**QPS, "Retry-After": "1"}, 1),
        (403, QPS, 2),
        (403, {**RATE, "Retry-After": "5000"}, 5000),
        (403, RATE, 3600),
        (429, {"Retry-After": "9"}, 9),
        (429, {}, 30),
    ],
)
def test_throttling_reports_the_wait(
    api: StubServer, client: StubClient, status: int, headers: dict[str, str], wait: float
) -> None:
    api.say(Scripted(status, b"<h1>Developer Over Limit</h1>", headers))
    with pytest.raises(Throttled) as caught:
        provider.list_remote(client.session)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("status", "headers", "kind", "excerpt"),
    [
        (401, {}, AuthenticationFailed, "Enter a new one"),
        (403, {}, PermissionMissing, "email address is also that of the MSP portal"),
        (403, {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_INACTIVE"}, PermissionMissing, "why"),
        (409, {}, LimitReached, "two accounts here may share it"),
        (400, {}, Refused, "why"),
        (422, {}, Refused, "why"),
        (404, {}, NotFound, "why"),
        (500, {}, Unavailable, "why"),
        (503, {"Retry-After": "3"}, Throttled, "why"),
        (302, {"Location": "https://login.example.test/"}, InvalidResponse, "redirect"),
    ],
)
def test_each_status_raises_its_error(
    api: StubServer, client: StubClient, status: int, headers: dict[str, str], kind: type[ProviderError], excerpt: str
) -> None:
    api.say(Scripted.json({"message": "why"}, status, headers))
    with pytest.raises(kind, match=excerpt) as caught:
        provider.read_remote(client.session, ID)
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_the_limit_error_quotes_the_provider(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(LIMIT, 409))
    with pytest.raises(LimitReached, match=r"Max webhook limit exceeded\. \(webhook_limit_exceeded_error\)"):
        provider.register(client.session, registration())


@pytest.mark.parametrize(
    ("body", "excerpt", "field"),
    [
        ({"message": "nope", "code": "bad_error"}, "nope (bad_error)", None),
        ({"message": "webhook_url must be https"}, "webhook_url must be https", "callback_url"),
        ({"message": "event_types[1] is unknown"}, "event_types[1] is unknown", "event_types.1"),
        ({"message": "auth_header is required"}, "auth_header is required", "auth_header_name"),
        ({"message": "auth_header_value is too long"}, "auth_header_value is too long", "secret"),
        ({"errorMessage": "eventTypes: missing"}, "eventTypes: missing", "event_types"),
        ({"formErrors": [{"code": "X", "msg": "form"}]}, "form (X)", None),
        ({"inputErrors": {"eventTypes": [{"code": "NULL", "msg": "missing"}]}}, "missing (NULL)", "event_types"),
    ],
)
def test_errors_name_our_field(
    api: StubServer, client: StubClient, body: dict[str, object], excerpt: str, field: str | None
) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    assert f": {excerpt})" in caught.value.message
    assert caught.value.field == field
    assert ("event_types_field" in caught.value.message) == (field == "event_types")


@pytest.mark.parametrize("body", [b"", b"plain", b"[]", b"null", b'{"message": {"a": 1}}', b"{" * 9999], ids=range(6))
def test_unknown_error_bodies_are_handled(api: StubServer, client: StubClient, body: bytes) -> None:
    api.say(Scripted(400, body))
    with pytest.raises(Refused):
        provider.register(client.session, registration())
