"""SideDrawer: the shared contract suite, and what is special here."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
    Unsupported,
)
from providers.contract.http import Exchange, Http
from providers.contract.parsing import InboundRequest, Parsed, VerificationResult
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sandbox.tenant import LoginName
from providers.sandbox.webhook_sender import WebhookSender
from providers.sidedrawer import provider
from providers.sidedrawer.auth import GATEWAYS, TOKEN, login_address
from providers.sidedrawer.event_types import EVENT_TYPES, KINDS
from providers.sidedrawer.resources import RESOURCES, kind_of, resource_of
from providers.sidedrawer.schemas import SideDrawerConfig, SideDrawerCredentials, SideDrawerSettings
from providers.sidedrawer.simulator import RESOURCES as THEIR_RESOURCES
from providers.sidedrawer.simulator import TENANTS, SideDrawerSimulator
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
SPARE = TENANTS[LoginName.SPARE]
TENANT = SPARE.tenant_id
DRAWER = f"tenant/{TENANT}/sidedrawer/{SPARE.drawer}"
SECRET = "hk_" + "s3cr3t" * 6
PASTED = "token-0123456789"
ID = "64b7f0c2a1d3e40012ab9999"
WEBHOOK: dict[str, object] = {
    "id": ID,
    "modificationType": "create",
    "connectionType": "HTTP",
    "notificationUrl": CALLBACK_URL,
    "resource": f"{DRAWER}/record",
    "expirationDateTime": "2030-01-01T00:00:00-03:00",
    "brandCode": "mybrand",
    "notificationMessages": None,
    "integrityKey": SECRET,
    "maxRetries": 3,
}
CANONICAL = {
    "resource": f"{DRAWER}/record",
    "modification_type": "create",
    "connection_type": "HTTP",
    "brand_code": "mybrand",
    "notification_messages": None,
    "max_retries": 3,
}
# A resource for each kind of event
PLACES: Mapping[str, str] = {
    "sidedrawer": f"tenant/{TENANT}/sidedrawer",
    "record": f"{DRAWER}/record",
    "record-network": f"{DRAWER}/record/{SPARE.record}/network",
    "file": f"{DRAWER}/record/{SPARE.record}/files",
    "inbox": f"{DRAWER}/inbox",
    "sidedrawer-network": f"{DRAWER}/network",
    "plan-request": f"{DRAWER}/plan-request",
    "plan-item": f"{DRAWER}/plan-request/p1/item",
    "network": f"tenant/{TENANT}/network/{SPARE.open_id}",
    "license": f"subscription/{SPARE.subscription}/license",
}


def filled(template: str) -> str:
    """A template with the spare tenant's ids."""
    for name, value in {"tenantId": TENANT, "sidedrawerId": SPARE.drawer, "recordId": SPARE.record}.items():
        template = template.replace(f"{{{name}}}", value)
    return template.replace("{", "x-").replace("}", "")


class TestSideDrawer(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"tenant_id": TENANT}
    credentials: ClassVar[Mapping[str, object]] = {"access_token": PASTED}
    config: ClassVar[Mapping[str, object]] = {
        "resource": f"{DRAWER}/record",
        "modification_type": "any",
        "brand_code": "mybrand",
        "notification_messages": "folder-changed",
        "max_retries": 2,
    }
    other_config: ClassVar[Mapping[str, object]] = {
        "resource": f"tenant/{TENANT}/sidedrawer",
        "modification_type": "update",
        "connection_type": "SOCKET",
        "notification_messages": "drawer-changed",
        "max_retries": 7,
    }
    everything: ClassVar[Mapping[str, object]] = {"resource": PLACES["record"], "modification_type": "any"}

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        value = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        return replace(request, headers=(*request.headers, ("integrityHash", value)))

    def config_for(self, event_type: str) -> Mapping[str, object]:
        return {"resource": PLACES[event_type.partition(".")[0]], "modification_type": "any"}

    def test_examples_are_valid(self) -> None:
        """As in the suite, but the credentials are one way or the other."""
        example = {name: info.examples for name, info in SideDrawerCredentials.model_fields.items()}
        assert all(example.values())
        client = {name: (example[name] or [""])[0] for name in ("client_id", "client_secret")}
        assert validate(SideDrawerCredentials, client).client_id
        assert validate(SideDrawerCredentials, {"access_token": (example["access_token"] or [""])[0]}).access_token
        for model, values in ((SideDrawerSettings, self.settings), (SideDrawerConfig, self.config)):
            for name, info in model.model_fields.items():
                for value in info.examples or ():
                    assert validate(model, {**values, name: value}), f"{model.__name__}.{name}"

    # -- Live: registering ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("template", [resource.template for resource in RESOURCES])
    @pytest.mark.parametrize("modification", ["any", "create", "update", "delete"])
    def test_live_every_resource_with_every_modification(self, live: Live, template: str, modification: str) -> None:
        config = {"resource": filled(template), "modification_type": modification}
        registration = self.registration(config=self.checked_config(config))
        self.expect(live.register(registration), registration)

    @pytest.mark.parametrize("case", ["lower", "capitalised"])
    def test_live_both_letter_cases(self, live: Live, case: str) -> None:
        live.control("options", modification_case=case)
        settings = validate(SideDrawerSettings, {**live.account["settings"], "modification_type_case": case})
        registration = self.registration()
        live.secrets.add(str(registration.secret))
        self.expect(provider.register(replace(live.session, settings=settings), registration), registration)
        wrong = {"lower": "capitalised", "capitalised": "lower"}[case]
        live.control("options", modification_case=wrong)
        with pytest.raises(Refused) as caught:
            provider.register(replace(live.session, settings=settings), registration)
        assert caught.value.field == "modification_type"

    @pytest.mark.parametrize("field", ["id", "_id", "subscriptionId", "webhookId"])
    def test_live_every_id_field(self, live: Live, field: str) -> None:
        live.control("options", id_field=field)
        remote = live.register(self.registration())
        assert provider.read_remote(live.session, remote.remote_id).remote_id == remote.remote_id

    def test_live_an_unknown_id_field_is_named_and_can_be_set(self, live: Live) -> None:
        live.control("options", id_field="uuid")
        with pytest.raises(InvalidResponse, match="id_fields") as caught:
            live.register(self.registration())
        assert caught.value.outcome_unknown
        assert "uuid" in caught.value.message
        settings = validate(SideDrawerSettings, {**live.account["settings"], "id_fields": ["uuid"]})
        assert len(provider.list_remote(replace(live.session, settings=settings))) == 1

    @pytest.mark.parametrize("way", ["url", "path", "query", "cursor"])
    def test_live_lists_of_many_pages(self, live: Live, way: str) -> None:
        live.control("options", page_size=2, next_page=way)
        ids = [live.register(self.registration()).remote_id for _ in range(5)]
        assert [remote.remote_id for remote in provider.list_remote(live.session)] == ids
        live.control("options", list_envelope="array")
        assert [remote.remote_id for remote in provider.list_remote(live.session)] == ids

    def test_live_a_socket_subscription_is_registered_and_gets_nothing_over_http(self, live: Live) -> None:
        with StubServer() as receiver:
            socket = self.registration(
                callback_url=f"{receiver.url}/hooks/t", config=self.checked_config(self.other_config)
            )
            self.expect(live.register(socket), socket)
            assert live.control("emit", event_type="sidedrawer.update") == {"deliveries": []}
            assert live.control("emit", event_type="something.unknown") == {"deliveries": []}
            assert receiver.received == []

    def test_live_a_tenant_of_somebody_else_is_a_missing_permission(self, live: Live) -> None:
        config = self.checked_config({"resource": "tenant/other/sidedrawer", "modification_type": "any"})
        with pytest.raises(PermissionMissing, match="belongs to the tenant"):
            live.register(self.registration(config=config))

    def test_live_no_more_room_is_a_limit(self, live: Live) -> None:
        live.control("options", max_webhooks=0)
        with pytest.raises(LimitReached, match="At most 0"):
            live.register(self.registration())

    # -- Live: paths and verbs that turn out to be others ---------------------------------------------------------

    def test_live_missing_paths_are_said_in_words_and_leave_the_account_unchecked(self, live: Live) -> None:
        live.control("options", paths_missing=True)
        for call in (lambda: provider.identify(live.session), lambda: live.register(self.registration())):
            with pytest.raises(InvalidResponse) as caught:
                call()
            assert not caught.value.permanent
            for words in ("404", "/api/v1/webhooks", "not confirmed", "collection_path", "item_path", "manual"):
                assert words in caught.value.message

    def test_live_the_right_paths_can_be_set(self, live: Live) -> None:
        live.control("options", paths_missing=True)
        with StubServer() as api:
            settings = validate(
                SideDrawerSettings,
                {
                    **live.account["settings"],
                    "base_url": api.url,
                    "collection_path": "/v2/{tenantId}/hooks/",
                    "item_path": "/v2/{tenantId}/hooks/{id}/",
                    "update_verb": "PATCH",
                },
            )
            login = replace(live.session, settings=settings)
            api.say(Scripted.json([]), Scripted.json(WEBHOOK), Scripted.json(WEBHOOK))
            assert provider.list_remote(login) == ()
            provider.update(login, ID, self.registration())
            assert [(call.method, call.path) for call in api.received] == [
                ("GET", f"/v2/{TENANT}/hooks/"),
                ("PATCH", f"/v2/{TENANT}/hooks/{ID}/"),
                ("GET", f"/v2/{TENANT}/hooks/{ID}/"),
            ]

    def test_live_an_item_path_that_is_not_there_is_told_from_a_webhook_that_is_gone(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control("options", item_path_missing=True)
        assert provider.read_remote(live.session, remote_id).config == provider.canonical(registration.config)
        for call in (
            lambda: provider.renew(live.session, remote_id, registration),
            lambda: provider.delete(live.session, remote_id),
        ):
            with pytest.raises(Unsupported, match="item_path and update_verb"):
                call()
        live.control(f"remote/{remote_id}", deleted=True)
        for gone in self.calls_about(live, remote_id):
            with pytest.raises(NotFound):
                gone()

    def test_live_an_update_that_is_not_allowed_is_unsupported(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control("options", allow_update=False)
        with pytest.raises(Unsupported, match="405"):
            provider.renew(live.session, remote_id, registration)

    # -- Live: leases and status ---------------------------------------------------------------------------------

    def test_live_the_granted_expiry_is_read_back_not_the_requested_one(self, live: Live) -> None:
        remote = live.register(self.registration())
        assert remote.expires_at is not None
        assert 80 <= (remote.expires_at - datetime.now(UTC)).total_seconds() <= 91
        live.control("options", lease_seconds=10 * 365 * 86400)
        remote = live.register(self.registration())
        assert remote.expires_at is not None
        assert timedelta(days=29) < remote.expires_at - datetime.now(UTC) <= timedelta(days=30)

    def test_live_a_renewal_that_does_not_prolong_shows(self, live: Live) -> None:
        registration = self.registration()
        remote = live.register(registration)
        live.control("options", update_extends=False)
        assert provider.renew(live.session, remote.remote_id, registration).expires_at == remote.expires_at

    @pytest.mark.parametrize("shown", [True, False])
    def test_live_switched_off_is_seen_where_a_status_is_shown(self, live: Live, shown: bool) -> None:
        live.control("options", show_status=shown)
        remote_id = live.register(self.registration()).remote_id
        live.control(f"remote/{remote_id}", status="inactive")
        assert provider.read_remote(live.session, remote_id).enabled is not shown

    def test_live_a_hidden_key_proves_nothing(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        assert provider.read_remote(live.session, remote_id, SECRET).secret_matches is False
        live.control("options", hide_integrity_key=True)
        assert provider.read_remote(live.session, remote_id, SECRET).secret_matches is None

    # -- Live: logging in ----------------------------------------------------------------------------------------

    def client(self, live: Live, **changes: str) -> ProviderSession[Any, Any]:
        """A login with client id and client secret."""
        wanted = {"client_id": SPARE.client_id, "client_secret": SPARE.client_secret, **changes}
        return live.session_with(credentials=wanted)

    def logins(self, live: Live) -> int:
        return sum("developer-login" in call["path"] for call in live.state()["calls"])

    def test_live_client_id_and_secret_are_turned_into_a_token_once(self, live: Live) -> None:
        login = self.client(live)
        for _ in range(3):
            provider.list_remote(login)
        assert self.logins(live) == 1
        live.secrets.add(str(login.tokens.get(TOKEN)))

    def test_live_an_expired_token_is_renewed_once(self, live: Live) -> None:
        login = self.client(live)
        provider.list_remote(login)
        live.control("clock", advance_seconds=3600)
        provider.list_remote(login)
        assert self.logins(live) == 2

    def test_live_a_token_that_was_kept_elsewhere_is_masked(self, live: Live) -> None:
        login = self.client(live)
        provider.list_remote(login)
        later = replace(self.client(live), tokens=login.tokens)
        provider.register(later, self.registration())
        assert str(login.tokens.get(TOKEN)) in later.http.secrets

    @pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "wrong/../../x"}])
    def test_live_wrong_client_credentials_are_refused(self, live: Live, wrong: dict[str, str]) -> None:
        with pytest.raises(AuthenticationFailed, match="client id and client secret"):
            provider.list_remote(self.client(live, **wrong))

    def test_live_faults_leave_the_developer_login_alone(self, live: Live) -> None:
        live.control("faults", drop=True, times=1)
        with pytest.raises(Unavailable) as caught:
            provider.register(self.client(live), self.registration())
        assert caught.value.outcome_unknown
        assert len(live.state()["remote"]) == 1

    # -- Live: deliveries ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("encoding", "form"),
        [
            ("hex", "hex"),
            ("HEX", "hex"),
            ("base64", "base64"),
            ("base64url", "base64"),
            ("sha256=hex", "hex after sha256="),
            ("sha256=base64", "base64 after sha256="),
        ],
    )
    def test_live_every_way_of_writing_the_hash(self, live: Live, encoding: str, form: str) -> None:
        live.control("options", hash_encoding=encoding)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            live.register(registration)
            live.control("emit", count=8)
            found = [
                provider.verify(
                    inbound(call.body, headers=call.headers), [str(registration.secret)], live.session.settings
                )
                for call in receiver.received
            ]
        assert {item.result for item in found} == {VerificationResult.VERIFIED}
        assert all(f"({form}" in item.detail for item in found)

    @pytest.mark.parametrize("style", ["resource", "event", "list"])
    def test_live_every_envelope(self, live: Live, style: str) -> None:
        live.control("options", body_style=style)
        with StubServer() as receiver:
            live.register(self.registration(callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit", event_type="record.update", count=3)
            parsed = [provider.parse(inbound(call.body)) for call in receiver.received]
        assert [event.type for item in parsed for event in item.events] == ["record.update"] * 3

    def test_live_encrypted_bodies_are_verified_and_quarantined_with_that_reason(self, live: Live) -> None:
        live.control("options", encrypt_bodies=True)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            live.register(registration)
            live.control("emit")
            (request,) = [inbound(call.body, headers=call.headers) for call in receiver.received]
        found = provider.verify(request, [str(registration.secret)], live.session.settings)
        assert found.result is VerificationResult.VERIFIED
        with pytest.raises(UnreadableRequest, match="looks encrypted"):
            provider.parse(request)

    @pytest.mark.parametrize(("retries", "tries"), [(0, 1), (2, 3)])
    def test_live_retries_up_to_max_retries_then_it_is_switched_off(self, live: Live, retries: int, tries: int) -> None:
        live.control("options", retry_delays=[0.0], failures_until_disabled=1)
        with StubServer() as receiver:
            receiver.say(*[Scripted(500)] * 10)
            config = self.checked_config({**self.config, "max_retries": retries})
            live.register(self.registration(callback_url=f"{receiver.url}/hooks/t", config=config))
            live.control("emit")
            stop = time.monotonic() + 30
            while live.state()["remote"][0]["enabled"] and time.monotonic() < stop:
                time.sleep(0.02)
            assert len(receiver.received) == tries
        assert live.state()["remote"][0]["status"] == "inactive"

    def test_live_events_come_from_the_resource_only(self, live: Live) -> None:
        with StubServer() as receiver:
            for place in (f"{DRAWER}/record", f"{DRAWER}/plan-request/p7", f"{DRAWER}/record/r9"):
                config = self.checked_config({"resource": place, "modification_type": "any"})
                live.register(self.registration(callback_url=f"{receiver.url}/{place}", config=config))
            live.control("emit", count=40)
            for call in receiver.received:
                (event,) = provider.parse(inbound(call.body)).events
                place = call.path.strip("/")
                assert event.resource == place or str(event.resource).startswith(f"{place}/")
                assert event.type.partition(".")[0] in (
                    ("record",) if "/record" in place else ("plan-request", "plan-item")
                )


# -- What goes out and comes back, word for word -------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


class Desk:
    """A login at a stub server, with what was recorded."""

    def __init__(self, api: StubServer, credentials: Mapping[str, str] | None = None, **settings: object) -> None:
        self.exchanges: list[Exchange] = []
        checked = validate(SideDrawerCredentials, credentials or {"access_token": PASTED})
        self.http = Http(
            guard=LOOPBACK,
            secrets=[*checked.secret_values(), SECRET],
            secret_keys=provider.secret_keys,
            record=self.exchanges.append,
        )
        self.session = ProviderSession(
            validate(SideDrawerSettings, {"tenant_id": TENANT, "base_url": api.url, **settings}), checked, self.http
        )


@pytest.fixture
def desk(api: StubServer) -> Iterator[Desk]:
    desk = Desk(api)
    yield desk
    desk.http.close()


@pytest.fixture
def client_desk(api: StubServer) -> Iterator[Desk]:
    desk = Desk(api, {"client_id": "app/1", "client_secret": "client-s3cret"})
    yield desk
    desk.http.close()


def registration(**changes: Any) -> Registration[SideDrawerConfig]:
    config = validate(
        SideDrawerConfig,
        {"resource": f"{DRAWER}/record", "modification_type": "Create", "brand_code": "mybrand", "max_retries": 3},
    )
    values: dict[str, Any] = {"callback_url": CALLBACK_URL, "config": config, "secret": SECRET}
    return Registration(**{**values, **changes})


def test_register_sends_the_published_fields(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json(WEBHOOK, 201))
    remote = provider.register(desk.session, registration())
    assert (remote.remote_id, remote.status, remote.enabled) == (ID, "registered", True)
    assert remote.expires_at == datetime(2030, 1, 1, 3, tzinfo=UTC)
    assert (remote.url, remote.config, remote.secret_matches) == (CALLBACK_URL, CANONICAL, True)
    call = api.received[0]
    assert (call.method, call.path) == ("POST", "/api/v1/webhooks")
    assert call.header("Authorization") == f"Bearer {PASTED}"
    sent = call.json()
    asked_for = datetime.fromisoformat(sent.pop("expirationDateTime"))
    assert asked_for.tzinfo is not None
    assert abs(asked_for - datetime.now(UTC) - timedelta(days=30)) < timedelta(seconds=10)
    assert sent == {
        "modificationType": "create",
        "connectionType": "HTTP",
        "notificationUrl": CALLBACK_URL,
        "resource": f"{DRAWER}/record",
        "brandCode": "mybrand",
        "integrityKey": SECRET,
        "maxRetries": 3,
    }
    assert SECRET not in repr(desk.exchanges)


def test_register_in_capitals_for_a_socket(api: StubServer) -> None:
    desk = Desk(api, modification_type_case="capitalised")
    api.say(Scripted.json(WEBHOOK, 201))
    config = {**CANONICAL, "connection_type": "SOCKET", "notification_messages": "changed", "lifetime_days": 1}
    provider.register(desk.session, registration(config=validate(SideDrawerConfig, config)))
    desk.http.close()
    sent = api.received[0].json()
    assert (sent["modificationType"], sent["connectionType"]) == ("Create", "SOCKET")
    assert (sent["notificationMessages"], sent["notificationUrl"]) == ("changed", CALLBACK_URL)
    asked_for = datetime.fromisoformat(sent["expirationDateTime"])
    assert abs(asked_for - datetime.now(UTC) - timedelta(days=1)) < timedelta(seconds=10)


def test_update_sends_everything_and_believes_only_what_is_read_back(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(200, b"not even JSON"), Scripted.json({"data": WEBHOOK}))
    remote = provider.update(desk.session, ID, registration())
    assert [(call.method, call.path) for call in api.received] == [
        ("PUT", f"/api/v1/webhooks/{ID}"),
        ("GET", f"/api/v1/webhooks/{ID}"),
    ]
    assert set(api.received[0].json()) == set(WEBHOOK) - {"id", "notificationMessages"}
    assert (remote.config, remote.url) == (CANONICAL, CALLBACK_URL)


def test_an_id_stays_one_part_of_the_path(api: StubServer, desk: Desk) -> None:
    provider.delete(desk.session, "a/../b?c#d")
    assert api.received[0].path == "/api/v1/webhooks/a%2F..%2Fb%3Fc%23d"


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
def test_what_is_readable_becomes_the_canonical_config(
    api: StubServer, desk: Desk, changes: dict[str, object], expected: dict[str, object]
) -> None:
    """An ellipsis stands for a field that is left out."""
    api.say(Scripted.json({**WEBHOOK, **changes}))
    wanted = {name: value for name, value in {**CANONICAL, **expected}.items() if value is not ...}
    assert provider.read_remote(desk.session, ID).config == wanted


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
def test_status(api: StubServer, desk: Desk, changes: dict[str, object], status: str, enabled: bool) -> None:
    api.say(Scripted.json({**WEBHOOK, **changes}))
    remote = provider.read_remote(desk.session, ID)
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
def test_expiry(api: StubServer, desk: Desk, value: object, expected: datetime | None) -> None:
    api.say(Scripted.json([{**WEBHOOK, "expirationDateTime": value}]))
    assert provider.list_remote(desk.session)[0].expires_at == expected


@pytest.mark.parametrize(
    "answer",
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
        [{**WEBHOOK, "expirationDateTime": "soon"}],
        [{**WEBHOOK, "expirationDateTime": True}],
        [{**WEBHOOK, "expirationDateTime": 10**400}],
        [{**WEBHOOK, "expirationDateTime": "0001-01-01T00:00:00+14:00"}],
        [WEBHOOK, None],
        {"data": [], "hasMore": True},
        {"data": [], "hasMore": True, "nextPage": True},
        {"data": [], "hasMore": True, "nextPage": {}},
        {"data": [], "nextPage": "http://["},
    ],
    ids=str,
)
def test_a_list_of_a_wrong_shape_is_a_bad_answer(api: StubServer, desk: Desk, answer: object) -> None:
    api.say(Scripted.json(answer))
    with pytest.raises(InvalidResponse):
        provider.list_remote(desk.session)


def test_a_number_is_an_id_too(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json([{**WEBHOOK, "id": 17}]))
    assert provider.list_remote(desk.session)[0].remote_id == "17"


def test_the_token_never_follows_a_next_page_to_another_host(api: StubServer, desk: Desk) -> None:
    elsewhere = "https://elsewhere.example.test/api/v1/webhooks?startingAfter=1"
    api.say(Scripted.json({"data": [WEBHOOK], "hasMore": True, "nextPage": elsewhere}), Scripted.json([]))
    assert len(provider.list_remote(desk.session)) == 1
    assert [call.path for call in api.received] == ["/api/v1/webhooks", "/api/v1/webhooks?startingAfter=1"]


@pytest.mark.parametrize("same", [True, False])
def test_a_list_without_end_is_a_bad_answer(api: StubServer, desk: Desk, same: bool) -> None:
    pages = [{"data": [], "hasMore": True, "nextPage": 1 if same else number} for number in range(120)]
    api.say(*(Scripted.json(page) for page in pages))
    with pytest.raises(InvalidResponse, match="does not end"):
        provider.list_remote(desk.session)
    assert len(api.received) == (2 if same else 100)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id": null}', b"[" * 100_000], ids=range(5))
def test_an_unreadable_yes_to_a_registration_leaves_the_outcome_unknown(
    api: StubServer, desk: Desk, body: bytes
) -> None:
    api.say(Scripted(201, body))
    with pytest.raises(InvalidResponse) as caught:
        provider.register(desk.session, registration())
    assert caught.value.outcome_unknown


def test_an_answer_about_another_webhook_is_a_bad_answer(api: StubServer, desk: Desk) -> None:
    api.say(Scripted.json({**WEBHOOK, "id": "another"}))
    with pytest.raises(InvalidResponse, match="another one"):
        provider.read_remote(desk.session, ID)


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {}, AuthenticationFailed, "Enter a new one"),
        (403, {}, PermissionMissing, "belongs to the tenant"),
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
def test_statuses(
    api: StubServer, desk: Desk, status: int, headers: dict[str, str], kind: type[ProviderError], words: str
) -> None:
    api.say(Scripted.json({"statusCode": status, "message": "why"}, status, headers))
    with pytest.raises(kind, match=words) as caught:
        provider.register(desk.session, registration())
    assert type(caught.value) is kind
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("body", "words", "field"),
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
    api.say(Scripted.json({"message": f"integrityKey '{SECRET}' of {PASTED} is refused"}, 400))
    with pytest.raises(Refused) as caught:
        provider.register(desk.session, registration())
    told = f"{caught.value} {caught.value.message} {desk.exchanges}"
    assert SECRET not in told
    assert PASTED not in told


# -- Logging in ----------------------------------------------------------------------------------------------------

ISSUED = Scripted.json({"access_token": "issued-1", "expires_in": 3600}, 201)
LOGIN_PATH = f"/api/v1/developers/tenant/tenant-id/{TENANT}/applications/client-id/app%2F1/developer-login"


def test_the_developer_login_as_the_community_knows_it(api: StubServer, client_desk: Desk) -> None:
    api.say(ISSUED, Scripted.json([]), Scripted.json([]))
    provider.list_remote(client_desk.session)
    provider.list_remote(client_desk.session)
    first, second, third = api.received
    assert (first.method, first.path, first.json()) == ("POST", LOGIN_PATH, {"clientSecret": "client-s3cret"})
    assert first.header("Authorization") is None
    assert {second.header("Authorization"), third.header("Authorization")} == {"Bearer issued-1"}
    recorded = repr(client_desk.exchanges)
    assert "issued-1" not in recorded
    assert "client-s3cret" not in recorded


def test_a_refused_token_is_replaced_once_and_the_call_repeated(api: StubServer, client_desk: Desk) -> None:
    client_desk.session.tokens.put(TOKEN, "stale-token", datetime.now(UTC) + timedelta(hours=1))
    api.say(Scripted(401), ISSUED, Scripted.json([]))
    provider.list_remote(client_desk.session)
    assert [call.path for call in api.received] == ["/api/v1/webhooks", LOGIN_PATH, "/api/v1/webhooks"]
    assert "stale-token" not in repr(client_desk.exchanges)


def test_a_fresh_token_that_is_refused_ends_it(api: StubServer, client_desk: Desk) -> None:
    client_desk.session.tokens.put(TOKEN, "stale-token", datetime.now(UTC) + timedelta(hours=1))
    api.say(Scripted(401), ISSUED, Scripted(401))
    with pytest.raises(AuthenticationFailed):
        provider.list_remote(client_desk.session)
    assert len(api.received) == 3


def test_a_pasted_token_that_is_refused_is_not_tried_again(api: StubServer, desk: Desk) -> None:
    api.say(Scripted(401))
    with pytest.raises(AuthenticationFailed):
        provider.list_remote(desk.session)
    assert len(api.received) == 1


@pytest.mark.parametrize(
    ("life", "seconds"),
    [(3600, 3540), ("100", 90), (None, 270), ("soon", 270), (-5, 0), (10**400, 270), (1e12, 30 * 86400 - 60)],
)
def test_a_token_is_kept_until_shortly_before_it_expires(
    api: StubServer, client_desk: Desk, life: object, seconds: float
) -> None:
    kept: list[datetime] = []

    class Store:
        def get(self, name: str) -> str | None:
            return None

        def put(self, name: str, value: str, expires_at: datetime) -> None:
            kept.append(expires_at)

        def forget(self, name: str) -> None:
            raise AssertionError("nothing was kept")

    api.say(Scripted.json({"data": {"accessToken": "issued-2", "expiresIn": life}}), Scripted.json([]))
    provider.list_remote(replace(client_desk.session, tokens=Store()))
    assert abs((kept[0] - datetime.now(UTC)).total_seconds() - seconds) < 5


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Scripted(401), AuthenticationFailed, "client id and client secret"),
        (Scripted(403), AuthenticationFailed, "client id and client secret"),
        (Scripted(404), InvalidResponse, "login_url"),
        (Scripted(500), Unavailable, "trouble"),
        (Scripted(429, b"", {"Retry-After": "9"}), Throttled, "Too many"),
        (Scripted.json({}), InvalidResponse, "access_token"),
        (Scripted.json({"access_token": "a b\n"}), InvalidResponse, "access_token"),
        (Scripted.json([]), InvalidResponse, "no object"),
    ],
)
def test_a_login_that_fails(
    api: StubServer, client_desk: Desk, answer: Scripted, kind: type[ProviderError], words: str
) -> None:
    api.say(answer)
    with pytest.raises(kind, match=words) as caught:
        provider.list_remote(client_desk.session)
    assert type(caught.value) is kind
    assert len(api.received) == 1


def test_where_the_login_goes() -> None:
    def host(**settings: object) -> str:
        return login_address(validate(SideDrawerSettings, {"tenant_id": "t", **settings}), "c").partition("/api")[0]

    assert host() == GATEWAYS["production"]
    assert host(environment="sandbox") == "https://tenants-gateway-api-sbx.sidedrawersbx.com"
    assert host(base_url="http://127.0.0.1:1") == "http://127.0.0.1:1"
    assert host(base_url="http://127.0.0.1:1", login_url="https://login.example.test") == "https://login.example.test"


# -- Settings, credentials and config ------------------------------------------------------------------------------


def complaints(model: Any, data: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        validate(model, data)
    return {error.field: error.message for error in caught.value.errors}


def settings(**values: object) -> SideDrawerSettings:
    return validate(SideDrawerSettings, {"tenant_id": TENANT, **values})


def test_environments() -> None:
    assert provider.api_origin(settings()) == "https://api.sidedrawer.com"
    assert provider.api_origin(settings(environment="sandbox")) == "https://api-sbx.sidedrawersbx.com"


def test_unconfirmed_facts_are_marked_settings() -> None:
    properties = SideDrawerSettings.model_json_schema()["properties"]
    assert {name for name, schema in properties.items() if schema.get("unconfirmed")} == {
        "login_url",
        "collection_path",
        "item_path",
        "update_verb",
        "modification_type_case",
        "id_fields",
        "integrity_header",
        "accept_compact_json",
    }


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("tenant_id", "", "tenant_id"),
        ("tenant_id", "a/b", "tenant_id"),
        ("tenant_id", "..", "tenant_id"),
        ("environment", "staging", "environment"),
        ("collection_path", "api/v1/webhooks", "collection_path"),
        ("collection_path", "https://api.example.test/x", "collection_path"),
        ("collection_path", "//evil.example.test/x", "collection_path"),
        ("collection_path", "/x?y=1", "collection_path"),
        ("collection_path", "/x/../y", "collection_path"),
        ("collection_path", "/x/{id}", "collection_path"),
        ("collection_path", "/x y", "collection_path"),
        ("item_path", "/x", "item_path"),
        ("item_path", "/x/{id}/{id}", "item_path"),
        ("item_path", "/x/{id}/{other}", "item_path"),
        ("item_path", "/x/{id", "item_path"),
        ("update_verb", "DELETE", "update_verb"),
        ("id_fields", [], "id_fields"),
        ("id_fields", ["id", "a b"], "id_fields.1"),
        ("integrity_header", "X Hash", "integrity_header"),
        ("login_url", "https://x.example.test/login", "login_url"),
        ("base_url", "https://x.example.test/api", "base_url"),
    ],
)
def test_wrong_settings_are_refused_at_the_field(name: str, value: object, field: str) -> None:
    assert list(complaints(SideDrawerSettings, {"tenant_id": TENANT, name: value})) == [field]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "access_token"),
        ({"access_token": ""}, "access_token"),
        ({"client_id": "a"}, "client_secret"),
        ({"client_secret": "s"}, "client_secret"),
        ({"client_id": "a", "client_secret": " "}, "client_secret"),
        ({"client_id": "a", "client_secret": "s", "access_token": "t"}, "access_token"),
        ({"access_token": "Bearer t"}, "access_token"),
        ({"access_token": "a\nb"}, "access_token"),
    ],
)
def test_credentials_are_exactly_one_of_two_ways(given: dict[str, str], field: str) -> None:
    assert list(complaints(SideDrawerCredentials, given)) == [field]


def test_a_way_that_is_emptied_does_not_count() -> None:
    kept = validate(SideDrawerCredentials, {"access_token": None, "client_id": "a", "client_secret": "s"})
    assert set(kept.secret_values()) == {"a", "s"}
    kept = validate(SideDrawerCredentials, {"access_token": "t", "client_id": "", "client_secret": " "})
    assert kept.secret_values() == ("t",)


@pytest.mark.parametrize(
    ("given", "merged"),
    [
        ({"client_id": "a", "client_secret": "s"}, {"client_id": "a", "client_secret": "s"}),
        ({"access_token": "new"}, {"access_token": "new"}),
        ({}, {"access_token": "old"}),
        ({"client_secret": ""}, {"access_token": "old", "client_secret": ""}),
        ({"client_id": "a", "access_token": "new"}, {"access_token": "new", "client_id": "a"}),
    ],
)
def test_entering_one_way_of_logging_in_drops_the_other(given: dict[str, str], merged: dict[str, str]) -> None:
    assert provider.merge_credentials({"access_token": "old"}, given) == merged


def test_a_new_client_secret_keeps_the_client_id() -> None:
    stored = {"client_id": "a", "client_secret": "old"}
    assert provider.merge_credentials(stored, {"client_secret": "new"}) == {"client_id": "a", "client_secret": "new"}
    assert provider.merge_credentials(stored, {"access_token": "t"}) == {"access_token": "t"}


@pytest.mark.parametrize("resource", [filled(resource.template) for resource in RESOURCES])
def test_every_resource_of_the_reference_is_taken(resource: str) -> None:
    assert validate(SideDrawerConfig, {"resource": f"/{resource}/", "modification_type": "any"}).resource == resource


def test_there_are_thirteen_resources_and_the_simulator_knows_the_same() -> None:
    assert len(RESOURCES) == 13
    assert [resource.template for resource in RESOURCES] == list(THEIR_RESOURCES)
    assert {resource.kind for resource in RESOURCES} == set(KINDS)
    for resource in RESOURCES:
        path = filled(resource.template)
        assert resource_of(path) == resource
        assert kind_of(path) == kind_of(f"{path}/one-more") == resource.kind


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        ("", "none of SideDrawer's resources"),
        ("tenant/{tenantId}/sidedrawer", "in the place of {tenantId}"),
        ("tenant//sidedrawer", "empty"),
        ("tenant/../sidedrawer", "empty"),
        ("tenant/a b/sidedrawer", "blanks"),
        ("tenant/a?b/sidedrawer", "blanks"),
        ("tenant/a\x00b/sidedrawer", "control"),
        ("tenant/a", "none of SideDrawer's resources"),
        ("tenant/a/sidedrawer/b", "tenant/{tenantId}/sidedrawer/{sidedrawerId}/record"),
        ("tenant/a/Sidedrawer", "none of SideDrawer's resources"),
        ("subscription/a/license/b", "none of SideDrawer's resources"),
    ],
)
def test_other_resources_are_refused_with_what_to_do(resource: str, words: str) -> None:
    told = complaints(SideDrawerConfig, {"resource": resource, "modification_type": "any"})
    assert list(told) == ["resource"]
    assert words in told["resource"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modification_type": "created"}, "modification_type"),
        ({"modification_type": 1}, "modification_type"),
        ({"connection_type": "SMTP"}, "connection_type"),
        ({"connection_type": "SOCKET"}, "notification_messages"),
        ({"connection_type": "socket", "notification_messages": " "}, "notification_messages"),
        ({"lifetime_days": 0}, "lifetime_days"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_wrong_configs_are_refused_at_the_field(changes: dict[str, object], field: str) -> None:
    config = {"resource": PLACES["record"], "modification_type": "any", **changes}
    assert list(complaints(SideDrawerConfig, config)) == [field]


def test_the_templates_are_in_the_schema_for_forms() -> None:
    schema = SideDrawerConfig.model_json_schema()["properties"]["resource"]
    assert [item["template"] for item in schema["templates"]] == [resource.template for resource in RESOURCES]
    assert sum(bool(item["doubt"]) for item in schema["templates"]) == 4


def test_warnings() -> None:
    def told(**changes: object) -> tuple[str, ...]:
        config = {"resource": PLACES["record"], "modification_type": "create", "notification_messages": "x", **changes}
        return provider.warnings(validate(SideDrawerConfig, config))

    assert told() == ()
    (socket,) = told(connection_type="SOCKET")
    assert "not over HTTP" in socket
    (doubt,) = told(resource=f"{DRAWER}/record/r1")
    assert "create may be refused" in doubt
    assert len(told(resource="subscription/s/license", connection_type="SOCKET")) == 2


def test_the_lifetime_is_no_difference_to_what_is_registered() -> None:
    config = {"resource": PLACES["record"], "modification_type": "any"}
    short, long = (validate(SideDrawerConfig, {**config, "lifetime_days": days}) for days in (1, 365))
    assert provider.canonical(short) == provider.canonical(long)


# -- Verification --------------------------------------------------------------------------------------------------

VECTOR_HEX = "47218758515756d868e172a5e0379a167fb10e308111f0ef13b49d5d67d6719b"
VECTOR_BASE64 = "RyGHWFFXVtho4XKl4DeaFn+xDjCBEfDvE7SdXWfWcZs="


def verify(value: str | None, *, body: bytes = b'{"a":1}', secrets: tuple[str, ...] = ("k1",), **changes: Any) -> Any:
    headers = () if value is None else ((str(changes.pop("header", "integrityHash")), value),)
    return provider.verify(inbound(body, headers=headers), secrets, settings(**changes))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (VECTOR_HEX, "hex"),
        (VECTOR_HEX.upper(), "hex"),
        (f" {VECTOR_HEX} ", "hex"),
        (f"sha256={VECTOR_HEX}", "hex after sha256="),
        (f"SHA256={VECTOR_BASE64}", "base64 after sha256="),
        (VECTOR_BASE64, "base64"),
        (VECTOR_BASE64.rstrip("="), "base64"),
        (VECTOR_BASE64.replace("+", "-"), "base64url"),
        (VECTOR_BASE64.replace("+", "-").rstrip("="), "base64url"),
    ],
)
@pytest.mark.parametrize("header", ["integrityHash", "integrityhash", "IntegrityHash"])
def test_every_encoding_and_the_matched_form(value: str, form: str, header: str) -> None:
    found = verify(value, header=header)
    assert (found.result, found.secret_index) == (VerificationResult.VERIFIED, 0)
    assert f"({form})" in found.detail
    assert found.proof_headers == (header,)


@pytest.mark.parametrize(
    "value",
    ["", "sha256=", VECTOR_HEX[:-1], VECTOR_HEX + "0", VECTOR_BASE64.lower(), "sha1=" + VECTOR_HEX, "\ud800", "é" * 64],
)
def test_nothing_else_passes(value: str) -> None:
    assert verify(value).result is VerificationResult.FAILED


def test_no_header_or_no_key_is_a_failure_never_unverifiable() -> None:
    assert verify(None).result is VerificationResult.FAILED
    assert "no header integrityHash" in verify(None).detail
    assert verify(VECTOR_HEX, secrets=()).result is VerificationResult.FAILED
    assert "No integrity key" in verify(VECTOR_HEX, secrets=("",)).detail


def test_the_header_is_a_setting_and_a_hash_elsewhere_is_named() -> None:
    assert verify(VECTOR_HEX, header="x-hash", integrity_header="X-Hash").result is VerificationResult.VERIFIED
    found = verify(VECTOR_HEX, header="X-Hash")
    assert found.result is VerificationResult.FAILED
    assert "came in the header X-Hash" in found.detail
    assert "integrity_header" in found.detail
    assert "x-hash" in provider.sensitive_headers(settings(integrity_header="X-Hash"))


def test_the_newest_key_that_matches_is_named() -> None:
    assert verify(VECTOR_HEX, secrets=("new", "k1")).secret_index == 1
    assert verify(VECTOR_HEX, secrets=("k1", "k1")).secret_index == 0


def test_compact_json_is_a_second_try_only_where_it_is_asked_for() -> None:
    pretty = b'{\n  "a": 1\n}'
    assert verify(VECTOR_HEX, body=pretty).result is VerificationResult.FAILED
    found = verify(VECTOR_HEX, body=pretty, accept_compact_json=True)
    assert found.result is VerificationResult.VERIFIED
    assert "compact JSON" in found.detail
    assert "compact" not in verify(VECTOR_HEX, accept_compact_json=True).detail
    for body in (b"", b"\xff", b"{", b"[" * 100_000, b'"\\ud800"'):
        assert verify(VECTOR_HEX, body=body, accept_compact_json=True).result is VerificationResult.FAILED


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b"[1.0, -0.0, 0, -0, 1.50, 123.456, -7.25]", "[1,0,0,0,1.5,123.456,-7.25]"),
        (
            b"[1e21, 1.0e20, 1.25e+22, 123456789012345680000]",
            "[1e+21,100000000000000000000,1.25e+22,123456789012345680000]",
        ),
        (b"[1e-6, 0.000001234, 1e-7, -1.5e-9, 5e-324]", "[0.000001,0.000001234,1e-7,-1.5e-9,5e-324]"),
        (b"[9007199254740993, 1152921504606846976]", "[9007199254740992,1152921504606847000]"),
        (b"[" + b"9" * 400 + b", true, null]", "[null,true,null]"),
        (b'{"b": 1, "10": 2, "9": 3, "01": 4, "4294967295": 5}', '{"9":3,"10":2,"b":1,"01":4,"4294967295":5}'),
        ('{"ä": "\\u00e9\\u2028\\/\\u0001\\n\x7f"}'.encode(), '{"ä":"é\u2028/\\u0001\\n\x7f"}'),
        (b'["\\uD800", "\\ud83d\\ude00"]', '["\\ud800","\U0001f600"]'),
    ],
)
def test_compact_json_is_written_as_javascript_does(body: bytes, written: str) -> None:
    signature = hmac.new(b"k1", written.encode(), hashlib.sha256).hexdigest()
    assert verify(signature, body=body, accept_compact_json=True).result is VerificationResult.VERIFIED


def test_many_headers_on_a_large_body_take_bounded_time() -> None:
    headers = tuple((f"X-{number}", VECTOR_HEX) for number in range(1000))
    started = time.thread_time()
    found = provider.verify(inbound(b"x" * 10_000_000, headers=headers), ["k1", "k2"], settings())
    assert found.result is VerificationResult.FAILED
    assert time.thread_time() - started < 3


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    return {
        "resource": f"{DRAWER}/record/r1",
        "modificationType": "update",
        "modificationDateTime": "2026-01-02T03:04:05Z",
        **changes,
    }


def test_ten_kinds_with_three_modifications() -> None:
    assert len(EVENT_TYPES) == 30
    assert set(SideDrawerSimulator.event_types) == {item.name for item in EVENT_TYPES}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b'{"events": []}', b"\xef\xbb\xbf[]"])
def test_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [None, 1, "text", True])
def test_what_has_no_objects_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableRequest, match="neither an object nor a list"):
        parse(value)


CIPHERTEXT = base64.b64encode(hashlib.sha512(b"x").digest()).decode()
JWE = (
    "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX.XFBo"
)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (CIPHERTEXT.encode(), "base64 text"),
        (CIPHERTEXT.replace("+", "-").replace("/", "_").rstrip("=").encode(), "base64 text"),
        (b"\n".join(base64.encodebytes(b"\x01" * 200).split()), "base64 text"),
        (hashlib.sha512(b"x").hexdigest().encode(), "hexadecimal text"),
        (b"a1b2c3d4e5f60718293a4b5c:00112233445566778899aabbccddeeff", "hexadecimal text"),
        (JWE.encode(), "a JWE"),
        (json.dumps(CIPHERTEXT).encode(), "base64 text"),
        (json.dumps({"data": CIPHERTEXT, "keyVersion": 2}).encode(), "base64 text in the field data"),
        (json.dumps({"payload": JWE}).encode(), "a JWE in the field payload"),
        (json.dumps({"protected": "e30", "iv": "x", "ciphertext": "abc", "tag": "t"}).encode(), "field ciphertext"),
        (json.dumps({"encryptedData": "abc", "iv": "x"}).encode(), "field encryptedData"),
        (hashlib.sha512(b"x").digest(), "binary data"),
        (b"\xff\x80\x07", "binary data"),
        (b"deadbeefdeadbeef", "hexadecimal text"),
        (b'"' + b"ab" * 40 + b'"', "hexadecimal text"),
        (json.dumps([CIPHERTEXT]).encode(), "base64 text in a list"),
        (json.dumps({"events": [CIPHERTEXT, CIPHERTEXT]}).encode(), "base64 text in a list"),
        (b'["deadbeefdeadbeef"]', "hexadecimal text in a list"),
        (b'{"iv": "00112233", "content": "deadbeef"}', "hexadecimal text in the field content"),
        (b'{"iv": "AAECAw==", "content": "c2VjcmV0"}', "base64 text in the field content"),
        (b'{"iv": "AAECAw==", "tag": "BAUG", "value": "c2VjcmV0"}', "base64 text in the field value"),
        (b'{"nonce": "AAECAw==", "data": "c2VjcmV0"}', "base64 text in the field data"),
        (b'{"authTag": "AAECAw==", "payload": "c2VjcmV0"}', "base64 text in the field payload"),
        (json.dumps({"tag": "BAUG", "value": CIPHERTEXT}).encode(), "base64 text in the field value"),
        (b'{"iv": "AAECAw==", "encrypted": "c2VjcmV0"}', "field encrypted"),
        (b'{"version": 1, "encrypted": {"iv": "AA==", "content": "c2VjcmV0"}}', "in the field content of encrypted"),
    ],
)
def test_what_looks_encrypted_is_unreadable_as_a_whole_with_that_reason(body: bytes, form: str) -> None:
    with pytest.raises(UnreadableRequest) as caught:
        provider.parse(inbound(body))
    assert "encrypted" in str(caught.value)
    assert "integrity key" in str(caught.value)
    assert form in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"<html><body>Service unavailable, please try again</body></html>", b"{broken", b"a=1&b=2", b"short", b"deadbeef"],
)
def test_other_rubbish_is_not_called_encrypted(body: bytes) -> None:
    with pytest.raises(UnreadableRequest) as caught:
        provider.parse(inbound(body))
    assert "encrypted" not in str(caught.value)


def test_an_event_with_a_long_text_inside_is_not_called_encrypted() -> None:
    assert parse(event(data=CIPHERTEXT)).events[0].type == "record.update"
    assert parse({"checksum": CIPHERTEXT}).events[0].type == "unknown.unknown"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (event(iv="00112233", content="deadbeefdeadbeef", tag="AAECAw=="), "record.update"),
        ({"eventType": "record.created", "content": CIPHERTEXT, "iv": "AAECAw=="}, "record.create"),
        ({"name": "x", "tag": "vip", "content": "hello"}, "unknown.unknown"),
        ({"iv": "AAECAw==", "content": "two words"}, "unknown.unknown"),
        ({"data": "64b7f0c2a1d3e40012ab34cd"}, "unknown.unknown"),
    ],
)
def test_what_has_the_fields_of_an_event_or_plain_words_is_an_event(value: object, kind: str) -> None:
    assert [item.type for item in parse(value).events] == [kind]
    assert [item.type for item in parse([value]).events] == [kind]


def test_one_ciphertext_among_events_leaves_them_readable() -> None:
    found = parse([event(), CIPHERTEXT])
    assert (len(found.events), len(found.unreadable)) == (1, 1)


@pytest.mark.parametrize(
    ("word", "modification"),
    [
        ("Create", "create"),
        ("CREATED", "create"),
        ("record.created", "create"),
        ("add", "create"),
        ("Modified", "update"),
        ("removed", "delete"),
        ("SIDEDRAWER_RECORD_DELETED", "delete"),
        ("archive", "archive"),
        ("Moved to trash", "moved-to-trash"),
        ("?!", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
        ("x" * 999, "x" * 40),
    ],
)
def test_modifications(word: object, modification: str) -> None:
    found = parse(event(modificationType=word)).events[0]
    assert found.type == f"record.{modification}"
    assert (found.action is Action.OTHER) == (modification not in ("create", "update", "delete"))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"resource": "record"}, "record"),
        ({"entityType": "PlanRequest"}, "plan-request"),
        ({"entity": "plan_item"}, "plan-item"),
        ({"objectType": "Folder"}, "record"),
        ({"kind": "Files"}, "file"),
        ({"entity": "network", "sidedrawerId": "d"}, "sidedrawer-network"),
        ({"entity": "network"}, "network"),
        ({"type": "license.updated"}, "license"),
        ({"sidedrawerId": "d", "recordId": "r"}, "record"),
        ({"data": {"planItemId": "i", "planRequestId": "p"}}, "plan-item"),
        ({"data": {"resource": "tenant/t/sidedrawer/d/inbox/i"}}, "inbox"),
        ({"resource": "elsewhere/1/record/2"}, "unknown"),
        ({"resource": "tenant"}, "unknown"),
    ],
)
def test_kinds(fields: dict[str, object], kind: str) -> None:
    found = parse({"modificationType": "update", **fields}).events[0]
    assert found.type == f"{kind}.update"
    assert (found.action is Action.OTHER) == (kind == "unknown")


def test_data_is_the_element_as_it_was_sent() -> None:
    element = event(data={"name": "x"}, extra=[1, {"b": None}])
    assert parse([element]).events[0].data == element


def test_dedup_keys() -> None:
    def key(received_at: datetime = RECEIVED_AT, **changes: Any) -> str:
        request = inbound(json.dumps(event(**changes)).encode())
        return provider.parse(replace(request, received_at=received_at)).events[0].dedup_key

    later = RECEIVED_AT + timedelta(days=3)
    assert key() == key() == key(later) == key(webhookId="old") == key(webhookId="new")
    assert key() != key(modificationDateTime="2026-01-02T03:04:06Z")
    timeless: dict[str, Any] = {"modificationDateTime": None}
    assert key(**timeless) == key(RECEIVED_AT + timedelta(minutes=10), **timeless)
    assert key(**timeless) != key(later, **timeless)
    before, after = (datetime(2026, 1, 2, 3, 59, 59, tzinfo=UTC), datetime(2026, 1, 2, 4, 0, 4, tzinfo=UTC))
    assert key(before, **timeless) == key(after, **timeless)
    assert key(before, **timeless) != key(before + timedelta(days=1), **timeless)
    assert key(**timeless, eventId="e1") == key(later, **timeless, eventId="e1")


NO_TIMES: tuple[object, ...] = (
    None, True, 0, -5, "soon", 10**400, 1e300, [], "9" * 60, "0001-01-01T00:00:00+14:00",
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05-03:00", datetime(2026, 1, 2, 6, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_times(value: object, expected: datetime | None) -> None:
    assert parse(event(modificationDateTime=value)).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("fields", "actor"),
    [
        ({"openId": "auth0|1"}, "auth0|1"),
        ({"user": {"email": "a@b.test", "openId": "auth0|1"}}, "a@b.test"),
        ({"openId": "", "modifiedBy": "ann"}, "ann"),
        ({"data": {"openId": "auth0|of-the-thing"}}, None),
        ({"openId": 7, "user": []}, None),
        ({"openId": "a\0\ud800" + "x" * 999}, "a\ufffd\ufffd" + "x" * 252),
    ],
)
def test_actors(fields: dict[str, object], actor: str | None) -> None:
    assert parse(event(**fields)).events[0].actor == actor


@pytest.mark.parametrize(
    ("fields", "resource"),
    [
        ({"resource": "/tenant/t/sidedrawer/"}, "tenant/t/sidedrawer"),
        ({"resource": "record", "data": {"fileName": "a.pdf", "id": "1"}}, "a.pdf"),
        ({"resource": None, "name": "x"}, "x"),
        ({"resource": "/" + "x/" * 5000}, "x/" * 1000),
        ({"resource": 7}, None),
    ],
)
def test_resources(fields: dict[str, object], resource: str | None) -> None:
    found = parse(event(**fields)).events[0].resource
    assert found == (resource.strip() if resource else None)


KEYS = (
    "resource", "modificationType", "modificationDateTime", "event", "events", "data", "payload", "type", "entity",
    "openId", "user", "email", "name", "recordId", "eventId", "ciphertext", "timestamp",
)  # fmt: skip
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**18), 1767323045, 1767323045000])
    | st.floats(allow_nan=True, allow_infinity=True)
    | ANY_TEXT
    | st.sampled_from(["create", "tenant/t/sidedrawer", "record", "\ud800", "\x00", "x" * 300, "2026-01-02T03:04:05Z"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(KEYS) | ANY_TEXT, inner, max_size=8),
    max_leaves=30,
)
ODD_EVENTS = st.lists(
    st.fixed_dictionaries({"modificationType": SCALARS}, optional=dict.fromkeys(KEYS[2:], JSON)), max_size=4
)


def check_it_can_be_stored(parsed: Parsed) -> None:
    for item in parsed.events:
        for text in (item.type, item.dedup_key, item.resource, item.actor, item.resource_type):
            assert text is None or (text and "\x00" not in text and text.encode())
        assert len(item.type) <= 100
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
    st.lists(st.tuples(ANY_TEXT | st.just("integrityHash"), ANY_TEXT | st.just(VECTOR_HEX))),
    st.lists(ANY_TEXT, max_size=3),
    st.binary(max_size=100) | st.just(b'{"a":1}'),
    st.booleans(),
)
def test_verification_never_raises(
    headers: list[tuple[str, str]], secrets: list[str], body: bytes, compact: bool
) -> None:
    found = provider.verify(
        inbound(body, headers=tuple(headers)), [*secrets, "k1"], settings(accept_compact_json=compact)
    )
    carried = ("integrityHash", VECTOR_HEX) in headers and body == b'{"a":1}'
    assert found.result is VerificationResult.VERIFIED or not carried


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b"[" * 500 + b"]" * 500,
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b'[{"modificationType": ' + b"9" * 5_000_000 + b"}]",
        b'[{"modificationType": 1e999}]',
        b"A" * 10_000_000,
        b"A." * 5_000_000,
        b" A" * 5_000_000,
        b"\xff" * 10_000_000,
    ],
    ids=["lists", "objects", "deep", "many", "number", "infinite", "base64", "parts", "blanks", "binary"],
)
def test_bodies_made_to_hurt_are_refused_in_bounded_time(body: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(UnreadableRequest):
        provider.parse(inbound(body))
    assert time.thread_time() - started < 5


def test_a_long_text_in_every_field_is_bounded() -> None:
    long = "é/" * 500_000
    parsed = parse(dict.fromkeys(KEYS, long) | {"data": {"name": long, long: {long: long}}})
    check_it_can_be_stored(parsed)
    assert len(parsed.events[0].resource or "") == 2000


def test_the_demo_hears_of_every_type() -> None:
    simulator = SideDrawerSimulator("http://127.0.0.1:1", sender=WebhookSender({}))
    configs = [validate(SideDrawerConfig, config) for config in simulator.demo_configs().values()]
    simulator.close()
    templates = [resource.template for config in configs if (resource := resource_of(config.resource))]
    assert {kind for template in templates for kind in THEIR_RESOURCES[template]} == set(KINDS)
    assert {config.modification_type for config in configs} == {"any"}
