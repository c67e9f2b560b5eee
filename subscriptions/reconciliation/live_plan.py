"""Plan for a subscription row with what its provider has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.utils import timezone

from providers.accounts.session import open_session
from providers.contract.base import RemoteSubscription
from providers.contract.call_limits import Priority
from subscriptions.models import Managed, Subscription
from subscriptions.planning.plan import plan
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.columns import is_same, with_values
from subscriptions.reconciliation.observe import Observation, observe
from subscriptions.reconciliation.observed_state import observed_columns
from subscriptions.reconciliation.planning_input import desired_state_of, observed_state_of, with_known_details
from subscriptions.reconciliation.status import status_columns


def plan_for(
    row: Subscription, remotes: Sequence[RemoteSubscription], now: datetime, *, no_update: bool = False
) -> Plan:
    """Return the plan for a row and the registrations that carry its token at the provider.

    `no_update`: the provider has just answered that it has no update call after all.
    """
    capabilities = row.account.plugin.capabilities
    if no_update:
        capabilities = replace(capabilities, can_update=False, update_may_enable=False)
    return plan(desired_state_of(row), observed_state_of(row, remotes, now), capabilities, now)


def preview(subscription: Subscription, *, deadline: float | None = None) -> Plan:
    """Ask the provider and return the plan; nothing is changed. Raises ProviderError."""
    account = subscription.account
    if subscription.managed == Managed.MANUAL or subscription.deleted_at:
        return Plan()
    with open_session(account, priority=Priority.CHANGE, deadline=deadline) as session:
        return plan_from_observation(subscription, observe(account, session, details_of={subscription.pk}))


def plan_from_observation(row: Subscription, observation: Observation) -> Plan:
    """Return the plan for a row, with what an observation of its account found."""
    return plan_for(row, observed_remotes(row, observation), timezone.now())


def observed_remotes(row: Subscription, observation: Observation) -> tuple[RemoteSubscription, ...]:
    """Return the registrations that carry the row's token, completed with the details that are known of them."""
    return tuple(with_known_details(row, remote) for remote in observation.of(row))


def is_in_sync(row: Subscription, observation: Observation) -> bool:
    """Return whether a row needs no work and nothing about it has changed but the time of observation.

    Most syncs end here, so that thousands of healthy subscriptions share one write instead of taking several each.
    """
    now = timezone.now()
    backing_off = row.last_error is not None and row.due_at is not None and row.due_at > now
    needs_work = row.last_error or not row.present or (row.generation != row.applied_generation and not row.waiting)
    if needs_work and not backing_off:
        return False
    remotes = observed_remotes(row, observation)
    after = with_values(row, observed_columns(row, remotes, observation.at))
    after = with_values(after, status_columns(after, now))
    if not is_same(row, after):
        return False
    if backing_off:  # a failed step is tried again after its pause, or once something changed at the provider
        return True
    current = plan_for(after, remotes, now)
    return not (current.steps or current.accepts or (current.waiting or "") != row.waiting)


def are_details_due(row: Subscription) -> bool:
    """Return whether it is time to read what the list does not contain."""
    return row.details_at is None or timezone.now() - row.details_at >= row.account.details_interval
