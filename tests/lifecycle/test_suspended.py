"""Suspended subscriptions are enabled again after growing pauses, until Hookkeeper gives up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from providers.models import ProviderAccount
from subscriptions.lifecycle import actions, desired_state, receiver_probe
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import State, Subscription
from subscriptions.planning.steps import Wait
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.dry_run import predict_plan
from subscriptions.reconciliation.observed_state import MAX_SUSPENSIONS
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def reconciled(row: Subscription, *, force: bool = False) -> Subscription:
    assert reconcile(row, details=True, force=force)
    row.refresh_from_db()
    return row


def suspend(row: Subscription, control: Control) -> Subscription:
    """Disable the subscription at the provider, and sync."""
    control.post(f"remote/{row.remote_id}", status="disabled")
    return reconciled(row)


def end_pause(row: Subscription) -> None:
    Subscription.objects.filter(pk=row.pk).update(enable_not_before=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconciled(subscription)
    assert subscription.state == State.ACTIVE
    return subscription


@pytest.fixture
def given_up(active: Subscription, control: Control) -> Subscription:
    for _ in range(MAX_SUSPENSIONS + 1):
        suspend(active, control)
        if active.gave_up_at:
            break
        end_pause(active)
        reconciled(active)
    return active


@pytest.mark.slow
def test_after_the_third_suspension_it_is_registered_again(active: Subscription, control: Control) -> None:
    first = active.remote_id
    for _ in range(3):
        suspend(active, control)
        end_pause(active)
        reconciled(active)
    assert active.state == State.ACTIVE
    assert active.remote_id != first
    assert [remote["webhookId"] for remote in control.remotes()] == [active.remote_id]
    actions_done = list(active.operations.order_by("id").values_list("action", flat=True))
    assert actions_done == ["register", "enable", "enable", "replace", "delete"]
    assert "restarts at zero" in active.operations.get(action="replace").reason


@pytest.mark.slow
def test_after_too_many_suspensions_it_stays_disabled(given_up: Subscription, control: Control) -> None:
    assert len(given_up.suspensions) == MAX_SUSPENSIONS + 1
    assert given_up.state == State.SUSPENDED
    assert given_up.waiting_for == Wait.GAVE_UP
    assert "until a person enables or reconciles it" in given_up.state_reason
    calls = len(control.calls("POST"))
    end_pause(given_up)
    reconciled(given_up)
    sync_account(ProviderAccount.objects.get())
    assert len(control.calls("POST")) == calls
    assert control.remotes()[0]["status"] == "disabled"


@pytest.mark.slow
def test_it_stays_disabled_when_its_lease_ends(given_up: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=200)
    reconciled(given_up)
    assert given_up.waiting_for == Wait.GAVE_UP
    assert [remote["status"] for remote in control.remotes()] == ["disabled"]


@pytest.mark.slow
def test_enabling_ends_giving_up(given_up: Subscription, control: Control) -> None:
    assert actions.is_offered(given_up, SubscriptionAction.ENABLE)
    (step,) = predict_plan(given_up, timezone.now(), SubscriptionAction.ENABLE).steps
    assert step.action == "enable"
    desired_state.change(given_up, by="staff:ann", enabled=True)
    reconciled(given_up)
    assert (given_up.state, given_up.gave_up_at, given_up.suspensions) == (State.ACTIVE, None, [])
    last = given_up.operations.first()
    assert last is not None
    assert (last.action, last.actor) == ("enable", "staff:ann")


@pytest.mark.slow
def test_reconciling_on_demand_ends_giving_up(given_up: Subscription) -> None:
    assert reconciled(given_up, force=True).state == State.ACTIVE
    assert given_up.gave_up_at is None


@pytest.mark.slow
def test_enabling_at_the_provider_ends_giving_up(given_up: Subscription, control: Control) -> None:
    control.post(f"remote/{given_up.remote_id}", status="enabled")
    reconciled(given_up)
    assert (given_up.state, given_up.gave_up_at) == (State.ACTIVE, None)


def test_only_recent_suspensions_count(active: Subscription, control: Control) -> None:
    long_ago = (timezone.now() - timedelta(days=2)).isoformat()
    Subscription.objects.filter(pk=active.pk).update(suspensions=[long_ago] * MAX_SUSPENSIONS)
    active.refresh_from_db()
    suspend(active, control)
    assert active.gave_up_at is None
    assert len(active.suspensions) == 1


def test_disabling_by_a_person_does_not_count_as_suspension(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    reconciled(active)
    assert (active.state, active.suspensions) == (State.DISABLED, [])


def test_updates_do_not_enable_it_before_our_receiver_answers(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: "Our own receiver answered 500.")
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    suspend(active, control)
    assert active.waiting_for == Wait.RECEIVER
    assert control.calls("PUT") == []
    assert control.remotes()[0]["status"] == "disabled"
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: None)
    end_pause(active)
    reconciled(active)
    assert active.state == State.ACTIVE
    assert control.remotes()[0]["path"] == "/Shared/New"
