"""Compute the columns of a row from what its provider reports. Nothing here changes a row or the database."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from providers.contract.base import RemoteSubscription
from subscriptions.lifecycle import desired_state
from subscriptions.models import Subscription
from subscriptions.planning.config_diff import config_changes
from subscriptions.planning.renewal_times import is_expired
from subscriptions.planning.states import DesiredState
from subscriptions.reconciliation.columns import ColumnValues
from subscriptions.reconciliation.planning_input import desired_state_of

# Pause before a suspended subscription is enabled again; it doubles with each suspension in a row.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 30.0, 6 * 3600.0
HEALTHY_AFTER = timedelta(minutes=15)  # enabled for that long: the pauses start again from the first
KEPT_AFTER = timedelta(minutes=1)  # a change that still shows then is kept; before, it may be an echo of our call
SUSPENSION_WINDOW = timedelta(days=1)
MAX_SUSPENSIONS = 10  # within the window; after that only a person enables it again


def observed_columns(row: Subscription, remotes: Sequence[RemoteSubscription], now: datetime) -> ColumnValues:
    """Return the observed state of a row, from the registrations that carry its token at the provider."""
    current = next((remote for remote in remotes if remote.remote_id == row.remote_id), None)
    if current is None:
        return _missing_columns(row, now)
    values: ColumnValues = {
        "observed_at": now,
        "missing_since": None,
        "remote_status": current.status,
        "remote_enabled": current.enabled,
        "remote_url": current.url or row.remote_url,
        **_suspension_columns(row, current, now),
        **_lease_columns(row, current, now),
    }
    if current.config is not None:
        values["remote_config"] = dict(current.config)
        values["remote_secret_matches"] = current.secret_matches
        values["details_at"] = now
    if current.secret_matches:
        values |= secret_columns(row, now)
    secret_is_set = row.secret_is_set or "remote_secret_no" in values
    desired = desired_state_of(row)
    changes = config_changes(desired, current)
    # A new secret that is not sent yet is not drift.
    values["drift"] = [asdict(change) for change in changes if change.field != "secret" or secret_is_set]
    accepted_at = (row.accepted_changes or {}).get("at")
    if accepted_at and not changes and now - datetime.fromisoformat(accepted_at) > KEPT_AFTER:
        values["accepted_changes"] = None
    if current.config is not None:
        values["agreed_config"] = _agreed_config(row, desired, {change.field for change in changes})
    return values


def adopted_columns(remote_id: str, now: datetime) -> ColumnValues:
    """Return the columns of a row that gets this registration as its own. What is known of the old one is reset."""
    return {
        "remote_id": remote_id,
        "missing_since": None,
        "granted": None,
        "expires_at": None,
        "remote_enabled": None,
        "we_disabled": False,
        "remote_config": None,
        "remote_secret_matches": None,
        "details_at": None,
        "remote_secret_no": None,
        "secret_set_at": None,
        "agreed_config": None,
        "enabled_at": now,
        "renew_asked_at": None,
        "unknown_registrations": 0,
    }


def secret_columns(row: Subscription, now: datetime) -> ColumnValues:
    """Return the columns that record that the provider has the current secret."""
    assumed = row.remote_secret_no is None and row.secret_is_set  # the first secret, sent with the registration
    if row.remote_secret_no == row.secret_no or assumed:
        return {}
    return {"remote_secret_no": row.secret_no, "secret_set_at": now}


def suspension_reset_columns() -> ColumnValues:
    """Return the columns that forget earlier suspensions by the provider."""
    return copy.deepcopy(dict(desired_state.SUSPENSION_RESET))


def _missing_columns(row: Subscription, now: datetime) -> ColumnValues:
    values: ColumnValues = {
        "observed_at": now,
        "remote_status": None,
        "remote_enabled": None,
        "remote_config": None,
        "drift": [],
    }
    if row.remote_id:
        values["missing_since"] = min(row.missing_since or now, now)  # a later time is from before a clock step
    return values


def _suspension_columns(row: Subscription, current: RemoteSubscription, now: datetime) -> ColumnValues:
    """Return who disabled it at the provider, and how often the provider did."""
    if current.enabled:
        return _enabled_columns(row, now)
    if is_expired(current, now):  # it is disabled because its lease ended
        return {}
    if not row.enabled or row.we_disabled or row.remote_enabled is False:
        return {}
    count = row.suspended_count + 1
    recent = [moment for moment in row.suspensions if datetime.fromisoformat(moment) > now - SUSPENSION_WINDOW]
    suspensions = [*recent, now.isoformat()]
    pause = 0.0 if count == 1 else min(FIRST_PAUSE_SECONDS * 2 ** (count - 2), MAX_PAUSE_SECONDS)
    values: ColumnValues = {
        "suspended_count": count,
        "suspensions": suspensions,
        "enable_not_before": now + timedelta(seconds=pause),
    }
    if len(suspensions) > MAX_SUSPENSIONS:
        values["gave_up_at"] = row.gave_up_at or now
    return values


def _enabled_columns(row: Subscription, now: datetime) -> ColumnValues:
    enabled_at = row.enabled_at if row.remote_enabled else now
    values: ColumnValues = {"enabled_at": enabled_at, "we_disabled": False}
    if row.gave_up_at:  # it was enabled at the provider
        values |= suspension_reset_columns()
    if enabled_at and now - enabled_at > HEALTHY_AFTER:
        values["suspended_count"] = 0
    return values


def _lease_columns(row: Subscription, current: RemoteSubscription, now: datetime) -> ColumnValues:
    """Return the lease. One that ends later than before is new; one that ends earlier is still the same."""
    values: ColumnValues = {"expires_at": current.expires_at}
    if current.expires_at and (row.granted is None or (row.expires_at and current.expires_at > row.expires_at)):
        values["granted"] = max(current.expires_at - now, timedelta(0))
    return values


def _agreed_config(row: Subscription, desired: DesiredState, differing: set[str]) -> ColumnValues:
    """Return the config on which both sides agree; where they differ now, the value on which they last agreed."""
    before = row.agreed_config or {}
    agreed = {name: value for name, value in desired.config.items() if name not in differing}
    last_agreed = {name: before[name] for name in differing if name in before}
    return {**last_agreed, **agreed}
