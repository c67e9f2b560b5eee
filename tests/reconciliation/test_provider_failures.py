"""Failures at the provider and in our own processes, and the recovery from them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import time_machine
from celery import Celery, Task
from django.db import connections
from django.utils import timezone

from providers.accounts import session
from providers.contract import http
from providers.models import AccountLimit, ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Operation, State, Subscription
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.reconciler import reconcile, reconcile_soon
from tests.harness.fixtures import CONFIG, Control, later
from tests.harness.processes import run_python

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def due_again(subscription: Subscription) -> float:
    """Return the seconds until the row is due."""
    subscription.refresh_from_db()
    assert subscription.due_at is not None
    return (subscription.due_at - timezone.now()).total_seconds()


FAULTS: dict[str, tuple[dict[str, object], str, str]] = {
    "500": ({"status": 500}, "unavailable", "has a problem"),
    "503": ({"status": 503}, "unavailable", "has a problem"),
    "429": ({"status": 429, "retry_after": 7}, "throttled", "limit of calls"),
    "401": ({"status": 401}, "authentication_failed", "access token"),
    "403": ({"status": 403}, "permission_missing", "does not permit"),
    "400": ({"status": 400}, "refused", "efused"),
    "redirect": ({"redirect": True}, "bad_answer", "redirect"),
    "wrong JSON": ({"garbage": True}, "bad_answer", "not JSON"),
    "10 MB": ({"huge": True}, "bad_answer", "larger than"),
    "no answer": ({"drop": True}, "unavailable", "connection"),
    "broken before": ({"drop": "before"}, "unavailable", "connection"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_registration_is_explained_and_retried(
    fault: str, subscription: Subscription, control: Control
) -> None:
    fault_body, code, message = FAULTS[fault]
    control.post("faults", **fault_body, times=1)
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.FAILING
    assert subscription.last_error["code"] == code
    assert message in subscription.state_reason
    assert due_again(subscription) > 0
    AccountLimit.objects.update(blocked_until=None)
    if code == "authentication_failed":
        reconcile(subscription)
        assert len(control.calls()) == 1, "the account's calls rest"
        session.check(subscription.account)
    with later():
        reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE, subscription.state_reason
    assert subscription.last_error is None
    assert [remote["webhookId"] for remote in control.remotes()] == [subscription.remote_id]


def test_a_registration_whose_response_was_lost_is_adopted_not_repeated(
    subscription: Subscription, control: Control
) -> None:
    control.post("faults", drop=True, times=1)
    reconcile(subscription)
    (operation,) = subscription.operations.all()
    assert operation.status == "unknown"
    reconcile(subscription)
    subscription.refresh_from_db()
    assert [item.action for item in subscription.operations.order_by("id")] == ["register", "adopt"]
    assert len(control.remotes()) == 1
    assert subscription.remote_id == control.remotes()[0]["webhookId"]
    assert subscription.state == State.ACTIVE


@pytest.mark.slow
def test_a_timeout_is_reported_and_leaves_no_duplicate(
    subscription: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "READ_TIMEOUT_SECONDS", 0.3)
    control.post("faults", timeout=60, times=1)
    started = time.monotonic()
    reconcile(subscription)
    assert time.monotonic() - started < 20
    subscription.refresh_from_db()
    assert "did not answer" in subscription.state_reason
    assert subscription.operations.get().status == "unknown"
    reconcile(subscription)
    assert len(control.remotes()) == 1


@pytest.mark.slow
def test_the_first_attempt_respects_its_deadline(subscription: Subscription, control: Control) -> None:
    control.post("faults", timeout=60, times=5)
    started = time.monotonic()
    reconcile_soon(subscription, actor="staff:ann", seconds=2.0)
    assert time.monotonic() - started < 20
    assert subscription.state == State.FAILING


@pytest.mark.slow
def test_throttling_stops_all_calls_of_the_account_for_the_stated_time(active: Subscription, control: Control) -> None:
    control.post("faults", status=429, retry_after=120, times=1)
    sync_account(active.account)
    calls = len(control.calls())
    desired_state.change(active, by="staff:ann", enabled=False)
    reconcile(active)
    active.refresh_from_db()
    assert active.last_error["code"] == "throttled"
    assert len(control.calls()) == calls
    assert 30 < due_again(active) < 160  # not beyond its renewal time: a renewal may be permitted


def test_refused_credentials_make_the_account_fail_until_new_ones_are_entered(
    active: Subscription, control: Control
) -> None:
    account = active.account
    good = dict(account.credentials)
    accounts.change_account(account, by="staff:ann", credentials={"access_token": "stolen-and-revoked"})
    sync_account(account)
    account.refresh_from_db()
    assert account.status == "failing"
    assert "access token" in account.status_reason
    assert "stolen" not in account.status_reason
    accounts.change_account(account, by="staff:ann", credentials=good)
    sweep.sweep_inline()
    account.refresh_from_db()
    assert account.status == "ok"


def test_concurrent_workers_register_once(transactional_db: None, account: ProviderAccount, control: Control) -> None:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    results: list[bool] = []

    def work() -> None:
        try:
            results.append(reconcile(Subscription.objects.select_related("account").get(pk=subscription.pk)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(control.remotes()) == 1
    assert any(results)
    assert [call["path"] for call in control.calls("POST")] == ["/pubapi/v1/webhooks"]


KILLED = """
import os, signal
from providers.egnyte_connect import provider
from subscriptions.models import Subscription
from subscriptions.reconciliation.reconciler import reconcile
from django.conf import settings
settings.SANDBOX_URL = {sandbox!r}
original = getattr(type(provider), {method!r})
def killed(self, *args, **kwargs):
    if {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(type(provider), {method!r}, killed)
reconcile(Subscription.objects.select_related("account").get(pk={pk}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before the call", "after the answer"])
@pytest.mark.parametrize("method", ["register", "update", "renew", "set_enabled", "delete"])
def test_a_worker_killed_around_a_call_is_recovered_by_the_next_pass(
    method: str, before: bool, transactional_db: None, account: ProviderAccount, control: Control
) -> None:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    if method != "register":
        reconcile(subscription)
    match method:
        case "update":
            desired_state.change(subscription, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
        case "renew":
            desired_state.request_renewal(subscription, by="staff:ann")
        case "set_enabled":
            desired_state.change(subscription, by="staff:ann", enabled=False)
        case "delete":
            desired_state.request_deletion(subscription, by="staff:ann")
    code = KILLED.format(sandbox=control.url, method=method, before=before, pk=subscription.pk)
    result = run_python(code, SANDBOX_PORT=str(urlsplit(control.url).port))
    assert result.returncode == -9, result.stderr
    assert Operation.objects.filter(subscription=subscription, status="running").count() == 1
    assert not reconcile(subscription), "the claim of the killed worker still holds"
    with time_machine.travel(timezone.now() + timedelta(seconds=50), tick=True):
        assert sweep.due_subscriptions().filter(pk=subscription.pk).exists()
        assert reconcile(subscription)
        subscription.refresh_from_db()
    assert not Operation.objects.filter(status="running").exists()
    assert Operation.objects.filter(subscription=subscription, status="unknown").count() == 1
    remotes = control.remotes()
    if method == "delete":
        assert subscription.state == State.DELETED
        assert remotes == []
        return
    assert len(remotes) == 1
    assert remotes[0]["webhookId"] == subscription.remote_id
    assert subscription.state == (State.DISABLED if method == "set_enabled" else State.ACTIVE)
    if method == "update":
        assert remotes[0]["path"] == "/Shared/New"


def test_a_clock_set_back_delays_nothing(active: Subscription, control: Control) -> None:
    sync_account(active.account)
    control.post(f"remote/{active.remote_id}", status="disabled")
    active.claim("a worker that died just before the clock was set back")
    AccountLimit.objects.update(next_slot_at=timezone.now() + timedelta(seconds=1))
    with time_machine.travel(timezone.now() - timedelta(hours=3), tick=True):
        assert sweep.sweep_inline() == 1
        active.refresh_from_db()
        assert active.remote_status == "enabled"
        assert control.remotes()[0]["status"] == "enabled"


@pytest.mark.slow
def test_a_clock_set_forward_replaces_no_working_registration(active: Subscription, control: Control) -> None:
    with time_machine.travel(timezone.now() + timedelta(hours=3), tick=True):
        sweep.sweep_inline()
        active.refresh_from_db()
        remotes = control.remotes()
    assert [remote["webhookId"] for remote in remotes] == [active.remote_id]


def _lost(*_: object, **__: object) -> None:
    """Drop a message, like an unreachable broker."""


def test_the_sweep_works_without_a_broker(
    subscription: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Celery, "send_task", _lost)
    monkeypatch.setattr(Task, "apply_async", _lost)
    sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    control.post(f"remote/{subscription.remote_id}", deleted=True)
    ProviderAccount.objects.update(sync_due_at=timezone.now())
    sweep.sweep_inline()  # its absence is doubted first
    with later():
        sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    assert len(control.remotes()) == 1


@pytest.mark.slow
def test_a_broken_row_does_not_block_others(
    subscription: Subscription, account: ProviderAccount, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    broken = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    Subscription.objects.filter(pk=broken.pk).update(config={"event_types": "no list"})
    sweep.sweep_inline()
    broken.refresh_from_db()
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    assert broken.state == State.FAILING
    assert "no longer fits" in broken.state_reason
