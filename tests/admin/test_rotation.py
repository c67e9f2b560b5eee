"""Rotating a secret and forgetting a subscription, in the dashboard."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import desired_state, secret_rotation
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.reconciler import reconcile_soon
from tests.admin.conftest import log_in_staff
from tests.harness.fixtures import CONFIG, Control

ACTIONS = reverse("admin:subscriptions_subscription_actions")
pytestmark = pytest.mark.usefixtures("receiver_answers")


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconcile_soon(subscription, actor="staff:ann")
    assert subscription.state == State.ACTIVE
    return subscription


def page_of(row: Subscription) -> str:
    return reverse("admin:subscriptions_subscription_change", args=[row.pk])


def apply_action(client: Client, row: Subscription, action: str, **more: str) -> str:
    response = client.post(ACTIONS, {"action": action, "pk": str(row.pk), **more}, follow=True)
    row.refresh_from_db()
    return response.content.decode()


def test_a_rotation_is_confirmed_and_its_progress_shown(superuser: Client, active: Subscription) -> None:
    (old,) = active.secrets
    assert 'id="rotation"' not in superuser.get(page_of(active)).content.decode()
    confirmation = superuser.get(ACTIONS, {"action": "rotate-secret", "pk": str(active.pk)}).content.decode()
    assert "A new secret was requested." in confirmation
    assert 'name="revoke"' in confirmation
    page = apply_action(superuser, active, "rotate-secret")
    assert 'id="rotation"' in page
    for text in ("not used in a request yet", "the old secret is accepted until then", "Both are accepted until"):
        assert text in page
    assert "not set at the provider yet" not in page
    assert active.secrets[1:] == [old]
    assert not [secret for secret in active.secrets if secret in page]
    assert HistoryEntry.objects.get(action="secret rotation requested").actor == "staff:ann"
    secret_rotation.record_seen(active.pk, active.secrets[0])
    reconcile_soon(active, actor="staff:ann")
    page = superuser.get(page_of(active)).content.decode()
    assert 'id="rotation"' not in page
    assert "Old secret no longer accepted" in page or "old secret no longer accepted" in page


def test_the_page_shows_that_the_provider_has_not_accepted_the_new_secret(
    superuser: Client, active: Subscription, control: Control
) -> None:
    control.post("faults", status=400, times=100)
    page = apply_action(superuser, active, "rotate-secret")
    assert "not set at the provider yet" in page


def test_revoking_keeps_only_the_new_secret(superuser: Client, active: Subscription) -> None:
    (old,) = active.secrets
    apply_action(superuser, active, "rotate-secret", revoke="1")
    assert len(active.secrets) == 1
    assert active.secrets != [old]


def test_a_manual_subscription_shows_the_secret_to_enter(superuser: Client, account: ProviderAccount) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed=Managed.MANUAL)
    confirmation = superuser.get(ACTIONS, {"action": "rotate-secret", "pk": str(row.pk)}).content.decode()
    assert "enter it at the provider" in confirmation
    page = apply_action(superuser, row, "rotate-secret")
    assert "Enter the new secret at the provider" in page


@pytest.mark.slow
def test_too_many_rotations_are_rejected_with_a_reason(superuser: Client, active: Subscription) -> None:
    for _ in range(secret_rotation.MAX_ACCEPTED_SECRETS - 1):
        apply_action(superuser, active, "rotate-secret")
    assert "Wait for such a request, or revoke the old secrets." in apply_action(superuser, active, "rotate-secret")
    assert len(active.secrets) == secret_rotation.MAX_ACCEPTED_SECRETS


@pytest.mark.slow
def test_forgetting_is_offered_only_while_deleting(superuser: Client, active: Subscription, control: Control) -> None:
    assert "action=forget" not in superuser.get(page_of(active)).content.decode()
    assert (
        "that is being deleted can be forgotten"
        in superuser.get(ACTIONS, {"action": "forget", "pk": str(active.pk)}).content.decode()
    )
    control.post("faults", status=401, times=1000)
    desired_state.request_deletion(active, by="staff:ann")
    reconcile_soon(active, actor="staff:ann")
    assert active.state == State.DELETING
    assert "action=forget" in superuser.get(page_of(active)).content.decode()
    confirmation = superuser.get(ACTIONS, {"action": "forget", "pk": str(active.pk)}).content.decode()
    assert str(active.remote_id) in confirmation
    assert "This cannot be undone." in confirmation
    apply_action(superuser, active, "forget")
    assert active.state == State.DELETED
    assert str(active.remote_id) in superuser.get(page_of(active)).content.decode()


def test_forgetting_needs_the_permission_to_delete(active: Subscription) -> None:
    desired_state.request_deletion(active, by="staff:ann")
    changer = log_in_staff("chris", "subscriptions.view_subscription", "subscriptions.change_subscription")
    assert changer.post(ACTIONS, {"action": "forget", "pk": str(active.pk)}).status_code == 403
