"""Pauses of an account's calls: when they begin and end, who may probe, and how they affect subscriptions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils import timezone

from providers.accounts import circuit_breaker, session
from providers.accounts.circuit_breaker import BREAKER, FIRST_BREAK, MAX_BREAK, MAX_FAILURES, AccountGate
from providers.contract.call_limits import Priority
from providers.contract.errors import (
    AuthenticationFailed,
    CallsPaused,
    DeadlineExceeded,
    PermissionMissing,
    Refused,
    Throttled,
)
from providers.contract.errors import Unavailable as NoAnswer
from providers.models import AccountLimit, AccountStatus, ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control, later
from tests.harness.processes import run_python

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def fresh(account: ProviderAccount) -> ProviderAccount:
    return ProviderAccount.objects.get(pk=account.pk)


def call(account: ProviderAccount, error: Exception | None = None, priority: Priority = Priority.CHANGE) -> None:
    """Make a call through the gate that ends with this error, or succeeds."""
    gate = AccountGate(account)
    gate.enter(priority)
    assert error is None or isinstance(error, NoAnswer | Throttled | Refused)
    gate.record(error)


def open_circuit(account: ProviderAccount) -> ProviderAccount:
    """Let calls fail until the circuit opens, and return the account."""
    for _ in range(MAX_FAILURES):
        call(account, NoAnswer("No."))
    return fresh(account)


def end_pause_time(account: ProviderAccount) -> None:
    """Let the time of the pause pass, so that one call may probe."""
    now = timezone.now()
    rows = ProviderAccount.objects.filter(pk=account.pk)
    rows.update(calls_paused_until=now - timedelta(seconds=1), calls_paused_at=now - timedelta(seconds=60))


# -- Refused credentials ---------------------------------------------------------------------------------------------


@pytest.fixture
def refused(account: ProviderAccount, control: Control) -> list[Subscription]:
    """Return three subscriptions of an account whose credentials were just refused, once."""
    rows = [desired_state.subscribe(account, config=CONFIG, by="staff:ann") for _ in range(3)]
    control.post("faults", status=401, times=1)
    for row in rows:
        reconcile(row)
        row.refresh_from_db()
    return rows


def test_refused_credentials_cost_one_call_for_the_whole_account(
    refused: list[Subscription], account: ProviderAccount, control: Control
) -> None:
    assert len(control.calls()) == 1
    sync_account(fresh(account))
    sweep.sweep_inline()
    assert len(control.calls()) == 1, "neither the sync nor the sweep makes a call"
    account = fresh(account)
    assert account.status == AccountStatus.FAILING
    assert account.calls_paused_for == "authentication_failed"
    assert account.calls_paused_since is not None
    for row in refused:
        assert row.state == State.FAILING
        assert row.last_error["code"] == "authentication_failed"
        assert row.paused_since is not None
        assert row.due_at is not None
        assert account.calls_paused_until is not None
        assert row.due_at > account.calls_paused_until
    assert f"until {account.calls_paused_until:%Y-%m-%d %H:%M:%S} UTC" in refused[1].state_reason
    assert [row.failures for row in refused] == [1, 0, 0]


@pytest.mark.slow
def test_a_check_by_a_person_ends_the_pause_for_all(
    refused: list[Subscription], account: ProviderAccount, control: Control
) -> None:
    session.check(account)
    assert account.status == AccountStatus.OK
    assert account.calls_paused_until is None
    sweep.sweep_inline()
    assert {row.state for row in Subscription.objects.all()} == {State.ACTIVE}
    assert not Subscription.objects.exclude(paused_since=None).exists()


@pytest.mark.slow
def test_new_credentials_end_the_pause(refused: list[Subscription], account: ProviderAccount) -> None:
    account.refresh_from_db()
    accounts.change_account(account, by="staff:ann", credentials=account.credentials)
    assert fresh(account).calls_paused_until is None
    sweep.sweep_inline()
    assert {row.state for row in Subscription.objects.all()} == {State.ACTIVE}


def test_reconciling_by_a_person_calls_despite_the_pause(refused: list[Subscription], account: ProviderAccount) -> None:
    reconcile(refused[0], actor="staff:ann", force=True)
    refused[0].refresh_from_db()
    assert refused[0].state == State.ACTIVE
    assert fresh(account).status == AccountStatus.OK


def test_a_successful_probe_ends_the_pause_even_after_unanswered_calls(
    refused: list[Subscription], account: ProviderAccount
) -> None:
    ProviderAccount.objects.update(call_failures=2)
    end_pause_time(account)
    reconcile(refused[0])
    account = fresh(account)
    assert (account.calls_paused_for, account.call_failures) == ("", 0)
    refused[0].refresh_from_db()
    assert refused[0].state == State.ACTIVE


@pytest.mark.slow
def test_refused_credentials_are_probed_rarely_and_by_one_call(
    refused: list[Subscription], account: ProviderAccount, control: Control
) -> None:
    control.post("faults", status=401, times=20)
    pauses: list[float] = []
    for number in range(2, 8):
        end_pause_time(account)
        ProviderAccount.objects.update(sync_due_at=timezone.now())
        sweep.sweep_inline()
        for row in refused:
            reconcile(Subscription.objects.select_related("account").get(pk=row.pk))
        assert len(control.calls()) == number
        paused = fresh(account)
        assert paused.calls_paused_until is not None
        assert paused.calls_paused_at is not None
        pauses.append((paused.calls_paused_until - paused.calls_paused_at) / paused.sync_interval)
    assert pauses == [2, 4, 8, 12, 12, 12]


@pytest.mark.slow
def test_a_successful_probe_reactivates_the_account(
    refused: list[Subscription], account: ProviderAccount, control: Control
) -> None:
    end_pause_time(account)
    ProviderAccount.objects.update(sync_due_at=timezone.now())
    sweep.sweep_inline()
    sweep.sweep_inline()
    assert fresh(account).status == AccountStatus.OK
    assert {row.state for row in Subscription.objects.all()} == {State.ACTIVE}


def test_concurrent_refusals_begin_one_pause(account: ProviderAccount) -> None:
    gates = [AccountGate(account) for _ in range(3)]
    for gate in gates:
        gate.enter(Priority.CHANGE)
    for gate in gates:
        gate.failed(AuthenticationFailed("No."))
    assert fresh(account).calls_paused_count == 1


# -- A missing permission --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_missing_list_permission_pauses_the_account_until_it_is_granted(
    subscription: Subscription, account: ProviderAccount, control: Control
) -> None:
    sweep.sweep_inline()
    control.post("faults", status=403, times=1)
    ProviderAccount.objects.update(sync_due_at=timezone.now(), status=AccountStatus.OK)
    sweep.sweep_inline()
    paused = fresh(account)
    assert (paused.status, paused.calls_paused_for) == (AccountStatus.FAILING, "permission_missing")
    assert "does not permit" in paused.status_reason
    end_pause_time(account)
    ProviderAccount.objects.update(sync_due_at=timezone.now())
    sweep.sweep_inline()
    assert fresh(account).status == AccountStatus.OK
    assert fresh(account).calls_paused_until is None


def test_a_permission_missing_for_one_subscription_does_not_pause_the_account(
    account: ProviderAccount, control: Control
) -> None:
    first, second = (desired_state.subscribe(account, config=CONFIG, by="staff:ann") for _ in range(2))
    control.post("faults", status=403, times=1)
    reconcile(first)
    reconcile(second)
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.last_error["code"] == "permission_missing"
    assert second.state == State.ACTIVE
    assert fresh(account).calls_paused_until is None


def test_only_account_errors_pause_calls(account: ProviderAccount) -> None:
    AccountGate(account).failed(PermissionMissing("Not permitted."))
    AccountGate(account).failed(Refused("No."))
    assert fresh(account).calls_paused_until is None


# -- The circuit breaker ---------------------------------------------------------------------------------------------


def test_consecutive_unanswered_calls_open_the_circuit(account: ProviderAccount) -> None:
    for _ in range(MAX_FAILURES - 1):
        call(account, NoAnswer("No."))
    call(account, Refused("A refusal is an answer."))
    for _ in range(MAX_FAILURES - 1):
        call(account, NoAnswer("No."))
    assert fresh(account).calls_paused_until is None
    call(account, NoAnswer("It is in trouble."))
    paused = fresh(account)
    assert paused.calls_paused_for == BREAKER
    assert "in trouble" in paused.calls_paused_reason
    assert paused.status != AccountStatus.FAILING
    with pytest.raises(CallsPaused, match="paused until"):
        call(account)


def test_deadlines_and_rate_limits_do_not_open_the_circuit(account: ProviderAccount) -> None:
    for _ in range(3 * MAX_FAILURES):
        call(account, DeadlineExceeded("We could not wait."))
        call(account, Throttled("Too many."))
    assert fresh(account).call_failures == 0


def test_one_probe_closes_the_circuit(account: ProviderAccount) -> None:
    open_circuit(account)
    end_pause_time(account)
    probe = AccountGate(account)
    probe.enter(Priority.SYNC)
    with pytest.raises(CallsPaused):
        call(account)
    probe.record(None)
    call(account)
    assert fresh(account).call_failures == 0


def test_each_failed_probe_prolongs_the_pause(account: ProviderAccount) -> None:
    paused = open_circuit(account)
    since, pauses = paused.calls_paused_since, []
    for _ in range(6):
        paused = fresh(account)
        assert paused.calls_paused_until is not None
        assert paused.calls_paused_at is not None
        pauses.append(paused.calls_paused_until - paused.calls_paused_at)
        end_pause_time(account)
        call(account, NoAnswer("Still no."))
    assert pauses[:3] == [FIRST_BREAK, 2 * FIRST_BREAK, 4 * FIRST_BREAK]
    assert max(pauses) == MAX_BREAK
    assert fresh(account).calls_paused_since == since


def test_an_urgent_renewal_may_probe_early(account: ProviderAccount) -> None:
    open_circuit(account)
    with pytest.raises(CallsPaused):
        call(account, priority=Priority.URGENT)  # another call has just failed
    now = timezone.now()
    ProviderAccount.objects.update(calls_paused_at=now - timedelta(seconds=5))
    with pytest.raises(CallsPaused):
        call(account, priority=Priority.RENEWAL)
    call(account, priority=Priority.URGENT)
    assert fresh(account).calls_paused_until is None


def test_a_failed_probe_by_a_person_does_not_prolong_the_pause(account: ProviderAccount) -> None:
    paused = open_circuit(account)
    for _ in range(4):
        gate = AccountGate(account, force=True)
        gate.enter(Priority.CHANGE)
        gate.record(NoAnswer("Still no."))
    after = fresh(account)
    assert after.calls_paused_count == paused.calls_paused_count
    assert after.calls_paused_until == paused.calls_paused_until


def test_a_probe_answered_by_a_refusal_begins_a_pause_for_the_credentials(account: ProviderAccount) -> None:
    open_circuit(account)
    end_pause_time(account)
    gate = AccountGate(account)
    gate.enter(Priority.CHANGE)
    gate.record(AuthenticationFailed("No."))
    gate.failed(AuthenticationFailed("No."))
    assert (fresh(account).calls_paused_for, fresh(account).call_failures) == ("authentication_failed", 0)


def test_an_unanswered_probe_does_not_count_as_refused_credentials(account: ProviderAccount) -> None:
    gate = AccountGate(account)
    gate.enter(Priority.CHANGE)
    gate.failed(AuthenticationFailed("No."))
    end_pause_time(account)
    call(account, NoAnswer("No."))
    paused = fresh(account)
    assert (paused.calls_paused_for, paused.calls_paused_count) == ("authentication_failed", 1)
    assert paused.calls_paused_until is not None
    assert paused.calls_paused_until > timezone.now()


def test_a_probe_by_a_killed_process_times_out(account: ProviderAccount) -> None:
    open_circuit(account)
    end_pause_time(account)
    AccountGate(account).enter(Priority.CHANGE)
    rows = ProviderAccount.objects.filter(pk=account.pk)
    dead = timezone.now() - circuit_breaker.PROBE_TIMEOUT - timedelta(seconds=1)
    rows.update(calls_paused_at=dead, calls_paused_until=dead + circuit_breaker.PROBE_TIMEOUT)
    call(account)
    assert fresh(account).calls_paused_until is None


def test_a_pause_set_before_the_clock_was_set_back_has_ended(account: ProviderAccount) -> None:
    open_circuit(account)
    ahead = timezone.now() + timedelta(hours=3)
    ProviderAccount.objects.update(calls_paused_at=ahead, calls_paused_until=ahead + FIRST_BREAK)
    call(account)
    assert fresh(account).calls_paused_until is None


@pytest.mark.slow
def test_an_unreachable_provider_is_not_called_and_recovers(account: ProviderAccount, control: Control) -> None:
    rows = [desired_state.subscribe(account, config=CONFIG, by="staff:ann") for _ in range(MAX_FAILURES + 3)]
    control.post("faults", status=500, times=100)
    for row in rows:
        reconcile(row)
    assert len(control.calls()) == MAX_FAILURES
    assert Subscription.objects.exclude(paused_since=None).count() == 4, (
        "the one whose failure opened the circuit waits as well"
    )
    control.post("faults", times=0)
    end_pause_time(account)
    Subscription.objects.filter(pk=rows[0].pk).update(due_at=timezone.now())
    with later():  # after this, a registration with an unknown result is tried again
        sweep.sweep_inline()
        sweep.sweep_inline()
    waiting = Subscription.objects.filter(paused_since=None).exclude(state=State.ACTIVE)
    reasons = {row.waiting_for or row.last_error["code"] for row in waiting}
    assert reasons <= {"unavailable", "registration"}, "those with a pause of their own"
    assert Subscription.objects.filter(state=State.ACTIVE).count() >= 4


IN_ANOTHER_PROCESS = """
import sys
from providers.contract.errors import CallsPaused, Unavailable
from providers.contract.http import Priority
from providers.models import ProviderAccount
from providers.accounts.circuit_breaker import AccountGate
account = ProviderAccount.objects.get(pk={pk})
passed = 0
for _ in range({calls}):
    gate = AccountGate(account)
    try:
        gate.enter(Priority.CHANGE)
    except CallsPaused:
        continue
    passed += 1
    gate.record(Unavailable("No."))
print(passed)
"""


@pytest.mark.slow
def test_two_processes_share_one_circuit_and_one_probe(transactional_db: None, account: ProviderAccount) -> None:
    def both(calls: int) -> int:
        code = IN_ANOTHER_PROCESS.format(pk=account.pk, calls=calls)
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda _: run_python(code), range(2)))
        assert all(item.returncode == 0 for item in results), results
        return sum(int(item.stdout) for item in results)

    assert MAX_FAILURES <= both(MAX_FAILURES) <= MAX_FAILURES + 1  # one may have been under way
    assert fresh(account).calls_paused_count == 1
    end_pause_time(account)
    assert both(1) == 1
    assert fresh(account).calls_paused_count == 2


# -- Throttled -------------------------------------------------------------------------------------------------------


def test_the_start_of_throttling_is_recorded_until_a_call_succeeds(
    subscription: Subscription, account: ProviderAccount, control: Control
) -> None:
    control.post("faults", status=429, retry_after=60, times=1)
    reconcile(subscription)
    limit = AccountLimit.objects.get()
    assert limit.throttled_since is not None
    assert limit.blocked_until is not None
    AccountLimit.objects.update(blocked_until=None)
    reconcile(subscription)
    assert AccountLimit.objects.get().throttled_since is None


def test_a_deletion_waits_for_the_end_of_the_pause(
    subscription: Subscription, account: ProviderAccount, control: Control
) -> None:
    reconcile(subscription)
    subscription.refresh_from_db()
    remote_id = subscription.remote_id
    paused = open_circuit(account)
    desired_state.request_deletion(subscription, by="staff:ann")
    reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.DELETING
    assert "calls for this account are paused until" in subscription.state_reason
    assert subscription.remote_id == remote_id
    circuit_breaker.end_pause(paused)
    sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.DELETED
    assert control.remotes() == []
