"""Forgetting a subscription that can never be deleted at its provider."""

from __future__ import annotations

import pytest

from providers.conflict import Conflict
from providers.contract.errors import Refused
from providers.egnyte_connect.provider import EgnyteConnect
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from subscriptions.planning.steps import StepAction
from subscriptions.reconciliation.apply import Boundary
from tests.harness.fixtures import Control
from tests.lifecycle.rotation import during, reconciled, send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def test_forgetting_a_subscription_allows_deleting_its_account(
    active: Subscription, account: ProviderAccount, control: Control
) -> None:
    remote_id = active.remote_id
    with pytest.raises(Conflict):
        desired_state.forget(active, by="staff:ann")
    desired_state.request_deletion(active, by="staff:ann")
    control.post("faults", status=401, times=1000)
    reconciled(active)
    assert active.state == State.DELETING
    with pytest.raises(accounts.AccountInUse):
        accounts.delete_account(account, by="staff:ann")
    desired_state.forget(active, by="staff:ann")
    assert active.state == State.DELETED
    assert active.state_reason == f"Forgotten here. The provider may still have it as {remote_id}."
    entry = HistoryEntry.objects.latest("id")
    assert (entry.action, entry.actor) == ("forgotten", "staff:ann")
    assert entry.changes == [{"field": "remote_id", "from": None, "to": remote_id}]
    with pytest.raises(Conflict):
        desired_state.forget(active, by="staff:ann")
    accounts.delete_account(account, by="staff:ann")
    assert send(active, active.secrets[0]) == 404


def test_a_subscription_forgotten_during_a_reconciliation_stays_deleted(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Subscription.objects.get(pk=active.pk)
    desired_state.request_deletion(active, by="staff:ann")

    def refused(*_: object, **__: object) -> None:
        raise Refused("No.")

    monkeypatch.setattr(EgnyteConnect, "delete", refused)
    during(monkeypatch, StepAction.DELETE, Boundary.RECORDED, lambda: desired_state.forget(stale, by="staff:ann"))
    reconciled(active)
    assert active.state == State.DELETED
    assert active.state_reason.startswith("Forgotten here")
