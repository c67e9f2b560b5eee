"""When a subscription is tried again: after an error, and when all is well. Never later than its lease allows."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from providers.contract.call_limits import Priority
from providers.contract.errors import CallsPaused, ProviderError, Throttled
from subscriptions.models import Managed, Subscription
from subscriptions.planning.renewal_times import renewal_time

RETRY_FIRST, RETRY_LONGEST = 2.0, 300.0  # seconds, after a temporary error
REFUSED_FIRST, REFUSED_LONGEST = 60.0, 3600.0  # seconds, after a refusal
WAITING_RETRY = timedelta(minutes=5)  # for what only a person can end
LAST_STRETCH = 0.2  # of the granted life: what is tried in it is urgent
# In the renewal's time, a try comes at the latest when this part of what is left has passed. In the last hour that
# makes about 25 tries after temporary errors, and 9 where the provider refuses or wants no calls.
PART_OF_LEFT, PART_WHEN_REFUSED = 1 / 4, 1 / 2
LEAST_WHEN_REFUSED = 10.0  # seconds


def pause_after(row: Subscription, error: ProviderError, now: datetime) -> timedelta:
    """How long to wait after an error (`row.failures` counts it): as long as the provider says, else growing; with
    jitter. Never past the time at which a renewal is due, and once it is due never past the end of the lease: whatever
    the error, something is tried again before."""
    growth: float = 2 ** min(max(row.failures - 1, 0), 10)
    if isinstance(error, CallsPaused):  # a moment after the pause, for one who probes goes first
        seconds = (error.retry_after or 0.0) + random.uniform(2.0, 10.0)
    elif isinstance(error, Throttled) and error.retry_after:
        seconds = max(error.retry_after, 1.0) * random.uniform(1.0, 1.2)
    elif error.permanent:
        seconds = min(REFUSED_FIRST * growth, REFUSED_LONGEST) * random.uniform(0.9, 1.1)
    else:
        seconds = min(RETRY_FIRST * growth, RETRY_LONGEST) * random.uniform(0.9, 1.1)
    longest = _longest(row, error, now)
    if longest is not None and seconds > longest:
        seconds = longest * random.uniform(0.85, 1.0)
    return timedelta(seconds=seconds)


def _longest(row: Subscription, error: ProviderError, now: datetime) -> float | None:
    """The longest wait in seconds that the lease leaves; None where no lease is to be kept alive."""
    if not _kept_alive(row) or row.expires_at is None or row.expires_at <= now:
        return None
    renew_at = renewal_time(row.granted, row.expires_at, row.spread)
    left = (row.expires_at - now).total_seconds()
    if isinstance(error, CallsPaused) and row.granted is not None:
        # Only what is urgent may be tried before the pause is over.
        until_urgent = left - row.granted.total_seconds() * LAST_STRETCH
        if until_urgent > 0:
            return until_urgent
    elif renew_at and renew_at > now:  # a renewal may be let through where a change or a look is not
        return (renew_at - now).total_seconds()
    refused = error.permanent or isinstance(error, Throttled)
    part, least = (PART_WHEN_REFUSED, LEAST_WHEN_REFUSED) if refused else (PART_OF_LEFT, RETRY_FIRST)
    return max(left * part, min(least, left * 0.9), 0.5)


def next_due(row: Subscription, now: datetime) -> datetime | None:
    """When a row that is well asks for work again; changes at the provider are noticed by the account's looks."""
    if row.deleted_at or row.managed == Managed.MANUAL:
        return None
    times: list[datetime | None] = []
    if row.waiting:
        times.append(row.enable_not_before)
        if row.register_tried_at is None:  # the account's looks do not come by
            times.append(now + WAITING_RETRY)
    if row.auto_renew and row.remote_id:
        times.append(renewal_time(row.granted, row.expires_at, row.spread))
    if row.remote_id and row.enabled:
        times.append(row.expires_at)
    ahead = [moment for moment in times if moment and moment > now]
    return min(ahead) if ahead else None


def urgency(row: Subscription, now: datetime) -> Priority:
    """How pressing its calls are: those of a renewal that is due go before others, and in the last stretch of a lease
    they are urgent."""
    if not _kept_alive(row) or row.renew_at is None or row.renew_at > now:
        return Priority.CHANGE
    if row.expires_at and row.granted and timedelta(0) < row.expires_at - now <= row.granted * LAST_STRETCH:
        return Priority.URGENT
    return Priority.RENEWAL


def _kept_alive(row: Subscription) -> bool:
    return bool(row.present and row.enabled and row.remote_id and (row.auto_renew or row.renew_asked_at))
