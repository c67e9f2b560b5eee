"""Guarantees for leases, deletions, copies of an installation and rate limits when something goes wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from providers.contract.errors import Refused
from providers.egnyte_connect.provider import EgnyteConnect
from providers.models import AccountLimit, ProviderAccount
from subscriptions.lifecycle import desired_state, secrets
from subscriptions.models import Operation, State, Subscription
from subscriptions.planning.steps import StepAction, Wait
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.apply import Boundary
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.remote.adoption import AddressNotConfirmed, import_remote
from tests.harness.fake_provider import run_concurrently
from tests.harness.fixtures import CONFIG, Control, later
from tests.harness.processes import run_python
from tests.lifecycle.rotation import reconciled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def active(active: Subscription) -> Subscription:
    """Return an active subscription that was reconciled once more after its registration."""
    return reconciled(active)


# -- Renewal ---------------------------------------------------------------------------------------------------------


def test_a_registration_missing_at_renewal_is_registered_again(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = active.remote_id
    renew = EgnyteConnect.renew

    def delete_and_renew(self: EgnyteConnect, *args: Any, **kwargs: Any) -> Any:
        control.post(f"remote/{old}", deleted=True)  # another person deletes it between our observation and our call
        return renew(self, *args, **kwargs)

    monkeypatch.setattr(EgnyteConnect, "renew", delete_and_renew)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert control.remotes() == []  # its absence is doubted first
    with later():
        reconciled(active)
    assert [item.action for item in active.operations.order_by("id")] == ["register", "renew", "register"]
    assert active.state == State.ACTIVE
    assert [remote["webhookId"] for remote in control.remotes()] == [active.remote_id]
    assert active.remote_id != old


def test_failed_renewals_are_counted_on_the_row(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> Any:
        raise Refused("Not now.")

    good = EgnyteConnect.renew
    monkeypatch.setattr(EgnyteConnect, "renew", refused)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    first = active.renewal_failing_since
    assert first is not None
    Subscription.objects.filter(pk=active.pk).update(due_at=timezone.now())
    reconciled(active)
    assert (active.renewal_failing_since, active.renewal_tries) == (first, 2)
    assert "renewal has been failing since" in active.state_reason
    assert active.due_at is not None
    assert active.expires_at is not None
    assert active.due_at < active.expires_at
    monkeypatch.setattr(EgnyteConnect, "renew", good)
    reconciled(active)
    assert (active.renewal_failing_since, active.renewal_tries) == (None, 0)
    assert active.renewed_at is not None


def test_a_refused_config_does_not_prevent_the_renewal(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = EgnyteConnect.update

    def picky(self: EgnyteConnect, login: Any, remote_id: str, registration: Any) -> Any:
        if list(registration.config.paths) == ["/Not/Allowed"]:
            control.post("faults", status=400, times=1)
        return update(self, login, remote_id, registration)

    monkeypatch.setattr(EgnyteConnect, "update", picky)
    control.post("clock", advance_seconds=60)
    before = active.expires_at
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Not/Allowed"]})
    reconciled(active)
    assert [(item.action, item.status) for item in active.operations.order_by("id")][1:] == [
        ("update", "failed"),
        ("renew", "succeeded"),
    ]
    assert active.last_error["code"] == "refused"
    assert active.expires_at is not None
    assert before is not None
    assert (active.expires_at - timezone.now()).total_seconds() > 80
    assert control.remotes()[0]["path"] == "/Shared/Finance"


def test_an_urgent_renewal_does_not_wait_for_a_long_penalty(active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=80)
    reconciled(active)  # renews it; below, the lease is set to end soon
    now = timezone.now()
    Subscription.objects.filter(pk=active.pk).update(
        granted=timedelta(seconds=90), expires_at=now + timedelta(seconds=9), renew_at=now - timedelta(seconds=20)
    )
    AccountLimit.objects.update(blocked_at=now, blocked_until=now + timedelta(hours=3))
    active.refresh_from_db()
    calls = len(control.calls())
    reconciled(active)
    assert len(control.calls()) > calls


# -- Deleting --------------------------------------------------------------------------------------------------------


def test_deletion_before_the_registering_call_registers_nothing(
    subscription: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(step: Any, boundary: Boundary) -> None:
        if boundary is Boundary.PLANNED and step.action is StepAction.REGISTER:
            desired_state.request_deletion(Subscription.objects.get(pk=subscription.pk), by="staff:ann")

    monkeypatch.setattr("subscriptions.reconciliation.apply.mark_boundary", remove)
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.DELETED
    assert control.remotes() == []
    assert not Operation.objects.exists()


def test_deletion_during_the_registering_call_deletes_the_registration(
    subscription: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Subscription.objects.get(pk=subscription.pk)  # as on a page that was opened before

    def remove(step: Any, boundary: Boundary) -> None:
        if boundary is Boundary.RECORDED and step.action is StepAction.REGISTER:
            desired_state.request_deletion(stale, by="staff:ann")

    monkeypatch.setattr("subscriptions.reconciliation.apply.mark_boundary", remove)
    reconcile(subscription)
    sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.DELETED
    assert control.remotes() == []


def test_a_failed_deletion_is_retried_and_keeps_the_remote_id(active: Subscription, control: Control) -> None:
    remote_id = active.remote_id
    desired_state.request_deletion(active, by="staff:ann")
    control.post("faults", status=400, times=100)
    for _ in range(4):
        reconciled(active)
        assert active.state == State.DELETING
        assert active.remote_id == remote_id
        assert active.due_at is not None
        assert f"tried again at {active.due_at:%Y-%m-%d %H:%M:%S} UTC" in active.state_reason
    assert active.failures == 4
    control.post("faults", times=0)
    assert reconciled(active).state == State.DELETED
    assert control.remotes() == []


# -- A copy of the installation ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_copy_at_another_address_changes_nothing_at_the_provider(
    active: Subscription, account: ProviderAccount, control: Control, settings: Settings
) -> None:
    deleting = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    reconciled(deleting)
    desired_state.request_deletion(deleting, by="staff:ann")
    control.post("clock", advance_seconds=60)  # a renewal is due as well
    control.post(f"remote/{active.remote_id}", config={"paths": ["/Shared/Elsewhere"]})
    before = [{key: value for key, value in remote.items() if key != "expires"} for remote in control.remotes()]
    settings.PUBLIC_URL = "https://copy.example.test"
    writes = [call for call in control.calls() if call["method"] != "GET"]
    desired_state.request_renewal(active, by="staff:ann")
    for _ in range(2):
        ProviderAccount.objects.update(sync_due_at=timezone.now())
        Subscription.objects.update(due_at=timezone.now())
        sweep.sweep_inline()
    active.refresh_from_db()
    deleting.refresh_from_db()
    assert (active.waiting_for, deleting.waiting_for) == (Wait.ADDRESS, Wait.ADDRESS)
    assert deleting.state == State.DELETING
    assert [call for call in control.calls() if call["method"] != "GET"] == writes
    after = [{key: value for key, value in remote.items() if key != "expires"} for remote in control.remotes()]
    assert after == before
    assert active.renew_asked_at is not None, "the requested renewal is not lost"


def test_a_copy_adopts_nothing_and_sends_no_test_webhook(
    active: Subscription, account: ProviderAccount, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PUBLIC_URL = "https://copy.example.test"
    with pytest.raises(AddressNotConfirmed):
        import_remote(account, "whatever", by="staff:ann", take_over=True)
    plugin = active.account.plugin
    monkeypatch.setattr(type(plugin), "capabilities", _able_to_test(plugin.capabilities))
    result = secrets.send_test_webhook(active, by="staff:ann")
    assert (result.ok, "not confirmed" in result.detail) == (False, True)


def _able_to_test(capabilities: Any) -> Any:
    from dataclasses import replace

    return replace(capabilities, can_test=True)


def test_a_copy_syncs_as_rarely_as_the_original(
    active: Subscription, account: ProviderAccount, control: Control, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://copy.example.test"
    sync_account(ProviderAccount.objects.get())
    active.refresh_from_db()
    operations = active.operations.count()
    calls = len(control.calls())
    sync_account(ProviderAccount.objects.get())
    assert len(control.calls()) - calls <= 2  # the list, and the details of one webhook
    assert active.operations.count() == operations


# -- Limits that all processes share -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_share_one_rate_limit_and_one_day_quota(
    transactional_db: None, account: ProviderAccount, settings: Settings
) -> None:
    code = f"""
from providers.contract.base import RateLimit
from providers.contract.errors import Throttled
from providers.contract.http import Priority
from providers.accounts.rate_limiter import DatabaseLimiter
from providers.models import ProviderAccount
from django.utils import timezone
from django.conf import settings
settings.SANDBOX_URL = None
limiter = DatabaseLimiter(ProviderAccount.objects.get(pk={account.pk}), RateLimit(per_second=20, per_day=30))
for _ in range(20):
    try:
        limiter.acquire(Priority.SYNC, None)
    except Throttled:
        break
    print(timezone.now().timestamp())
"""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: run_python(code), range(2)))
    assert all(item.returncode == 0 for item in results), results
    moments = sorted(float(line) for item in results for line in item.stdout.split())
    assert len(moments) == 21, "syncs get 70 % of the quota of 30"
    assert moments[-1] - moments[0] >= 20 / 20 * 0.95
    limit = AccountLimit.objects.get()
    assert limit.day_calls == 21
    assert limit.day == timezone.now().date()


def test_day_quota_resets_and_a_shorter_penalty_keeps_a_longer_one(
    account: ProviderAccount, settings: Settings
) -> None:
    from providers.accounts.rate_limiter import DatabaseLimiter
    from providers.contract.call_limits import Priority
    from providers.contract.capabilities import RateLimit

    settings.SANDBOX_URL = None
    limiter = DatabaseLimiter(account, RateLimit(per_day=10))
    for _ in range(7):
        limiter.acquire(Priority.SYNC, None)
    AccountLimit.objects.update(day=timezone.now().date() - timedelta(days=1))
    limiter.acquire(Priority.SYNC, None)
    assert AccountLimit.objects.get().day_calls == 1
    limiter.penalise(600)
    longer = AccountLimit.objects.get().blocked_until
    limiter.penalise(5)
    assert AccountLimit.objects.get().blocked_until == longer


@pytest.mark.slow
def test_concurrent_reconciliations_leave_one_registration(
    transactional_db: None, account: ProviderAccount, control: Control
) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    start = threading.Barrier(3)

    def work() -> bool:
        start.wait(10)
        return reconcile(Subscription.objects.select_related("account").get(pk=row.pk))

    def change_config() -> bool:
        start.wait(10)
        desired_state.change(Subscription.objects.get(pk=row.pk), by="staff:bob", config={**CONFIG, "paths": ["/New"]})
        return True

    run_concurrently(work, work, change_config)
    for _ in range(2):
        Subscription.objects.update(due_at=timezone.now())
        sweep.sweep_inline()
    (remote,) = control.remotes()
    assert remote["path"] == "/New"
