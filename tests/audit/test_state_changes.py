"""Every change of a state is recorded once, with actor and reason, in the same transaction."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from config.environment import BASE_DIR
from providers.accounts import session
from providers.audit import state_changes
from providers.db.encryption import Undecryptable
from providers.models import AccountStatus, ProviderAccount, StateChange
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fake_provider import clock_at
from tests.harness.fixtures import CONFIG, Control

pytestmark = pytest.mark.django_db


def changes(subject: Subscription | ProviderAccount) -> list[tuple[str, str, str, int]]:
    """Return the states before and after, actor and count of each record, oldest first."""
    rows = StateChange.objects.filter(subject_id=str(subject.uid)).order_by("pk")
    return [(change.before, change.after, change.actor, change.times) for change in rows]


def set_state(row: Subscription, state: State, reason: str = "Because.", by: str = "clock") -> int:
    return state_changes.write(Subscription.objects.filter(pk=row.pk), by=by, state=state, state_reason=reason)


@pytest.mark.usefixtures("receiver_answers")
def test_the_first_attempt_names_its_actor_and_later_ones_the_scheduler(
    subscription: Subscription, control: Control
) -> None:
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    assert changes(subscription) == [("pending", "active", "staff:ann", 1)]
    control.post(f"remote/{subscription.remote_id}", status="disabled")
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    assert reconcile(subscription, details=True)
    assert {change[2] for change in changes(subscription)[1:]} <= {"clock"}


def test_an_unchanged_state_is_not_recorded(hook: Subscription) -> None:
    assert set_state(hook, State.PENDING, "Another reason.") == 1
    assert changes(hook) == []
    hook.refresh_from_db()
    assert hook.state_reason == "Another reason."


def test_nothing_is_recorded_if_no_row_was_updated(hook: Subscription) -> None:
    rows = Subscription.objects.filter(pk=hook.pk, claimed_by="another worker")
    assert state_changes.write(rows, by="clock", state=State.FAILING) == 0
    assert changes(hook) == []


def test_a_change_and_its_record_are_written_in_one_transaction(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StateChange.objects, "create", die)
    with pytest.raises(KeyboardInterrupt), transaction.atomic():
        set_state(hook, State.FAILING)
    hook.refresh_from_db()
    assert hook.state == State.PENDING
    assert changes(hook) == []


def test_repeated_changes_within_an_hour_are_counted_on_one_record(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = timezone.now()
    for minute in range(90):
        with clock_at(monkeypatch, start + timedelta(minutes=minute)):
            set_state(hook, State.FAILING if minute % 2 == 0 else State.ACTIVE, f"In minute {minute}.")
    rows = StateChange.objects.filter(subject_id=str(hook.uid)).order_by("pk")
    assert [(change.before, change.after, change.times) for change in rows] == [
        ("pending", "failing", 1),
        ("failing", "active", 30),
        ("active", "failing", 30),
        ("failing", "active", 15),
        ("active", "failing", 14),
    ]
    assert rows[1].reason == "In minute 59."
    assert rows[1].last_at - rows[1].at == timedelta(minutes=58)


def test_deleting_a_manual_subscription_records_the_actor(account: ProviderAccount) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed="manual")
    desired_state.request_deletion(row, by="api:importer")
    assert changes(row) == [("pending", "deleted", "api:importer", 1)]


def test_states_of_rows_that_cannot_be_decrypted_are_recorded(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Undecryptable("No key decrypts it.")

    monkeypatch.setattr(Subscription.objects.all().__class__, "get", fail)
    monkeypatch.setattr(ProviderAccount.objects.all().__class__, "get", fail)
    sweep._reconcile(hook.pk)
    sweep._sync(hook.account_id)
    assert changes(hook) == [("pending", "failing", "clock", 1)]
    assert changes(hook.account) == [("unchecked", "failing", "clock", 1)]


def test_account_states_are_recorded(account: ProviderAccount) -> None:
    session.check(account, by="staff:bob")
    assert account.status == AccountStatus.OK
    accounts.change_account(account, by="api:importer", credentials={"access_token": "wrong"})
    session.check(account)
    assert changes(account) == [
        ("unchecked", "ok", "staff:bob", 1),
        ("ok", "unchecked", "api:importer", 1),
        ("unchecked", "failing", "clock", 1),
    ]
    change = StateChange.objects.latest("pk")
    assert change.account == account
    assert change.reason == account.status_reason != ""


def test_no_other_module_writes_a_state() -> None:
    """`update(state=…)` would bypass the record."""
    rows = r"(?:Subscription|ProviderAccount|account|subscription|row|mine)\b[\w.]*(?:\([^()]*\))?"
    writes_state = re.compile(rf"{rows}\.update\([^)]*\b(?:state|status)=")
    for folder in ("config", "events", "providers", "subscriptions"):
        for path in (Path(BASE_DIR) / folder).rglob("*.py"):
            if "migrations" not in path.parts and not path.name.startswith("test"):
                text = path.read_text().replace("row.operations", "")  # operations have their own status
                assert not writes_state.search(text), path
