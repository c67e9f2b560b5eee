"""What an action would do at the provider, told from what was observed last. No call is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Renewal
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import Managed, State, Subscription
from subscriptions.planning.plan import Plan, plan
from subscriptions.reconciliation.reconciler import observed_half, wanted_half


class SubscriptionAction(StrEnum):
    """What a person can do with a subscription."""

    ENABLE = "enable"
    DISABLE = "disable"
    RENEW = "renew"
    TEST = "test"
    RECONCILE = "reconcile"
    ROTATE = "rotate-secret"
    DELETE = "delete"
    FORGET = "forget"


def last_seen(row: Subscription) -> tuple[RemoteSubscription, ...]:
    """What the provider had when it was looked at last."""
    if not row.remote_id or row.missing_since or row.remote_enabled is None:
        return ()
    return (
        RemoteSubscription(
            remote_id=row.remote_id,
            status=row.remote_status or "",
            enabled=row.remote_enabled,
            expires_at=row.expires_at,
            url=row.remote_url,
            config=row.remote_config,
            secret_matches=row.remote_secret_matches if row.secret_is_set else False,
        ),
    )


def foresee(row: Subscription, now: datetime, action: SubscriptionAction = SubscriptionAction.RECONCILE) -> Plan:
    """The plan as it would be after the action."""
    wanted, seen = wanted_half(row), observed_half(row, last_seen(row))
    match action:
        case SubscriptionAction.ENABLE:
            wanted = replace(wanted, enabled=True)
            seen = replace(seen, enable_not_before=None, gave_up=False, switched_off=0)
        case SubscriptionAction.DISABLE:
            wanted = replace(wanted, enabled=False)
        case SubscriptionAction.RENEW:
            wanted = replace(wanted, renew_now=True)
        case SubscriptionAction.DELETE:
            wanted = replace(wanted, present=False)
        case SubscriptionAction.ROTATE:
            differing = tuple(replace(remote, secret_matches=False) for remote in seen.remotes)
            seen = replace(seen, remotes=differing, secret_set=False)
        case SubscriptionAction.TEST | SubscriptionAction.FORGET:
            return Plan()
        case SubscriptionAction.RECONCILE:
            pass
    return plan(wanted, seen, row.account.plugin.capabilities, now)


def refusal(row: Subscription, action: SubscriptionAction) -> str | None:
    """Why this action makes no sense for this subscription now; None when it does."""
    if row.deleted_at:
        return "It is deleted."
    if action is SubscriptionAction.FORGET:
        return None if not row.present else "It is not being deleted. Delete it first."
    if not row.present and action is not SubscriptionAction.RECONCILE:
        return "It is being deleted."
    match action:
        case SubscriptionAction.ENABLE if row.enabled and row.state != State.SUSPENDED:
            return "It is switched on already."
        case SubscriptionAction.DISABLE if not row.enabled:
            return "It is switched off already."
        case SubscriptionAction.RENEW if row.account.plugin.capabilities.renewal is Renewal.NONE:
            return f"Subscriptions at {row.account.plugin.name} do not expire."
        case SubscriptionAction.RENEW if row.managed == Managed.MANUAL or not row.remote_id or not row.enabled:
            return "It is not registered and switched on, so there is nothing to renew."
        case SubscriptionAction.ROTATE:
            return secret_rotation.refusal(row)
        case SubscriptionAction.RECONCILE if row.managed == Managed.MANUAL:
            return "It is registered by hand; Hookkeeper changes nothing there."
        case _:
            return None
