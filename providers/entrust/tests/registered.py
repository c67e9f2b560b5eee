"""Helpers of the lifecycle tests: the config of a subscription, reconciling it, and checks at the sandbox."""

from __future__ import annotations

from typing import Any

from subscriptions.models import State, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import Control

CONFIG: dict[str, Any] = {"events": [{"type": "user.created"}, {"type": "grid.created"}], "expiry_days": 90}
WEBHOOKS = "/api/web/v1/webhooks"


def reconciled(subscription: Subscription) -> Subscription:
    """Reconcile the subscription and return it."""
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def operations(subscription: Subscription) -> list[str]:
    """Return the operations, oldest first, with the status of those that did not succeed."""
    rows = subscription.operations.order_by("id").values_list("action", "status")
    return [action if status == "succeeded" else f"{action} {status}" for action, status in rows]


def check_only_one(subscription: Subscription, control: Control) -> dict[str, Any]:
    """Return the only remaining webhook, after checking that it is enabled, ours, and signs with our token."""
    (remote,) = control.remotes()
    assert (remote["remote_id"], remote["url"]) == (subscription.remote_id, subscription.callback_url)
    assert remote["enabled"]
    assert not remote["expired"]
    assert (subscription.secrets[0], subscription.secret_for) == (remote["token"], remote["remote_id"])
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return remote
