"""Egnyte Connect: the shared contract suite, and what is special here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.base import Registration
from providers.contract.capabilities import Action
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidInput,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
    UnreadableRequest,
)
from providers.contract.http import Exchange, Http
from providers.contract.parsing import Parsed, VerificationResult
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.egnyte_connect import provider
from providers.egnyte_connect.event_types import ALL_EVENTS, EVENT_TYPES
from providers.egnyte_connect.schemas import EgnyteConfig, EgnyteCredentials, EgnyteSettings
from tests.harness.inbound import CALLBACK_URL, inbound
from tests.harness.live_session import LOOPBACK, Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import Scripted, StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"
SECRET = "Bearer hk_" + "s3cr3t" * 6
TOKEN = "token-0123456789"
ID = "5b0f2a0e-1111-4222-8333-0a0b0c0d0e0f"
SUMMARY = {"webhookId": ID, "expires": 1893456000, "status": "enabled"}
DETAILS = {
    **SUMMARY,
    "eventType": ["link:*", "fs:add_file"],
    "path": "/Shared/Legal, /Shared/Finance",
    "authHeader": SECRET,
    "url": CALLBACK_URL,
}
CANONICAL = {"event_types": ["fs:add_file", "link:*"], "paths": ["/Shared/Finance", "/Shared/Legal"]}


class TestEgnyteConnect(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"domain": "acme"}
    credentials: ClassVar[Mapping[str, object]] = {"access_token": TOKEN}
    config: ClassVar[Mapping[str, object]] = {
        "event_types": ["fs:add_file", "link:*"],
        "paths": ["/Shared/Legal", "/Shared/Finance"],
    }
    other_config: ClassVar[Mapping[str, object]] = {"event_types": ["fs:*"], "paths": []}
    everything: ClassVar[Mapping[str, object]] = {"event_types": list(ALL_EVENTS)}
    sandbox_options: ClassVar[Mapping[str, object]] = {"calls_per_second": None}

    @pytest.mark.parametrize("options", [{"throttle_style": "mashery"}, {"throttle_style": "429"}], ids=str)
    @pytest.mark.parametrize("limit", [{"calls_per_second": 1}, {"day_quota": 1}], ids=str)
    def test_live_both_throttle_styles_for_both_limits(
        self, live: Live, options: dict[str, object], limit: dict[str, object]
    ) -> None:
        live.control("options", **options, **limit)
        provider.list_remote(live.session)
        with pytest.raises(Throttled) as caught:
            provider.list_remote(live.session)
        assert caught.value.retry_after
        assert (caught.value.retry_after > 60) == ("day_quota" in limit)
        assert ("per day" in caught.value.message) == ("day_quota" in limit)

    def test_live_the_count_limit(self, live: Live) -> None:
        live.control("options", max_webhooks=0)
        with pytest.raises(LimitReached, match="At most 0 for one clientId and domain"):
            live.register(self.registration())

    def test_live_a_missing_scope_is_a_warning(self, live: Live) -> None:
        live.control("options", scopes=["Egnyte.filesystem"])
        assert "Egnyte.webhooks" in (provider.identify(live.session).warning or "")

    def test_live_only_administrators_may_touch_webhooks(self, live: Live) -> None:
        live.control("options", administrator=False)
        assert provider.identify(live.session).facts["username"] == "johndoe"
        with pytest.raises(PermissionMissing, match="only administrators of the domain"):
            live.register(self.registration())
        live.control("options", administrator=True)
        live.register(self.registration())

    def test_live_a_token_that_has_ended_is_refused_everywhere(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        live.control("options", token_accepted=False)
        for call in (lambda: provider.identify(live.session), *self.calls_about(live, remote_id)):
            with pytest.raises(AuthenticationFailed, match="Enter a new one"):
                call()

    def test_live_hidden_details(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        assert provider.read_remote(live.session, remote_id, provider.new_secret()).secret_matches is False
        live.control("options", hide_url=True, hide_auth_header=True)
        remote = provider.read_remote(live.session, remote_id, registration.secret)
        assert (remote.url, remote.secret_matches) == (None, None)

    @pytest.mark.parametrize("delivery", ["authorization", "authentication"])
    @pytest.mark.parametrize("envelope", ["array", "object", "events"])
    def test_live_every_way_of_delivering(self, live: Live, delivery: str, envelope: str) -> None:
        live.control("options", auth_delivery=delivery, envelope=envelope)
        registration = self.registration(config=self.checked_config(self.everything))
        with StubServer() as receiver:
            live.register(replace(registration, callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit", count=5)
            requests = [inbound(call.body, headers=call.headers) for call in receiver.received]
        found = [provider.verify(request, [str(registration.secret)], live.session.settings) for request in requests]
        assert {item.proof_headers for item in found} == {(delivery.capitalize(),)}
        parsed = [provider.parse(request) for request in requests]
        assert sum(len(item.events) for item in parsed) == 5
        assert not any(item.unreadable for item in parsed)

    def test_live_a_header_of_our_own(self, live: Live) -> None:
        settings = validate(
            EgnyteSettings,
            {
                **live.account["settings"],
                "auth_header_style": "name_and_value",
                "auth_header_name": "X-Hook",
                "only_header": True,
            },
        )
        login = replace(live.session, settings=settings)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            live.secrets.add(str(registration.secret))
            remote_id = provider.register(login, registration).remote_id
            live.control("emit")
            request = inbound(receiver.received[0].body, headers=receiver.received[0].headers)
        found = provider.verify(request, [str(registration.secret)], settings)
        assert (found.result, found.proof_headers) == (VerificationResult.VERIFIED, ("X-Hook",))
        # This API version hides the value, so nothing is known of it.
        assert provider.read_remote(login, remote_id, registration.secret).secret_matches is None


# -- What goes out and comes back, word for word -------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


class Desk:
    """A login at a stub server, with what was recorded."""

    def __init__(self, api: StubServer, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        self.http = Http(
            guard=LOOPBACK, secrets=[TOKEN, SECRET], secret_keys=provider.secret_keys, record=self.exchanges.append
        )
        checked = validate(EgnyteSettings, {"domain": "acme", "base_url": api.url, **settings})
        self.session = ProviderSession(checked, EgnyteCredentials(access_token=TOKEN), self.http)


@pytest.fixture
def desk(api: StubServer) -> Iterator[Desk]:
    desk = Desk(api)
    yield desk
    desk.http.close()


def registration(**changes: Any) -> Registration[EgnyteConfig]:
    config = EgnyteConfig(event_types=("link:*", "fs:add_file"), paths=("/Shared/Legal", "/Shared/Finance"))
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": SECRET}
    return Registration(**{**values, **changes})


def test_register_sends_the_documented_body(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(SUMMARY, 201))
    remote = provider.register(desk.session, registration())
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


def test_register_leaves_out_what_is_not_there(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(SUMMARY, 201))
    provider.register(desk.session, registration(config=EgnyteConfig(event_types=("fs:*",)), secret=None))
    assert api.received[0].json() == {"url": CALLBACK_URL, "eventType": ["fs:*"]}


def test_register_with_name_and_value_and_another_user(api: StubServer) -> None:
    desk = Desk(api, auth_header_style="name_and_value", auth_header_name="X-Hook", act_as_email="ann@example.test")
    api.say(Scripted.json(SUMMARY, 201))
    provider.register(desk.session, registration())
    desk.http.close()
    sent = api.received[0].json()
    assert (sent["authHeader"], sent["authHeaderValue"]) == ("X-Hook", SECRET)
    assert api.received[0].header("X-Egnyte-Act-As-Email") == "ann@example.test"
    assert SECRET not in repr(desk.exchanges)


def test_calls_on_behalf_of_a_user_name(api: StubServer) -> None:
    desk = Desk(api, act_as_username="alee")
    api.say(Scripted.json([]))
    provider.list_remote(desk.session)
    desk.http.close()
    assert api.received[0].header("X-Egnyte-Act-As") == "alee"
    assert api.received[0].header("X-Egnyte-Act-As-Email") is None


def test_by_hand_there_are_steps_to_follow() -> None:
    steps = " ".join(provider.manual_steps)
    for word in ("/pubapi/v1/webhooks", "`url`", "`eventType`", "`authHeader`", "`path`"):
        assert word in steps


def test_update_sends_everything_and_believes_only_the_details(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(200, b"not even JSON"), Scripted.json({**DETAILS, "status": "disabled"}))
    remote = provider.update(desk.session, ID, registration(enabled=False))
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


def test_set_enabled_and_delete(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json({**SUMMARY, "status": "disabled"}), Scripted(204))
    assert not provider.set_enabled(desk.session, ID, False).enabled
    provider.delete(desk.session, ID)
    assert [(call.method, call.path, call.body) for call in api.received] == [
        ("POST", f"/pubapi/v1/webhooks/{ID}/status", b'{"status": "disabled"}'),
        ("DELETE", f"/pubapi/v1/webhooks/{ID}", b""),
    ]


def test_an_id_stays_one_part_of_the_path(api: StubServer, desk: Desk) -> None:
    provider.delete(desk.session, "a/../b?c#d")
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
def test_a_hidden_auth_header_proves_nothing(
    api: StubServer, desk: Desk, shown: dict[str, object], matches: bool | None
) -> None:
    api.say(Scripted.json({**DETAILS, **shown}))
    assert provider.read_remote(desk.session, ID, SECRET).secret_matches is matches


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
def test_name_and_value_are_compared(api: StubServer, shown: dict[str, object], matches: bool | None) -> None:
    desk = Desk(api, auth_header_style="name_and_value", auth_header_name="X-Hook")
    api.say(Scripted.json({**DETAILS, **shown}))
    assert provider.read_remote(desk.session, ID, SECRET).secret_matches is matches
    desk.http.close()


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"eventType": []}, {**CANONICAL, "event_types": list(ALL_EVENTS)}),
        ({"eventType": None}, {**CANONICAL, "event_types": list(ALL_EVENTS)}),
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
def test_details_become_the_canonical_config(
    api: StubServer, desk: Desk, changes: dict[str, object], config: dict[str, object]
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    assert provider.read_remote(desk.session, ID).config == config


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
def test_expiry(api: StubServer, desk: Desk, expires: object, expected: datetime | None) -> None:
    api.say(Scripted.json([{**SUMMARY, "expires": expires}]))
    assert provider.list_remote(desk.session)[0].expires_at == expected


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
        [{**SUMMARY, "status": None}],
        [{**SUMMARY, "expires": "soon"}],
        [{**SUMMARY, "expires": True}],
        [{**SUMMARY, "expires": -1}],
        [{**SUMMARY, "expires": 10**400}],
        [{**SUMMARY, "expires": float("nan")}],
        [SUMMARY, None],
    ],
)
def test_a_list_of_a_wrong_shape_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.list_remote(desk.session)


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
def test_details_of_a_wrong_shape_are_a_bad_answer(api: StubServer, desk: Desk, changes: dict[str, object]) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(desk.session, ID)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"webhookId": 1}', b"[" * 100_000], ids=range(5))
def test_an_unreadable_yes_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, desk: Desk, body: bytes
) -> None:
    api.say(Scripted(201, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(desk.session, registration())
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
def test_identity(api: StubServer, desk: Desk, answer: object, facts: dict[str, object], warned: bool) -> None:
    api.say(Scripted.json(answer))
    identity = provider.identify(desk.session)
    assert (identity.facts, identity.warning is not None) == (facts, warned)
    assert api.received[0].path == "/pubapi/v1/whoami"


@pytest.mark.parametrize("answer", [{}, [], {"scopes": ["fs"]}])
def test_an_identity_of_nobody_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.identify(desk.session)


# -- Refusals ------------------------------------------------------------------------------------------------------

QPS = {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}
RATE = {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_RATE"}
USED_UP = {"X-Accesstoken-Quota-Allotted": "1000", "X-Accesstoken-Quota-Current": "1000"}


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (403, {**QPS, "Retry-After": "1"}, 1),
        (403, QPS, 2),
        (403, {**RATE, "Retry-After": "5000"}, 5000),
        (403, RATE, 3600),
        (403, {**QPS, "Retry-After": "soon"}, 2),
        (429, {"Retry-After": "9"}, 9),
        (429, {}, 30),
        (429, USED_UP, 3600),
        (429, {**USED_UP, "X-Accesstoken-Quota-Current": "many"}, 30),
    ],
)
def test_throttling(api: StubServer, desk: Desk, status: int, headers: dict[str, str], wait: float) -> None:
    api.say(Scripted(status, b"<h1>Developer Over Limit</h1>", headers))
    with pytest.raises(Throttled) as caught:
        provider.list_remote(desk.session)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, AuthenticationFailed, "Enter a new one"),
        (403, {}, PermissionMissing, "Egnyte.webhooks"),
        (403, {}, PermissionMissing, "administrators"),
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
def test_statuses(
    api: StubServer, desk: Desk, status: int, headers: dict[str, str], kind: type[ProviderError], words: str
) -> None:
    api.say(Scripted.json({"message": "why"}, status, headers))
    with pytest.raises(kind, match=words) as caught:
        provider.read_remote(desk.session, ID)
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_without_a_webhook_in_the_path_404_means_a_wrong_address(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(404), Scripted(404))
    for call in (lambda: provider.list_remote(desk.session), lambda: provider.identify(desk.session)):
        with pytest.raises(InvalidResponse, match="Check the domain"):
            call()


@pytest.mark.parametrize(
    ("body", "words", "field"),
    [
        ({"code": "BAD", "message": "Bad url", "details": "no https"}, "Bad url - no https (BAD)", "callback_url"),
        ({"message": "nope"}, "nope", None),
        ({"errorMessage": "eventType is empty"}, "eventType is empty", "event_types"),
        ({"Errors": [{"description": "one", "code": "E1"}, {"description": "two"}]}, "one (E1); two", None),
        ({"errors": ["path is too long", {"message": "more"}]}, "path is too long; more", "paths"),
        ({"errors": [{"field": "path[3]", "message": "forbidden"}]}, "forbidden", "paths.3"),
        ({"formErrors": [{"code": "X", "msg": "form"}]}, "form (X)", None),
        ({"inputErrors": {"eventType[1]": [{"code": "ENUM", "msg": "unknown"}]}}, "unknown (ENUM)", "event_types.1"),
        ({"inputErrors": {"authHeader": ["too long"]}}, "too long", "secret"),
        ({"inputErrors": {"url": {"msg": "https only"}}, "message": "Invalid"}, "Invalid; https only", "callback_url"),
        ({"code": "ONLY_CODE"}, "ONLY_CODE", None),
    ],
)
def test_every_error_envelope(
    api: StubServer, desk: Desk, body: dict[str, object], words: str, field: str | None
) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(desk.session, registration())
    assert f": {words})" in caught.value.message
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [b"", b"plain", b"[]", b"null", b'{"errors": {"a": [[[[[["deep"]]]]]]}}', b'{"message": {"a": 1}}', b"{" * 9999],
    ids=range(7),
)
def test_unknown_error_bodies_are_survived(api: StubServer, desk: Desk, body: bytes) -> None:
    api.say(Scripted(400, body))
    with pytest.raises(Refused):
        provider.register(desk.session, registration())


def test_a_refusal_that_quotes_our_secrets_does_not_tell_them(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json({"message": f"authHeader '{SECRET}' of {TOKEN} is refused"}, 400))
    with pytest.raises(Refused) as caught:
        provider.register(desk.session, registration())
    assert "authHeader '***' of *** is refused" in caught.value.message
    told = f"{caught.value} {caught.value.message} {desk.exchanges}"
    assert SECRET not in told
    assert TOKEN not in told


# -- Settings and config -------------------------------------------------------------------------------------------


def complaints(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize(
    ("domain", "origin"),
    [
        ("acme", "https://acme.egnyte.com"),
        (" ACME ", "https://acme.egnyte.com"),
        ("acme.egnyte.com", "https://acme.egnyte.com"),
        ("a-1.egnytegov.com", "https://a-1.egnytegov.com"),
    ],
)
def test_domains(domain: str, origin: str) -> None:
    assert provider.api_origin(validate(EgnyteSettings, {"domain": domain})) == origin


@pytest.mark.parametrize(
    "domain",
    ["", "files.acme.com", "https://acme.egnyte.com", "acme.egnyte.com/app", "egnyte.com", "a.b.egnyte.com", "-a",
     "a b", "acme.egnyte.com.evil.test", "acme.", "acme:80", "ä", "a" * 64],
)  # fmt: skip
def test_other_hosts_are_refused_at_the_field(domain: str) -> None:
    assert list(complaints(EgnyteSettings, {"domain": domain})) == ["domain"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth_header_style", "both"),
        ("auth_header_name", "X Hook"),
        ("auth_header_name", "X-Hook:"),
        ("auth_header_name", ""),
        ("act_as_email", "ann"),
        ("act_as_email", "ann@example.test\r\nX: y"),
        ("act_as_username", "a lee"),
        ("calls_per_second", 0),
        ("calls_per_day", -1),
        ("base_url", "https://acme.egnyte.com/pubapi"),
    ],
)
def test_wrong_settings_are_refused_at_the_field(name: str, value: object) -> None:
    assert list(complaints(EgnyteSettings, {"domain": "acme", name: value})) == [name]


def test_only_one_act_as_user_is_allowed() -> None:
    both = {"domain": "acme", "act_as_email": "ann@example.test", "act_as_username": "alee"}
    assert "clear one of the two" in complaints(EgnyteSettings, both)["act_as_username"]


@pytest.mark.parametrize("token", ["", "a b", "Bearer abc", "a\nb", "tökén"])
def test_a_token_that_no_header_can_carry_is_refused_without_repeating_it(token: str) -> None:
    told = complaints(EgnyteCredentials, {"access_token": token})
    assert list(told) == ["access_token"]
    assert not token or token not in told["access_token"]


def test_unconfirmed_facts_are_marked_settings() -> None:
    properties = EgnyteSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"auth_header_style", "auth_header_name", "only_header", "calls_per_second", "calls_per_day"}


def test_the_rate_limit_is_a_setting() -> None:
    def limit(**values: object) -> tuple[float | None, int | None]:
        found = provider.rate_limit(validate(EgnyteSettings, {"domain": "acme", **values}))
        return found.per_second, found.per_day

    assert limit() == (2, 1000)
    assert limit(calls_per_second=0.5, calls_per_day=0) == (0.5, None)


def test_a_path_with_a_comma_is_an_error_at_its_place() -> None:
    told = complaints(EgnyteConfig, {"event_types": ["fs:*"], "paths": ["/a", "/b,c", "d", "/e\x00"]})
    assert set(told) == {"paths.1", "paths.2", "paths.3"}
    assert "separates paths with commas" in told["paths.1"]


def test_the_number_of_paths_is_limited() -> None:
    paths = [f"/Shared/{number}" for number in range(101)]
    assert len(validate(EgnyteConfig, {"event_types": ["fs:*"], "paths": paths[:100]}).paths) == 100
    assert complaints(EgnyteConfig, {"event_types": ["fs:*"], "paths": paths}) == {"paths": "At most 100 allowed."}


def test_event_types_of_the_right_form_are_taken_and_others_refused_at_their_place() -> None:
    known = [item.name for item in EVENT_TYPES]
    config = validate(EgnyteConfig, {"event_types": [*known, "fs:something_new", known[0], " fs:* "]})
    assert config.event_types == (*known, "fs:something_new")
    told = complaints(EgnyteConfig, {"event_types": ["fs:*", "fs", "", "FS:add", "fs:add file", "a:b:c"]})
    assert set(told) == {f"event_types.{index}" for index in range(1, 6)}
    assert complaints(EgnyteConfig, {"event_types": []}) == {"event_types": "At least 1 required."}


def test_paths_are_trimmed_and_unique() -> None:
    assert validate(EgnyteConfig, {"event_types": ["fs:*"], "paths": [" /a ", "/a", "/b"]}).paths == ("/a", "/b")


def test_equal_configs_are_canonically_equal() -> None:
    left = EgnyteConfig(event_types=("link:*", "fs:add_file", "link:create"), paths=("/b/", "/a"))
    right = EgnyteConfig(event_types=("fs:add_file", "link:*"), paths=("/a", "/b"))
    assert provider.canonical(left) == provider.canonical(right)


def test_all_documented_types_are_declared() -> None:
    single = {item.name for item in EVENT_TYPES if not item.wildcard}
    wildcards = {item.name for item in EVENT_TYPES if item.wildcard}
    assert len(single) == 36
    groups = ("comment", "fs", "group", "link", "meta", "permission", "user", "workflow")
    assert wildcards == {f"{group}:*" for group in groups}
    assert all(name in ALL_EVENTS or f"{name.partition(':')[0]}:*" in ALL_EVENTS for name in single)


# -- Verification --------------------------------------------------------------------------------------------------


def settings(**values: object) -> EgnyteSettings:
    return validate(EgnyteSettings, {"domain": "acme", **values})


@pytest.mark.parametrize("header", ["Authorization", "authentication", "X-Whatever"])
def test_the_secret_is_found_in_any_header(header: str) -> None:
    found = provider.verify(inbound(headers=(("Host", "x"), (header, f" {SECRET} "))), [SECRET], settings())
    assert (found.result, found.proof_headers) == (VerificationResult.VERIFIED, (header,))


def test_every_header_that_carries_it_is_hidden() -> None:
    headers = (("Authorization", SECRET), ("X-Forwarded-Authorization", SECRET), ("X-Other", "y"))
    found = provider.verify(inbound(headers=headers), [SECRET], settings())
    assert found.proof_headers == ("Authorization", "X-Forwarded-Authorization")


def test_a_narrowed_account_accepts_one_header_only_and_still_hides_the_other() -> None:
    narrow = settings(only_header=True, auth_header_name="X-Hook")
    found = provider.verify(inbound(headers=(("Authorization", SECRET),)), [SECRET], narrow)
    assert (found.result, found.proof_headers) == (VerificationResult.FAILED, ("Authorization",))
    assert "only in X-Hook" in found.detail
    found = provider.verify(inbound(headers=(("x-hook", SECRET),)), [SECRET], narrow)
    assert found.result is VerificationResult.VERIFIED


def test_the_newest_secret_that_matches_is_named() -> None:
    old, new = SECRET + "1", SECRET + "2"
    found = provider.verify(inbound(headers=(("A", old), ("B", new))), [new, old], settings())
    assert found.secret_index == 0


@pytest.mark.parametrize(
    ("headers", "secrets", "words"),
    [
        ((), [SECRET], "Authorization is not among them"),
        ((("Authorization", "Bearer old"),), [SECRET], "another value"),
        ((("Authorization", SECRET),), [], "No secret is known"),
    ],
)
def test_a_failure_explains_itself(headers: tuple[tuple[str, str], ...], secrets: list[str], words: str) -> None:
    assert words in provider.verify(inbound(headers=headers), secrets, settings()).detail


def test_the_named_header_is_sensitive() -> None:
    assert {"x-hook", "authorization"} <= provider.sensitive_headers(settings(auth_header_name="X-Hook"))


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    return {"eventId": "9c1d", "domain": "acme", "timestamp": 1767323045, "eventType": "fs:add_file", **changes}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b'{"events": []}', b"\xef\xbb\xbf[]"])
def test_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [None, 1, "text", True, {"events": {}}, {"events": None}])
def test_what_has_no_elements_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableRequest):
        parse(value)


def test_an_element_without_type_does_not_hold_up_the_others() -> None:
    parsed = parse([{"eventId": "1"}, event(), event(eventType=7), event(eventType=" "), event(eventType="x" * 101)])
    assert [item.index for item in parsed.unreadable] == [0, 2, 3, 4]
    assert [item.type for item in parsed.events] == ["fs:add_file"]
    assert parse({"eventId": "1"}).unreadable
    assert not parse({"eventId": "1"}).ping


def test_an_event_with_a_field_named_events_is_one_event() -> None:
    assert len(parse(event(events=[])).events) == 1


def test_data_is_the_element_as_it_was_sent() -> None:
    element = event(data={"targetPath": "/a"}, extra=[1, {"b": None}])
    assert parse([element]).events[0].data == element


def test_dedup_keys() -> None:
    def key(**changes: object) -> str:
        return parse(event(**changes)).events[0].dedup_key

    assert key() == "acme:9c1d" == key(timestamp=5, webhookId="other")
    keys = [
        key(), key(eventId=7), key(domain="b"), key(domain=None), key(eventId="x" * 999), key(eventId="x" * 998),
        key(eventId="a\0"), key(eventId="a\ufffd"), key(eventId="\ud800"), key(domain="a:b", eventId="c"),
        key(domain="a", eventId="b:c"), key(eventId=None), key(eventId="", timestamp=2), key(eventId=True, timestamp=3),
    ]  # fmt: skip
    assert len(keys) == len(set(keys))
    assert all(len(item) <= 255 and item.isprintable() for item in keys)


def test_without_id_the_content_counts_but_not_the_webhook_that_brought_it() -> None:
    first = parse(event(eventId=None, webhookId="old")).events[0].dedup_key
    assert first == parse(event(eventId=None, webhookId="new")).events[0].dedup_key
    assert first != parse(event(eventId=None, timestamp=1)).events[0].dedup_key


NO_TIMES: tuple[object, ...] = (
    None, True, 0, -5, "soon", "nan", "1_0", "\u0661", 10**400, 1e300, [], {}, "9" * 30,
)  # fmt: skip


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1767323045000", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (" 1767323045.5 ", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_times(timestamp: object, expected: datetime | None) -> None:
    assert parse(event(timestamp=timestamp)).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("user", "actor"),
    [
        ({"email": "a@b.test", "username": "u"}, "a@b.test"),
        ({"email": "", "username": "u"}, "u"),
        ({"email": None, "displayName": "Ann", "id": 7}, "Ann"),
        ({"id": 7}, "7"),
        ({"email": ["x"]}, None),
        ("ann", "ann"),
        (None, None),
        ([], None),
        ({"email": "a\0\ud800" + "x" * 999}, "a\ufffd\ufffd" + "x" * 252),
    ],
)
def test_actors(user: object, actor: str | None) -> None:
    assert parse(event(user=user)).events[0].actor == actor


@pytest.mark.parametrize(
    ("data", "resource"),
    [
        ({"sourcePath": "/from", "targetPath": "/to"}, "/to"),
        ({"source_path": "/from"}, "/from"),
        ({"targetPath": "", "path": 7, "file": {"path": "/inner"}}, "/inner"),
        ({"groupName": "Editors"}, "Editors"),
        ({"targetPath": "/" + "x" * 5000}, "/" + "x" * 1999),
        ("text", None),
        ({}, None),
    ],
)
def test_resources(data: object, resource: str | None) -> None:
    assert parse(event(data=data)).events[0].resource == resource


def test_an_unknown_type_is_other_and_keeps_its_name() -> None:
    found = parse(event(eventType="fs:classify_file", data={"is_folder": True})).events[0]
    assert (found.type, found.action, found.resource_type) == ("fs:classify_file", Action.OTHER, "folder")


KEYS = (
    "eventId",
    "eventType",
    "domain",
    "timestamp",
    "user",
    "data",
    "events",
    "email",
    "path",
    "isFolder",
    "webhookId",
)
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**18), 1767323045, 1767323045000])
    | st.floats(allow_nan=True, allow_infinity=True)
    | ANY_TEXT
    | st.sampled_from(["fs:add_file", "link:create", "\ud800", "\x00", "x" * 300, "1767323045"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, inner, max_size=8),
    max_leaves=30,
)
ODD_EVENTS = st.lists(
    st.fixed_dictionaries({"eventType": SCALARS}, optional={key: JSON for key in KEYS if key != "eventType"}),
    max_size=4,
)


def check_it_can_be_stored(parsed: Parsed) -> None:
    for item in parsed.events:
        for text in (item.type, item.dedup_key, item.resource, item.actor, item.provider_event_id, item.resource_type):
            assert text is None or (text and "\x00" not in text and text.encode())
        assert 0 < len(item.dedup_key) <= 255
        assert item.occurred_at is None or item.occurred_at.tzinfo is UTC
        json.dumps(item.data, allow_nan=False)


@given(st.binary(max_size=300) | (JSON | ODD_EVENTS).map(lambda value: json.dumps(value).encode()))
def test_only_unreadable_request_ever_comes_out(body: bytes) -> None:
    with suppress(UnreadableRequest):
        parsed = provider.parse(inbound(body))
        check_it_can_be_stored(parsed)
        assert provider.parse(inbound(body)) == parsed
        assert parsed.ping != bool(parsed.events or parsed.unreadable)


@given(
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT | st.just(SECRET))),
    st.lists(ANY_TEXT, max_size=3),
)
def test_verification_never_raises(headers: list[tuple[str, str]], secrets: list[str]) -> None:
    found = provider.verify(inbound(headers=tuple(headers)), [*secrets, SECRET], settings())
    carried = any(value == SECRET for _, value in headers)
    assert found.result is VerificationResult.VERIFIED or not carried


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b"[" * 500 + b"]" * 500,
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b'[{"eventType": ' + b"9" * 5_000_000 + b"}]",
        b'[{"eventType": 1e999}]',
    ],
    ids=["open lists", "open objects", "deep", "many", "long number", "infinite number"],
)
def test_bodies_made_to_hurt_are_refused_in_bounded_time(body: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(UnreadableRequest):
        provider.parse(inbound(body))
    assert time.thread_time() - started < 5


def test_a_long_text_in_every_field_is_bounded() -> None:
    long = "é" * 1_000_000
    parsed = parse(event(eventId=long, domain=long, user=long, timestamp=long, data={"path": long, long: {long: long}}))
    check_it_can_be_stored(parsed)
    assert len(parsed.events[0].resource or "") == 2000
