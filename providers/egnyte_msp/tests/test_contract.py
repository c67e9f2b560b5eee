"""The contract tests of Egnyte MSP, and tests against its simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    LimitReached,
    PermissionMissing,
    Refused,
    Throttled,
)
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.egnyte_msp import provider
from providers.egnyte_msp.event_types import EVENT_TYPES
from providers.egnyte_msp.schemas import MspCredentials, MspSettings
from providers.egnyte_msp.tests.samples import FIXTURES, TOKEN
from tests.harness.inbound import inbound
from tests.harness.live_session import Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import StubServer


class TestEgnyteMsp(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"domain": "acme"}
    credentials: ClassVar[Mapping[str, object]] = {"access_token": TOKEN}
    config: ClassVar[Mapping[str, object]] = {"event_types": ["USER_ADDED", "RESELLER_MRR_CHANGED"]}
    other_config: ClassVar[Mapping[str, object]] = {"event_types": ["RESELLER_INVOICE_PAID"]}
    everything: ClassVar[Mapping[str, object]] = {"event_types": [item.name for item in EVENT_TYPES]}
    optional_fields = ("event_types", "eventTypes", "webhook_url", "auth_header", "auth_header_value")
    body_fields = (
        "event_type", "reseller_code", "transaction_timestamp", "user_email", "first_name", "last_name", "email",
        "company_name", "event_created_by", "is_event_by_staff_user", "nfr_domain_name", "nfr_plan", "power_users",
        "storage",
    )  # fmt: skip
    sandbox_options: ClassVar[Mapping[str, object]] = {"calls_per_second": None}

    @pytest.mark.parametrize("options", [{"throttle_style": "mashery"}, {"throttle_style": "429"}], ids=str)
    @pytest.mark.parametrize("limit", [{"calls_per_second": 1}, {"day_quota": 1}], ids=str)
    def test_live_both_throttle_styles_report_both_limits(
        self, live: Live, options: dict[str, object], limit: dict[str, object]
    ) -> None:
        live.control("options", **options, **limit)
        provider.list_remote(live.session)
        with pytest.raises(Throttled) as caught:
            provider.identify(live.session)  # after throttling, the list call is not tried instead
        assert caught.value.retry_after
        assert (caught.value.retry_after > 60) == ("day_quota" in limit)
        live.control("clock", advance_seconds=86400)
        assert provider.list_remote(live.session) == ()

    @pytest.mark.parametrize("limit", [2, 5])
    def test_live_exceeding_the_webhook_limit_is_limit_reached(self, live: Live, limit: int) -> None:
        live.control("options", max_webhooks=limit)
        for _ in range(limit):
            live.register(self.registration())
        with pytest.raises(LimitReached, match=r"Max webhook limit exceeded\. \(webhook_limit_exceeded_error\)"):
            live.register(self.registration())

    def test_live_only_approved_partners_are_admitted(self, live: Live) -> None:
        live.control("options", approved_partner=False)
        with pytest.raises(PermissionMissing, match="Only approved MSP partners"):
            live.register(self.registration())

    def test_live_an_expired_token_is_refused_by_every_call(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        live.control("options", token_accepted=False)
        for call in (lambda: provider.identify(live.session), *self.calls_about(live, remote_id)):
            with pytest.raises(AuthenticationFailed, match="Enter a new one"):
                call()

    @pytest.mark.parametrize("whoami", ["forbidden", "missing"])
    def test_live_without_whoami_the_list_checks_the_credentials(self, live: Live, whoami: str) -> None:
        live.control("options", whoami=whoami)
        live.register(self.registration())
        assert provider.identify(live.session).facts["webhooks"] == 1

    def test_live_identify_returns_the_domain(self, live: Live) -> None:
        assert provider.identify(live.session).facts["domain"] == live.account["settings"]["domain"]

    @pytest.mark.parametrize("spelling", ["eventTypes", "event_types"])
    def test_live_a_server_may_know_only_one_field_name(self, live: Live, spelling: str) -> None:
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

    def test_live_a_visible_secret_is_compared(self, live: Live) -> None:
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
    def test_live_an_update_may_enable_a_webhook(self, live: Live, enables: bool) -> None:
        live.control("options", update_enables=enables)
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control(f"remote/{remote_id}", status="disabled")
        assert provider.update(live.session, remote_id, registration).enabled is enables
        assert provider.list_remote(live.session)[0].enabled is enables

    @pytest.mark.parametrize("envelope", ["object", "array"])
    def test_live_objects_and_arrays_with_a_custom_header(self, live: Live, envelope: str) -> None:
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
        verifications = [provider.verify(request, [str(registration.secret)], login.settings) for request in requests]
        assert {item.proof_headers for item in verifications} == {("X-Partner-Key",)}
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
