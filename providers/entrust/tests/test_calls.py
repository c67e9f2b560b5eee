"""Entrust: the calls that are sent, and how a login and a registration proceed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)
from providers.contract.schemas import validate
from providers.entrust import provider
from providers.entrust.auth import AUTHENTICATE_PATH, TOKEN_NAME
from providers.entrust.schemas import EntrustConfig
from providers.entrust.tests.samples import (
    ACCESS_TOKEN,
    APPLICATION_ID,
    BODY,
    CANONICAL,
    EXPIRY,
    ID,
    LOGIN_RESPONSE,
    OTHER_ACCESS_TOKEN,
    SECRET,
    SHARED_SECRET,
    UNKNOWN_NAME,
    WEBHOOK,
    WEBHOOKS,
    registration,
)
from providers.entrust.tests.stub_client import StubClient
from tests.harness.inbound import CALLBACK_URL
from tests.harness.stub_server import Scripted, StubServer


def test_register_sends_the_documented_body_and_returns_the_token(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json({**WEBHOOK, "token": SECRET}))
    remote = provider.register(client.session, registration())
    call = api.received[0]
    assert (call.method, call.path, call.header("Authorization")) == ("POST", WEBHOOKS, ACCESS_TOKEN)
    assert call.json() == BODY
    assert (remote.remote_id, remote.status, remote.enabled) == (ID, "enabled", True)
    assert (remote.url, remote.expires_at, remote.config) == (CALLBACK_URL, EXPIRY, CANONICAL)
    assert remote.new_secret == SECRET


def test_update_sends_all_properties_and_reads_the_webhook_back(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(200, b"not even JSON"), Scripted.json({**WEBHOOK, "enabled": False}))
    config = validate(EntrustConfig, {"events": [{"type": "x.y"}]})
    remote = provider.update(client.session, ID, registration(enabled=False, config=config, name=""))
    assert [(call.method, call.path) for call in api.received] == [
        ("PUT", f"{WEBHOOKS}/{ID}"),
        ("GET", f"{WEBHOOKS}/{ID}"),
    ]
    assert api.received[0].json() == {
        "callbackUrl": CALLBACK_URL,
        "events": [{"type": "x.y"}],
        "enabled": False,
        "expiry": 0,
        "name": "Hookkeeper",
    }
    assert (remote.enabled, remote.status, remote.new_secret) == (False, "disabled", None)


def test_set_enabled_sends_the_current_properties_back(api: StubServer, client: StubClient) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=3, hours=1)
    shown = {
        **WEBHOOK,
        "expiryDate": expires_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "events": [{"id": "e1", "type": "b.c", "filter": "not JSON"}, {"id": "e2", "type": "a.b", "filter": None}],
    }
    api.say(Scripted.json(shown), Scripted.json(shown), Scripted.json({**shown, "enabled": False}))
    remote = provider.set_enabled(client.session, ID, False)
    assert [call.method for call in api.received] == ["GET", "PUT", "GET"]
    assert api.received[1].json() == {
        "callbackUrl": CALLBACK_URL,
        "events": [{"type": "b.c", "filter": "not JSON"}, {"type": "a.b"}],
        "enabled": False,
        "expiry": 4,
        "name": "hub",
    }
    assert not remote.enabled


@pytest.mark.parametrize(
    ("shown", "sent"),
    [
        ({"expiryDate": None}, 0),
        ({}, 1000),
        ({"expiryDate": "2020-01-01T00:00:00"}, 1),
        ({"expiryDate": "2020-01-01T00:00:00", "expired": True}, 1),
    ],
)
def test_set_enabled_always_sends_an_expiry(
    api: StubServer, client: StubClient, shown: dict[str, object], sent: int
) -> None:
    api.say(*[Scripted.json({**WEBHOOK, **shown})] * 3)
    provider.set_enabled(client.session, ID, True)
    assert api.received[1].json()["expiry"] == sent


def test_delete_and_test_send_the_documented_calls(api: StubServer, client: StubClient) -> None:
    provider.delete(client.session, ID)
    assert provider.test(client.session, ID, registration()).ok
    assert [(call.method, call.path) for call in api.received] == [
        ("DELETE", f"{WEBHOOKS}/{ID}"),
        ("POST", f"{WEBHOOKS}/test/{ID}"),
    ]
    assert api.received[0].body == b""
    assert api.received[1].json() == {"callbackUrl": CALLBACK_URL}


@pytest.mark.parametrize("refusal", [Scripted.json(UNKNOWN_NAME, 400), Scripted(400), Scripted(415)], ids=range(3))
def test_an_older_server_is_asked_for_a_test_without_a_body(
    api: StubServer, client: StubClient, refusal: Scripted
) -> None:
    api.say(refusal, Scripted(200))
    assert provider.test(client.session, ID, registration()).ok
    assert [call.body for call in api.received][1:] == [b""]


def test_a_test_that_is_not_permitted_is_not_tried_twice(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(403))
    with pytest.raises(PermissionMissing):
        provider.test(client.session, ID, registration())
    assert len(api.received) == 1


def test_an_id_is_escaped_in_the_path(api: StubServer, client: StubClient) -> None:
    provider.delete(client.session, "a/../b?c#d")
    assert api.received[0].path == f"{WEBHOOKS}/a%2F..%2Fb%3Fc%23d"


# -- Servers without `name` ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error_body",
    [
        UNKNOWN_NAME,
        {"errorCode": "UnrecognizedPropertyException", "errorMessage": "name"},
        {"errorCode": "bad", "errorMessage": "unknown property: name"},
        {"errorMessage": "Additional properties are not allowed", "parameters": ["name"]},
        {"errorMessage": "JSON parse error", "parameters": ["not recognized: name"]},
        {"errorMessage": "Bad Request", "parameters": [{"name": "name", "message": "Unrecognized field"}]},
        {"errorMessage": "Bad Request", "parameters": [{"name": "unknownProperty", "message": "name"}]},
        {"parameters": [{"message": "additional properties are not allowed: name"}]},
    ],
)
def test_the_name_is_omitted_after_an_unknown_property_error(
    api: StubServer, client: StubClient, error_body: dict[str, object]
) -> None:
    api.say(Scripted.json(error_body, 400), Scripted.json({**WEBHOOK, "token": SECRET}))
    assert provider.register(client.session, registration()).new_secret == SECRET
    assert "name" in api.received[0].json()
    assert api.received[1].json() == {key: value for key, value in BODY.items() if key != "name"}


def test_the_call_without_the_name_is_not_repeated(api: StubServer, client: StubClient) -> None:
    api.say(*[Scripted.json(UNKNOWN_NAME, 400)] * 3)
    with pytest.raises(Refused, match="Unrecognized field"):
        provider.update(client.session, ID, registration())
    assert len(api.received) == 2


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (Scripted.json({"errorCode": "invalid", "errorMessage": "name is too long"}, 400), Refused),
        (Scripted.json(UNKNOWN_NAME, 403), PermissionMissing),
        (Scripted.json(UNKNOWN_NAME, 500), Unavailable),
    ],
)
def test_other_errors_are_not_retried_without_the_name(
    api: StubServer, client: StubClient, response: Scripted, kind: type[ProviderError]
) -> None:
    api.say(response)
    with pytest.raises(kind):
        provider.register(client.session, registration())
    assert len(api.received) == 1


def test_the_name_is_not_sent_if_the_setting_is_off(api: StubServer) -> None:
    client = StubClient(api, send_name=False)
    api.say(Scripted.json({**WEBHOOK, "token": SECRET}))
    provider.register(client.session, registration())
    client.close()
    assert "name" not in api.received[0].json()


# -- A registration without a token --------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"token": None}, {"token": ""}])
def test_a_webhook_created_without_a_token_is_deleted(
    api: StubServer, client: StubClient, changes: dict[str, object]
) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    with pytest.raises(InvalidResponse, match="deleted again") as caught:
        provider.register(client.session, registration())
    assert not caught.value.outcome_unknown
    assert [(call.method, call.path) for call in api.received] == [("POST", WEBHOOKS), ("DELETE", f"{WEBHOOKS}/{ID}")]


def test_a_webhook_without_a_token_that_cannot_be_deleted_leaves_the_outcome_unknown(
    api: StubServer, client: StubClient
) -> None:
    api.say(Scripted.json(WEBHOOK), Scripted(500))
    with pytest.raises(InvalidResponse, match="could not be deleted") as caught:
        provider.register(client.session, registration())
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"id": 1}', b"[" * 100_000, json.dumps({**WEBHOOK, "token": 7}).encode()],
    ids=range(6),
)  # fmt: skip
def test_a_malformed_success_response_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, client: StubClient, body: bytes
) -> None:
    api.say(Scripted(200, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(client.session, registration())
    assert caught.value.outcome_unknown


# -- Logging in ----------------------------------------------------------------------------------------------------


def test_login_sends_the_documented_body_and_caches_the_token(api: StubServer) -> None:
    client = StubClient(api, token=None)
    api.say(Scripted.json(LOGIN_RESPONSE), Scripted.json([]), Scripted.json([]))
    provider.list_remote(client.session)
    provider.list_remote(client.session)
    client.close()
    assert [(call.method, call.path) for call in api.received] == [
        ("POST", AUTHENTICATE_PATH),
        ("GET", WEBHOOKS),
        ("GET", WEBHOOKS),
    ]
    assert api.received[0].json() == {"applicationId": APPLICATION_ID, "sharedSecret": SHARED_SECRET}
    assert api.received[0].header("Authorization") is None
    assert [call.header("Authorization") for call in api.received[1:]] == [ACCESS_TOKEN, ACCESS_TOKEN]
    assert client.tokens.get(TOKEN_NAME) == ACCESS_TOKEN


@pytest.mark.parametrize("expires_at", [None, "", "soon", 4102444800, "2020-01-01T00:00:00Z"])
def test_a_token_with_an_unknown_or_past_expiry_is_not_cached(api: StubServer, expires_at: object) -> None:
    client = StubClient(api, token=None)
    api.say(Scripted.json({**LOGIN_RESPONSE, "expirationTime": expires_at}), Scripted.json([]))
    assert provider.list_remote(client.session) == ()
    assert client.tokens.get(TOKEN_NAME) is None
    client.close()


def test_a_refused_cached_token_is_replaced(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(401), Scripted.json({**LOGIN_RESPONSE, "authToken": OTHER_ACCESS_TOKEN}), Scripted.json([]))
    assert provider.list_remote(client.session) == ()
    assert [call.header("Authorization") for call in api.received] == [ACCESS_TOKEN, None, OTHER_ACCESS_TOKEN]
    assert client.tokens.get(TOKEN_NAME) == OTHER_ACCESS_TOKEN


def test_a_refused_new_token_is_an_authentication_failure(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(401), Scripted.json({**LOGIN_RESPONSE, "authToken": OTHER_ACCESS_TOKEN}), Scripted(401))
    with pytest.raises(AuthenticationFailed, match="application is enabled"):
        provider.list_remote(client.session)
    assert len(api.received) == 3


@pytest.mark.parametrize(
    ("response", "kind", "text"),
    [
        (Scripted.json({"errorCode": "access_denied", "errorMessage": "no"}, 401), AuthenticationFailed, "no .access"),
        (Scripted(400), AuthenticationFailed, "application ID or the shared secret"),
        (Scripted(403), AuthenticationFailed, "Administration API application"),
        (Scripted(404), InvalidResponse, "Check the host name"),
        (Scripted(429, headers={"Retry-After": "9"}), Throttled, "Too many"),
        (Scripted(500), Unavailable, "has a problem"),
        (Scripted(302, headers={"Location": "/login"}), InvalidResponse, "redirect"),
        (Scripted(200, b"<html>"), InvalidResponse, "not JSON"),
        (Scripted.json({}), InvalidResponse, "authToken"),
        (Scripted.json({"authToken": "a\r\nb"}), InvalidResponse, "authToken"),
        (Scripted.json({"authToken": "tökén"}), InvalidResponse, "authToken"),
        (Scripted.json({"authToken": 7}), InvalidResponse, "authToken"),
    ],
)
def test_a_failed_login_is_explained_and_has_a_known_outcome(
    api: StubServer, response: Scripted, kind: type[ProviderError], text: str
) -> None:
    client = StubClient(api, token=None)
    api.say(response)
    with pytest.raises(kind, match=text) as caught:
        provider.register(client.session, registration())
    assert not caught.value.outcome_unknown
    assert len(api.received) == 1
    client.close()
