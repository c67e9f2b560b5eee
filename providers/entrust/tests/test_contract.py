"""Entrust: the shared contract suite, and live tests of its own features."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from providers.contract.base import Registration, RemoteSubscription
from providers.contract.capabilities import Action
from providers.contract.errors import (
    LimitReached,
    PermissionMissing,
    Refused,
)
from providers.contract.parsing import InboundRequest, VerificationResult
from providers.entrust import provider
from providers.entrust.auth import AUTHENTICATE_PATH, TOKEN_NAME
from providers.entrust.event_types import EVENT_TYPES
from providers.entrust.tests.samples import (
    APPLICATION_ID,
    HOST,
    SHARED_SECRET,
    WEBHOOKS,
    settings,
    signed,
)
from tests.harness.inbound import inbound
from tests.harness.live_session import Live
from tests.harness.provider_contract import ProviderContract
from tests.harness.stub_server import Received, Scripted, StubServer

FIXTURES = Path(__file__).parent.parent / "fixtures"


def received(receiver: StubServer) -> Received:
    """Wait for the one call to a receiver."""
    deadline = time.monotonic() + 30
    while not receiver.received:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (call,) = receiver.received
    return call


def received_request(call: Received, url: str) -> InboundRequest:
    """Return a call of the simulator as the receiver passes it on now."""
    return inbound(call.body, headers=call.headers, url=url, received_at=datetime.now(UTC))


class TestEntrust(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"hostname": HOST}
    credentials: ClassVar[Mapping[str, object]] = {"application_id": APPLICATION_ID, "shared_secret": SHARED_SECRET}
    config: ClassVar[Mapping[str, object]] = {
        "events": [
            {"type": "user.created"},
            {"type": "credential.create", "filter": '[{"enrollmentDesignId": "5d0e9a3c"}]'},
        ],
        "expiry_days": 90,
    }
    other_config: ClassVar[Mapping[str, object]] = {"events": [{"type": "grid.created"}]}
    optional_fields = ("enabled", "expired", "expiryDate", "events", "callbackUrl", "name")
    body_fields = (
        "type", "id", "eventTime", "data", "entityType", "entityId", "entityName", "subject", "subjectName",
    )  # fmt: skip
    hostile_json_that_is_an_event = ("many elements",)  # any JSON can be the body of a test call
    everything: ClassVar[Mapping[str, object]] = {"events": [{"type": item.name} for item in EVENT_TYPES]}

    def signed(self, request: InboundRequest, secret: str) -> InboundRequest:
        """Sign as Entrust does, with the token as text."""
        return signed(request, secret.encode())

    def expect(self, remote: RemoteSubscription, registration: Registration[Any]) -> None:
        """Compare the expiry apart: Entrust does not return the requested days, unless the webhook never expires."""
        days = registration.config.expiry_days
        assert (remote.expires_at is None) == (days == 0)
        assert remote.config is not None
        assert remote.config.get("expiry_days") == (0 if days == 0 else None)
        super().expect(replace(remote, config={**remote.config, "expiry_days": days}), registration)

    def test_live_identify_logs_in_and_lists_webhooks(self, live: Live) -> None:
        assert provider.identify(live.session).facts == {}
        assert [call["path"] for call in live.state()["calls"]] == [AUTHENTICATE_PATH, WEBHOOKS]

    def test_live_only_the_registration_returns_the_token(self, live: Live) -> None:
        remote = live.register(self.registration())
        assert remote.new_secret
        assert remote.new_secret == live.state()["remote"][0]["token"]
        assert remote.new_secret not in repr(remote)
        assert provider.list_remote(live.session)[0].new_secret is None
        assert provider.set_enabled(live.session, remote.remote_id, False).new_secret is None

    def test_live_an_access_token_is_cached_until_it_is_refused(self, live: Live) -> None:
        logins = self.logins_during(live, lambda: provider.list_remote(live.session), times=3)
        assert logins == 1
        live.control(
            "clock", advance_seconds=901
        )  # the cached token has expired at Entrust: it is refused and replaced
        assert self.logins_during(live, lambda: provider.list_remote(live.session), times=2) == 1

    @pytest.mark.slow
    def test_live_an_expired_access_token_is_not_used(self, live: Live) -> None:
        live.control("options", token_seconds=0.5)
        assert self.logins_during(live, lambda: provider.list_remote(live.session), times=1) == 1
        time.sleep(1.1)
        assert self.logins_during(live, lambda: provider.list_remote(live.session), times=1) == 1
        statuses = [call["status"] for call in live.state()["calls"]]
        assert statuses == [200] * 4

    def logins_during(self, live: Live, call: Callable[[], object], *, times: int) -> int:
        """Return how many authenticate calls are made meanwhile."""
        before = len(self.logins(live))
        for _ in range(times):
            call()
        return len(self.logins(live)) - before

    def logins(self, live: Live) -> list[object]:
        return [call for call in live.state()["calls"] if call["path"] == AUTHENTICATE_PATH]

    @pytest.mark.parametrize("permission", ["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"])
    def test_live_a_missing_permission_is_named(self, live: Live, permission: str) -> None:
        registration = self.registration()
        remote_id = live.register(registration).remote_id
        every = ["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"]
        live.control("options", permissions=[name for name in every if name != permission])
        calls: dict[str, list[Callable[[], object]]] = {
            "WEBHOOKS:ADD": [lambda: provider.register(live.session, registration)],
            "WEBHOOKS:VIEW": [
                lambda: provider.list_remote(live.session),
                lambda: provider.read_remote(live.session, remote_id),
            ],
            "WEBHOOKS:EDIT": [
                lambda: provider.update(live.session, remote_id, registration),
                lambda: provider.set_enabled(live.session, remote_id, False),
                lambda: provider.test(live.session, remote_id, registration),
            ],
            "WEBHOOKS:REMOVE": [lambda: provider.delete(live.session, remote_id)],
        }
        for call in calls[permission]:
            with pytest.raises(PermissionMissing, match=f"needs {permission}"):
                call()

    @pytest.mark.parametrize("knows_name", [True, False])
    def test_live_the_name_is_sent_only_to_servers_that_support_it(self, live: Live, knows_name: bool) -> None:
        live.control("options", knows_name=knows_name)
        registration = self.registration(name="Hub")
        remote_id = live.register(registration).remote_id
        assert live.state()["remote"][0].get("name") == ("Hub" if knows_name else None)
        changed = replace(registration, enabled=False, name="")
        self.expect(provider.update(live.session, remote_id, changed), changed)
        assert live.state()["remote"][0].get("name") == ("Hookkeeper" if knows_name else None)
        assert provider.set_enabled(live.session, remote_id, True).enabled

    def test_live_the_name_is_never_sent_if_the_setting_is_off(self, live: Live) -> None:
        live.control("options", knows_name=False)
        settings = live.session.settings.model_copy(update={"send_name": False})
        before = len(live.state()["calls"])
        remote_id = provider.register(replace(live.session, settings=settings), self.registration()).remote_id
        assert [call["path"] for call in live.state()["calls"]][before:] == [AUTHENTICATE_PATH, WEBHOOKS]
        live.secrets.add(live.state()["remote"][0]["token"])
        provider.delete(live.session, remote_id)

    @pytest.mark.parametrize("knows_name", [True, False])
    def test_live_a_test_is_sent_to_the_callback_url_of_the_call(self, live: Live, knows_name: bool) -> None:
        live.control("options", knows_name=knows_name)
        with StubServer() as old, StubServer() as new:
            created = live.register(self.registration(callback_url=f"{old.url}/hooks/t"))
            registration = self.registration(callback_url=f"{new.url}/hooks/t")
            assert provider.test(live.session, created.remote_id, registration).ok
            call = received(new if knows_name else old)
            url = new.url if knows_name else old.url
        request = received_request(call, f"{url}/hooks/t")
        secrets = [str(created.new_secret)]
        assert provider.verify(request, secrets, live.session.settings).result is VerificationResult.VERIFIED

    @pytest.mark.parametrize("expand", [False, True])
    def test_live_an_empty_list_of_events_means_all(self, live: Live, expand: bool) -> None:
        live.control("options", expand_events=expand)
        registration = self.registration(config=self.checked_config({"events": []}))
        remote = provider.read_remote(live.session, live.register(registration).remote_id)
        self.expect(remote, registration)
        assert live.control("emit", remote_id=remote.remote_id, event_type="grid.created")["deliveries"]

    def test_live_an_empty_response_has_no_content_type(self, live: Live) -> None:
        remote_id = live.register(self.registration()).remote_id
        headers = {"Authorization": str(live.session.tokens.get(TOKEN_NAME))}
        url = f"{provider.api_origin(live.session.settings)}{WEBHOOKS}/{remote_id}"
        response = live.session.http.call("DELETE", url, headers=headers)
        assert (response.status, response.body, response.headers.get("Content-Type")) == (200, b"", None)

    def test_live_a_refused_property_has_our_name(self, live: Live) -> None:
        with pytest.raises(Refused, match="callbackUrl: must be a URL") as caught:
            provider.register(live.session, self.registration(callback_url="ftp://h.example/hooks/t"))
        assert caught.value.field == "callback_url"

    def test_live_exceeding_the_limit_of_active_webhooks_is_limit_reached(self, live: Live) -> None:
        live.control("options", max_active=1)
        live.register(self.registration())
        with pytest.raises(LimitReached, match="20 active"):
            live.register(self.registration())
        disabled = live.register(self.registration(enabled=False))
        assert not disabled.enabled
        with pytest.raises(LimitReached):
            provider.set_enabled(live.session, disabled.remote_id, True)

    def test_live_a_webhook_without_expiry_never_expires(self, live: Live) -> None:
        registration = self.registration(config=self.checked_config(self.other_config))
        remote = live.register(registration)
        assert remote.expires_at is None
        assert provider.set_enabled(live.session, remote.remote_id, False).expires_at is None
        live.control("clock", advance_seconds=10_000_000)
        assert provider.read_remote(live.session, remote.remote_id).expires_at is None

    @pytest.mark.parametrize("without_expiry", ["clear", "keep"])
    def test_live_set_enabled_keeps_the_expiry_and_the_filters(self, live: Live, without_expiry: str) -> None:
        live.control("options", without_expiry=without_expiry)
        registration = self.registration()
        remote = live.register(registration)
        for enabled in (False, True):
            changed = provider.set_enabled(live.session, remote.remote_id, enabled)
            self.expect(changed, replace(registration, enabled=enabled))
            assert changed.expires_at

    def test_live_an_expired_webhook_is_disabled_and_can_be_renewed(self, live: Live) -> None:
        remote = live.register(self.registration())
        live.control("clock", advance_seconds=91)
        current = provider.read_remote(live.session, remote.remote_id)
        assert (current.status, current.enabled) == ("expired", False)
        assert current.expires_at
        assert current.expires_at <= datetime.now(UTC)
        renewed = provider.renew(live.session, remote.remote_id, self.registration())
        assert (renewed.status, renewed.enabled) == ("enabled", True)

    def test_live_the_payload_of_the_test_call_is_verified_and_parsed(self, live: Live) -> None:
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            remote = live.register(registration)
            assert provider.test(live.session, remote.remote_id, registration).ok
            call = received(receiver)
        request = received_request(call, registration.callback_url)
        verification = provider.verify(request, [str(remote.new_secret)], live.session.settings)
        assert verification.result is VerificationResult.VERIFIED
        (event,) = provider.parse(request).events
        assert (event.type, event.action, event.data) == ("untyped", Action.OTHER, call.json())

    @pytest.mark.parametrize(
        ("options", "setting", "verified"),
        [
            ({"signature_age": 7 * 3600.0}, {}, False),
            ({"signature_age": -3600.0}, {}, False),
            ({"signature_age": 7 * 3600.0}, {"signature_max_age": 0}, True),
            *[({"on_the_way": change}, {}, True) for change in ("spaced anew", "unpadded", "repeated digest")],
            ({"signature": "body"}, {}, False),
            ({"signature": "body"}, {"accept_body_signature": True}, True),
        ],
    )
    def test_live_unusual_signatures_depend_on_the_settings(
        self, live: Live, options: dict[str, object], setting: dict[str, object], verified: bool
    ) -> None:
        live.control("options", **options)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            secret = str(live.register(registration).new_secret)
            live.control("emit")
            call = receiver.received[0]
        request = received_request(call, registration.callback_url)
        verification = provider.verify(request, [secret], settings(**setting))
        assert (verification.result is VerificationResult.VERIFIED) == verified

    @pytest.mark.parametrize("digest", ["sha-256", "sha-512"])
    @pytest.mark.parametrize("key_form", ["text", "base64"])
    def test_live_every_digest_and_key_format_is_verified(self, live: Live, digest: str, key_form: str) -> None:
        live.control("options", digest=digest, key_form=key_form)
        with StubServer() as receiver:
            registration = self.registration(callback_url=f"{receiver.url}/hooks/t")
            secret = str(live.register(registration).new_secret)
            live.control("emit")
            request = received_request(receiver.received[0], registration.callback_url)
        assert provider.verify(request, [secret], live.session.settings).result is VerificationResult.VERIFIED
        for chosen in ("text", "base64"):
            verification = provider.verify(request, [secret], settings(key_form=chosen))
            assert (verification.result is VerificationResult.VERIFIED) == (chosen == key_form)

    def test_live_only_5xx_is_retried_and_repeated_failures_disable_the_webhook(self, live: Live) -> None:
        live.control("options", failures_until_disabled=3, retry_delays=[0.05, 0.05])
        with StubServer() as receiver:
            receiver.say(*[Scripted(503)] * 3, Scripted(202), *[Scripted(404)] * 3)
            remote = live.register(self.registration(callback_url=f"{receiver.url}/hooks/t"))
            live.control("emit")
            deadline = time.monotonic() + 30
            while live.state()["remote"][0]["failures"] == 0:  # counted after the third response
                assert time.monotonic() < deadline
                time.sleep(0.01)
            live.control("emit")  # 202 counts as received
            assert live.state()["remote"][0]["failures"] == 0
            live.control("emit", count=3)
            assert len(receiver.received) == 7
        current = provider.read_remote(live.session, remote.remote_id)
        assert (current.status, current.enabled) == ("disabled", False)
        assert current.expires_at
        assert current.expires_at > datetime.now(UTC)
