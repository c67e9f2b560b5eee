"""Drift: a config that was changed at the provider is reverted, accepted, or only reported."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from providers.contract.errors import FieldError, InvalidInput
from providers.contract.schemas import validate as checked
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.models import State, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.reconciliation import reconciler as reconcile_module
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def drifted(account: ProviderAccount, control: Control, policy: DriftPolicy) -> Subscription:
    """Return an active subscription whose path was changed at the provider."""
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", drift_policy=policy)
    reconciled(row)
    reconciled(row)  # reads the details, so that the agreed config is recorded
    assert row.state == State.ACTIVE
    assert row.agreed_config == row.remote_config
    control.post(f"remote/{row.remote_id}", config={"paths": ["/Shared/Elsewhere"]})
    return row


def reconciled(row: Subscription) -> Subscription:
    assert reconcile(row, details=True)
    row.refresh_from_db()
    return row


def writes(control: Control) -> int:
    return len(control.calls("PUT")) + len(control.calls("POST"))


def test_accepted_drift_becomes_the_desired_config(account: ProviderAccount, control: Control) -> None:
    row = drifted(account, control, DriftPolicy.ACCEPT)
    before = writes(control)
    (change,) = preview(row).accepts
    assert (change.field, change.before) == ("paths", ["/Shared/Elsewhere"])
    reconciled(row)
    assert row.state == State.ACTIVE, row.state_reason
    assert row.config["paths"] == ["/Shared/Elsewhere"]
    assert row.config["event_types"] == CONFIG["event_types"]
    assert writes(control) == before
    entry = HistoryEntry.objects.filter(action="drift accepted").get()
    assert (entry.actor, entry.subject_id) == ("clock", str(row.uid))
    assert entry.changes == [{"field": "config.paths", "from": ["/Shared/Finance"], "to": ["/Shared/Elsewhere"]}]
    reconciled(row)
    assert HistoryEntry.objects.filter(action="drift accepted").count() == 1


def test_drift_that_the_schema_refuses_is_not_accepted(
    account: ProviderAccount, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = drifted(account, control, DriftPolicy.ACCEPT)
    before = writes(control)

    def strict(model: Any, data: Any) -> Any:
        if isinstance(data, dict) and data.get("paths") == ["/Shared/Elsewhere"]:
            raise InvalidInput([FieldError("paths", "invalid", "Not there.")])
        return checked(model, data)

    monkeypatch.setattr(reconcile_module, "validate", strict)
    reconciled(row)
    assert row.state == State.DRIFTED
    assert "cannot be accepted" in row.state_reason
    assert "tried again at" in row.state_reason
    assert row.config["paths"] == CONFIG["paths"]
    assert writes(control) == before


@pytest.mark.slow
def test_a_concurrent_edit_wins_over_accepting_drift(
    account: ProviderAccount, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = drifted(account, control, DriftPolicy.ACCEPT)
    accept = desired_state.accept_drift

    def late(subscription: Subscription, *args: Any, **kwargs: Any) -> bool:
        desired_state.change(
            Subscription.objects.get(pk=row.pk), by="staff:bob", config={**CONFIG, "paths": ["/Shared/Third"]}
        )
        return accept(subscription, *args, **kwargs)

    monkeypatch.setattr(desired_state, "accept_drift", late)
    reconciled(row)
    monkeypatch.undo()
    monkeypatch.setattr("subscriptions.lifecycle.receiver_probe.find_receiver_error", lambda url: None)
    assert row.due_at is not None
    assert row.due_at <= timezone.now(), "the person's change is applied next"
    reconciled(row)
    assert row.config["paths"] == ["/Shared/Third"]
    assert control.remotes()[0]["path"] == "/Shared/Third"
    assert not HistoryEntry.objects.filter(action="drift accepted").exists()


def test_reported_drift_changes_nothing_at_the_provider(account: ProviderAccount, control: Control) -> None:
    row = drifted(account, control, DriftPolicy.REPORT)
    before = writes(control)
    reconciled(row)
    sync_account(ProviderAccount.objects.get())
    row.refresh_from_db()
    assert row.state == State.DRIFTED
    assert "differs at the provider in paths" in row.state_reason
    assert "only reported" in row.state_reason
    assert [(change["field"], change["before"]) for change in row.drift] == [("paths", ["/Shared/Elsewhere"])]
    assert (writes(control), row.operations.count()) == (before, 1)
    desired_state.change(row, by="staff:ann", drift_policy=DriftPolicy.REVERT.value)
    reconciled(row)
    assert row.state == State.ACTIVE
    assert control.remotes()[0]["path"] == "/Shared/Finance"


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [True, False], ids=["renewed", "replaced"])
def test_reported_drift_survives_a_renewal(in_place: bool, account: ProviderAccount, control: Control) -> None:
    row = drifted(account, control, DriftPolicy.REPORT)
    control.post("options", update_extends=in_place)
    reconciled(row)
    desired_state.request_renewal(row, by="staff:ann")
    reconciled(row)
    reconciled(row)
    (remote,) = control.remotes()
    assert remote["path"] == "/Shared/Elsewhere"
    assert remote["webhookId"] == row.remote_id
    assert row.state == State.DRIFTED
    assert row.renewed_at is not None


@pytest.mark.slow
def test_edits_are_sent_while_other_drift_is_only_reported(account: ProviderAccount, control: Control) -> None:
    row = drifted(account, control, DriftPolicy.REPORT)
    reconciled(row)
    desired_state.change(row, by="staff:ann", config={**CONFIG, "event_types": ["comment:*"]})
    reconciled(row)
    (remote,) = control.remotes()
    assert (remote["eventType"], remote["path"]) == (["comment:*"], "/Shared/Elsewhere")
    assert [change["field"] for change in row.drift] == ["paths"]
