"""SideDrawer: the shared contract suite, and live tests of its own features."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest

from providers.contract.base import Registration
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    Refused,
    Unavailable,
    UnreadableRequest,
    Unsupported,
)
from providers.contract.parsing import InboundRequest, VerificationResult
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.sidedrawer import provider
from providers.sidedrawer.auth import TOKEN_NAME
from providers.sidedrawer.resources import RESOURCES
from providers.sidedrawer.schemas import SideDrawerConfig, SideDrawerCredentials, SideDrawerSettings
from providers.sidedrawer.tests.samples import (
    DRAWER,
    ENTERED_TOKEN,
    ID,
    RESOURCES_BY_KIND,
    SECRET,
    SPARE,
    TENANT,
    WEBHOOK,
    fill_in,
)
from tests.harness.inbound import inbound
from tests.harness.live_session import Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import Scripted, StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"


class TestSideDrawer(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"tenant_id": TENANT}
    credentials: ClassVar[Mapping[str, object]] = {"access_token": ENTERED_TOKEN}
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
    optional_fields = (
        "status", "modificationType", "connectionType", "notificationUrl", "resource", "brandCode",
        "notificationMessages", "integrityKey", "maxRetries",
    )  # fmt: skip
    body_fields = (
        "modificationType", "resource", "modificationDateTime", "event", "events", "data", "payload", "type", "entity",
        "openId", "user", "email", "name", "recordId", "eventId", "ciphertext", "timestamp",
    )  # fmt: skip
    everything: ClassVar[Mapping[str, object]] = {"resource": RESOURCES_BY_KIND["record"], "modification_type": "any"}

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        value = hmac.new(secret.encode(), request.body, hashlib.sha256).hexdigest()
        return replace(request, headers=(*request.headers, ("integrityHash", value)))

    def config_for(self, event_type: str) -> Mapping[str, object]:
        return {"resource": RESOURCES_BY_KIND[event_type.partition(".")[0]], "modification_type": "any"}

    def test_examples_are_valid(self) -> None:
        """Check the examples as the suite does, but for both kinds of credentials."""
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
    def test_live_every_resource_is_registered_with_every_modification(
        self, live: Live, template: str, modification: str
    ) -> None:
        config = {"resource": fill_in(template), "modification_type": modification}
        registration = self.registration(config=self.checked_config(config))
        self.expect(live.register(registration), registration)

    @pytest.mark.parametrize("case", ["lower", "capitalised"])
    def test_live_the_case_of_the_modification_is_a_setting(self, live: Live, case: str) -> None:
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
    def test_live_the_id_is_read_from_each_default_field(self, live: Live, field: str) -> None:
        live.control("options", id_field=field)
        remote = live.register(self.registration())
        assert provider.read_remote(live.session, remote.remote_id).remote_id == remote.remote_id

    def test_live_an_unknown_id_field_is_listed_in_the_error_and_can_be_set(self, live: Live) -> None:
        live.control("options", id_field="uuid")
        with pytest.raises(InvalidResponse, match="id_fields") as caught:
            live.register(self.registration())
        assert caught.value.outcome_unknown
        assert "uuid" in caught.value.message
        settings = validate(SideDrawerSettings, {**live.account["settings"], "id_fields": ["uuid"]})
        assert len(provider.list_remote(replace(live.session, settings=settings))) == 1

    @pytest.mark.parametrize("form", ["url", "path", "query", "cursor"])
    def test_live_the_list_is_paginated(self, live: Live, form: str) -> None:
        live.control("options", page_size=2, next_page=form)
        ids = [live.register(self.registration()).remote_id for _ in range(5)]
        assert [remote.remote_id for remote in provider.list_remote(live.session)] == ids
        live.control("options", list_envelope="array")
        assert [remote.remote_id for remote in provider.list_remote(live.session)] == ids

    def test_live_a_socket_subscription_receives_nothing_over_http(self, live: Live) -> None:
        with StubServer() as receiver:
            socket = self.registration(
                callback_url=f"{receiver.url}/hooks/t", config=self.checked_config(self.other_config)
            )
            self.expect(live.register(socket), socket)
            assert live.control("emit", event_type="sidedrawer.update") == {"deliveries": []}
            assert live.control("emit", event_type="something.unknown") == {"deliveries": []}
            assert receiver.received == []

    def test_live_another_tenant_is_a_missing_permission(self, live: Live) -> None:
        config = self.checked_config({"resource": "tenant/other/sidedrawer", "modification_type": "any"})
        with pytest.raises(PermissionMissing, match="members of the tenant"):
            live.register(self.registration(config=config))

    def test_live_too_many_webhooks_are_limit_reached(self, live: Live) -> None:
        live.control("options", max_webhooks=0)
        with pytest.raises(LimitReached, match="At most 0"):
            live.register(self.registration())

    # -- Live: paths and methods that differ ---------------------------------------------------------------------

    def test_live_a_missing_path_is_explained_and_not_permanent(self, live: Live) -> None:
        live.control("options", paths_missing=True)
        for call in (lambda: provider.identify(live.session), lambda: live.register(self.registration())):
            with pytest.raises(InvalidResponse) as caught:
                call()
            assert not caught.value.permanent
            for text in ("404", "/api/v1/webhooks", "not confirmed", "collection_path", "item_path", "manual"):
                assert text in caught.value.message

    def test_live_the_paths_and_the_method_are_settings(self, live: Live) -> None:
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
            session = replace(live.session, settings=settings)
            api.say(Scripted.json([]), Scripted.json(WEBHOOK), Scripted.json(WEBHOOK))
            assert provider.list_remote(session) == ()
            provider.update(session, ID, self.registration())
            assert [(call.method, call.path) for call in api.received] == [
                ("GET", f"/v2/{TENANT}/hooks/"),
                ("PATCH", f"/v2/{TENANT}/hooks/{ID}/"),
                ("GET", f"/v2/{TENANT}/hooks/{ID}/"),
            ]

    def test_live_a_missing_item_path_is_distinguished_from_a_deleted_webhook(self, live: Live) -> None:
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
        for remaining_call in self.calls_about(live, remote_id):
            with pytest.raises(NotFound):
                remaining_call()

    def test_live_a_refused_update_method_is_unsupported(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control("options", allow_update=False)
        with pytest.raises(Unsupported, match="405"):
            provider.renew(live.session, remote_id, registration)

    # -- Live: leases and status ---------------------------------------------------------------------------------

    def test_live_the_granted_expiry_is_read_back(self, live: Live) -> None:
        remote = live.register(self.registration())
        assert remote.expires_at is not None
        assert 80 <= (remote.expires_at - datetime.now(UTC)).total_seconds() <= 91
        live.control("options", lease_seconds=10 * 365 * 86400)
        remote = live.register(self.registration())
        assert remote.expires_at is not None
        assert timedelta(days=29) < remote.expires_at - datetime.now(UTC) <= timedelta(days=30)

    def test_live_a_renewal_without_effect_keeps_the_expiry(self, live: Live) -> None:
        registration = self.registration()
        remote = live.register(registration)
        live.control("options", update_extends=False)
        assert provider.renew(live.session, remote.remote_id, registration).expires_at == remote.expires_at

    @pytest.mark.parametrize("shown", [True, False])
    def test_live_a_disabled_webhook_is_detected_by_its_status(self, live: Live, shown: bool) -> None:
        live.control("options", show_status=shown)
        remote_id = live.register(self.registration()).remote_id
        live.control(f"remote/{remote_id}", status="inactive")
        assert provider.read_remote(live.session, remote_id).enabled is not shown

    def test_live_a_hidden_key_leaves_secret_matches_unknown(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        assert provider.read_remote(live.session, remote_id, SECRET).secret_matches is False
        live.control("options", hide_integrity_key=True)
        assert provider.read_remote(live.session, remote_id, SECRET).secret_matches is None

    # -- Live: logging in ----------------------------------------------------------------------------------------

    def client(self, live: Live, **changes: str) -> ProviderSession[Any, Any]:
        """Return a session with client ID and client secret."""
        credentials = {"client_id": SPARE.client_id, "client_secret": SPARE.client_secret, **changes}
        return live.session_with(credentials=credentials)

    def logins(self, live: Live) -> int:
        """Return the number of developer logins."""
        return sum("developer-login" in call["path"] for call in live.state()["calls"])

    def test_live_client_id_and_secret_are_exchanged_for_a_token_once(self, live: Live) -> None:
        session = self.client(live)
        for _ in range(3):
            provider.list_remote(session)
        assert self.logins(live) == 1
        live.secrets.add(str(session.tokens.get(TOKEN_NAME)))

    def test_live_an_expired_token_is_renewed_once(self, live: Live) -> None:
        session = self.client(live)
        provider.list_remote(session)
        live.control("clock", advance_seconds=3600)
        provider.list_remote(session)
        assert self.logins(live) == 2

    def test_live_a_cached_token_is_masked(self, live: Live) -> None:
        session = self.client(live)
        provider.list_remote(session)
        later = replace(self.client(live), tokens=session.tokens)
        provider.register(later, self.registration())
        assert str(session.tokens.get(TOKEN_NAME)) in later.http.secrets

    @pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "wrong/../../x"}])
    def test_live_wrong_client_credentials_are_refused(self, live: Live, wrong: dict[str, str]) -> None:
        with pytest.raises(AuthenticationFailed, match="client ID and client secret"):
            provider.list_remote(self.client(live, **wrong))

    def test_live_faults_do_not_apply_to_the_developer_login(self, live: Live) -> None:
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
    def test_live_every_encoding_of_the_hash_is_verified(self, live: Live, encoding: str, form: str) -> None:
        live.control("options", hash_encoding=encoding)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            live.register(registration)
            live.control("emit", count=8)
            verifications = [
                provider.verify(
                    inbound(call.body, headers=call.headers), [str(registration.secret)], live.session.settings
                )
                for call in receiver.received
            ]
        assert {item.result for item in verifications} == {VerificationResult.VERIFIED}
        assert all(f"({form}" in item.detail for item in verifications)

    @pytest.mark.parametrize("style", ["resource", "event", "list"])
    def test_live_every_body_format_is_parsed(self, live: Live, style: str) -> None:
        live.control("options", body_style=style)
        with StubServer() as receiver:
            live.register(self.registration(callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit", event_type="record.update", count=3)
            parsed = [provider.parse(inbound(call.body)) for call in receiver.received]
        assert [event.type for item in parsed for event in item.events] == ["record.update"] * 3

    def delivered(self, live: Live) -> tuple[Registration[Any], InboundRequest]:
        """Register a webhook and return the registration with the one request that it gets."""
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            live.register(registration)
            live.control("emit")
            (request,) = [inbound(call.body, headers=call.headers) for call in receiver.received]
        return registration, request

    def test_live_encrypted_bodies_are_verified_but_unreadable(self, live: Live) -> None:
        live.control("options", encrypt_bodies=True)
        registration, request = self.delivered(live)
        verification = provider.verify(request, [str(registration.secret)], live.session.settings)
        assert verification.result is VerificationResult.VERIFIED
        with pytest.raises(UnreadableRequest, match="looks encrypted"):
            provider.parse(request)

    def test_live_a_hash_of_the_plain_event_of_an_encrypted_body_is_explained(self, live: Live) -> None:
        live.control("options", encrypt_bodies=True, hash_of="event")
        registration, request = self.delivered(live)
        verification = provider.verify(request, [str(registration.secret)], live.session.settings)
        assert verification.result is VerificationResult.FAILED
        assert "may be that of the plain event" in verification.detail
        plain = replace(request, body=b'{"resource": "tenant/1/sidedrawer"}')
        assert "plain" not in provider.verify(plain, [str(registration.secret)], live.session.settings).detail

    def test_live_a_fixed_expiry_is_requested_instead_of_days(self, live: Live) -> None:
        live.control("options", lease_seconds=5 * 365 * 86400.0)
        moment = (datetime.now(UTC) + timedelta(days=400)).replace(microsecond=0)
        for text in (moment.isoformat(), moment.astimezone(timezone(timedelta(hours=5))).isoformat()):
            config = self.checked_config({**self.config, "lifetime_days": 1, "expires_at": text})
            assert provider.fixed_end_field(config) == "expires_at"
            assert live.register(self.registration(config=config)).expires_at == moment

    def test_live_a_fixed_expiry_in_the_past_is_refused_before_the_call(self, live: Live) -> None:
        config = self.checked_config({**self.config, "expires_at": "2020-01-01T00:00:00Z"})
        before = len(live.state()["calls"])
        with pytest.raises(Refused, match="in the past") as caught:
            provider.register(live.session, self.registration(config=config))
        assert caught.value.field == "expires_at"
        assert len(live.state()["calls"]) == before

    @pytest.mark.parametrize(("retries", "tries"), [(0, 1), (2, 3)])
    def test_live_deliveries_are_retried_max_retries_times_then_the_webhook_is_disabled(
        self, live: Live, retries: int, tries: int
    ) -> None:
        live.control("options", retry_delays=[0.0], failures_until_disabled=1)
        with StubServer() as receiver:
            receiver.say(*[Scripted(500)] * 10)
            config = self.checked_config({**self.config, "max_retries": retries})
            live.register(self.registration(callback_url=f"{receiver.url}/hooks/t", config=config))
            live.control("emit")
            deadline = time.monotonic() + 30
            while live.state()["remote"][0]["enabled"] and time.monotonic() < deadline:
                time.sleep(0.02)
            assert len(receiver.received) == tries
        assert live.state()["remote"][0]["status"] == "inactive"

    @pytest.mark.slow
    def test_live_events_are_limited_to_the_resource(self, live: Live) -> None:
        with StubServer() as receiver:
            for resource in (f"{DRAWER}/record", f"{DRAWER}/plan-request/p7", f"{DRAWER}/record/r9"):
                config = self.checked_config({"resource": resource, "modification_type": "any"})
                live.register(self.registration(callback_url=f"{receiver.url}/{resource}", config=config))
            live.control("emit", count=40)
            for call in receiver.received:
                (event,) = provider.parse(inbound(call.body)).events
                resource = call.path.strip("/")
                assert event.resource == resource or str(event.resource).startswith(f"{resource}/")
                assert event.type.partition(".")[0] in (
                    ("record",) if "/record" in resource else ("plan-request", "plan-item")
                )
