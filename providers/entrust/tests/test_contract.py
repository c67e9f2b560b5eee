"""Entrust: the shared contract suite, and what is special here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.base import Registration, RemoteSubscription
from providers.contract.capabilities import Action, Proof
from providers.contract.errors import (
    AuthenticationFailed,
    BadAnswer,
    InvalidInput,
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
from providers.contract.parsing import InboundRequest, Parsed, Verification, VerificationResult
from providers.contract.schemas import validate
from providers.contract.session import MemoryTokens, ProviderSession
from providers.entrust import provider
from providers.entrust.auth import AUTHENTICATE, KEPT_AS
from providers.entrust.event_types import EVENT_TYPES
from providers.entrust.schemas import EntrustConfig, EntrustCredentials, EntrustSettings
from providers.entrust.simulator import sign
from tests.harness.provider_contract import (
    CALLBACK_URL,
    LOOPBACK,
    RECEIVED_AT,
    Live,
    ProviderContract,
    Scripted,
    StubServer,
    inbound,
)

FIXTURES = Path(__file__).parent.parent / "fixtures"
HOST = "acme.us.trustedauth.com"
APPLICATION, SHARED = "3c9a7d52-51c4-4c0a-9d5e-0a8f2b6c4e11", "a-shared-secret-of-the-tests"
ACCESS, OTHER_ACCESS = "access-token-one-0001", "access-token-two-0002"
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
LOGGED_IN = {"authToken": ACCESS, "creationTime": "2026-01-02T03:04:05Z", "expirationTime": "2099-01-02T04:04:05Z"}


class TestEntrust(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"hostname": HOST}
    credentials: ClassVar[Mapping[str, object]] = {"application_id": APPLICATION, "shared_secret": SHARED}
    config: ClassVar[Mapping[str, object]] = {
        "events": [
            {"type": "user.created"},
            {"type": "credential.create", "filter": '[{"enrollmentDesignId": "5d0e9a3c"}]'},
        ],
        "expiry_days": 90,
    }
    other_config: ClassVar[Mapping[str, object]] = {"events": [{"type": "grid.created"}]}
    everything: ClassVar[Mapping[str, object]] = {"events": [{"type": item.name} for item in EVENT_TYPES]}

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        """As Entrust signs, with the token as text."""
        return signed(request, secret.encode())

    def expect(self, remote: RemoteSubscription, registration: Registration[Any]) -> None:
        """Entrust shows when a webhook ends, not for how many days it was asked for, except that it never ends."""
        days = registration.config.expiry_days
        assert (remote.expires_at is None) == (days == 0)
        assert remote.config is not None
        assert remote.config.get("expiry_days") == (0 if days == 0 else None)
        super().expect(replace(remote, config={**remote.config, "expiry_days": days}), registration)

    def test_live_the_check_logs_in_and_lists(self, live: Live) -> None:
        assert provider.identify(live.login).facts == {}
        assert [call["path"] for call in live.state()["calls"]] == [AUTHENTICATE, WEBHOOKS]

    def test_live_the_token_comes_once(self, live: Live) -> None:
        remote = live.register(self.registration())
        assert remote.new_secret
        assert remote.new_secret == live.state()["remote"][0]["token"]
        assert remote.new_secret not in repr(remote)
        assert provider.list_remote(live.login)[0].new_secret is None
        assert provider.set_enabled(live.login, remote.remote_id, False).new_secret is None

    def test_live_an_access_token_is_kept_until_it_ends(self, live: Live) -> None:
        logins = self.logins_during(live, lambda: provider.list_remote(live.login), times=3)
        assert logins == 1
        live.control("clock", advance_seconds=901)  # theirs has ended, ours is kept: refused, and replaced
        assert self.logins_during(live, lambda: provider.list_remote(live.login), times=2) == 1

    def test_live_short_access_tokens_are_not_kept_too_long(self, live: Live) -> None:
        live.control("options", token_seconds=0.5)
        assert self.logins_during(live, lambda: provider.list_remote(live.login), times=1) == 1
        time.sleep(1.1)
        assert self.logins_during(live, lambda: provider.list_remote(live.login), times=1) == 1
        statuses = [call["status"] for call in live.state()["calls"]]
        assert statuses == [200] * 4

    def logins_during(self, live: Live, call: Callable[[], object], *, times: int) -> int:
        """How often it logged in meanwhile."""
        before = len(self.logins(live))
        for _ in range(times):
            call()
        return len(self.logins(live)) - before

    def logins(self, live: Live) -> list[object]:
        return [call for call in live.state()["calls"] if call["path"] == AUTHENTICATE]

    @pytest.mark.parametrize("permission", ["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"])
    def test_live_a_missing_permission_is_named(self, live: Live, permission: str) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        every = ["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"]
        live.control("options", permissions=[name for name in every if name != permission])
        calls: dict[str, list[Callable[[], object]]] = {
            "WEBHOOKS:ADD": [lambda: provider.register(live.login, registration)],
            "WEBHOOKS:VIEW": [
                lambda: provider.list_remote(live.login),
                lambda: provider.read_remote(live.login, remote_id),
            ],
            "WEBHOOKS:EDIT": [
                lambda: provider.update(live.login, remote_id, registration),
                lambda: provider.set_enabled(live.login, remote_id, False),
                lambda: provider.test(live.login, remote_id, registration),
            ],
            "WEBHOOKS:REMOVE": [lambda: provider.delete(live.login, remote_id)],
        }
        for call in calls[permission]:
            with pytest.raises(PermissionMissing, match=f"needs {permission}"):
                call()

    @pytest.mark.parametrize("knows_name", [True, False])
    def test_live_servers_with_and_without_name(self, live: Live, knows_name: bool) -> None:
        live.control("options", knows_name=knows_name)
        registration = self.registration(name="Hub")
        remote_id = live.register(registration).remote_id
        assert live.state()["remote"][0].get("name") == ("Hub" if knows_name else None)
        changed = replace(registration, enabled=False, name="")
        self.expect(provider.update(live.login, remote_id, changed), changed)
        assert live.state()["remote"][0].get("name") == ("Hookkeeper" if knows_name else None)
        assert provider.set_enabled(live.login, remote_id, True).enabled

    def test_live_a_name_that_is_never_sent(self, live: Live) -> None:
        live.control("options", knows_name=False)
        settings = live.login.settings.model_copy(update={"send_name": False})
        before = len(live.state()["calls"])
        remote_id = provider.register(replace(live.login, settings=settings), self.registration()).remote_id
        assert [call["path"] for call in live.state()["calls"]][before:] == [AUTHENTICATE, WEBHOOKS]
        live.secrets.add(live.state()["remote"][0]["token"])
        provider.delete(live.login, remote_id)

    def test_live_the_limit_of_active_webhooks(self, live: Live) -> None:
        live.control("options", max_active=1)
        live.register(self.registration())
        with pytest.raises(LimitReached, match="20 active"):
            live.register(self.registration())
        sleeper = live.register(self.registration(enabled=False))
        assert not sleeper.enabled
        with pytest.raises(LimitReached):
            provider.set_enabled(live.login, sleeper.remote_id, True)

    def test_live_without_expiry_it_never_ends(self, live: Live) -> None:
        registration = self.registration(config=self.checked_config(self.other_config))
        remote = live.register(registration)
        assert remote.expires_at is None
        assert provider.set_enabled(live.login, remote.remote_id, False).expires_at is None
        live.control("clock", advance_seconds=10_000_000)
        assert provider.read_remote(live.login, remote.remote_id).expires_at is None

    @pytest.mark.parametrize("without_expiry", ["clear", "keep"])
    def test_live_switching_keeps_the_expiry_and_the_filters(self, live: Live, without_expiry: str) -> None:
        live.control("options", without_expiry=without_expiry)
        registration = self.registration()
        remote = live.register(registration)
        for enabled in (False, True):
            found = provider.set_enabled(live.login, remote.remote_id, enabled)
            self.expect(found, replace(registration, enabled=enabled))
            assert found.expires_at

    def test_live_an_ended_one_is_not_enabled_and_has_ended(self, live: Live) -> None:
        remote = live.register(self.registration())
        live.control("clock", advance_seconds=91)
        found = provider.read_remote(live.login, remote.remote_id)
        assert (found.status, found.enabled) == ("expired", False)
        assert found.expires_at
        assert found.expires_at <= datetime.now(UTC)
        renewed = provider.renew(live.login, remote.remote_id, self.registration())
        assert (renewed.status, renewed.enabled) == ("enabled", True)

    def test_live_the_test_call_sends_something_that_is_accepted(self, live: Live) -> None:
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote = live.register(registration)
            assert provider.test(live.login, remote.remote_id, registration).ok
            stop = time.monotonic() + 30
            while not receiver.received:
                assert time.monotonic() < stop
                time.sleep(0.01)
            (call,) = receiver.received
        request = inbound(call.body, headers=call.headers, url=registration.callback_url)
        found = provider.verify(request, [str(remote.new_secret)], live.login.settings)
        assert found.result is VerificationResult.VERIFIED
        (event,) = provider.parse(request).events
        assert (event.type, event.action, event.data) == ("untyped", Action.OTHER, call.json())

    @pytest.mark.parametrize("digest", ["sha-256", "sha-512"])
    @pytest.mark.parametrize("key_form", ["text", "base64"])
    def test_live_every_way_of_signing(self, live: Live, digest: str, key_form: str) -> None:
        live.control("options", digest=digest, key_form=key_form)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            secret = str(live.register(registration).new_secret)
            live.control("emit")
            request = inbound(
                receiver.received[0].body, headers=receiver.received[0].headers, url=registration.callback_url
            )
        assert provider.verify(request, [secret], live.login.settings).result is VerificationResult.VERIFIED
        for chosen in ("text", "base64"):
            found = provider.verify(request, [secret], settings(key_form=chosen))
            assert (found.result is VerificationResult.VERIFIED) == (chosen == key_form)

    def test_live_only_their_own_trouble_is_retried_and_many_failures_switch_it_off(self, live: Live) -> None:
        live.control("options", failures_until_disabled=3, retry_delays=[0.05, 0.05])
        with StubServer() as receiver:
            receiver.say(*[Scripted(503)] * 3, Scripted(202), *[Scripted(404)] * 3)
            remote = live.register(self.registration(callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit")
            stop = time.monotonic() + 30
            while live.state()["remote"][0]["failures"] == 0:  # counted after the third answer came back
                assert time.monotonic() < stop
                time.sleep(0.01)
            live.control("emit")  # 202 counts as received
            assert live.state()["remote"][0]["failures"] == 0
            live.control("emit", count=3)
            assert len(receiver.received) == 7
        found = provider.read_remote(live.login, remote.remote_id)
        assert (found.status, found.enabled) == ("disabled", False)
        assert found.expires_at
        assert found.expires_at > datetime.now(UTC)


# -- What goes out and comes back, word for word -------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


class Desk:
    """A login at a stub server, with what was recorded. Unless told otherwise it has an access token already."""

    def __init__(self, api: StubServer, *, token: str | None = ACCESS, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        self.http = Http(
            guard=LOOPBACK,
            secrets=[APPLICATION, SHARED],
            secret_keys=provider.secret_keys,
            record=self.exchanges.append,
        )
        self.tokens = MemoryTokens()
        if token:
            self.tokens.put(KEPT_AS, token, datetime.now(UTC) + timedelta(hours=1))
        checked = validate(EntrustSettings, {"hostname": HOST, "base_url": api.url, **settings})
        credentials = EntrustCredentials(application_id=APPLICATION, shared_secret=SHARED)
        self.login = ProviderSession(checked, credentials, self.http, self.tokens)

    def close(self) -> None:
        self.http.close()
        told = repr(self.exchanges)
        assert not [secret for secret in (APPLICATION, SHARED, ACCESS, OTHER_ACCESS, SECRET) if secret in told]


@pytest.fixture
def desk(api: StubServer) -> Iterator[Desk]:
    desk = Desk(api)
    yield desk
    desk.close()


def registration(**changes: Any) -> Registration[EntrustConfig]:
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


def test_register_sends_the_documented_body_and_takes_the_token(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json({**WEBHOOK, "token": SECRET}))
    remote = provider.register(desk.login, registration())
    call = api.received[0]
    assert (call.method, call.path, call.header("Authorization")) == ("POST", WEBHOOKS, ACCESS)
    assert call.json() == BODY
    assert (remote.remote_id, remote.status, remote.enabled) == (ID, "enabled", True)
    assert (remote.url, remote.expires_at, remote.config) == (CALLBACK_URL, EXPIRY, CANONICAL)
    assert remote.new_secret == SECRET


def test_update_sends_everything_and_reads_it_back(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(200, b"not even JSON"), Scripted.json({**WEBHOOK, "enabled": False}))
    config = validate(EntrustConfig, {"events": [{"type": "x.y"}]})
    remote = provider.update(desk.login, ID, registration(enabled=False, config=config, name=""))
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


def test_switching_sends_back_what_is_there(api: StubServer, desk: Desk) -> None:
    ends = datetime.now(UTC) + timedelta(days=3, hours=1)
    shown = {
        **WEBHOOK,
        "expiryDate": ends.strftime("%Y-%m-%dT%H:%M:%S"),
        "events": [{"id": "e1", "type": "b.c", "filter": "not JSON"}, {"id": "e2", "type": "a.b", "filter": None}],
    }
    api.say(Scripted.json(shown), Scripted.json(shown), Scripted.json({**shown, "enabled": False}))
    remote = provider.set_enabled(desk.login, ID, False)
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
def test_switching_always_sends_an_expiry(api: StubServer, desk: Desk, shown: dict[str, object], sent: int) -> None:
    api.say(*[Scripted.json({**WEBHOOK, **shown})] * 3)
    provider.set_enabled(desk.login, ID, True)
    assert api.received[1].json()["expiry"] == sent


def test_delete_and_test(api: StubServer, desk: Desk) -> None:
    provider.delete(desk.login, ID)
    assert provider.test(desk.login, ID, registration()).ok
    assert [(call.method, call.path, call.body) for call in api.received] == [
        ("DELETE", f"{WEBHOOKS}/{ID}", b""),
        ("POST", f"{WEBHOOKS}/test/{ID}", b""),
    ]


def test_an_id_stays_one_part_of_the_path(api: StubServer, desk: Desk) -> None:
    provider.delete(desk.login, "a/../b?c#d")
    assert api.received[0].path == f"{WEBHOOKS}/a%2F..%2Fb%3Fc%23d"


# -- Servers without `name` ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        UNKNOWN_NAME,
        {"errorCode": "UnrecognizedPropertyException", "errorMessage": "name"},
        {"errorCode": "bad", "errorMessage": "unknown property: name"},
        {"errorMessage": "Additional properties are not allowed", "parameters": ["name"]},
        {"errorMessage": "JSON parse error", "parameters": ["not recognized: name"]},
    ],
)
def test_a_name_that_is_not_known_is_left_out(api: StubServer, desk: Desk, refusal: dict[str, object]) -> None:
    api.say(Scripted.json(refusal, 400), Scripted.json({**WEBHOOK, "token": SECRET}))
    assert provider.register(desk.login, registration()).new_secret == SECRET
    assert "name" in api.received[0].json()
    assert api.received[1].json() == {key: value for key, value in BODY.items() if key != "name"}


def test_it_is_left_out_once_only(api: StubServer, desk: Desk) -> None:
    api.say(*[Scripted.json(UNKNOWN_NAME, 400)] * 3)
    with pytest.raises(Refused, match="Unrecognized field"):
        provider.update(desk.login, ID, registration())
    assert len(api.received) == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Scripted.json({"errorCode": "invalid", "errorMessage": "name is too long"}, 400), Refused),
        (Scripted.json(UNKNOWN_NAME, 403), PermissionMissing),
        (Scripted.json(UNKNOWN_NAME, 500), Unavailable),
    ],
)
def test_other_refusals_are_not_repeated(
    api: StubServer, desk: Desk, answer: Scripted, kind: type[ProviderError]
) -> None:
    api.say(answer)
    with pytest.raises(kind):
        provider.register(desk.login, registration())
    assert len(api.received) == 1


def test_the_setting_leaves_it_out_from_the_start(api: StubServer) -> None:
    desk = Desk(api, send_name=False)
    api.say(Scripted.json({**WEBHOOK, "token": SECRET}))
    provider.register(desk.login, registration())
    desk.close()
    assert "name" not in api.received[0].json()


# -- A registration without a token --------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"token": None}, {"token": ""}])
def test_a_webhook_without_token_is_removed_again(api: StubServer, desk: Desk, changes: dict[str, object]) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    with pytest.raises(BadAnswer, match="removed again") as caught:
        provider.register(desk.login, registration())
    assert not caught.value.outcome_unknown
    assert [(call.method, call.path) for call in api.received] == [("POST", WEBHOOKS), ("DELETE", f"{WEBHOOKS}/{ID}")]


def test_one_that_cannot_be_removed_leaves_the_outcome_unknown(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(WEBHOOK), Scripted(500))
    with pytest.raises(BadAnswer, match="could not be removed") as caught:
        provider.register(desk.login, registration())
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"id": 1}', b"[" * 100_000, json.dumps({**WEBHOOK, "token": 7}).encode()],
    ids=range(6),
)  # fmt: skip
def test_an_unreadable_yes_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, desk: Desk, body: bytes
) -> None:
    api.say(Scripted(200, body))
    with pytest.raises(BadAnswer) as caught:
        provider.register(desk.login, registration())
    assert caught.value.outcome_unknown


# -- Logging in ----------------------------------------------------------------------------------------------------


def test_logs_in_with_the_documented_body_and_keeps_the_token(api: StubServer) -> None:
    desk = Desk(api, token=None)
    api.say(Scripted.json(LOGGED_IN), Scripted.json([]), Scripted.json([]))
    provider.list_remote(desk.login)
    provider.list_remote(desk.login)
    desk.close()
    assert [(call.method, call.path) for call in api.received] == [
        ("POST", AUTHENTICATE),
        ("GET", WEBHOOKS),
        ("GET", WEBHOOKS),
    ]
    assert api.received[0].json() == {"applicationId": APPLICATION, "sharedSecret": SHARED}
    assert api.received[0].header("Authorization") is None
    assert [call.header("Authorization") for call in api.received[1:]] == [ACCESS, ACCESS]
    assert desk.tokens.get(KEPT_AS) == ACCESS


@pytest.mark.parametrize("ends", [None, "", "soon", 4102444800, "2020-01-01T00:00:00Z"])
def test_a_token_whose_end_is_not_known_or_past_is_not_kept(api: StubServer, ends: object) -> None:
    desk = Desk(api, token=None)
    api.say(Scripted.json({**LOGGED_IN, "expirationTime": ends}), Scripted.json([]))
    assert provider.list_remote(desk.login) == ()
    assert desk.tokens.get(KEPT_AS) is None
    desk.close()


def test_a_refused_token_is_replaced_once(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(401), Scripted.json({**LOGGED_IN, "authToken": OTHER_ACCESS}), Scripted.json([]))
    assert provider.list_remote(desk.login) == ()
    assert [call.header("Authorization") for call in api.received] == [ACCESS, None, OTHER_ACCESS]
    assert desk.tokens.get(KEPT_AS) == OTHER_ACCESS


def test_a_fresh_token_that_is_refused_is_the_end(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(401), Scripted.json({**LOGGED_IN, "authToken": OTHER_ACCESS}), Scripted(401))
    with pytest.raises(AuthenticationFailed, match="application is enabled"):
        provider.list_remote(desk.login)
    assert len(api.received) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Scripted.json({"errorCode": "access_denied", "errorMessage": "no"}, 401), AuthenticationFailed, "no .access"),
        (Scripted(400), AuthenticationFailed, "application ID or the shared secret"),
        (Scripted(403), AuthenticationFailed, "Administration API application"),
        (Scripted(404), BadAnswer, "Check the host name"),
        (Scripted(429, headers={"Retry-After": "9"}), Throttled, "Too many"),
        (Scripted(500), Unavailable, "in trouble"),
        (Scripted(302, headers={"Location": "/login"}), BadAnswer, "redirect"),
        (Scripted(200, b"<html>"), BadAnswer, "not JSON"),
        (Scripted.json({}), BadAnswer, "authToken"),
        (Scripted.json({"authToken": "a\r\nb"}), BadAnswer, "authToken"),
        (Scripted.json({"authToken": "tökén"}), BadAnswer, "authToken"),
        (Scripted.json({"authToken": 7}), BadAnswer, "authToken"),
    ],
)
def test_a_failed_login_explains_itself_and_changed_nothing(
    api: StubServer, answer: Scripted, kind: type[ProviderError], words: str
) -> None:
    desk = Desk(api, token=None)
    api.say(answer)
    with pytest.raises(kind, match=words) as caught:
        provider.register(desk.login, registration())
    assert not caught.value.outcome_unknown
    assert len(api.received) == 1
    desk.close()


# -- Answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"events": []}, {"events": []}),
        ({"events": None}, {"events": []}),
        ({"expiryDate": None}, {**CANONICAL, "expiry_days": 0}),
        (
            {"events": [{"type": " b ", "filter": '{"y": 1, "x": [ 2 ]}'}, {"type": "b", "filter": '{"x":[2],"y":1}'}]},
            {"events": [{"type": "b", "filter": '{"x":[2],"y":1}'}]},
        ),
        (
            {"events": [{"type": "b", "filter": " [odd "}, {"type": "a", "filter": " "}, {"type": "a", "more": 1}]},
            {"events": [{"type": "a", "filter": None}, {"type": "b", "filter": "[odd"}]},
        ),
    ],
)
def test_answers_become_the_canonical_config(
    api: StubServer, desk: Desk, changes: dict[str, object], config: dict[str, object]
) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    assert provider.read_remote(desk.login, ID).config == config


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("2099-04-02T03:04:05", EXPIRY),
        ("2099-04-02T03:04:05.000", EXPIRY),
        ("2099-04-02T03:04:05Z", EXPIRY),
        ("2099-04-02T05:04:05+02:00", EXPIRY),
        ("2099-04-02", datetime(2099, 4, 2, tzinfo=UTC)),
    ],
)
def test_the_expiry_is_utc_where_it_does_not_say(api: StubServer, desk: Desk, shown: str, expected: datetime) -> None:
    api.say(Scripted.json([{**WEBHOOK, "expiryDate": shown}]))
    assert provider.list_remote(desk.login)[0].expires_at == expected


@pytest.mark.parametrize("ends", [None, "2099-04-02T03:04:05", "2020-01-01T00:00:00"])
def test_expired_is_expired_whatever_the_date_says(api: StubServer, desk: Desk, ends: str | None) -> None:
    for enabled in (True, False):
        api.say(Scripted.json([{**WEBHOOK, "expiryDate": ends, "expired": True, "enabled": enabled}]))
        (found,) = provider.list_remote(desk.login)
        assert (found.status, found.enabled) == ("expired", False)
        assert found.expires_at
        assert found.expires_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 7},
        {"id": ""},
        {"id": ".."},
        {"id": "a\nb"},
        {"enabled": None},
        {"enabled": "true"},
        {"expired": "no"},
        {"expiryDate": "soon"},
        {"expiryDate": 4102444800},
        {"expiryDate": "0001-01-01T00:00:00+23:00"},
        {"callbackUrl": 1},
        {"name": {}},
        {"events": "user.created"},
        {"events": ["user.created"]},
        {"events": [{"type": None}]},
        {"events": [{"type": "a", "filter": [1]}]},
    ],
)
def test_a_webhook_of_a_wrong_shape_is_a_bad_answer(api: StubServer, desk: Desk, changes: dict[str, object]) -> None:
    api.say(Scripted.json([WEBHOOK, {**WEBHOOK, **changes}]))
    with pytest.raises(BadAnswer):
        provider.list_remote(desk.login)


@pytest.mark.parametrize("answer", [{}, None, "text", [None], [[]]])
def test_a_list_of_a_wrong_shape_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(BadAnswer):
        provider.list_remote(desk.login)


def test_an_answer_about_another_webhook_is_a_bad_answer(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(WEBHOOK))
    with pytest.raises(BadAnswer, match="another one"):
        provider.read_remote(desk.login, "another")


# -- Refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, PermissionMissing, "needs WEBHOOKS:EDIT"),
        (404, NotFound, "why"),
        (409, LimitReached, "20 active"),
        (400, Refused, "why"),
        (429, Throttled, "why"),
        (500, Unavailable, "why"),
    ],
)
def test_statuses(api: StubServer, desk: Desk, status: int, kind: type[ProviderError], words: str) -> None:
    api.say(Scripted.json({"errorCode": "x", "errorMessage": "why", "parameters": []}, status))
    with pytest.raises(kind, match=words) as caught:
        provider.update(desk.login, ID, registration())
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_without_a_webhook_in_the_path_404_means_a_wrong_address(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(404), Scripted(404))
    for call in (lambda: provider.list_remote(desk.login), lambda: provider.register(desk.login, registration())):
        with pytest.raises(BadAnswer, match="Check the host name"):
            call()


@pytest.mark.parametrize(
    ("body", "words", "field"),
    [
        ({"errorCode": "bad", "errorMessage": "callbackUrl is no URL"}, "callbackUrl is no URL (bad)", "callback_url"),
        ({"errorMessage": "invalid", "parameters": ["events[3].type"]}, "invalid - events[3].type", "events.3.type"),
        ({"errorMessage": "events.1 is odd"}, "events.1 is odd", "events.1"),
        ({"errorMessage": "a", "parameters": ["x", "expiry"]}, "a - x, expiry", "expiry_days"),
        ({"errorMessage": "No events were given"}, "No events were given", "events"),
        ({"errorCode": "only_code", "parameters": "odd"}, "only_code", None),
        ({"errorMessage": 7, "parameters": [1, None, " "]}, "", None),
    ],
)
def test_error_bodies(api: StubServer, desk: Desk, body: dict[str, object], words: str, field: str | None) -> None:
    api.say(Scripted.json(body, 400))
    with pytest.raises(Refused) as caught:
        provider.register(desk.login, registration())
    assert words in caught.value.message
    assert caught.value.field == field


@pytest.mark.parametrize(
    "message", ["The limit of webhooks is reached", "Too many webhooks", "Maximum number of active webhooks exceeded"]
)
def test_a_limit_may_also_be_a_400(api: StubServer, desk: Desk, message: str) -> None:
    api.say(Scripted.json({"errorCode": "x", "errorMessage": message}, 400))
    with pytest.raises(LimitReached):
        provider.register(desk.login, registration())


@pytest.mark.parametrize(
    "body", [b"", b"plain", b"[]", b"null", b'{"errorMessage": {"a": 1}}', b"{" * 9999], ids=range(6)
)
def test_unknown_error_bodies_are_survived(api: StubServer, desk: Desk, body: bytes) -> None:
    api.say(Scripted(400, body))
    with pytest.raises(Refused):
        provider.register(desk.login, registration())


def test_a_refusal_that_quotes_our_secrets_does_not_tell_them(api: StubServer) -> None:
    desk = Desk(api, token=None)
    api.say(
        Scripted.json(LOGGED_IN),
        Scripted.json({"errorCode": "x", "errorMessage": f"{ACCESS} of {APPLICATION} is odd"}, 400),
    )
    with pytest.raises(Refused) as caught:
        provider.register(desk.login, registration())
    assert "*** of *** is odd" in caught.value.message
    assert ACCESS not in f"{caught.value} {caught.value.message}"
    desk.close()


# -- Settings and config -------------------------------------------------------------------------------------------


def complaints(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


@pytest.mark.parametrize("hostname", [HOST, f" {HOST.upper()} ", "id.example.org", "a-1.b2.test"])
def test_hostnames(hostname: str) -> None:
    checked = validate(EntrustSettings, {"hostname": hostname})
    assert provider.api_origin(checked) == f"https://{hostname.strip().lower()}"


@pytest.mark.parametrize(
    "hostname",
    ["", "acme", f"https://{HOST}", f"{HOST}/api", f"{HOST}:443", "a b.test", "-a.test", "ä.test", "a..test",
     "a@b.test", ".".join(["a" * 60] * 5)],
)  # fmt: skip
def test_other_hostnames_are_refused_at_the_field(hostname: str) -> None:
    assert list(complaints(EntrustSettings, {"hostname": hostname})) == ["hostname"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("key_form", "hex"), ("signature_max_age", -1), ("signature_max_age", 10**9), ("send_name", "perhaps")],
)
def test_wrong_settings_are_refused_at_the_field(name: str, value: object) -> None:
    assert list(complaints(EntrustSettings, {"hostname": HOST, name: value})) == [name]


def test_unconfirmed_facts_are_marked_settings() -> None:
    properties = EntrustSettings.model_json_schema()["properties"]
    marked = {name for name, schema in properties.items() if schema.get("unconfirmed")}
    assert marked == {"send_name", "signature_max_age", "key_form"}


@pytest.mark.parametrize("value", ["", "a b", "a\nb", "gehéim"])
def test_credentials_that_cannot_be_are_refused_without_repeating_them(value: str) -> None:
    told = complaints(EntrustCredentials, {"application_id": value, "shared_secret": value})
    assert set(told) == {"application_id", "shared_secret"}
    assert not value or value not in " ".join(told.values())


def test_types_of_any_version_are_taken_and_what_is_no_type_is_refused_at_its_place() -> None:
    names = [*(item.name for item in EVENT_TYPES), "user.create", "Something_new"]
    config = validate(EntrustConfig, {"events": [{"type": name} for name in names]})
    assert [item.type for item in config.events] == names
    bad = [{"type": "user.created"}, {"type": ""}, {"type": "a b"}, {"type": "x" * 101}, {}, {"type": "a", "id": "e"}]
    told = complaints(EntrustConfig, {"events": bad})
    assert set(told) == {"events.1.type", "events.2.type", "events.3.type", "events.4.type", "events.5.id"}
    assert complaints(EntrustConfig, {"events": []}) == {"events": "At least 1 needed."}
    assert set(complaints(EntrustConfig, {"events": [{"type": "a"}, "user.created"]})) == {"events.1"}


def test_filters_are_json_texts() -> None:
    good = validate(EntrustConfig, {"events": [{"type": "a", "filter": text} for text in ("", " ", '[{"a": 1}]')]})
    assert [item.filter for item in good.events] == [None, None, '[{"a": 1}]']
    bad = [{"type": "a", "filter": text} for text in ("{", "[" * 100_000, "x" * 4001, {"a": 1})]
    told = complaints(EntrustConfig, {"events": [*bad, {"type": "a"}]})
    assert set(told) == {f"events.{index}.filter" for index in range(4)}


@pytest.mark.parametrize("days", [-1, 1001, 1.5, "soon"])
def test_expiry_is_a_number_of_days(days: object) -> None:
    assert list(complaints(EntrustConfig, {"events": [{"type": "a"}], "expiry_days": days})) == ["expiry_days"]
    assert validate(EntrustConfig, {"events": [{"type": "a"}]}).expiry_days == 0


def test_equal_configs_are_canonically_equal() -> None:
    left = {"events": [{"type": "b", "filter": '{"y":1, "x":2}'}, {"type": "a"}, {"type": "a"}], "expiry_days": 5}
    right = {"events": [{"type": "a", "filter": ""}, {"type": "b", "filter": '{"x":2,"y":1}'}], "expiry_days": 5}
    assert provider.canonical(validate(EntrustConfig, left)) == provider.canonical(validate(EntrustConfig, right))


def test_all_documented_types_are_declared() -> None:
    assert len(EVENT_TYPES) == 25
    assert len({item.group for item in EVENT_TYPES}) == 10


# -- Verification --------------------------------------------------------------------------------------------------


def settings(**values: object) -> EntrustSettings:
    return validate(EntrustSettings, {"hostname": HOST, **values})


def signed(
    request: InboundRequest, key: bytes, *, digest: str = "sha-256", created: int | None = None
) -> InboundRequest:
    """The request with Entrust's three headers, as the simulator makes them."""
    url = f"{request.url}?{request.query}" if request.query else request.url
    moment = int(RECEIVED_AT.timestamp()) if created is None else created
    proof = sign(key, url, request.body, digest=digest, created=moment)
    return replace(request, headers=(*request.headers, *proof.items()))


def verify(request: InboundRequest, *secrets: str, **values: object) -> Verification:
    return provider.verify(request, secrets or (SECRET,), settings(**values))


VECTOR_BODY = (
    b'{"id":"019a0000-0000-7000-8000-000000000001","type":"user.created","accountId":"11111111-2222-4333-8444-555555555555"'
    b',"eventTime":"2026-01-02T03:04:05Z","data":{"subjectName":"admin1","entityName":"jdoe"}}'
)
VECTOR = inbound(
    VECTOR_BODY,
    url="https://hooks.example.test/in/abc123",
    headers=(
        ("Host", "10.0.0.1:8000"),
        ("Content-Type", "application/json"),
        ("Content-Digest", "sha-256=:MucHx4F2CvL0VZOjaGcJSCREs8KYxq1ZbFv/LEKZazo=:"),
        (
            "Signature-Input",
            'sig=("@method" "@target-uri" "content-digest");created=1767323045;alg="hmac-sha256"',
        ),
        ("Signature", "sig=:Nk9cXRmI5wNxCD+HHNxBGsUTly22DriQn3lzd5aZEwA=:"),
    ),
)


def test_a_vector_computed_by_hand() -> None:
    found = verify(VECTOR)
    assert (found.result, found.secret_index, found.proof_headers) == (VerificationResult.VERIFIED, 0, ())
    assert "sig fits" in found.detail
    assert "as text" in found.detail
    assert verify(replace(VECTOR, body=VECTOR_BODY + b"\n")).result is VerificationResult.FAILED
    assert verify(replace(VECTOR, url="https://hooks.example.test/in/abc124")).result is VerificationResult.FAILED
    assert verify(replace(VECTOR, query="x=1")).result is VerificationResult.FAILED


def test_the_signed_address_has_the_query_as_it_came() -> None:
    request = signed(inbound(b"{}", query="a=%2f&b=+"), SECRET.encode())
    assert verify(request).result is VerificationResult.VERIFIED
    assert verify(replace(request, query="a=%2F&b=+")).result is VerificationResult.FAILED


def test_a_former_address_counts_while_it_is_being_changed() -> None:
    moved = replace(VECTOR, url="https://new.example.test/in/abc123")
    assert verify(moved).result is VerificationResult.FAILED
    found = verify(replace(moved, former_urls=("https://older.example.test/in/abc123", VECTOR.url)))
    assert found.result is VerificationResult.VERIFIED
    other = replace(moved, former_urls=("https://older.example.test/in/abc123",))
    assert verify(other).result is VerificationResult.FAILED


RAW_KEY = bytes(range(200, 232))
URL_SAFE = base64.urlsafe_b64encode(RAW_KEY).decode()


@pytest.mark.parametrize(
    "secret",
    [
        base64.b64encode(RAW_KEY).decode(),
        URL_SAFE,
        URL_SAFE.rstrip("="),
        f"whsec_{base64.b64encode(RAW_KEY).decode()}",
    ],
)
def test_both_forms_of_the_key(secret: str) -> None:
    as_text, decoded = signed(inbound(b"{}"), secret.encode()), signed(inbound(b"{}"), RAW_KEY)
    for request, form, words in ((as_text, "text", "as text"), (decoded, "base64", "decoded from base64")):
        other = "base64" if form == "text" else "text"
        assert words in verify(request, secret).detail
        assert verify(request, secret, key_form=form).result is VerificationResult.VERIFIED
        assert verify(request, secret, key_form=other).result is VerificationResult.FAILED


def test_the_older_token_in_either_form_is_named() -> None:
    old = base64.b64encode(RAW_KEY).decode()
    found = verify(signed(inbound(b"{}"), RAW_KEY), "new", old)
    assert (found.result, found.secret_index) == (VerificationResult.VERIFIED, 1)


@pytest.mark.parametrize("secret", ["", "=", "whsec_", "whsec_===", "é", "\ud800", "a", "ab_-=="])
@pytest.mark.parametrize("form", ["auto", "text", "base64"])
def test_a_token_that_is_no_key_fits_nothing(secret: str, form: str) -> None:
    proof = hmac.new(b"x", b"", hashlib.sha256).digest()
    for request in (VECTOR, signed(inbound(b"{}"), proof), signed(inbound(b"{}"), b"\0")):
        assert verify(request, secret, key_form=form).result is VerificationResult.FAILED


def test_the_age_counts_only_with_the_setting() -> None:
    now = int(RECEIVED_AT.timestamp())
    old = signed(inbound(b"{}"), SECRET.encode(), created=now - 86401)
    assert verify(old).result is VerificationResult.VERIFIED
    assert "too long ago" in verify(old, signature_max_age=86400).detail
    fresh = signed(inbound(b"{}"), SECRET.encode(), created=now - 86400)
    assert verify(fresh, signature_max_age=86400).result is VerificationResult.VERIFIED


@pytest.mark.parametrize(
    ("headers", "secrets", "words"),
    [
        ((), (SECRET,), "no header Content-Digest"),
        (VECTOR.headers[:3], (SECRET,), "no header Signature-Input"),
        (VECTOR.headers[:4], (SECRET,), "no header Signature"),
        (VECTOR.headers, ("another",), "fits none of the keys"),
        (VECTOR.headers, ("",), "No secret is known"),
    ],
)
def test_a_failure_explains_itself(headers: tuple[tuple[str, str], ...], secrets: tuple[str, ...], words: str) -> None:
    assert words in verify(replace(VECTOR, headers=headers), *secrets).detail


def test_the_hint_has_the_token_and_no_header() -> None:
    hint = provider.secret_hint(settings(), SECRET)
    assert (hint.kind, hint.header, hint.value) == (Proof.RFC9421, None, SECRET)


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    return {"id": "019a", "type": "user.created", "eventTime": "2026-01-02T03:04:05Z", "data": {}, **changes}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b"null", b"\xef\xbb\xbf{}"])
def test_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [0, 1.5, "text", True, False, [None], [{"type": "a"}], {"a": None}, {"data": {}}])
def test_any_other_json_is_an_event_as_the_test_call_may_send_it(value: object) -> None:
    (found,) = parse(value).events
    assert (found.type, found.action, found.data) == ("untyped", Action.OTHER, value)


@pytest.mark.parametrize("name", [None, 7, "", " ", "x" * 101, ["user.created"], {}])
def test_what_has_no_usable_type_is_untyped(name: object) -> None:
    assert parse(event(type=name)).events[0].type == "untyped"


def test_two_equal_test_payloads_are_two_events() -> None:
    request = inbound(b'{"message": "test"}')
    first = provider.parse(request).events[0].dedup_key
    assert first == provider.parse(request).events[0].dedup_key
    later = replace(request, received_at=RECEIVED_AT + timedelta(microseconds=1))
    assert first != provider.parse(later).events[0].dedup_key


def test_dedup_keys() -> None:
    def key(**changes: object) -> str:
        return parse(event(**changes)).events[0].dedup_key

    assert key() == "019a" == key(eventTime=None, data={"other": 1}, accountId="b")
    keys = [
        key(), key(id=7), key(id="x" * 999), key(id="x" * 998), key(id="a\0"), key(id="a\ufffd"), key(id="\ud800"),
        key(id="content:1"), key(id=None), key(id="", data=1), key(id=True, data=2),
    ]  # fmt: skip
    assert len(keys) == len(set(keys))
    assert all(len(item) <= 255 and item.isprintable() for item in keys)


NO_TIMES = (None, 0, True, "", "soon", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00", "2" * 999)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5Z", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_times(moment: object, expected: datetime | None) -> None:
    assert parse(event(eventTime=moment)).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("data", "resource", "actor"),
    [
        ({"entityName": "jdoe", "entityId": "1", "subjectName": "admin1", "subject": "2"}, "jdoe", "admin1"),
        ({"entityName": "", "entityId": 1, "subjectName": None, "subject": "2"}, "1", "2"),
        ({"entityId": {}, "resourceName": "USER", "subject": True}, "USER", None),
        ({"entityName": "x" * 5000, "subjectName": "a\0\ud800" + "y" * 999}, "x" * 2000, "a\ufffd\ufffd" + "y" * 252),
        ("text", None, None),
        ([], None, None),
    ],
)
def test_resources_and_actors(data: object, resource: str | None, actor: str | None) -> None:
    (found,) = parse(event(data=data)).events
    assert (found.resource, found.actor) == (resource, actor)


def test_an_unknown_type_is_other_and_keeps_its_name() -> None:
    (found,) = parse(event(type="grid.burned", data={"entityType": "GRIDS"})).events
    assert (found.type, found.action, found.resource_type) == ("grid.burned", Action.OTHER, "grid")
    assert parse(event(type="a", data={"entityType": "NEW_THINGS"})).events[0].resource_type == "new_things"
    assert parse(event(type="a", data={"entityType": 7})).events[0].resource_type is None


KEYS = ("id", "type", "eventTime", "data", "entityType", "entityId", "entityName", "subject", "subjectName")
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**18)])
    | st.floats(allow_nan=True, allow_infinity=True)
    | ANY_TEXT
    | st.sampled_from(
        ["user.created", "\ud800", "\x00", "x" * 300, "2026-01-02T03:04:05Z", "9999-12-31T23:59:59-12:00"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, inner, max_size=8),
    max_leaves=30,
)
ODD_EVENTS = st.fixed_dictionaries({"type": SCALARS}, optional={key: JSON for key in KEYS if key != "type"})


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
        assert parsed.ping != bool(parsed.events)


PROOF_NAMES = st.sampled_from(["Content-Digest", "Signature-Input", "Signature", "signature"]) | ANY_TEXT
PROOF_VALUES = st.sampled_from([value for _, value in VECTOR.headers]) | ANY_TEXT


@given(
    st.lists(st.tuples(PROOF_NAMES, PROOF_VALUES), max_size=8),
    st.lists(ANY_TEXT, max_size=3),
    ANY_TEXT,
    st.sampled_from(["auto", "text", "base64"]),
)
def test_verification_never_raises(headers: list[tuple[str, str]], secrets: list[str], query: str, form: str) -> None:
    found = verify(inbound(b"{}", headers=tuple(headers), query=query), *secrets, SECRET, key_form=form)
    assert found.result is VerificationResult.FAILED
    assert SECRET not in found.detail


@pytest.mark.parametrize(
    "body",
    [b"[" * 10_000_000, b'{"a":' * 2_000_000, b"[" * 500 + b"]" * 500, b'{"id": ' + b"9" * 5_000_000 + b"}",
     b'{"id": 1e999}', b'{"id": NaN}', b"\xff"],
    ids=["open lists", "open objects", "deep", "long number", "infinite number", "nan", "no UTF-8"],
)  # fmt: skip
def test_bodies_made_to_hurt_are_refused_in_bounded_time(body: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(UnreadableRequest):
        provider.parse(inbound(body))
    assert time.thread_time() - started < 5


def test_a_long_text_in_every_field_is_bounded() -> None:
    long = "é" * 1_000_000
    names = ("entityType", "entityId", "entityName", "subject", "subjectName")
    parsed = parse(event(id=long, type=long, eventTime=long, data=dict.fromkeys((*names, long), long)))
    check_it_can_be_stored(parsed)
    assert len(parsed.events[0].resource or "") == 2000
