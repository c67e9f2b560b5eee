"""What goes wrong at a provider or with us, and that the subscription comes out right all the same."""

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
from providers.contract.call_limits import Priority
from providers.contract.errors import Throttled
from providers.models import AccountLimit, ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Operation, State, Subscription
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.reconciler import reconcile, reconcile_soon
from tests.harness.fixtures import CONFIG, Control
from tests.harness.processes import run_python

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def due_again(subscription: Subscription) -> float:
    """Seconds until the row asks for work again."""
    subscription.refresh_from_db()
    assert subscription.due_at is not None
    return (subscription.due_at - timezone.now()).total_seconds()


FAULTS: dict[str, tuple[dict[str, object], str, str]] = {
    "500": ({"status": 500}, "unavailable", "in trouble"),
    "503": ({"status": 503}, "unavailable", "in trouble"),
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
def test_a_failed_registration_is_explained_and_comes_right(
    fault: str, subscription: Subscription, control: Control
) -> None:
    order, code, words = FAULTS[fault]
    control.post("faults", **order, times=1)
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.FAILING
    assert subscription.last_error["code"] == code
    assert words in subscription.state_reason
    assert due_again(subscription) > 0
    AccountLimit.objects.update(blocked_until=None)
    if code == "authentication_failed":
        reconcile(subscription)
        assert len(control.calls()) == 1, "the account's calls rest"
        session.check(subscription.account)
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE, subscription.state_reason
    assert subscription.last_error is None
    assert [remote["webhookId"] for remote in control.remotes()] == [subscription.remote_id]


def test_what_took_effect_without_an_answer_is_adopted_not_registered_twice(
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


def test_a_provider_that_does_not_answer_in_time(
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


def test_the_first_attempt_of_a_person_ends_in_time(subscription: Subscription, control: Control) -> None:
    control.post("faults", timeout=60, times=5)
    started = time.monotonic()
    reconcile_soon(subscription, actor="staff:ann", seconds=2.0)
    assert time.monotonic() - started < 20
    assert subscription.state == State.FAILING


def test_throttled_by_the_provider_keeps_everybody_away_for_that_long(active: Subscription, control: Control) -> None:
    control.post("faults", status=429, retry_after=120, times=1)
    sync_account(active.account)
    calls = len(control.calls())
    desired_state.change(active, by="staff:ann", enabled=False)
    reconcile(active)
    active.refresh_from_db()
    assert active.last_error["code"] == "throttled"
    assert len(control.calls()) == calls
    assert 30 < due_again(active) < 160  # not past the time of its renewal, which may be let through


def test_refused_credentials_are_the_accounts_trouble_and_new_ones_heal_it(
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


def test_two_workers_on_one_subscription_register_once(
    transactional_db: None, account: ProviderAccount, control: Control
) -> None:
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


@pytest.mark.parametrize("before", [True, False], ids=["before the call", "after the answer"])
@pytest.mark.parametrize("method", ["register", "update", "renew", "set_enabled", "delete"])
def test_killed_around_each_call_and_the_next_run_settles_it(
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
    ended = run_python(code, SANDBOX_PORT=str(urlsplit(control.url).port))
    assert ended.returncode == -9, ended.stderr
    assert Operation.objects.filter(subscription=subscription, status="running").count() == 1
    assert not reconcile(subscription), "the dead worker's claim still holds"
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


def test_a_clock_that_was_set_back_stalls_nothing(active: Subscription, control: Control) -> None:
    sync_account(active.account)
    control.post(f"remote/{active.remote_id}", status="disabled")
    active.claim("a worker that died just before the clock was set back")
    AccountLimit.objects.update(next_slot_at=timezone.now() + timedelta(seconds=1))
    with time_machine.travel(timezone.now() - timedelta(hours=3), tick=True):
        assert sweep.sweep_inline() == 1
        active.refresh_from_db()
        assert active.remote_status == "enabled"
        assert control.remotes()[0]["status"] == "enabled"


def test_a_clock_that_jumps_ahead_replaces_nothing_that_still_works(active: Subscription, control: Control) -> None:
    with time_machine.travel(timezone.now() + timedelta(hours=3), tick=True):
        sweep.sweep_inline()
        active.refresh_from_db()
        remotes = control.remotes()
    assert [remote["webhookId"] for remote in remotes] == [active.remote_id]


def _lost(*_: object, **__: object) -> None:
    """A broker that drops everything."""


def test_every_message_lost_and_the_sweep_does_the_work(
    subscription: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Celery, "send_task", _lost)
    monkeypatch.setattr(Task, "apply_async", _lost)
    sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    control.post(f"remote/{subscription.remote_id}", deleted=True)
    ProviderAccount.objects.update(look_due_at=timezone.now())
    sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    assert len(control.remotes()) == 1


def test_one_broken_row_does_not_keep_the_others_from_their_turn(
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


def test_the_day_quota_is_kept_for_what_is_more_urgent(account: ProviderAccount, settings: object) -> None:
    from providers.accounts.rate_limiter import DatabaseLimiter
    from providers.contract.capabilities import RateLimit

    settings.SANDBOX_URL = None  # type: ignore[attr-defined]
    limiter = DatabaseLimiter(account, RateLimit(per_day=10))
    for _ in range(7):
        limiter.acquire(Priority.SYNC, None)
    with pytest.raises(Throttled, match="more urgent"):
        limiter.acquire(Priority.SYNC, None)
    for _ in range(2):
        limiter.acquire(Priority.CHANGE, None)
    with pytest.raises(Throttled):
        limiter.acquire(Priority.CHANGE, None)
    limiter.acquire(Priority.RENEWAL, None)
    with pytest.raises(Throttled) as refused:
        limiter.acquire(Priority.RENEWAL, None)
    assert refused.value.retry_after


def test_the_rate_limit_spaces_calls_and_refuses_to_wait_too_long(account: ProviderAccount) -> None:
    from providers.accounts.rate_limiter import DatabaseLimiter
    from providers.contract.capabilities import RateLimit

    limiter = DatabaseLimiter(account, RateLimit(per_second=10))
    started = time.monotonic()
    for _ in range(4):
        limiter.acquire(Priority.CHANGE, None)
    assert time.monotonic() - started >= 0.29
    slow = DatabaseLimiter(account, RateLimit(per_second=0.1))
    slow.acquire(Priority.CHANGE, None)
    with pytest.raises(Throttled):
        slow.acquire(Priority.CHANGE, time.monotonic() + 1)
