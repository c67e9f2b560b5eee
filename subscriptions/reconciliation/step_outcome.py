"""Compute what a successful step changes in the columns of its row. Nothing here changes a row or the database."""

from __future__ import annotations

from datetime import datetime

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import SecretMadeBy
from subscriptions.models import Subscription
from subscriptions.planning.steps import Step, StepAction
from subscriptions.planning.unkept import changes_digest
from subscriptions.reconciliation.columns import ColumnValues, with_values
from subscriptions.reconciliation.observed_state import adopted_columns, secret_columns
from subscriptions.reconciliation.planning_input import recent_losses
from subscriptions.reconciliation.provider_calls import Remotes, remote_by_id

RENEWALS_WITHOUT_EFFECT = 2  # in a row, after which updates are known not to extend; one answer may be stale
FULL_LEASE = 0.9  # of the granted lifetime: a lease at least that long counts as renewed


def outcome_columns(row: Subscription, step: Step, before: Remotes, after: Remotes, now: datetime) -> ColumnValues:
    """Return the columns after a successful step. `before` and `after` are the registrations at the provider."""
    values = _outcome_columns(row, step, before, after, now)
    if step.changes and step.action in (StepAction.UPDATE, StepAction.REPLACE):
        values["accepted_changes"] = _accepted_changes(row, step, now)
    return values


def _accepted_changes(row: Subscription, step: Step, now: datetime) -> dict[str, object]:
    """Return which changes the provider accepted last, and how often in a row."""
    digest, last = changes_digest(step.changes), row.accepted_changes or {}
    times = last["times"] + 1 if last.get("digest") == digest else 1
    return {"digest": digest, "times": times, "at": now.isoformat()}


def _outcome_columns(row: Subscription, step: Step, before: Remotes, after: Remotes, now: datetime) -> ColumnValues:
    match step.action:
        case StepAction.REGISTER | StepAction.REPLACE:
            return _registered_columns(row, step, after[-1], now)
        case StepAction.RENEW:
            return _renewed_columns(row, remote_by_id(before, step.remote_id), remote_by_id(after, step.remote_id), now)
        case StepAction.DISABLE:
            return {"we_disabled": True}
        case StepAction.DELETE if step.remote_id == row.remote_id:
            return {"remote_id": None, "expires_at": None, "granted": None, "missing_since": None}
        case StepAction.UPDATE if step.remote_id:
            return _updated_columns(row, step.remote_id, before, after, now)
        case _:
            return {}


def _registered_columns(row: Subscription, step: Step, new: RemoteSubscription, now: datetime) -> ColumnValues:
    values = adopted_columns(new.remote_id, now)
    if step.action is StepAction.REGISTER and row.remote_id:  # the provider had lost the former one
        values["losses"] = [*recent_losses(row, now), now.isoformat()]
    if new.new_secret:
        values |= {"secrets": [new.new_secret, *row.secrets][:2], "secret_for": new.remote_id}
    values |= secret_columns(with_values(row, values), now)
    if step.action is StepAction.REPLACE:
        values |= {"renewed_at": now, "agreed_config": row.agreed_config}
    return values


def _updated_columns(row: Subscription, remote_id: str, before: Remotes, after: Remotes, now: datetime) -> ColumnValues:
    values: ColumnValues = {}
    if row.account.plugin.capabilities.secret_made_by is SecretMadeBy.US:
        values |= secret_columns(row, now)
    if all(remote.url in (None, row.callback_url) for remote in after):
        values["former_callback_urls"] = []
    old, new = remote_by_id(before, remote_id), remote_by_id(after, remote_id)
    if row.enabled and old and new and not old.enabled:
        values["update_enables"] = new.enabled
    return values


def _renewed_columns(
    row: Subscription, old: RemoteSubscription | None, new: RemoteSubscription | None, now: datetime
) -> ColumnValues:
    """Return whether renewing in place worked: the lease ends later than before, or is as long as a new one."""
    if old is None or new is None or old.expires_at is None or new.expires_at is None:
        return {}
    left = new.expires_at - now
    if new.expires_at > old.expires_at or (row.granted and left >= FULL_LEASE * row.granted):
        return {
            "granted": left,
            "expires_at": new.expires_at,
            "renews_in_place": True,
            "renewals_without_effect": 0,
            "renewed_at": now,
            "renew_asked_at": None,
        }
    without_effect = row.renewals_without_effect + 1
    learned = False if without_effect >= RENEWALS_WITHOUT_EFFECT else row.renews_in_place
    return {"renews_in_place": learned, "renewals_without_effect": without_effect}
