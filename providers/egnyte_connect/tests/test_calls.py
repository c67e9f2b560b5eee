"""API calls and responses of Egnyte Connect."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    PermissionMissing,
)
from providers.egnyte_connect import provider
from providers.egnyte_connect.schemas import EgnyteConfig
from providers.egnyte_connect.tests.samples import ID, SECRET, TOKEN, StubClient, registration
from tests.harness.inbound import CALLBACK_URL
from tests.harness.stub_server import Scripted, StubServer

SUMMARY = {"webhookId": ID, "expires": 1893456000, "status": "enabled"}
DETAILS = {
    **SUMMARY,
    "eventType": ["link:*", "fs:add_file"],
    "path": "/Shared/Legal, /Shared/Finance",
    "authHeader": SECRET,
    "url": CALLBACK_URL,
}
CANONICAL = {"event_types": ["fs:add_file", "link:*"], "paths": ["/Shared/Finance", "/Shared/Legal"]}


def test_register_sends_the_documented_body(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(SUMMARY, 201))
    remote = provider.register(client.session, registration())
    assert (remote.remote_id, remote.status, remote.enabled) == (ID, "enabled", True)
    assert remote.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert (remote.url, remote.config, remote.secret_matches) == (None, None, None)
    call = api.received[0]
    assert (call.method, call.path, call.header("Authorization")) == ("POST", "/pubapi/v1/webhooks", f"Bearer {TOKEN}")
    assert call.header("X-Egnyte-Act-As-Email") is None
    assert call.json() == {
        "url": CALLBACK_URL,
        "eventType": ["link:*", "fs:add_file"],
        "path": "/Shared/Legal,/Shared/Finance",
        "authHeader": SECRET,
    }


def test_register_omits_empty_fields(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(SUMMARY, 201))
    provider.register(client.session, registration(config=EgnyteConfig(event_types=("fs:*",)), secret=None))
    assert api.received[0].json() == {"url": CALLBACK_URL, "eventType": ["fs:*"]}


def test_without_event_types_all_events_are_requested(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json(SUMMARY, 201), Scripted.json({}), Scripted.json({**SUMMARY, "eventType": None, "path": ""}))
    everything = registration(config=EgnyteConfig(event_types=()), secret=None)
    provider.register(client.session, everything)
    remote = provider.update(client.session, ID, everything)
    assert api.received[0].json() == {"url": CALLBACK_URL}
    assert api.received[1].json() == {"url": CALLBACK_URL, "status": "enabled"}
    assert remote.config == provider.canonical(everything.config) == {"event_types": [], "paths": []}


def test_register_with_name_and_value_for_another_user(api: StubServer) -> None:
    client = StubClient(
        api, auth_header_style="name_and_value", auth_header_name="X-Hook", act_as_email="ann@example.test"
    )
    api.say(Scripted.json(SUMMARY, 201))
    provider.register(client.session, registration())
    client.http.close()
    sent = api.received[0].json()
    assert (sent["authHeader"], sent["authHeaderValue"]) == ("X-Hook", SECRET)
    assert api.received[0].header("X-Egnyte-Act-As-Email") == "ann@example.test"
    assert SECRET not in repr(client.exchanges)


def test_calls_on_behalf_of_a_user_send_the_username(api: StubServer) -> None:
    client = StubClient(api, act_as_username="alee")
    api.say(Scripted.json([]))
    provider.list_remote(client.session)
    client.http.close()
    assert api.received[0].header("X-Egnyte-Act-As") == "alee"
    assert api.received[0].header("X-Egnyte-Act-As-Email") is None


def test_manual_registration_has_steps() -> None:
    steps = " ".join(provider.manual_steps)
    for word in ("/pubapi/v1/webhooks", "`url`", "`eventType`", "`authHeader`", "`path`"):
        assert word in steps


def test_update_sends_the_whole_config_and_reads_the_details(api: StubServer, client: StubClient) -> None:
    api.say(Scripted(200, b"not even JSON"), Scripted.json({**DETAILS, "status": "disabled"}))
    remote = provider.update(client.session, ID, registration(enabled=False))
    assert [(call.method, call.path) for call in api.received] == [
        ("PUT", f"/pubapi/v1/webhooks/{ID}"),
        ("GET", f"/pubapi/v1/webhooks/{ID}/details"),
    ]
    assert api.received[0].json() == {
        "url": CALLBACK_URL,
        "eventType": ["link:*", "fs:add_file"],
        "path": "/Shared/Legal,/Shared/Finance",
        "authHeader": SECRET,
        "status": "disabled",
    }
    assert (remote.enabled, remote.config, remote.url, remote.secret_matches) == (False, CANONICAL, CALLBACK_URL, True)


def test_set_enabled_and_delete(api: StubServer, client: StubClient) -> None:
    api.say(Scripted.json({**SUMMARY, "status": "disabled"}), Scripted(204))
    assert not provider.set_enabled(client.session, ID, False).enabled
    provider.delete(client.session, ID)
    assert [(call.method, call.path, call.body) for call in api.received] == [
        ("POST", f"/pubapi/v1/webhooks/{ID}/status", b'{"status": "disabled"}'),
        ("DELETE", f"/pubapi/v1/webhooks/{ID}", b""),
    ]


def test_an_id_is_escaped_in_the_path(api: StubServer, client: StubClient) -> None:
    provider.delete(client.session, "a/../b?c#d")
    assert api.received[0].path == "/pubapi/v1/webhooks/a%2F..%2Fb%3Fc%23d"


@pytest.mark.parametrize(
    ("shown", "matches"),
    [
        ({}, True),
        ({"authHeader": "Bearer another"}, False),
        ({"authHeader": ""}, None),
        ({"authHeader": None}, None),
        ({"authHeader": "Bearer hk_********"}, None),
        ({"authHeader": 7}, None),
    ],
)
def test_a_hidden_auth_header_leaves_the_match_unknown(
    api: StubServer, client: StubClient, shown: dict[str, object], matches: bool | None
) -> None:
    api.say(Scripted.json({**DETAILS, **shown}))
    assert provider.read_remote(client.session, ID, SECRET).secret_matches is matches


@pytest.mark.parametrize(
    ("shown", "matches"),
    [
        ({"authHeader": "x-hook", "authHeaderValue": SECRET}, True),
        ({"authHeader": "X-Hook"}, None),
        ({"authHeader": "X-Hook", "authHeaderValue": "old"}, False),
        ({"authHeader": SECRET}, False),
        ({"authHeader": None}, None),
    ],
)
def test_name_and_value_of_the_header_are_compared(
    api: StubServer, shown: dict[str, object], matches: bool | None
) -> None:
    client = StubClient(api, auth_header_style="name_and_value", auth_header_name="X-Hook")
    api.say(Scripted.json({**DETAILS, **shown}))
    assert provider.read_remote(client.session, ID, SECRET).secret_matches is matches
    client.http.close()


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"eventType": []}, {**CANONICAL, "event_types": []}),
        ({"eventType": None}, {**CANONICAL, "event_types": []}),
        ({"path": None}, {**CANONICAL, "paths": []}),
        ({"path": ""}, {**CANONICAL, "paths": []}),
        ({"path": " /b/ ,,/a, /b"}, {**CANONICAL, "paths": ["/a", "/b"]}),
        ({"path": "/"}, {**CANONICAL, "paths": ["/"]}),
        (
            {"eventType": ["fs:*", "fs:add_file", "fs:*", " meta:new "]},
            {**CANONICAL, "event_types": ["fs:*", "meta:new"]},
        ),
    ],
)
def test_details_are_read_as_the_canonical_config(
    api: StubServer, client: StubClient, changes: dict[str, object], config: dict[str, object]
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    assert provider.read_remote(client.session, ID).config == config


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        (None, None),
        (0, None),
        (1893456000, datetime(2030, 1, 1, tzinfo=UTC)),
        (1893456000.0, datetime(2030, 1, 1, tzinfo=UTC)),
        (1893456000000, datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_expiry_is_read_in_every_form(
    api: StubServer, client: StubClient, expires: object, expected: datetime | None
) -> None:
    api.say(Scripted.json([{**SUMMARY, "expires": expires}]))
    assert provider.list_remote(client.session)[0].expires_at == expected


@pytest.mark.parametrize(
    "answer",
    [
        {},
        "text",
        [1],
        [{}],
        [{**SUMMARY, "webhookId": 7}],
        [{**SUMMARY, "webhookId": ""}],
        [{**SUMMARY, "webhookId": ".."}],
    ],
)
def test_a_malformed_list_is_an_invalid_response(api: StubServer, client: StubClient, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.list_remote(client.session)


@pytest.mark.parametrize(
    "changes",
    [{"status": None}, {"expires": "soon"}, {"expires": True}, {"expires": -1}],
    ids=str,
)  # fmt: skip
def test_of_an_odd_entry_of_a_list_the_id_is_read(
    api: StubServer, client: StubClient, changes: dict[str, object]
) -> None:
    odd = {**SUMMARY, "webhookId": "odd", **changes}
    api.say(Scripted.json([odd, SUMMARY, None]))
    assert [(item.remote_id, item.partial) for item in provider.list_remote(client.session)] == [
        ("odd", True),
        (SUMMARY["webhookId"], False),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"webhookId": "another"},
        {"url": 1},
        {"eventType": "fs:*"},
        {"eventType": [1]},
        {"path": ["/a"]},
        {"expires": "x"},
    ],
)
def test_malformed_details_are_an_invalid_response(
    api: StubServer, client: StubClient, changes: dict[str, object]
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(client.session, ID)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"webhookId": 1}', b"[" * 100_000], ids=range(5))
def test_an_unreadable_register_response_leaves_the_outcome_unknown(
    api: StubServer, client: StubClient, body: bytes
) -> None:
    api.say(Scripted(201, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(client.session, registration())
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("answer", "facts", "warned"),
    [
        ({"username": "johndoe", "scopes": ["fs"]}, {"username": "johndoe", "scopes": ["fs"]}, True),
        (
            {"domain": "acme", "scopes": "fs egnyte.WEBHOOKS"},
            {"domain": "acme", "scopes": ["fs", "egnyte.WEBHOOKS"]},
            False,
        ),
        ({"clientId": "c", "scopes": []}, {"clientId": "c"}, False),
        ({"clientId": "c", "username": 7}, {"clientId": "c"}, False),
    ],
)
def test_identity_is_read_from_whoami(
    api: StubServer, client: StubClient, answer: object, facts: dict[str, object], warned: bool
) -> None:
    api.say(Scripted.json(answer), Scripted.json([]))
    identity = provider.identify(client.session)
    assert (identity.facts, identity.warning is not None) == (facts, warned)
    assert [call.path for call in api.received] == ["/pubapi/v1/whoami", "/pubapi/v1/webhooks"]


WITHOUT_OWNER = [Scripted.json({}), Scripted.json([]), Scripted.json({"scopes": ["fs"]}), Scripted(403), Scripted(404)]


@pytest.mark.parametrize("whoami", WITHOUT_OWNER, ids=range(5))
def test_without_an_owner_the_list_checks_the_token(api: StubServer, client: StubClient, whoami: Scripted) -> None:
    api.say(whoami, Scripted.json([]), whoami, Scripted(403))
    identity = provider.identify(client.session)
    assert identity.facts == {}
    assert "does not show the owner" in (identity.warning or "")
    with pytest.raises(PermissionMissing):
        provider.identify(client.session)


def test_a_token_that_may_not_list_webhooks_is_refused_although_its_owner_is_known(
    api: StubServer, client: StubClient
) -> None:
    api.say(Scripted.json({"username": "johndoe"}), Scripted(403), Scripted(401))
    with pytest.raises(PermissionMissing):
        provider.identify(client.session)
    with pytest.raises(AuthenticationFailed):
        provider.identify(client.session)
