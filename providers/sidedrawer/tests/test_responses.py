"""SideDrawer: parsing of responses, and the errors for error responses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)
from providers.sidedrawer import provider
from providers.sidedrawer.tests.samples import (
    CANONICAL,
    DRAWER,
    ENTERED_TOKEN,
    ID,
    SECRET,
    WEBHOOK,
    registration,
)
from providers.sidedrawer.tests.stub_client import StubClient
from tests.harness.stub_server import Scripted, StubServer


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modificationType": "CREATE", "resource": f"/{DRAWER}/record/"}, {}),
        ({"connectionType": "http"}, {}),
        ({"brandCode": ""}, {"brand_code": None}),
        ({"maxRetries": 3.0}, {}),
        ({"maxRetries": "3"}, {"max_retries": ...}),
        ({"connectionType": None}, {"connection_type": ...}),
        ({"resource": 7, "modificationType": None}, {"resource": ..., "modification_type": ...}),
        ({"brandCode": ["x"]}, {"brand_code": ...}),
    ],
)
def test_readable_fields_become_the_canonical_config(
    api: StubServer, client: StubClient, changes: dict[str, object], expected: dict[str, object]
) -> None:
    """An ellipsis marks a field that is omitted."""
    api.say(Scripted.json({**WEBHOOK, **changes}))
    config = {name: value for name, value in {**CANONICAL, **expected}.items() if value is not ...}
    assert provider.read_remote(client.session, ID).config == config


@pytest.mark.parametrize(
    ("changes", "status", "enabled"),
    [
        ({"status": "Active"}, "Active", True),
        ({"status": "INACTIVE"}, "INACTIVE", False),
        ({"status": "suspended"}, "suspended", False),
        ({"status": "something new"}, "something new", True),
        ({"active": False}, "active: false", False),
        ({"enabled": True, "active": False}, "enabled: true", True),
        ({"status": 7}, "registered", True),
    ],
)
def test_the_status_is_read(
    api: StubServer, client: StubClient, changes: dict[str, object], status: str, enabled: bool
) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    remote = provider.read_remote(client.session, ID)
    assert (remote.status, remote.enabled) == (status, enabled)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("2030-01-01T00:00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01T00:00:00.123Z", datetime(2030, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)),
        ("2030-01-01T00:00:00", datetime(2030, 1, 1, tzinfo=UTC)),
        (1893456000000, datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_expiry_is_read(api: StubServer, client: StubClient, value: object, expected: datetime | None) -> None:
    api.say(Scripted.json([{**WEBHOOK, "expirationDateTime": value}]))
    assert provider.list_remote(client.session)[0].expires_at == expected


@pytest.mark.parametrize(
    "response",
    [
        {},
        "text",
        {"data": {}},
        {"data": None, "hasMore": False},
        [1],
        [{}],
        [{**WEBHOOK, "id": ""}],
        [{**WEBHOOK, "id": ".."}],
        [{**WEBHOOK, "id": True}],
        [{**WEBHOOK, "id": "x" * 201}],
        [{**WEBHOOK, "id": 10**400}],
        {"data": [], "hasMore": True},
        {"data": [], "hasMore": True, "nextPage": True},
        {"data": [], "hasMore": True, "nextPage": {}},
        {"data": [], "nextPage": "http://["},
    ],
    ids=str,
)
def test_a_malformed_list_is_an_invalid_response(api: StubServer, client: StubClient, response: object) -> None:
    api.say(Scripted.json(response))
    with pytest.raises(InvalidResponse):
        provider.list_remote(client.session)


@pytest.mark.parametrize("expiry", ["soon", True, "0001-01-01T00:00:00+14:00"], ids=range(3))
def test_of_an_odd_entry_of_a_list_the_id_is_read(api: StubServer, client: StubClient, expiry: object) -> None:
    api.say(Scripted.json([{**WEBHOOK, "id": "odd", "expirationDateTime": expiry}, WEBHOOK, None]))
    odd, webhook = provider.list_remote(client.session)
    assert (odd.remote_id, odd.partial) == ("odd", True)
    assert (webhook.remote_id, webhook.partial) == (WEBHOOK["id"], False)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": null}', b"[" * 100_000], ids=range(5))
def test_a_malformed_success_response_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, client: StubClient, body: bytes
) -> None:
    api.say(Scripted(201, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(client.session, registration())
    assert caught.value.outcome_unknown


def test_a_response_about_another_webhook_is_an_invalid_response(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json({**WEBHOOK, "id": "another"}))
    with pytest.raises(InvalidResponse, match="another webhook"):
        provider.read_remote(client.session, ID)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "text"),
    [
        (401, {}, AuthenticationFailed, "Enter a new one"),
        (403, {}, PermissionMissing, "members of the tenant"),
        (400, {}, Refused, "why"),
        (409, {}, LimitReached, "why"),
        (429, {}, Throttled, "30 s"),
        (429, {"Retry-After": "7"}, Throttled, "7 s"),
        (500, {}, Unavailable, "why"),
        (504, {}, Unavailable, "why"),
        (503, {"Retry-After": "3"}, Throttled, "why"),
        (302, {"Location": "https://login.example.test/"}, InvalidResponse, "redirect"),
        (404, {}, InvalidResponse, "collection_path"),
        (405, {}, InvalidResponse, "collection_path"),
    ],
)
def test_each_error_status_maps_to_an_error(
    api: StubServer, client: StubClient, status: int, headers: dict[str, str], kind: type[ProviderError], text: str
) -> None:
    api.say(Scripted.json({"statusCode": status, "message": "why"}, status, headers))
    with pytest.raises(kind, match=text) as caught:
        provider.register(client.session, registration())
    assert type(caught.value) is kind
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("body", "text", "field"),
    [
        ({"message": "nope"}, "nope", None),
        ({"message": ["resource is wrong", "other"], "error": "Bad Request"}, "resource is wrong; other", "resource"),
        ({"error": "Bad Request", "statusCode": 400}, "Bad Request", None),
        (
            {"message": [{"property": "notificationUrl", "constraints": {"isUrl": "must be a URL"}}]},
            "must be a URL",
            "callback_url",
        ),
        ({"errors": [{"field": "expirationDateTime", "message": "too far"}]}, "too far", "lifetime_days"),
        ({"errorMessage": "integrityKey too long"}, "integrityKey too long", "secret"),
        ({"details": {"message": "brandCode unknown"}}, "brandCode unknown", "brand_code"),
    ],
)
def test_message_and_field_are_read_from_every_error_format(
    api: StubServer, client: StubClient, body: dict[str, object], text: str, field: str | None
) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    assert f": {text})" in caught.value.message
    assert caught.value.field == field


def test_secrets_in_an_error_body_are_masked(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json({"message": f"integrityKey '{SECRET}' of {ENTERED_TOKEN} is refused"}, 400))
    with pytest.raises(Refused) as caught:
        provider.register(client.session, registration())
    messages = f"{caught.value} {caught.value.message} {client.exchanges}"
    assert SECRET not in messages
    assert ENTERED_TOKEN not in messages
