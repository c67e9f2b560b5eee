"""Checks of leases: those that expire without having been renewed, and those that have expired."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Q

from providers.dashboard.formatting import sentences
from providers.times import readable_time
from subscriptions.models import Managed, ProblemKind, Severity, State, Subscription
from subscriptions.problems.checks.rows import MIN_FAILURES, error_message, undeleted_subscriptions
from subscriptions.problems.registry import Cause, about_subscription, source

WARN_BELOW = 0.25  # fraction of the granted lifetime that is left
CRITICAL_BELOW = 0.12
ASSUMED_LIFETIME = timedelta(days=4)  # where the granted lifetime is unknown: a day then counts as a quarter
SWEEP_GRACE = timedelta(seconds=10)  # a lease that ended within it is being registered again now

RENEW_MANUALLY = "Renew it now, or enable auto-renew."


@source(ProblemKind.EXPIRING, ProblemKind.EXPIRED)
def leases(now: datetime) -> Iterator[Cause]:
    """Find leases that are due for renewal and not renewed, and leases that have ended."""
    due = Q(renew_at__lte=now) | Q(state=State.EXPIRED)
    rows = undeleted_subscriptions().filter(due, present=True, enabled=True, managed=Managed.API)
    for row in rows.filter(expires_at__isnull=False):
        if row.remote_id is None or row.expires_at is None:
            continue
        cause = _expired(row, now) if row.expires_at <= now else expiring(row, now)
        if cause:
            yield cause


def _expired(row: Subscription, now: datetime) -> Cause | None:
    if row.state != State.EXPIRED and row.expires_at and row.expires_at > now - SWEEP_GRACE:
        return None
    return Cause(
        kind=ProblemKind.EXPIRED,
        subject=about_subscription(row),
        severity=Severity.CRITICAL,
        message=sentences(f"The lease ended at {readable_time(row.expires_at)}. No events arrive.", error_message(row)),
        count=max(row.failures, 1),
        since=row.expires_at,
        sample=row.last_error,
        action="" if row.auto_renew else RENEW_MANUALLY,
    )


def expiring(row: Subscription, now: datetime) -> Cause | None:
    """Return the problem of a lease that is due for renewal, or None while there is time and attempts may succeed."""
    left = lease_left(row, now)
    if left <= CRITICAL_BELOW:
        severity = Severity.CRITICAL
    elif left <= WARN_BELOW or row.renewal_tries >= MIN_FAILURES or not row.auto_renew:
        severity = Severity.WARNING
    else:
        return None
    attempts = f"{row.renewal_tries} attempts to renew it failed." if row.renewal_tries > 1 else ""
    why = attempts if row.auto_renew else "Auto-renew is off."
    return Cause(
        kind=ProblemKind.EXPIRING,
        subject=about_subscription(row),
        severity=severity,
        message=sentences(f"The lease ends at {readable_time(row.expires_at)}.", why, error_message(row)),
        count=max(row.renewal_tries, 1),
        since=row.renewal_failing_since or row.renew_at,
        sample=row.last_error,
        action="" if row.auto_renew else RENEW_MANUALLY,
    )


def lease_left(row: Subscription, now: datetime) -> float:
    """Return the fraction of the granted lifetime that is left, at least 0."""
    if row.expires_at is None:
        return 1.0
    lifetime = row.granted or ASSUMED_LIFETIME
    return max((row.expires_at - now) / lifetime, 0.0) if lifetime else 0.0
