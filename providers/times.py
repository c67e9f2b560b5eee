"""Times as text, and comparisons of stored times that stay correct after the clock is set back.

Processes and hosts write times that others compare with their own clock. When a clock is set back, rows written before
the step have times in the future, and work that waits for them would stall for the length of the step. So a time
further ahead than `CLOCK_TOLERANCE` is treated as written before such a step. `providers.db.clock_steps` has the same
rules as database conditions.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

CLOCK_TOLERANCE = timedelta(seconds=5)  # how far the clocks of two hosts may differ


def iso_time(moment: datetime) -> str:
    """Return a time as the REST API writes it: UTC with milliseconds, such as `2026-01-02T03:04:05.123Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def readable_time(moment: datetime | None) -> str:
    """Return a time for people, such as `2026-01-02 03:04:05 UTC`; `an unknown time` for None."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"


def hour_and_minute(moment: time | None) -> str | None:
    """Return a time of day, such as `07:30`; None for None."""
    return f"{moment:%H:%M}" if moment else None


def is_before_clock_step(moment: datetime, now: datetime) -> bool:
    """Return whether this time, which cannot be in the future, was written before the clock was set back."""
    return moment > now + CLOCK_TOLERANCE


def has_elapsed(since: datetime, period: timedelta, now: datetime) -> bool:
    """Return whether `period` has passed since this time, or the time was written before the clock was set back."""
    return since <= now - period or is_before_clock_step(since, now)


def still_waits(until: datetime | None, longest: timedelta, now: datetime) -> bool:
    """Return whether this deadline is still ahead.

    A deadline further ahead than the longest wait does not count: the system clock has been set back since it was set.
    """
    return until is not None and now < until <= now + longest
