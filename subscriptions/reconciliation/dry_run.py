"""What an action would do at the provider, told from what was observed last. No call is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from providers.contract.base import RemoteSubscription
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Subscription
from subscriptions.planning.plan import plan
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.planning_input import desired_state_of, observed_state_of


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
    wanted, seen = desired_state_of(row), observed_state_of(row, last_seen(row))
    match action:
        case SubscriptionAction.ENABLE:
            wanted = replace(wanted, enabled=True)
            seen = replace(seen, enable_not_before=None, gave_up=False, suspended_count=0)
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
        case _:
            pass
    return plan(wanted, seen, row.account.plugin.capabilities, now)
