"""A model-based test of the lifecycle: random events against the sandbox over HTTP.

After any sequence of actions of people, faults and crashes, the provider ends up with exactly the desired state, and
foreign webhooks are unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import requests
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django import Settings

from providers.accounts import circuit_breaker
from providers.contract.capabilities import Renewal
from providers.models import AccountLimit, ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state, receiver_probe, secret_rotation
from subscriptions.models import State, Subscription
from subscriptions.reconciliation import apply, reconciler, sweep
from tests.harness.fixtures import CONFIG, Control

pytestmark = pytest.mark.django_db

OTHER_CONFIG = {"event_types": ["comment:*"], "paths": []}
FAULTS: list[dict[str, object]] = [
    {"status": 500},
    {"status": 404},
    {"status": 409},
    {"status": 429, "retry_after": 1},
    {"drop": True},
    {"drop": "before"},
    {"garbage": True},
    {"redirect": True},
]


class WorkerKilled(BaseException):
    """Simulate the kill of a worker. The code under test must not catch it."""


class Lifecycle(RuleBasedStateMachine):
    """The rules are the possible events; `all_settles` checks the guarantees."""

    django_settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = Sandbox(port=0, seed=1)
        self.sandbox.start()
        self.django_settings.SANDBOX_URL = self.sandbox.url
        self.control = Control(self.sandbox.url, "egnyte-connect")
        self.control.post("options", calls_per_second=None)
        self.foreign: dict[str, dict[str, Any]] = {}
        self.revoked: set[str] = set()  # callback URLs

    def teardown(self) -> None:
        self.sandbox.close()

    @initialize(extends=st.booleans(), room=st.sampled_from([10, 1]))
    def initialize_world(self, extends: bool, room: int) -> None:
        self.room = room
        self.control.post("options", update_extends=extends, max_webhooks=room)
        login = self.sandbox.logins("egnyte-connect")[0]
        self.account = accounts.add_account(
            provider="egnyte-connect",
            name="Model",
            settings={**login["settings"], "calls_per_second": 100},
            credentials=login["credentials"],
            by="staff:ann",
        )
        self.subscribe()

    # -- People and programs -----------------------------------------------------------------------------------------

    @precondition(lambda self: self.room > 1 and len(self.present()) < 3)
    @rule()
    def subscribe(self) -> None:
        desired_state.subscribe(self.account, config=CONFIG, by="staff:ann")

    @rule(data=st.data(), config=st.sampled_from([CONFIG, OTHER_CONFIG]))
    def change_config(self, data: st.DataObject, config: dict[str, Any]) -> None:
        desired_state.change(self.any_of(data), by="staff:ann", config=config)

    @rule(data=st.data(), enabled=st.booleans())
    def switch(self, data: st.DataObject, enabled: bool) -> None:
        desired_state.change(self.any_of(data), by="staff:ann", enabled=enabled)

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        assert self.account.plugin.capabilities.renewal is not Renewal.NONE
        desired_state.request_renewal(self.any_of(data), by="staff:ann")

    @precondition(lambda self: len(self.present()) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        desired_state.request_deletion(self.any_of(data), by="staff:ann")

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        with suppress(secret_rotation.TooManyRotations):
            secret_rotation.rotate(self.any_of(data), by="staff:ann")

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        row = self.any_of(data)
        secret_rotation.rotate(row, by="staff:ann", revoke=True)
        self.revoked.add(row.callback_url)

    # -- The provider, and others who have access to it ---------------------------------------------------------------

    @precondition(lambda self: self.room > 1 and len(self.foreign) < 2)
    @rule()
    def register_foreign(self) -> None:
        response = requests.post(
            f"{self.sandbox.url}/pubapi/v1/webhooks",
            json={"url": f"https://elsewhere.example.test/{len(self.foreign)}", "eventType": ["fs:*"]},
            headers={"Authorization": f"Bearer {self.account.credentials['access_token']}"},
            timeout=5,
        )
        if response.status_code == 201:  # a fault may have hit this call
            remote_id = response.json()["webhookId"]
            self.foreign[remote_id] = self.stable_fields(self.remote(remote_id))

    @rule(
        data=st.data(), change=st.sampled_from([{"status": "disabled"}, {"deleted": True}, {"config": {"path": "/x"}}])
    )
    def somebody_changes(self, data: st.DataObject, change: dict[str, Any]) -> None:
        ours = [remote for remote in self.control.remotes() if remote["webhookId"] not in self.foreign]
        if ours:
            remote_id = data.draw(st.sampled_from(sorted(remote["webhookId"] for remote in ours)))
            self.control.post(f"remote/{remote_id}", **change)

    @rule()
    def requests_arrive(self) -> None:
        for remote in self.control.remotes():
            row = Subscription.objects.filter(callback_url=remote["url"]).first()
            if row is not None and row.secrets[0] == remote["authHeader"]:
                secret_rotation.record_seen(row.pk, row.secrets[0])

    @invariant()
    def no_request_would_be_refused(self) -> None:
        """Check that the secret at the provider is accepted, unless a person revoked it."""
        for remote in self.control.remotes() if hasattr(self, "account") else ():
            row = Subscription.objects.filter(callback_url=remote["url"], deleted_at=None).first()
            if row is not None and row.callback_url not in self.revoked:
                assert remote["authHeader"] in row.secrets

    @rule(seconds=st.sampled_from([20, 60, 200]))
    def time_passes_at_the_provider(self, seconds: int) -> None:
        self.control.post("clock", advance_seconds=seconds)

    @rule(fault=st.sampled_from(FAULTS), times=st.integers(1, 3))
    def calls_fail(self, fault: dict[str, object], times: int) -> None:
        self.control.post("faults", **fault, times=times)

    # -- Workers   ---------------------------------------------------------------------------------------------------

    @rule()
    def sweep(self) -> None:
        self.sweep_now()

    @rule(at=st.sampled_from([(apply, "record_answer"), (apply, "record_owner"), (reconciler, "observed_columns")]))
    def worker_is_killed(self, at: tuple[ModuleType, str]) -> None:
        def die(*_: object, **__: object) -> None:
            raise WorkerKilled

        with mock.patch.object(*at, die), suppress(WorkerKilled):
            self.sweep_now()
        # As after a kill: `release` never ran.
        Subscription.objects.update(claimed_by="dead", claimed_at=timezone.now(), claimed_until=timezone.now())

    @rule()
    def all_settles(self) -> None:
        self.control.post("faults", times=0)
        for _ in range(4):
            self.sweep_now()
        remotes = self.control.remotes()
        for row in Subscription.objects.filter(account=self.account):
            self.check(row, [remote for remote in remotes if remote["url"] == row.callback_url])
        for remote_id, before in self.foreign.items():
            assert self.stable_fields(self.remote(remote_id)) == before

    def check(self, row: Subscription, remotes: list[dict[str, Any]]) -> None:
        operations = [f"{item.action} {item.status}: {item.reason} {item.error or ''}" for item in row.operations.all()]
        details = f"{row.state}: {row.state_reason}\n{remotes}\n" + "\n".join(reversed(operations))
        assert not row.operations.filter(status="running").exists(), details
        enabled = [remote for remote in remotes if remote["status"] == "enabled"]
        if not row.present:
            assert (row.state, remotes) == (State.DELETED, []), details
            return
        assert {remote["authHeader"] for remote in remotes} <= {row.secrets[0]}, details
        if not row.enabled:
            assert (row.state, enabled) == (State.DISABLED, []), details
        else:
            assert row.state == State.ACTIVE, details
            assert (
                [remote["webhookId"] for remote in remotes] == [row.remote_id] == [e["webhookId"] for e in enabled]
            ), details
            assert enabled[0]["expires"] > timezone.now().timestamp(), details
            assert enabled[0]["eventType"] == row.config["event_types"], details
            assert (enabled[0].get("path") or "") == ",".join(row.config["paths"]), details

    # -- Helpers -----------------------------------------------------------------------------------------------------

    def present(self) -> list[Subscription]:
        return list(Subscription.objects.filter(account=self.account, present=True).order_by("pk"))

    def any_of(self, data: st.DataObject) -> Subscription:
        return data.draw(st.sampled_from(self.present()))

    def remote(self, remote_id: str) -> dict[str, Any]:
        return next(remote for remote in self.control.remotes() if remote["webhookId"] == remote_id)

    def stable_fields(self, remote: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that only a person or program changes; the lease ages."""
        return {key: remote[key] for key in ("webhookId", "url", "eventType", "status")}

    def sweep_now(self) -> None:
        """Run a sweep with everything due and without pauses."""
        now = timezone.now() - timedelta(seconds=1)
        AccountLimit.objects.update(blocked_until=None, next_slot_at=now)
        ProviderAccount.objects.update(sync_due_at=now, claimed_until=None, **circuit_breaker.NO_PAUSE)
        Subscription.objects.filter(deleted_at=None).update(due_at=now, enable_not_before=now)
        Subscription.objects.update(suspended_count=0, suspensions=[], gave_up_at=None)
        sweep.sweep_inline()


@pytest.mark.slow
@pytest.mark.timeout(0)  # the duration depends on LIFECYCLE_EXAMPLES
def test_every_sequence_of_events_converges(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Callable[[str], None] = lambda url: None  # noqa: E731 - pretend that our receiver answers
    monkeypatch.setattr(receiver_probe, "find_receiver_error", answers)
    Lifecycle.django_settings = settings
    run_state_machine_as_test(Lifecycle, settings=BOUNDED)


BOUNDED = settings(
    max_examples=int(os.environ.get("LIFECYCLE_EXAMPLES", "4")),  # `make soak` asks for more
    stateful_step_count=20,
    deadline=None,
    derandomize="LIFECYCLE_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
