"""Egnyte MSP: the shared contract suite, and what is special here."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
from providers.egnyte_msp import provider
from providers.egnyte_msp.event_types import EVENT_TYPES, LINK_NFR
from providers.egnyte_msp.schemas import MspConfig, MspCredentials, MspSettings
from providers.egnyte_msp.simulator import EVENT_NAMES
from tests.harness.inbound import CALLBACK_URL, inbound
from tests.harness.live_session import LOOPBACK, Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import Scripted, StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"
SECRET = "hk_" + "s3cr3t" * 6
TOKEN = "token-0123456789"
ID = "c0ffee00-2222-4333-8444-123456789abc"
SUMMARY = {"status": "enabled", "webhook_id": ID}
DETAILS = {
    **SUMMARY,
    "event_types": ["USER_ADDED", "RESELLER_MRR_CHANGED"],
    "webhook_url": CALLBACK_URL,
    "auth_header": "X-Hook-Key",
    "auth_header_value": SECRET,
}
CANONICAL = {"event_types": ["RESELLER_MRR_CHANGED", "USER_ADDED"]}
LIMIT = {"message": "Max webhook limit exceeded.", "code": "webhook_limit_exceeded_error"}


class TestEgnyteMsp(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"domain": "acme"}
    credentials: ClassVar[Mapping[str, object]] = {"access_token": TOKEN}
    config: ClassVar[Mapping[str, object]] = {"event_types": ["USER_ADDED", "RESELLER_MRR_CHANGED"]}
    other_config: ClassVar[Mapping[str, object]] = {"event_types": ["RESELLER_INVOICE_PAID"]}
    everything: ClassVar[Mapping[str, object]] = {"event_types": [item.name for item in EVENT_TYPES]}
    sandbox_options: ClassVar[Mapping[str, object]] = {"calls_per_second": None}

    @pytest.mark.parametrize("options", [{"throttle_style": "mashery"}, {"throttle_style": "429"}], ids=str)
    @pytest.mark.parametrize("limit", [{"calls_per_second": 1}, {"day_quota": 1}], ids=str)
    def test_live_both_throttle_styles_for_both_limits(
        self, live: Live, options: dict[str, object], limit: dict[str, object]
    ) -> None:
        live.control("options", **options, **limit)
        provider.list_remote(live.session)
        with pytest.raises(Throttled) as caught:
            provider.identify(live.session)  # being throttled is no reason to try another call
        assert caught.value.retry_after
        assert (caught.value.retry_after > 60) == ("day_quota" in limit)
        live.control("clock", advance_seconds=86400)
        assert provider.list_remote(live.session) == ()

    @pytest.mark.parametrize("limit", [2, 5])
    def test_live_the_count_limit_in_their_words(self, live: Live, limit: int) -> None:
        live.control("options", max_webhooks=limit)
        for _ in range(limit):
            live.register(self.registration())
        with pytest.raises(LimitReached, match=r"Max webhook limit exceeded\. \(webhook_limit_exceeded_error\)"):
            live.register(self.registration())

    def test_live_only_approved_partners_are_let_in(self, live: Live) -> None:
        live.control("options", approved_partner=False)
        with pytest.raises(PermissionMissing, match="Only approved MSP partners"):
            live.register(self.registration())

    def test_live_a_token_that_has_ended_is_refused_everywhere(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        live.control("options", token_accepted=False)
        for call in (lambda: provider.identify(live.session), *self.calls_about(live, remote_id)):
            with pytest.raises(AuthenticationFailed, match="Enter a new one"):
                call()

    @pytest.mark.parametrize("whoami", ["forbidden", "missing"])
    def test_live_without_whoami_the_list_is_the_check(self, live: Live, whoami: str) -> None:
        live.control("options", whoami=whoami)
        live.register(self.registration())
        assert provider.identify(live.session).facts["webhooks"] == 1

    def test_live_it_tells_the_domain(self, live: Live) -> None:
        assert provider.identify(live.session).facts["domain"] == live.account["settings"]["domain"]

    @pytest.mark.parametrize("spelling", ["eventTypes", "event_types"])
    def test_live_a_server_that_knows_one_spelling(self, live: Live, spelling: str) -> None:
        live.control("options", spelling=spelling)
        other = next(name for name in ("eventTypes", "event_types") if name != spelling)
        registration = self.registration()
        with pytest.raises(Refused, match="event_types_field") as caught:
            provider.register(session_with(live, event_types_field=other), registration)
        assert caught.value.field == "event_types"
        login = session_with(live, event_types_field=spelling)
        live.secrets.add(str(registration.secret))
        remote_id = provider.register(login, registration).remote_id
        self.expect(provider.read_remote(login, remote_id, registration.secret), registration)

    def test_live_the_secret_is_compared_where_it_is_shown(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id

        def matches(secret: str | None, **settings: object) -> bool | None:
            return provider.read_remote(session_with(live, **settings), remote_id, secret).secret_matches

        assert matches(registration.secret) is True
        assert matches(provider.new_secret()) is False
        assert matches(registration.secret, auth_header_name="X-Another") is False
        assert matches(None) is None
        live.control("options", hide_auth_value=True)
        assert matches(registration.secret) is None

    @pytest.mark.parametrize("enables", [True, False])
    def test_live_an_update_may_switch_it_on(self, live: Live, enables: bool) -> None:
        live.control("options", update_enables=enables)
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control(f"remote/{remote_id}", status="disabled")
        assert provider.update(live.session, remote_id, registration).enabled is enables
        assert provider.list_remote(live.session)[0].enabled is enables

    @pytest.mark.parametrize("envelope", ["object", "array"])
    def test_live_one_object_or_an_array_in_a_header_of_our_own(self, live: Live, envelope: str) -> None:
        live.control("options", envelope=envelope)
        login = session_with(live, auth_header_name="X-Partner-Key")
        with StubServer() as receiver:
            registration = self.registration(
                callback_url=f"{receiver.url}/hooks/t", config=self.checked_config(self.everything)
            )
            live.secrets.add(str(registration.secret))
            provider.register(login, registration)
            live.control("emit", count=12)
            received = receiver.received
        assert {type(call.json()) for call in received} == {dict if envelope == "object" else list}
        requests = [inbound(call.body, headers=call.headers) for call in received]
        found = [provider.verify(request, [str(registration.secret)], login.settings) for request in requests]
        assert {item.proof_headers for item in found} == {("X-Partner-Key",)}
        parsed = [provider.parse(request) for request in requests]
        assert not any(item.unreadable for item in parsed)
        assert len({event.dedup_key for item in parsed for event in item.events}) == 12

    def test_live_a_retransmission_is_a_duplicate(self, live: Live) -> None:
        with StubServer() as receiver:
            live.register(self.registration(callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit", duplicate=True)
            first, second = (provider.parse(inbound(call.body)).events[0] for call in receiver.received)
        assert first.dedup_key == second.dedup_key


def session_with(live: Live, **settings: object) -> ProviderSession[MspSettings, MspCredentials]:
    return replace(live.session, settings=validate(MspSettings, {**live.account["settings"], **settings}))


# -- What goes out and comes back, word for word -------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


class Desk:
    """A login at a stub server, with what was recorded."""

    def __init__(self, api: StubServer, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        # Only the token is named: the auth header's value must be masked by its key alone.
        self.http = Http(
            guard=LOOPBACK, secrets=[TOKEN], secret_keys=provider.secret_keys, record=self.exchanges.append
        )
        checked = validate(MspSettings, {"domain": "acme", "base_url": api.url, **settings})
        self.session = ProviderSession(checked, MspCredentials(access_token=TOKEN), self.http)


@pytest.fixture
def desk(api: StubServer) -> Iterator[Desk]:
    desk = Desk(api)
    yield desk
    desk.http.close()


def registration(**changes: Any) -> Registration[MspConfig]:
    config = MspConfig(event_types=("RESELLER_MRR_CHANGED", "USER_ADDED"))
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": SECRET}
    return Registration(**{**values, **changes})


@pytest.mark.parametrize("status", [200, 201])
def test_register_sends_the_documented_body(api: StubServer, desk: Desk, status: int) -> None:
    api.say(Scripted.json(SUMMARY, status))
    remote = provider.register(desk.session, registration())
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


def test_the_other_spelling_and_another_header(api: StubServer) -> None:
    desk = Desk(api, event_types_field="event_types", auth_header_name="X-Partner")
    api.say(Scripted.json(SUMMARY))
    provider.register(desk.session, registration())
    desk.http.close()
    sent = api.received[0].json()
    assert sent["event_types"] == ["RESELLER_MRR_CHANGED", "USER_ADDED"]
    assert "eventTypes" not in sent
    assert (sent["auth_header"], sent["auth_header_value"]) == ("X-Partner", SECRET)


def test_update_sends_everything_and_believes_only_what_it_reads(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(SUMMARY), Scripted.json({**DETAILS, "status": "disabled"}))
    remote = provider.update(desk.session, ID, registration())
    assert [(call.method, call.path) for call in api.received] == [
        ("PUT", f"/pubapi/v1/msp/webhooks/{ID}"),
        ("GET", f"/pubapi/v1/msp/webhooks/{ID}"),
    ]
    assert set(api.received[0].json()) == {"webhook_url", "eventTypes", "auth_header", "auth_header_value"}
    assert (remote.enabled, remote.config, remote.url, remote.secret_matches) == (False, CANONICAL, CALLBACK_URL, True)


def test_what_is_recorded_never_holds_the_auth_headers_value(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(SUMMARY), Scripted.json(SUMMARY), Scripted.json(DETAILS))
    provider.register(desk.session, registration())
    provider.update(desk.session, ID, registration())
    read = desk.exchanges[-1].response_body
    assert isinstance(read, dict)
    assert (read["auth_header"], read["auth_header_value"]) == ("X-Hook-Key", "***")
    assert SECRET not in repr(desk.exchanges)


@pytest.mark.parametrize("body", [b'{"success": true}', b"{}", b"", b"deleted", b"[]"])
def test_delete(api: StubServer, desk: Desk, body: bytes) -> None:
    api.say(Scripted(200, body))
    provider.delete(desk.session, ID)
    assert (api.received[0].method, api.received[0].path) == ("DELETE", f"/pubapi/v1/msp/webhooks/{ID}")


def test_a_delete_without_success_is_none(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json({"success": False}))
    with pytest.raises(InvalidResponse, match="not deleted"):
        provider.delete(desk.session, ID)


def test_an_id_stays_one_part_of_the_path(api: StubServer, desk: Desk) -> None:
    provider.delete(desk.session, "a/../b?c#d")
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
    api: StubServer, desk: Desk, changes: dict[str, object], matches: bool | None
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    assert provider.read_remote(desk.session, ID, SECRET).secret_matches is matches


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
def test_both_spellings_are_read(
    api: StubServer, desk: Desk, changes: dict[str, object], config: dict[str, object] | list[str] | None
) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    expected = {} if config is None else {"event_types": config} if isinstance(config, list) else config
    assert provider.read_remote(desk.session, ID).config == expected


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
        [{**SUMMARY, "status": None}],
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
        {"webhook_id": "another"},
        {"webhook_url": 1},
        {"event_types": "USER_ADDED"},
        {"event_types": [1]},
        {"event_types": None, "eventTypes": {}},
    ],
)
def test_details_of_a_wrong_shape_are_a_bad_answer(api: StubServer, desk: Desk, changes: dict[str, object]) -> None:
    api.say(Scripted.json({**DETAILS, **changes}))
    with pytest.raises(InvalidResponse):
        provider.read_remote(desk.session, ID)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"webhook_id": 1}', b"[" * 100_000], ids=range(5))
def test_an_unreadable_yes_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, desk: Desk, body: bytes
) -> None:
    api.say(Scripted(200, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(desk.session, registration())
    assert caught.value.outcome_unknown


# -- Identity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        ({"username": "alee", "scopes": ["a", 1]}, {"username": "alee", "scopes": ["a"]}),
        ({"domain": "acme", "clientId": "c", "scopes": []}, {"clientId": "c", "domain": "acme"}),
        ({"clientId": "c", "username": 7, "scopes": "text"}, {"clientId": "c"}),
    ],
)
def test_identity(api: StubServer, desk: Desk, answer: object, facts: dict[str, object]) -> None:
    api.say(Scripted.json(answer))
    identity = provider.identify(desk.session)
    assert (identity.facts, identity.warning) == (facts, None)
    assert api.received[0].path == "/pubapi/v1/whoami"


@pytest.mark.parametrize("answer", [{}, [], {"scopes": ["a"]}])
def test_an_identity_of_nobody_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.identify(desk.session)


@pytest.mark.parametrize("status", [403, 404])
def test_without_whoami_the_list_is_asked(api: StubServer, desk: Desk, status: int) -> None:
    api.say(Scripted(status), Scripted.json([SUMMARY]))
    assert provider.identify(desk.session).facts["webhooks"] == 1
    assert [call.path for call in api.received] == ["/pubapi/v1/whoami", "/pubapi/v1/msp/webhooks"]


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (401, {}, AuthenticationFailed),
        (403, {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}, Throttled),
        (500, {}, Unavailable),
    ],
)
def test_other_answers_to_whoami_are_final(
    api: StubServer, desk: Desk, status: int, headers: dict[str, str], kind: type[ProviderError]
) -> None:
    api.say(Scripted(status, b"", headers), Scripted.json([]))
    with pytest.raises(kind):
        provider.identify(desk.session)
    assert len(api.received) == 1


def test_a_token_that_may_neither_tell_nor_list_is_refused(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(403), Scripted(403))
    with pytest.raises(PermissionMissing, match="approved MSP partners"):
        provider.identify(desk.session)


def test_without_a_webhook_in_the_path_404_means_a_wrong_address(api: StubServer, desk: Desk) -> None:
    api.say(*[Scripted(404)] * 4)
    calls: list[Callable[[], object]] = [
        lambda: provider.list_remote(desk.session),
        lambda: provider.register(desk.session, registration()),
        lambda: provider.identify(desk.session),
    ]
    for call in calls:
        with pytest.raises(InvalidResponse, match="NFR domain of an approved MSP partner"):
            call()


# -- Refusals ------------------------------------------------------------------------------------------------------

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
def test_throttling(api: StubServer, desk: Desk, status: int, headers: dict[str, str], wait: float) -> None:
    api.say(Scripted(status, b"<h1>Developer Over Limit</h1>", headers))
    with pytest.raises(Throttled) as caught:
        provider.list_remote(desk.session)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, AuthenticationFailed, "Enter a new one"),
        (403, {}, PermissionMissing, "e-mail address is also that of the MSP portal"),
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


def test_the_limit_is_told_in_their_words(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(LIMIT, 409))
    with pytest.raises(LimitReached, match=r"Max webhook limit exceeded\. \(webhook_limit_exceeded_error\)"):
        provider.register(desk.session, registration())


@pytest.mark.parametrize(
    ("body", "words", "field"),
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
def test_refusals_name_our_field(
    api: StubServer, desk: Desk, body: dict[str, object], words: str, field: str | None
) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(desk.session, registration())
    assert f": {words})" in caught.value.message
    assert caught.value.field == field
    assert ("event_types_field" in caught.value.message) == (field == "event_types")


@pytest.mark.parametrize("body", [b"", b"plain", b"[]", b"null", b'{"message": {"a": 1}}', b"{" * 9999], ids=range(6))
def test_unknown_error_bodies_are_survived(api: StubServer, desk: Desk, body: bytes) -> None:
    api.say(Scripted(400, body))
    with pytest.raises(Refused):
        provider.register(desk.session, registration())


# -- Settings and config -------------------------------------------------------------------------------------------


def complaints(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize("domain", ["acme", " ACME ", "acme.egnyte.com"])
def test_domains(domain: str) -> None:
    assert provider.api_origin(validate(MspSettings, {"domain": domain})) == "https://acme.egnyte.com"


@pytest.mark.parametrize(
    "domain",
    ["", "files.acme.com", "https://acme.egnyte.com", "acme.egnyte.com/app", "egnyte.com", "a.b.egnyte.com", "-a",
     "a b", "acme.egnyte.com.evil.test", "acme.", "acme:80", "ä", "a" * 64],
)  # fmt: skip
def test_other_hosts_are_refused_at_the_field(domain: str) -> None:
    assert list(complaints(MspSettings, {"domain": domain})) == ["domain"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_types_field", "eventtypes"),
        ("auth_header_name", "X Hook"),
        ("auth_header_name", "X-Hook:"),
        ("auth_header_name", ""),
        ("auth_header_name", "content-Type"),
        ("auth_header_name", "Host"),
        ("calls_per_second", 0),
        ("calls_per_day", -1),
        ("base_url", "https://acme.egnyte.com/pubapi"),
    ],
)
def test_wrong_settings_are_refused_at_the_field(name: str, value: object) -> None:
    assert list(complaints(MspSettings, {"domain": "acme", name: value})) == [name]


@pytest.mark.parametrize("token", ["", "a b", "Bearer abc", "a\nb", "tökén"])
def test_a_token_that_no_header_can_carry_is_refused_without_repeating_it(token: str) -> None:
    told = complaints(MspCredentials, {"access_token": token})
    assert list(told) == ["access_token"]
    assert not token or token not in told["access_token"]


def test_unconfirmed_facts_are_marked_settings() -> None:
    properties = MspSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"event_types_field", "calls_per_second", "calls_per_day"}


def test_the_rate_limit_is_a_setting() -> None:
    def limit(**values: object) -> tuple[float | None, int | None]:
        found = provider.rate_limit(validate(MspSettings, {"domain": "acme", **values}))
        return found.per_second, found.per_day

    assert limit() == (2, 1000)
    assert limit(calls_per_second=0.5, calls_per_day=0) == (0.5, None)


def test_event_types_of_the_right_form_are_taken_and_others_refused_at_their_place() -> None:
    known = [item.name for item in EVENT_TYPES]
    config = validate(MspConfig, {"event_types": [*known, "RESELLER_TIER_2", known[0], " USER_ADDED "]})
    assert config.event_types == (*known, "RESELLER_TIER_2")
    told = complaints(MspConfig, {"event_types": ["USER_ADDED", "user_added", "", "USER ADDED", "USER:*", "_A"]})
    assert set(told) == {f"event_types.{index}" for index in range(1, 6)}
    assert complaints(MspConfig, {"event_types": []}) == {"event_types": "At least 1 required."}


def test_equal_configs_are_canonically_equal() -> None:
    left = MspConfig(event_types=("USER_ADDED", "RESELLER_MRR_CHANGED"))
    right = MspConfig(event_types=("RESELLER_MRR_CHANGED", "USER_ADDED"))
    assert provider.canonical(left) == provider.canonical(right) == CANONICAL


def test_all_documented_types_are_declared_and_simulated() -> None:
    assert len(EVENT_TYPES) == 20
    assert [item.name for item in EVENT_TYPES] == list(EVENT_NAMES)
    assert Counter(item.group for item in EVENT_TYPES) == {
        "NFR domains": 1,
        "Trials": 5,
        "Account": 6,
        "Two-factor authentication": 4,
        "Invoices": 4,
    }


# -- Verification --------------------------------------------------------------------------------------------------


def settings(**values: object) -> MspSettings:
    return validate(MspSettings, {"domain": "acme", **values})


def test_the_secret_in_the_named_header() -> None:
    headers = (("Host", "x"), ("x-hook-key", f" {SECRET} "))
    found = provider.verify(inbound(headers=headers), [SECRET], settings())
    assert (found.result, found.proof_headers) == (VerificationResult.VERIFIED, ("x-hook-key",))
    assert "expected" not in found.detail


def test_the_secret_in_a_header_of_an_earlier_name_counts_and_is_explained() -> None:
    found = provider.verify(inbound(headers=(("X-Old", SECRET), ("X-Copy", SECRET))), [SECRET], settings())
    assert (found.result, found.proof_headers) == (VerificationResult.VERIFIED, ("X-Old", "X-Copy"))
    assert "expected in X-Hook-Key" in found.detail


def test_the_newest_secret_that_matches_is_named() -> None:
    old, new = SECRET + "1", SECRET + "2"
    found = provider.verify(inbound(headers=(("A", old), ("B", new))), [new, old], settings())
    assert found.secret_index == 0


@pytest.mark.parametrize(
    ("headers", "secrets", "words"),
    [
        ((), [SECRET], "X-Hook-Key is not among them"),
        ((("X-Hook-Key", "old"),), [SECRET], "another value"),
        ((("X-Hook-Key", SECRET),), [], "No secret is known"),
    ],
)
def test_a_failure_explains_itself(headers: tuple[tuple[str, str], ...], secrets: list[str], words: str) -> None:
    assert words in provider.verify(inbound(headers=headers), secrets, settings()).detail


def test_the_named_header_is_sensitive_and_hinted() -> None:
    named = settings(auth_header_name="X-Partner")
    assert {"x-partner", "authorization"} <= provider.sensitive_headers(named)
    hint = provider.secret_hint(named, SECRET)
    assert (hint.header, hint.value) == ("X-Partner", SECRET)
    assert SECRET not in repr(hint)


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    return {
        "event_type": "USER_ADDED",
        "reseller_code": "RX12",
        "transaction_timestamp": "2026-01-02T03:04:05Z",
        **changes,
    }


def link_nfr(**changes: object) -> dict[str, object]:
    body: dict[str, object] = json.loads((FIXTURES / f"{LINK_NFR}.json").read_text("utf-8"))
    return {**body, **changes}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b"\xef\xbb\xbf[]"])
def test_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [None, 1, "text", True])
def test_what_has_no_elements_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableRequest):
        parse(value)


def test_an_element_without_type_does_not_hold_up_the_others() -> None:
    odd = [{"reseller_code": "1"}, event(event_type=7), event(event_type=" "), event(event_type="X" * 101), None]
    parsed = parse([event(), *odd])
    assert [item.index for item in parsed.unreadable] == [1, 2, 3, 4, 5]
    assert [item.type for item in parsed.events] == ["USER_ADDED"]
    assert parse({"reseller_code": "1"}).unreadable
    assert not parse({"reseller_code": "1"}).ping


def test_data_is_the_element_as_it_was_sent() -> None:
    for element in (event(extra=[1, {"b": None}]), link_nfr(extra={"a": [True]})):
        assert parse(element).events[0].data == element
        assert parse([element]).events[0].data == element


def test_an_array_of_one_is_the_same_event() -> None:
    assert parse(event()) == parse([event()])


TEXTS = (
    "reseller_code", "first_name", "last_name", "email", "company_name", "transaction_timestamp", "event_created_by",
    "nfr_domain_name", "nfr_plan",
)  # fmt: skip
NOT_OF_TYPE: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(TEXTS, (None, 1, True, ["x"], {})),
    "is_event_by_staff_user": (None, "true", 0, 1, []),
    "power_users": (None, "10", 1.5, True, []),
    "storage": (None, "1000", 1e30, False, {}),
}


@pytest.mark.parametrize("name", NOT_OF_TYPE)
def test_link_nfr_is_validated_field_by_field(name: str) -> None:
    missing = link_nfr()
    del missing[name]
    for element in (missing, *(link_nfr(**{name: value}) for value in NOT_OF_TYPE[name])):
        parsed = parse(element)
        assert parsed.events == ()
        assert [item.index for item in parsed.unreadable] == [0]
        assert f"`{name}`: " in parsed.unreadable[0].reason
        assert parsed.unreadable[0].reason.count("`") == 2


def test_all_wrong_fields_are_named_and_no_value_is() -> None:
    (found,) = parse(link_nfr(email=["ann@private.test"], storage="much", transaction_timestamp="soon")).unreadable
    assert [name for name in link_nfr() if f"`{name}`" in found.reason] == ["email", "transaction_timestamp", "storage"]
    for value in ("private", "much", "soon"):
        assert value not in found.reason


def test_empty_texts_and_unknown_fields_are_no_fault() -> None:
    parsed = parse(link_nfr(first_name="", nfr_plan="", surprise={"deep": [1]}, power_users=0, storage=10**20))
    assert not parsed.unreadable
    assert len(parsed.events) == 1


def test_the_content_key_covers_everything_but_the_order_of_keys() -> None:
    def key(**changes: object) -> str:
        return parse(event(**changes)).events[0].dedup_key

    assert key() == key() == parse(dict(reversed(event().items()))).events[0].dedup_key
    keys = [
        key(), key(transaction_timestamp="2026-01-02T03:04:05.001Z"), key(transaction_timestamp=None),
        key(reseller_code="RX13"), key(event_type="USER_TFA_ENABLED"), key(more=1), key(more="1"), key(more=True),
        key(more="é"), key(more="\ud800"), key(more=[1, 2]), key(more=[2, 1]),
    ]  # fmt: skip
    assert len(keys) == len(set(keys))


NO_TIMES: tuple[object, ...] = (
    None, True, 0, 1767323045, "soon", "", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "2" * 100, [], {},
)  # fmt: skip


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.250Z", datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)),
        ("2026-01-02T04:04:05+01:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (" 2026-01-02 03:04:05 ", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("20260102T030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_times(timestamp: object, expected: datetime | None) -> None:
    assert parse(event(transaction_timestamp=timestamp)).events[0].occurred_at == expected
    assert bool(parse(link_nfr(transaction_timestamp=timestamp)).events) == (expected is not None)


@pytest.mark.parametrize(
    ("changes", "resource", "actor"),
    [
        ({"user_email": "u@b.test", "event_created_by": "Bob"}, "u@b.test", "Bob"),
        ({"email": "owner@b.test"}, "RX12", "owner@b.test"),
        ({"reseller_code": "", "company_name": "Lee IT", "event_created_by": " "}, "Lee IT", None),
        ({"event_type": "RESELLER_INVOICE_PAID", "invoice_id": 4711}, "4711", None),
        ({"event_type": "RESELLER_INVOICE_PAID", "invoice_number": True}, "RX12", None),
        ({"event_type": "RESELLER_CREATED_PROTECT_TRIAL", "domain": "acme"}, "acme", None),
        ({"reseller_code": ["x"]}, None, None),
        (
            {"user_email": "a\0\ud800" + "x" * 5000, "event_created_by": "y" * 300},
            "a\ufffd\ufffd" + "x" * 1997,
            "y" * 255,
        ),
    ],
)
def test_resources_and_actors(changes: dict[str, object], resource: str | None, actor: str | None) -> None:
    found = parse(event(**changes)).events[0]
    assert (found.resource, found.actor) == (resource, actor)


def test_an_unknown_type_is_other_and_keeps_its_name() -> None:
    found = parse(event(event_type="reseller_tier_changed")).events[0]
    assert (found.type, found.action, found.resource_type) == ("reseller_tier_changed", Action.OTHER, None)
    assert found.resource == "RX12"


KEYS = tuple(link_nfr())
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**18), 1767323045])
    | st.floats(allow_nan=True, allow_infinity=True)
    | ANY_TEXT
    | st.sampled_from([LINK_NFR, "USER_ADDED", "\ud800", "\x00", "X" * 300, "2026-01-02T03:04:05Z", "0001-01-01"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, inner, max_size=8),
    max_leaves=30,
)
ODD_EVENTS = st.lists(
    st.fixed_dictionaries({"event_type": SCALARS}, optional={key: JSON for key in KEYS if key != "event_type"})
    | st.dictionaries(st.sampled_from(KEYS[1:]) | ANY_TEXT, JSON, max_size=3).map(lambda odd: link_nfr(**odd)),
    max_size=4,
)


def check_it_can_be_stored(parsed: Parsed) -> None:
    for item in parsed.events:
        for text in (item.type, item.dedup_key, item.resource, item.actor, item.resource_type):
            assert text is None or (text and "\x00" not in text and text.encode())
        assert item.provider_event_id is None
        assert 0 < len(item.dedup_key) <= 255
        assert item.occurred_at is None or item.occurred_at.tzinfo is UTC
        json.dumps(item.data, allow_nan=False)
    for element in parsed.unreadable:
        assert element.reason.encode()


@given(st.binary(max_size=300) | (JSON | ODD_EVENTS).map(lambda value: json.dumps(value).encode()))
def test_only_unreadable_request_ever_comes_out(body: bytes) -> None:
    with suppress(UnreadableRequest):
        parsed = provider.parse(inbound(body))
        check_it_can_be_stored(parsed)
        assert provider.parse(inbound(body)) == parsed
        assert parsed.ping != bool(parsed.events or parsed.unreadable)


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT | st.just(SECRET))), st.lists(ANY_TEXT, max_size=3))
def test_verification_never_raises(headers: list[tuple[str, str]], secrets: list[str]) -> None:
    found = provider.verify(inbound(headers=tuple(headers)), [*secrets, SECRET], settings())
    if any(value == SECRET for _, value in headers):
        assert found.result is VerificationResult.VERIFIED


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b"[" * 500 + b"]" * 500,
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b'{"event_type": ' + b"9" * 5_000_000 + b"}",
        b'{"event_type": 1e999}',
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
    parsed = parse([{**link_nfr(), **dict.fromkeys(TEXTS, long)}, {**event(), **dict.fromkeys(TEXTS, long)}])
    check_it_can_be_stored(parsed)
    assert len(parsed.events[0].resource or "") == 2000
    assert len(parsed.unreadable[0].reason) < 200  # a million characters are no time
