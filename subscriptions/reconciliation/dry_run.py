"""A prediction of what an action would do at the provider, from the last sync. No call is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Subscription
from subscriptions.planning.plan import plan
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.planning_input import desired_state_of, last_observed, observed_state_of


def predict_plan(row: Subscription, now: datetime, action: SubscriptionAction = SubscriptionAction.RECONCILE) -> Plan:
    """Return the plan as it would be after the action."""
    desired, observed = desired_state_of(row), observed_state_of(row, last_observed(row), now)
    match action:
        case SubscriptionAction.ENABLE:
            desired = replace(desired, enabled=True)
            observed = replace(observed, enable_not_before=None, gave_up=False, suspended_count=0)
        case SubscriptionAction.DISABLE:
            desired = replace(desired, enabled=False)
        case SubscriptionAction.RENEW:
            desired = replace(desired, renew_now=True)
        case SubscriptionAction.DELETE:
            desired = replace(desired, present=False)
        case SubscriptionAction.ROTATE:
            differing = tuple(replace(remote, secret_matches=False) for remote in observed.remotes)
            observed = replace(observed, remotes=differing, secret_set=False)
        case SubscriptionAction.TEST | SubscriptionAction.FORGET:
            return Plan()
        case _:
            pass
    return plan(desired, observed, row.account.plugin.capabilities, now)
