"""The contract tests of Egnyte Connect, and tests against its simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from providers.contract.errors import (
    AuthenticationFailed,
    LimitReached,
    PermissionMissing,
    Throttled,
)
from providers.contract.parsing import VerificationResult
from providers.contract.schemas import validate
from providers.egnyte_connect import provider
from providers.egnyte_connect.event_types import ALL_EVENTS
from providers.egnyte_connect.schemas import EgnyteSettings
from providers.egnyte_connect.tests.samples import TOKEN
from tests.harness.inbound import inbound
from tests.harness.live_session import Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"


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
    body_fields = (
        "eventType", "eventId", "domain", "timestamp", "user", "data", "events", "email", "path", "isFolder",
        "webhookId",
    )  # fmt: skip
    optional_fields = ("eventType", "path", "authHeader", "url")
    sandbox_options: ClassVar[Mapping[str, object]] = {"calls_per_second": None}

    @pytest.mark.parametrize("options", [{"throttle_style": "mashery"}, {"throttle_style": "429"}], ids=str)
    @pytest.mark.parametrize("limit", [{"calls_per_second": 1}, {"day_quota": 1}], ids=str)
    def test_live_both_throttle_styles_report_both_limits(
        self, live: Live, options: dict[str, object], limit: dict[str, object]
    ) -> None:
        live.control("options", **options, **limit)
        provider.list_remote(live.session)
        with pytest.raises(Throttled) as caught:
            provider.list_remote(live.session)
        assert caught.value.retry_after
        assert (caught.value.retry_after > 60) == ("day_quota" in limit)
        assert ("per day" in caught.value.message) == ("day_quota" in limit)

    def test_live_exceeding_the_webhook_limit_is_limit_reached(self, live: Live) -> None:
        live.control("options", max_webhooks=0)
        with pytest.raises(LimitReached, match="At most 0 for one clientId and domain"):
            live.register(self.registration())

    def test_live_a_missing_scope_is_a_warning(self, live: Live) -> None:
        live.control("options", scopes=["Egnyte.filesystem"])
        assert "Egnyte.webhooks" in (provider.identify(live.session).warning or "")

    def test_live_only_administrators_may_manage_webhooks(self, live: Live) -> None:
        live.control("options", administrator=False)
        with pytest.raises(PermissionMissing, match="only administrators of the domain"):
            provider.identify(live.session)
        with pytest.raises(PermissionMissing, match="only administrators of the domain"):
            live.register(self.registration())
        live.control("options", administrator=True)
        live.register(self.registration())

    @pytest.mark.parametrize("whoami", ["forbidden", "missing"])
    def test_live_without_whoami_the_list_checks_the_token(self, live: Live, whoami: str) -> None:
        live.control("options", whoami=whoami)
        identity = provider.identify(live.session)
        assert (identity.facts, "does not show the owner" in (identity.warning or "")) == ({}, True)

    @pytest.mark.parametrize("form", [{"shown_text": "NFC"}, {"shown_text": "NFD"}], ids=str)
    @pytest.mark.parametrize("case", ["as sent", "lower", "upper"])
    def test_live_the_form_of_a_path_is_no_difference(self, live: Live, form: dict[str, object], case: str) -> None:
        paths = ["/Shared/Caf\u00e9", "/Shared/Zoe\u0308", "/Shared/\u00c4"]
        registration = self.registration(config=self.checked_config({"event_types": ["fs:*"], "paths": paths}))
        remote_id = live.register(registration).remote_id
        live.control("options", shown_path_case=case, **form)
        assert self.changes(provider.read_remote(live.session, remote_id, registration.secret), registration) == ()
        other = self.registration(config=self.checked_config({"event_types": ["fs:*"], "paths": paths[1:]}))
        (change,) = self.changes(provider.read_remote(live.session, remote_id, registration.secret), other)
        assert change.field == "paths"

    @pytest.mark.parametrize("types", [["fs:*", "link:create"], ["workflow:*", "permission:*"], []], ids=str)
    def test_live_wildcards_shown_as_their_types_are_no_difference(self, live: Live, types: list[str]) -> None:
        live.control("options", expand_wildcards=True)
        registration = self.registration(config=self.checked_config({"event_types": types}))
        remote_id = live.register(registration).remote_id
        self.expect(provider.read_remote(live.session, remote_id, registration.secret), registration)

    def test_live_all_events_can_be_chosen(self, live: Live) -> None:
        registration = self.registration(config=self.checked_config({"event_types": []}))
        remote_id = live.register(registration).remote_id
        self.expect(provider.read_remote(live.session, remote_id, registration.secret), registration)
        assert live.control("emit", remote_id=remote_id, event_type="group:rename")["deliveries"]

    def test_live_an_expired_token_is_refused_by_every_call(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        live.control("options", token_accepted=False)
        for call in (lambda: provider.identify(live.session), *self.calls_about(live, remote_id)):
            with pytest.raises(AuthenticationFailed, match="Enter a new one"):
                call()

    def test_live_hidden_details_are_unknown(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        assert provider.read_remote(live.session, remote_id, registration.secret).secret_matches is True
        assert provider.read_remote(live.session, remote_id, provider.new_secret()).secret_matches is False
        live.control("options", hide_url=True, hide_auth_header=True)
        remote = provider.read_remote(live.session, remote_id, registration.secret)
        assert (remote.url, remote.secret_matches) == (None, None)

    @pytest.mark.parametrize("delivery", ["authorization", "authentication"])
    @pytest.mark.parametrize("envelope", ["array", "object", "events"])
    def test_live_every_header_and_envelope_is_verified_and_parsed(
        self, live: Live, delivery: str, envelope: str
    ) -> None:
        live.control("options", auth_delivery=delivery, envelope=envelope)
        registration = self.registration(config=self.checked_config(self.everything))
        with StubServer() as receiver:
            live.register(replace(registration, callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit", count=5)
            requests = [inbound(call.body, headers=call.headers) for call in receiver.received]
        verifications = [
            provider.verify(request, [str(registration.secret)], live.session.settings) for request in requests
        ]
        assert {item.proof_headers for item in verifications} == {(delivery.capitalize(),)}
        parsed = [provider.parse(request) for request in requests]
        assert sum(len(item.events) for item in parsed) == 5
        assert not any(item.unreadable for item in parsed)

    def test_live_a_custom_header_is_verified(self, live: Live) -> None:
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
        verification = provider.verify(request, [str(registration.secret)], settings)
        assert (verification.result, verification.proof_headers) == (VerificationResult.VERIFIED, ("X-Hook",))
        # This API version hides the value, so it cannot be compared.
        assert provider.read_remote(login, remote_id, registration.secret).secret_matches is None
