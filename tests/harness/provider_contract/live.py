"""Tests of API calls and webhooks against the plug-in's simulator."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.contract.base import Registration, RemoteSubscription
from providers.contract.capabilities import Renewal
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    NotFound,
    Refused,
    Throttled,
    Unavailable,
    UnreadableRequest,
)
from providers.contract.parsing import InboundRequest, ParsedEvent
from providers.sandbox.server import Sandbox
from tests.harness.inbound import CALLBACK_URL, inbound
from tests.harness.live_session import Live
from tests.harness.provider_contract.base import ContractBase, needs
from tests.harness.stub_server import Received, StubServer


class LiveTests(ContractBase):
    """API calls and webhooks against the simulator."""

    @pytest.fixture
    def live(self) -> Iterator[Live]:
        """Yield a session at a sandbox of its own. Afterwards no recorded exchange may contain a secret."""
        with Sandbox(port=0) as sandbox:
            live = Live(self.provider, sandbox)
            live.control("options", **self.sandbox_options)
            yield live
            live.close()
        recorded = repr(live.exchanges)
        assert [secret for secret in live.secrets if secret in recorded] == []

    @needs(lambda can: can.can_identify)
    def test_live_identify_returns_the_owner(self, live: Live) -> None:
        identity = self.provider.identify(live.session)
        assert identity.facts
        assert json.loads(json.dumps(identity.facts)) == identity.facts
        assert identity.warning is None

    def test_live_wrong_credentials_are_refused(self, live: Live) -> None:
        wrong = {name: f"wrong-{value}" for name, value in live.account["credentials"].items()}
        with pytest.raises(AuthenticationFailed):
            self.provider.identify(live.session_with(credentials=wrong))

    @needs(lambda can: can.can_list)
    def test_live_a_registration_is_listed(self, live: Live) -> None:
        first, second = live.register(self.registration()), live.register(self.registration())
        assert {item.remote_id for item in self.provider.list_remote(live.session)} == {
            first.remote_id,
            second.remote_id,
        }
        assert first.enabled

    @needs(lambda can: can.can_list and can.reveals_url)
    def test_live_a_registration_can_be_read_back(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        self.expect(self.provider.read_remote(live.session, remote_id, registration.secret), registration)

    @needs(lambda can: can.can_update)
    def test_live_an_update_changes_everything_in_place(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        changed = self.registration(config=self.checked_config(self.other_config), callback_url=f"{CALLBACK_URL}-2")
        self.expect(self.provider.update(live.session, remote_id, changed), changed)
        self.expect(self.provider.read_remote(live.session, remote_id, changed.secret), changed)

    @needs(lambda can: can.can_update and can.can_set_status)
    def test_live_an_update_also_sets_the_status(self, live: Live) -> None:
        registration = self.registration(enabled=False)
        remote_id = live.register(self.registration()).remote_id
        self.expect(self.provider.update(live.session, remote_id, registration), registration)

    @needs(lambda can: can.can_set_status)
    def test_live_a_webhook_can_be_disabled_and_enabled(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        for enabled in (False, False, True):
            assert self.provider.set_enabled(live.session, remote_id, enabled).enabled is enabled
            self.expect(
                self.provider.read_remote(live.session, remote_id), dataclasses.replace(registration, enabled=enabled)
            )

    @needs(lambda can: can.renewal is Renewal.UPDATE)
    def test_live_a_renewal_moves_the_expiry(self, live: Live) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        live.control("clock", advance_seconds=30)
        before = self.provider.read_remote(live.session, remote_id)
        renewed = self.provider.renew(live.session, remote_id, registration)
        assert before.expires_at
        assert renewed.expires_at
        assert renewed.expires_at - before.expires_at >= timedelta(seconds=29)
        self.expect(renewed, registration)

    @needs(lambda can: can.requires_https)
    def test_live_a_callback_url_without_https_is_refused_before_the_call(self, live: Live) -> None:
        settings = live.session.settings.model_copy(update={"base_url": None})
        session = dataclasses.replace(live.session, settings=settings)
        registration = self.registration(callback_url="http://hooks.example.test/hooks/t")
        before = len(live.exchanges)
        for call in (self.provider.register, lambda *given: self.provider.update(given[0], "1", given[1])):
            with pytest.raises(Refused, match="calls only HTTPS addresses") as caught:
                call(session, registration)
            assert caught.value.field == "callback_url"
        assert len(live.exchanges) == before

    def test_live_a_deleted_webhook_is_not_found(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        self.provider.delete(live.session, remote_id)
        for call in self.calls_about(live, remote_id):
            with pytest.raises(NotFound):
                call()

    def test_live_strange_ids_are_not_found(self, live: Live) -> None:
        for remote_id in ("no-such-id", "a/b", "ü?x=1#y", "%2e%2e"):
            for call in self.calls_about(live, remote_id):
                with pytest.raises(NotFound):
                    call()

    def test_live_throttling_reports_the_wait(self, live: Live) -> None:
        live.control("faults", status=429, retry_after=7, times=1)
        with pytest.raises(Throttled) as caught:
            live.register(self.registration())
        assert caught.value.retry_after == 7
        assert not caught.value.permanent

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_live_server_errors_are_temporary(self, live: Live, status: int) -> None:
        live.control("faults", status=status, times=1)
        with pytest.raises(Unavailable) as caught:
            live.register(self.registration())
        assert caught.value.outcome_unknown
        assert not caught.value.permanent

    @pytest.mark.parametrize("fault", [{"timeout": 3}, {"drop": True}], ids=["timeout", "drop"])
    def test_live_a_missing_response_leaves_the_outcome_unknown(self, live: Live, fault: dict[str, object]) -> None:
        live.control("faults", **fault, times=1)
        with pytest.raises(Unavailable) as caught:
            self.provider.register(live.session_with(seconds=0.5), self.registration())
        assert caught.value.outcome_unknown
        assert len(live.state()["remote"]) == 1

    @pytest.mark.parametrize("fault", ["garbage", "huge"])
    def test_live_an_invalid_response_leaves_the_outcome_unknown(self, live: Live, fault: str) -> None:
        live.control("faults", **{fault: True}, times=1)
        with pytest.raises(InvalidResponse) as caught:
            live.register(self.registration())
        assert caught.value.outcome_unknown
        assert len(live.state()["remote"]) == 1

    def test_live_a_redirect_is_not_followed(self, live: Live) -> None:
        live.control("faults", redirect=True, times=1)
        with pytest.raises(InvalidResponse):
            live.register(self.registration())
        assert live.state()["remote"] == []

    def test_live_webhooks_are_verified_and_parsed(self, live: Live, event_type: str) -> None:
        with StubServer() as receiver:
            registration = self.registration(
                callback_url=f"{receiver.url}/hooks/t", config=self.checked_config(self.config_for(event_type))
            )
            secret = live.register(registration).new_secret or registration.secret
            live.control("emit", event_type=event_type, count=2)
            live.control("emit", event_type=event_type, bad_signature=True)
            *good, bad = [_inbound(call, registration) for call in receiver.received]
        secrets = [secret] if secret else []
        settings = live.session.settings
        assert {self.provider.verify(request, secrets, settings).result for request in good} == {
            self.expected_success(0)[0]
        }
        assert self.provider.verify(bad, secrets, settings).result is self.expected_failure()
        events = [event for request in good for event in self.provider.parse(request).events]
        declared = self.provider.event_type(event_type)
        assert declared
        assert [(event.type, event.action) for event in events] == [(event_type, declared.action)] * 2

    @pytest.mark.parametrize(
        "options",
        [
            {"odd_event": "half_character"},
            {"odd_event": "not_a_number"},
            {"odd_event": "huge_number"},
            {"odd_event": "deep"},
            {"body_encoding": "byte-order-mark"},
            {"body_encoding": "two-byte-order-marks"},
            {"body_encoding": "utf-16"},
        ],
        ids=lambda options: next(iter(options.values())),
    )
    def test_live_odd_bodies_are_verified_and_hold_up_no_other_event(
        self, live: Live, options: dict[str, object]
    ) -> None:
        live.control("options", **options)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            secret = live.register(registration).new_secret or registration.secret
            live.control("emit", count=8)
            requests = [_inbound(call, registration) for call in receiver.received]
        results = {
            self.provider.verify(item, [secret] if secret else [], live.session.settings).result for item in requests
        }
        assert results == {self.expected_success(0)[0]}
        refused = 0
        events: list[ParsedEvent] = []
        for request in requests:
            try:
                parsed = self.provider.parse(request)
                refused += len(parsed.unreadable)
                events += parsed.events
            except UnreadableRequest:
                refused += 1
        assert len(events) + refused == 8
        assert refused in (0, len(requests))  # at most the first event of each request
        assert not refused or options.get("odd_event") not in (None, "half_character")

    def calls_about(self, live: Live, remote_id: str) -> list[Callable[[], object]]:
        """Return every call of this provider for one remote subscription."""
        can, registration = self.provider.capabilities, self.registration()
        calls: list[tuple[bool, Callable[[], object]]] = [
            (can.can_list or can.reveals_url, lambda: self.provider.read_remote(live.session, remote_id)),
            (can.can_update, lambda: self.provider.update(live.session, remote_id, registration)),
            (can.can_update, lambda: self.provider.renew(live.session, remote_id, registration)),
            (can.can_set_status, lambda: self.provider.set_enabled(live.session, remote_id, True)),
            (True, lambda: self.provider.delete(live.session, remote_id)),
        ]
        return [call for possible, call in calls if possible]

    def expect(self, remote: RemoteSubscription, registration: Registration[Any]) -> None:
        """Check that the remote subscription is as registered."""
        assert remote.url == registration.callback_url
        assert remote.config == self.provider.canonical(registration.config)
        assert remote.enabled == registration.enabled
        assert remote.secret_matches is not False
        assert remote.new_secret is None
        leased = self.provider.capabilities.renewal is not Renewal.NONE
        assert remote.expires_at is None or (leased and remote.expires_at.utcoffset() == timedelta())


def _inbound(call: Received, registration: Registration[Any]) -> InboundRequest:
    """Return the request that the receiver would pass on for a call to a stub."""
    return inbound(
        call.body,
        method=call.method,
        query=urlsplit(call.path).query,
        headers=call.headers,
        url=registration.callback_url,
        received_at=datetime.now(UTC),
    )
