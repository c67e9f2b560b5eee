"""What people do with subscriptions, one or many at a time: what it means, and doing it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from subscriptions.lifecycle import desired_state, secret_rotation, secrets
from subscriptions.models import Managed, State, Subscription
from subscriptions.planning.plan import Plan
from subscriptions.reconciliation.dry_run import SubscriptionAction, foresee, refusal
from subscriptions.reconciliation.reconciler import reconcile_soon

SECONDS_FOR_ONE = 10.0
SECONDS_FOR_ALL = 20.0  # what does not fit goes on in the background


@dataclass(frozen=True, slots=True)
class Words:
    """An action as it is named on buttons and in questions."""

    button: str
    question: str
    icon: str
    explanation: str
    dangerous: bool = False


WORDS: dict[SubscriptionAction, Words] = {
    SubscriptionAction.ENABLE: Words(
        "Switch on", "Switch on", "play_circle", "The provider is told to send events again."
    ),
    SubscriptionAction.DISABLE: Words(
        "Switch off",
        "Switch off",
        "pause_circle",
        "The provider is told to send nothing. Events that still come are kept.",
    ),
    SubscriptionAction.RENEW: Words(
        "Renew now", "Renew", "update", "The provider is asked for a new lease before the old one ends."
    ),
    SubscriptionAction.TEST: Words(
        "Test",
        "Test",
        "network_check",
        "The provider is asked to send a test webhook; where it cannot, our own receiver is called.",
    ),
    SubscriptionAction.RECONCILE: Words(
        "Reconcile",
        "Reconcile",
        "sync",
        "The provider is looked at now, and whatever differs from what is wanted is repaired.",
    ),
    SubscriptionAction.ROTATE: Words(
        "Rotate secret",
        "Rotate the secret of",
        "key",
        "A new secret proves what comes in. The old one is accepted as well until a request is proved by the new one.",
    ),
    SubscriptionAction.DELETE: Words(
        "Delete",
        "Delete",
        "delete",
        "It is removed at the provider, and no more events come. The requests and events that came are kept.",
        dangerous=True,
    ),
    SubscriptionAction.FORGET: Words(
        "Forget",
        "Forget",
        "link_off",
        "Hookkeeper gives up on removing it at the provider. Only for a provider that can never be reached again, or "
        "whose credentials are gone for good.",
        dangerous=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Prospect:
    """What an action would do with one subscription."""

    row: Subscription
    refusal: str | None
    plan: Plan


@dataclass(frozen=True, slots=True)
class Result:
    """What it did."""

    row: Subscription
    ok: bool
    text: str


def prospects(rows: Sequence[Subscription], action: SubscriptionAction, now: datetime) -> list[Prospect]:
    """What the action would do with each, told from what was observed last."""
    found: list[Prospect] = []
    for row in rows:
        reason = refusal(row, action)
        found.append(Prospect(row, reason, Plan() if reason else foresee(row, now, action)))
    return found


def run(rows: Sequence[Subscription], action: SubscriptionAction, *, by: str, revoke: bool = False) -> list[Result]:
    """Does it with each: what is wanted is written first for all, then the provider is told as far as the time
    suffices; the worker carries on with the rest. `revoke`: what is rotated is no longer accepted."""
    allowed = [row for row in rows if refusal(row, action) is None]
    refused = {row.pk: why for row in allowed if (why := _want(row, action, by=by, revoke=revoke))}
    end = time.monotonic() + (SECONDS_FOR_ONE if len(allowed) == 1 else SECONDS_FOR_ALL)
    return [
        Result(row, ok=False, text=refused[row.pk]) if row.pk in refused else _finish(row, action, by=by, end=end)
        for row in allowed
    ]


def _want(row: Subscription, action: SubscriptionAction, *, by: str, revoke: bool) -> str | None:
    """Writes what is wanted. Why not, if that is refused."""
    try:
        _write(row, action, by=by, revoke=revoke)
    except (secret_rotation.TooManyUnderWay, desired_state.NotDeleting) as error:
        return str(error)
    return None


def _write(row: Subscription, action: SubscriptionAction, *, by: str, revoke: bool) -> None:
    match action:
        case SubscriptionAction.ROTATE:
            secret_rotation.rotate(row, by=by, revoke=revoke)
        case SubscriptionAction.FORGET:
            desired_state.forget(row, by=by)
        case SubscriptionAction.ENABLE:
            desired_state.change(row, by=by, enabled=True)
        case SubscriptionAction.DISABLE:
            desired_state.change(row, by=by, enabled=False)
        case SubscriptionAction.RENEW:
            desired_state.renew_now(row, by=by)
        case SubscriptionAction.DELETE:
            desired_state.remove(row, by=by)
        case SubscriptionAction.RECONCILE | SubscriptionAction.TEST:
            pass


def _finish(row: Subscription, action: SubscriptionAction, *, by: str, end: float) -> Result:
    left = end - time.monotonic()
    if action is SubscriptionAction.FORGET:
        return Result(row, ok=True, text=row.state_reason)
    if left <= 0:
        return Result(row, ok=True, text="Noted; it is done in the background.")
    if action is SubscriptionAction.TEST:
        test = secrets.try_out(row, by=by, seconds=min(left, SECONDS_FOR_ONE))
        return Result(row, ok=test.ok, text=test.detail)
    insist = action is SubscriptionAction.RECONCILE
    reconcile_soon(row, actor=by, seconds=min(left, SECONDS_FOR_ONE), insist=insist)
    return outcome(row)


def outcome(row: Subscription) -> Result:
    """How a subscription stands after an attempt, in one sentence."""
    if row.last_error:
        return Result(row, ok=False, text=str(row.last_error.get("message", "The provider refused.")))
    if row.state == State.DELETING or (row.generation != row.applied_generation and row.managed == Managed.API):
        return Result(row, ok=True, text="Noted; the provider is told in the background.")
    return Result(row, ok=True, text=row.state_reason)
