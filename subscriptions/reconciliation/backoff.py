"""When a subscription is worked on again, after an error or a success: never later than its lease permits.

`providers.accounts.circuit_breaker` decides when the calls of a whole account are paused and retried.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from providers.contract.call_limits import Priority
from providers.contract.errors import CallsPaused, ProviderError, Throttled
from subscriptions.models import Managed, Subscription
from subscriptions.planning.renewal_times import renewal_time

# Growing pauses in seconds: after a temporary error, and after a refusal.
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 2.0, 300.0
REFUSED_FIRST_SECONDS, REFUSED_MAX_SECONDS = 60.0, 3600.0
WAITING_RETRY = timedelta(minutes=5)  # while only a person can end the wait
URGENT_FRACTION = 0.2  # of the granted lifetime: calls in this last part of a lease are urgent
# While a renewal is due, the next try comes at the latest after this fraction of the remaining time. In the last hour
# that makes about 25 tries after temporary errors, and 9 where the provider refuses or throttles.
RETRY_FRACTION, REFUSED_RETRY_FRACTION = 1 / 4, 1 / 2
MIN_REFUSED_SECONDS = 10.0


def pause_after(row: Subscription, error: ProviderError, now: datetime) -> timedelta:
    """Return how long to wait after an error: as long as the provider says, otherwise growing; with jitter.

    `row.failures` counts the errors in a row. The pause never reaches past the time at which a renewal is due, and
    once it is due never past the end of the lease: whatever the error, something is tried again before that.
    """
    growth: float = 2 ** min(max(row.failures - 1, 0), 10)
    if isinstance(error, CallsPaused):  # slightly after the circuit's pause, because one call probes first
        seconds = (error.retry_after or 0.0) + random.uniform(2.0, 10.0)
    elif isinstance(error, Throttled) and error.retry_after:
        seconds = max(error.retry_after, 1.0) * random.uniform(1.0, 1.2)
    elif error.permanent:
        seconds = min(REFUSED_FIRST_SECONDS * growth, REFUSED_MAX_SECONDS) * random.uniform(0.9, 1.1)
    else:
        seconds = min(RETRY_FIRST_SECONDS * growth, RETRY_MAX_SECONDS) * random.uniform(0.9, 1.1)
    longest = _longest_seconds(row, error, now)
    if longest is not None and seconds > longest:
        seconds = longest * random.uniform(0.85, 1.0)
    return timedelta(seconds=seconds)


def _longest_seconds(row: Subscription, error: ProviderError, now: datetime) -> float | None:
    """Return the longest pause that the lease permits; None where no lease is kept alive."""
    if not _is_kept_alive(row) or row.expires_at is None or row.expires_at <= now:
        return None
    renew_at = renewal_time(row.granted, row.expires_at, row.spread)
    left = (row.expires_at - now).total_seconds()
    if isinstance(error, CallsPaused) and row.granted is not None:
        # While the circuit is open, only urgent calls are let through.
        until_urgent = left - row.granted.total_seconds() * URGENT_FRACTION
        if until_urgent > 0:
            return until_urgent
    elif renew_at and renew_at > now:  # a renewal may be permitted where a change or a sync is not
        return (renew_at - now).total_seconds()
    refused = error.permanent or isinstance(error, Throttled)
    part = REFUSED_RETRY_FRACTION if refused else RETRY_FRACTION
    least = MIN_REFUSED_SECONDS if refused else RETRY_FIRST_SECONDS
    return max(left * part, min(least, left * 0.9), 0.5)


def next_due(row: Subscription, now: datetime) -> datetime | None:
    """Return when a healthy row needs work again; None if never.

    Changes at the provider are found by the account's syncs.
    """
    if row.deleted_at or row.managed == Managed.MANUAL:
        return None
    times: list[datetime | None] = []
    if row.waiting:
        times.append(row.enable_not_before)
        if row.register_tried_at is None:  # syncs leave out what was never registered
            times.append(now + WAITING_RETRY)
    if row.auto_renew and row.remote_id:
        times.append(renewal_time(row.granted, row.expires_at, row.spread))
    if row.remote_id and row.enabled:
        times.append(row.expires_at)
    ahead = [moment for moment in times if moment and moment > now]
    return min(ahead) if ahead else None


def urgency(row: Subscription, now: datetime) -> Priority:
    """Return the priority of a row's calls: a due renewal goes before others, and is urgent near the lease's end."""
    if not _is_kept_alive(row) or row.renew_at is None or row.renew_at > now:
        return Priority.CHANGE
    if row.expires_at and row.granted and timedelta(0) < row.expires_at - now <= row.granted * URGENT_FRACTION:
        return Priority.URGENT
    return Priority.RENEWAL


def _is_kept_alive(row: Subscription) -> bool:
    return bool(row.present and row.enabled and row.remote_id and (row.auto_renew or row.renew_asked_at))
