"""The actions on one or many subscriptions in the dashboard: their texts, their preview, and running them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from providers.conflict import Conflict
from subscriptions.lifecycle import actions
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Subscription
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.action_runner import Outcome, attempt
from subscriptions.reconciliation.dry_run import predict_plan

SECONDS_FOR_ONE = 10.0
SECONDS_FOR_ALL = 20.0  # the worker does the rest


@dataclass(frozen=True, slots=True)
class ActionText:
    """The texts of an action: its button, its confirmation question, and its explanation."""

    button: str
    question: str
    icon: str
    explanation: str
    dangerous: bool = False


ACTION_TEXTS: dict[SubscriptionAction, ActionText] = {
    SubscriptionAction.ENABLE: ActionText(
        "Enable", "Enable", "play_circle", "The provider is asked to send events again."
    ),
    SubscriptionAction.DISABLE: ActionText(
        "Disable",
        "Disable",
        "pause_circle",
        "The provider is asked to stop sending. Events that still arrive are stored.",
    ),
    SubscriptionAction.RENEW: ActionText(
        "Renew now", "Renew", "update", "The provider is asked for a new lease before the old one ends."
    ),
    SubscriptionAction.TEST: ActionText(
        "Test",
        "Test",
        "network_check",
        "The provider is asked to send a test webhook. If it has no test call, Hookkeeper calls its own receiver.",
    ),
    SubscriptionAction.RECONCILE: ActionText(
        "Reconcile",
        "Reconcile",
        "sync",
        "The provider is read now, and every difference from the configuration is repaired.",
    ),
    SubscriptionAction.ROTATE: ActionText(
        "Rotate secret",
        "Rotate the secret of",
        "key",
        "A new secret authenticates inbound requests. The old one stays accepted until a request is authenticated "
        "with the new one.",
    ),
    SubscriptionAction.DELETE: ActionText(
        "Delete",
        "Delete",
        "delete",
        "The subscription is deleted at the provider, and no more events arrive. Stored requests and events stay.",
        dangerous=True,
    ),
    SubscriptionAction.FORGET: ActionText(
        "Forget",
        "Forget",
        "link_off",
        "Hookkeeper stops trying to delete the subscription at the provider. Use this only if the provider can never "
        "be reached again, or if its credentials are permanently lost.",
        dangerous=True,
    ),
}


@dataclass(frozen=True, slots=True)
class ActionPreview:
    """What an action would do with one subscription. `skipped`: why it would do nothing, or an empty string."""

    row: Subscription
    skipped: str
    plan: Plan


def preview(rows: Sequence[Subscription], action: SubscriptionAction, now: datetime) -> list[ActionPreview]:
    """Return what the action would do with each subscription, predicted from the last sync."""
    previews: list[ActionPreview] = []
    for row in rows:
        refused = actions.refusal(row, action)
        skipped = str(refused) if refused else actions.no_effect(row, action)
        previews.append(ActionPreview(row, skipped, Plan() if skipped else predict_plan(row, now, action)))
    return previews


def run(rows: Sequence[Subscription], action: SubscriptionAction, *, by: str, revoke: bool = False) -> list[Outcome]:
    """Apply an action to each subscription, and return the outcome of each.

    The changes are written for all of them first. Then the provider is called for one after the other until the time
    limit; the worker does the rest. With `revoke` the old secrets are refused at once.
    """
    refused: dict[int, str] = {}
    for row in rows:
        try:
            actions.apply(row, action, by=by, revoke=revoke)
        except Conflict as error:
            refused[row.pk] = str(error)
    seconds = SECONDS_FOR_ONE if len(rows) - len(refused) == 1 else SECONDS_FOR_ALL
    end = time.monotonic() + seconds
    return [
        Outcome(row, ok=False, text=refused[row.pk]) if row.pk in refused else _attempt(row, action, by=by, end=end)
        for row in rows
    ]


def _attempt(row: Subscription, action: SubscriptionAction, *, by: str, end: float) -> Outcome:
    left = end - time.monotonic()
    if left <= 0 and action is not SubscriptionAction.FORGET:  # forgetting makes no call
        return Outcome(row, ok=True, text="Saved. The change is applied in the background.")
    return attempt(row, action, by=by, seconds=min(left, SECONDS_FOR_ONE))
