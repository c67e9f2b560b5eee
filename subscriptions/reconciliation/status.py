"""Compute the status of a row: its state, its last error, and its renewal. Nothing here changes a row."""

from __future__ import annotations

from datetime import datetime

from providers.accounts import circuit_breaker
from providers.contract.errors import CallsPaused, ProviderError
from subscriptions.models import Subscription
from subscriptions.planning.renewal_times import renewal_time
from subscriptions.reconciliation.backoff import pause_after
from subscriptions.reconciliation.columns import ColumnValues, with_values
from subscriptions.reconciliation.state import derive


def status_columns(row: Subscription, now: datetime) -> ColumnValues:
    """Return the state, its reason and the time of the next renewal."""
    state, reason = derive(row, now)
    return {
        "renew_at": renewal_time(row.granted, row.expires_at, row.spread) if row.remote_id else None,
        "state": state,
        "state_reason": reason,
    }


def error_columns(row: Subscription, error: ProviderError, now: datetime) -> ColumnValues:
    """Return what went wrong and when to try again.

    While the account's circuit is open, that is when it closes; such a pause is not counted as a failure.
    """
    paused = isinstance(error, CallsPaused)
    code = error.cause if isinstance(error, CallsPaused) else error.code
    failures = row.failures + (not paused)
    pause = circuit_breaker.current_pause(row.account)
    wait = pause_after(with_values(row, {"failures": failures}), pause.error(now) if pause else error, now)
    return {
        "last_error": {"code": code, "message": error.message, "field": error.field},
        "failures": failures,
        "paused_since": (row.paused_since or now) if pause else None,
        "due_at": now + wait,
    }


def renewal_columns(row: Subscription, error: ProviderError | None, now: datetime) -> ColumnValues:
    """Return when to renew, since when a due renewal has failed, and how often it was tried."""
    renew_at = renewal_time(row.granted, row.expires_at, row.spread)
    values: ColumnValues = {"renew_at": renew_at}
    if not (row.enabled and row.auto_renew and row.remote_id and renew_at and renew_at <= now):
        values |= {"renewal_failing_since": None, "renewal_tries": 0}
    elif error is not None:
        values["renewal_failing_since"] = row.renewal_failing_since or now
        values["renewal_tries"] = row.renewal_tries + (not isinstance(error, CallsPaused))
    return values
