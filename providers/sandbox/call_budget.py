"""The rate limit and the day quota of a simulated API."""

from __future__ import annotations

import time
from enum import StrEnum


class OverBudget(StrEnum):
    """The limit that a call exceeds."""

    PER_SECOND = "per_second"
    PER_DAY = "per_day"


class CallBudget:
    """The calls that one login may make: a token bucket per second and a quota per day (None = no limit)."""

    # Calls spaced exactly at the limit arrive slightly unevenly, so a tenth of a call is tolerated.
    GRACE = 0.1

    def __init__(self) -> None:
        now = time.time()
        self.tokens: float | None = None  # None: the bucket is full
        self.refilled_at = now
        self.used_today = 0
        self.day_ends_at = now + 86400

    def take(self, *, per_second: float | None, per_day: int | None) -> OverBudget | None:
        """Count one call, or return the limit that it exceeds."""
        now = time.time()
        if now >= self.day_ends_at:
            self.used_today, self.day_ends_at = 0, now + 86400
        if per_day is not None and self.used_today >= per_day:
            return OverBudget.PER_DAY
        if per_second is not None:
            capacity = max(1.0, per_second)
            earned = max(0.0, now - self.refilled_at) * per_second
            self.tokens = min(capacity, (capacity if self.tokens is None else self.tokens) + earned)
            self.refilled_at = now
            if self.tokens < 1 - self.GRACE:
                return OverBudget.PER_SECOND
            self.tokens -= 1
        self.used_today += 1
        return None

    def age(self, seconds: float) -> None:
        """Let the limits recover as if that much time had passed."""
        self.refilled_at -= seconds
        self.day_ends_at -= seconds
