"""The calls to the provider that follow an action, within the seconds that a person or a program waits for them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from subscriptions.lifecycle import secrets
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.reconciler import reconcile, reconcile_soon


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an action on a subscription, with one sentence for people."""

    row: Subscription
    ok: bool
    text: str


def attempt(subscription: Subscription, action: SubscriptionAction, *, by: str, seconds: float) -> Outcome:
    """Make the first attempt at the provider after `actions.apply`, waiting for the subscription's claim if needed.

    What does not fit in `seconds` is left to the worker. Failures are stored on the row and reported in the outcome.
    Raises InvalidInput for TEST if the stored config no longer fits the provider's schema.
    """
    match action:
        case SubscriptionAction.TEST:
            test = secrets.send_test_webhook(subscription, by=by, seconds=seconds)
            return Outcome(subscription, ok=test.ok, text=test.detail)
        case SubscriptionAction.FORGET:
            return Outcome(subscription, ok=True, text=subscription.state_reason)
        case SubscriptionAction.RECONCILE:
            deadline = time.monotonic() + seconds
            if not reconcile(subscription, actor=by, deadline=deadline, details=True, force=True):
                reconcile_soon(subscription, actor=by, seconds=seconds, force=True)
        case _:
            reconcile_soon(subscription, actor=by, seconds=seconds)
    return outcome(subscription)


def outcome(row: Subscription) -> Outcome:
    """Return the outcome for a subscription after an attempt at the provider."""
    if row.last_error:
        return Outcome(row, ok=False, text=str(row.last_error.get("message", "The provider refused the request.")))
    if row.state == State.DELETING or (row.generation != row.applied_generation and row.managed == Managed.API):
        return Outcome(row, ok=True, text="Saved. The change is being applied.")
    return Outcome(row, ok=True, text=row.state_reason)
