"""Whether the clock is trusted enough to delete something because of its age.

One clock alone does not decide that: a machine whose clock jumps a year ahead would delete everything at once. So the
last trusted time is stored every half minute. If the clock is more than a day ahead of it, the installation was off, or
the clock is wrong; nothing is deleted until the clock has run on for as long as the jump, at most a week, or until a
person says that it is right. If the database has a clock of its own, it must agree as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from providers.times import has_elapsed, readable_time
from subscriptions.models import ClockMark, Operation

MAX_GAP = timedelta(days=1)
MAX_HOLD = timedelta(days=7)
MAX_DATABASE_DIFFERENCE = timedelta(minutes=5)
WRITE_INTERVAL = timedelta(seconds=30)
MARK = 1  # the primary key of the only row


@dataclass(frozen=True, slots=True)
class ClockDoubt:
    """Why the clock is not trusted now. `jump` is by how much it seems to be wrong."""

    message: str
    jump: timedelta
    since: datetime | None = None


def check() -> ClockDoubt | None:
    """Return why the clock is not trusted, or None if it is, and then store the time as trusted."""
    now = timezone.now()
    database = _database_time()
    if database is not None and abs(database - now) > MAX_DATABASE_DIFFERENCE:
        return ClockDoubt(
            "The clock of this machine and the clock of the database differ by more than five minutes. Nothing is "
            "purged until they agree.",
            abs(database - now),
        )
    mark, _ = ClockMark.objects.get_or_create(pk=MARK, defaults={"at": _newest_time() or now})
    if now - mark.at <= MAX_GAP:
        if mark.suspected_at is not None or has_elapsed(mark.at, WRITE_INTERVAL, now):
            trust(now)
        return None
    return _doubt(mark, now)


def trust(now: datetime) -> None:
    """Store a time as trusted, for example because a person says that the clock is right."""
    ClockMark.objects.filter(pk=MARK).update(at=now, suspected_at=None, checked_at=None)


def _doubt(mark: ClockMark, now: datetime) -> ClockDoubt | None:
    """Return the doubt about a clock that is far ahead, or None once it has run on for long enough."""
    since, checked = mark.suspected_at, mark.checked_at
    if since is None or checked is None or not timedelta(0) <= now - checked <= MAX_GAP:  # a jump, or another one
        since = now
        ClockMark.objects.filter(pk=MARK).update(suspected_at=now, checked_at=now)
    elif now - checked > WRITE_INTERVAL:
        ClockMark.objects.filter(pk=MARK).update(checked_at=now)
    jump = since - mark.at
    until = since + min(jump, MAX_HOLD)
    if now >= until:
        trust(now)
        return None
    return ClockDoubt(
        f"The clock shows a time {jump.days} days after {readable_time(mark.at)}, when it was last known to be right. "
        f"The installation was off meanwhile, or the clock is wrong. Nothing is purged before {readable_time(until)}.",
        jump,
        since,
    )


def _newest_time() -> datetime | None:
    """Return the time of the newest operation, for an installation without a trusted time."""
    return Operation.objects.order_by("-pk").values_list("started_at", flat=True).first()


def _database_time() -> datetime | None:
    """Return the time of the database server; None for SQLite, which has this machine's clock."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
    return row[0]
