"""API calls and responses of Egnyte MSP."""

from __future__ import annotations

import pytest

from providers.contract.errors import (
    InvalidResponse,
)
from providers.egnyte_msp import provider
from providers.egnyte_msp.tests.samples import CANONICAL, ID, SECRET, SUMMARY, TOKEN, StubClient, registration
from tests.harness.inbound import CALLBACK_URL
from tests.harness.stub_server import Scripted, StubServer

DETAILS = {
    **SUMMARY,
    "event_types": ["USER_ADDED", "RESELLER_MRR_CHANGED"],
    "webhook_url": CALLBACK_URL,
    "auth_header": "X-Hook-Key",
    "auth_header_value": SECRET,
}


@pytest.mark.parametrize("status", [200, 201])
def test_register_sends_the_documented_body(api: StubServer, client: StubClient, status: int) -> None:
    api.say(Scripted.json(SUMMARY, status))
    remote = provider.register(client.session, registration())
    assert (remote.remote_id, remote.status, remote.enabled) == (ID, "enabled", True)
    assert (remote.expires_at, remote.url, remote.config, remote.secret_matches) == (None, None, None, None)
    call = api.received[0]
    assert (call.method, call.path) == ("POST", "/pubapi/v1/msp/webhooks")
    assert call.header("Authorization") == f"Bearer {TOKEN}"
    assert call.json() == {
        "webhook_url": CALLBACK_URL,
        "eventTypes": ["RESELLER_MRR_CHANGED", "USER_ADDED"],
        "auth_header": "X-Hook-Key",
        "auth_header_value": SECRET,
    }


def test_register_with_the_other_field_name_and_header(api: StubServer) -> None:
    client = StubClient(api, event_types_field="event_types", auth_header_name="X-Partner")
    api.say(Scripted.json(SUMMARY))
    provider.register(client.session, registration())
    client.http.close()
    sent = api.received[0].json()
    assert sent["event_types"] == ["RESELLER_MRR_CHANGED", "USER_ADDED"]
    assert "eventTypes" not in sent
    assert (sent["auth_header"], sent["auth_header_value"]) == ("X-Partner", SECRET)


def test_update_sends_the_whole_config_and_reads_the_result(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(SUMMARY), Scripted.json({**DETAILS, "status": "disabled"}))
    remote = provider.update(client.session, ID, registration())
    assert [(call.method, call.path) for call in api.received] == [
        ("PUT", f"/pubapi/v1/msp/webhooks/{ID}"),
        ("GET", f"/pubapi/v1/msp/webhooks/{ID}"),
    ]
    assert set(api.received[0].json()) == {"webhook_url", "eventTypes", "auth_header", "auth_header_value"}
    assert (remote.enabled, remote.config, remote.url, remote.secret_matches) == (False, CANONICAL, CALLBACK_URL, True)


def test_the_secret_is_masked_in_recorded_exchanges(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(SUMMARY), Scripted.json(SUMMARY), Scripted.json(DETAILS))
    provider.register(client.session, registration())
    provider.update(client.session, ID, registration())
    read = client.exchanges[-1].response_body
    assert isinstance(read, dict)
    assert (read["auth_header"], read["auth_header_value"]) == ("X-Hook-Key", "***")
    assert SECRET not in repr(client.exchanges)


@pytest.mark.parametrize("body", [b'{"success": true}', b"{}", b"", b"deleted", b"[]"])
def test_delete_accepts_any_success_body(api: StubServer, client: StubClient, body: bytes) -> None:
    api.say(Scripted(200, body))
    provider.delete(client.session, ID)
    assert (api.received[0].method, api.received[0].path) == ("DELETE", f"/pubapi/v1/msp/webhooks/{ID}")


def test_delete_without_success_is_an_invalid_response(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json({"success": False}))
    with pytest.raises(InvalidResponse, match="not deleted"):
        provider.delete(client.session, ID)


def test_an_id_is_escaped_in_the_path(api: StubServer, client: StubClient) -> None:
    provider.delete(client.session, "a/../b?c#d")
    assert api.received[0].path == "/pubapi/v1/msp/webhooks/a%2F..%2Fb%3Fc%23d"


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"auth_header": "x-hook-key"}, True),
        ({"auth_header": None}, True),
        ({"auth_header": "X-Other"}, False),
        ({"auth_header_value": "another"}, False),
        ({"auth_header_value": None}, None),
        ({"auth_header_value": ""}, None),
        ({"auth_header_value": "********"}, None),
        ({"auth_header_value": 7}, None),
        ({"auth_header": "X-Other", "auth_header_value": None}, False),
    ],
)
def test_name_and_value_of_the_auth_header_are_compared(
    api: StubServer, client: StubClient, changes: dict[str, object], matches: bool | None
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    assert provider.read_remote(client.session, ID, SECRET).secret_matches is matches


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({}, CANONICAL),
        ({"event_types": None, "eventTypes": ["USER_ADDED", " NEW_TYPE ", "USER_ADDED"]}, ["NEW_TYPE", "USER_ADDED"]),
        ({"event_types": ["USER_ADDED"], "eventTypes": None}, ["USER_ADDED"]),
        ({"event_types": []}, []),
        ({"event_types": None}, None),
    ],
)
def test_both_names_of_the_event_types_are_read(
    api: StubServer, client: StubClient, changes: dict[str, object], config: dict[str, object] | list[str] | None
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    expected = {} if config is None else {"event_types": config} if isinstance(config, list) else config
    assert provider.read_remote(client.session, ID).config == expected


@pytest.mark.parametrize(
    "answer",
    [
        {},
        "text",
        [1],
        [{}],
        [{**SUMMARY, "webhook_id": 7}],
        [{**SUMMARY, "webhook_id": ""}],
        [{**SUMMARY, "webhook_id": ".."}],
        [{**SUMMARY, "webhook_id": "a\nb"}],
    ],
)
def test_a_malformed_list_is_an_invalid_response(api: StubServer, client: StubClient, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.list_remote(client.session)


def test_of_an_odd_entry_of_a_list_the_id_is_read(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json([{**SUMMARY, "webhook_id": "odd", "status": None}, SUMMARY, None]))
    odd, summary = provider.list_remote(client.session)
    assert (odd.remote_id, odd.partial) == ("odd", True)
    assert (summary.remote_id, summary.partial) == (SUMMARY["webhook_id"], False)


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook_id": "another"},
        {"webhook_url": 1},
        {"event_types": "USER_ADDED"},
        {"event_types": [1]},
        {"event_types": None, "eventTypes": {}},
    ],
)
def test_malformed_details_are_an_invalid_response(
    api: StubServer, client: StubClient, changes: dict[str, object]
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(client.session, ID)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"webhook_id": 1}', b"[" * 100_000], ids=range(5))
def test_an_unreadable_register_response_leaves_the_outcome_unknown(
    api: StubServer, client: StubClient, body: bytes
) -> None:
    api.say(Scripted(200, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(client.session, registration())
    assert caught.value.outcome_unknown
