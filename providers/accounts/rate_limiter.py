"""The rate limiter that keeps each account within its provider's limits, with one database row per account."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Q
from django.utils import timezone

from providers.contract.call_limits import Priority
from providers.contract.capabilities import RateLimit
from providers.contract.errors import Throttled
from providers.contract.responses import MAX_RETRY_AFTER_SECONDS
from providers.db.clock_steps import before_clock_step
from providers.models import AccountLimit, ProviderAccount
from providers.times import is_before_clock_step, still_waits

MAX_QUEUE = timedelta(seconds=120)  # no slot is reserved further ahead
MAX_WAIT_SECONDS = 20.0  # for a slot, if the caller sets no deadline

# The share of the day quota that each priority may use, so that syncs never starve changes, and changes never starve
# renewals. Urgent calls are always tried: our count may be wrong, because the provider's day may start at another time,
# and an expired lease is worse than a refused call.
DAY_QUOTA_SHARE = {Priority.SYNC: 0.7, Priority.CHANGE: 0.9, Priority.RENEWAL: 1.0, Priority.URGENT: float("inf")}


@dataclass(frozen=True, slots=True)
class DatabaseLimiter:
    """A `providers.contract.call_limits.Limiter` for one account. Conditional UPDATEs reserve the slots."""

    account: ProviderAccount
    limit: RateLimit

    def acquire(self, priority: Priority, deadline: float | None) -> None:
        """Wait for the next free slot.

        Raises Throttled, before anything is sent, if the wait would be too long, if the provider asked us to stop
        calling, or if this priority's share of the day quota is used.
        """
        while True:
            wait = self._take_slot(priority, deadline)
            if wait is not None:
                time.sleep(wait)
                return

    def penalise(self, seconds: float) -> None:
        """Record for all processes that the provider accepts no calls for this long.

        A later end that was recorded before is kept.
        """
        now = timezone.now()
        until = now + timedelta(seconds=min(seconds, MAX_RETRY_AFTER_SECONDS))
        AccountLimit.objects.get_or_create(account=self.account)
        rows = AccountLimit.objects.filter(account=self.account)
        rows.filter(throttled_since=None).update(throttled_since=now)
        shorter = Q(blocked_until=None) | Q(blocked_until__lt=until) | before_clock_step("blocked_at", now)
        rows.filter(shorter).update(blocked_at=now, blocked_until=until)

    def _take_slot(self, priority: Priority, deadline: float | None) -> float | None:
        """Reserve a slot. Return the seconds to wait for it, or None if another process took it."""
        row, _ = AccountLimit.objects.get_or_create(account=self.account)
        now = timezone.now()
        max_wait = MAX_WAIT_SECONDS if deadline is None else max(deadline - time.monotonic(), 0.0)
        slot = row.next_slot_at if still_waits(row.next_slot_at, MAX_QUEUE, now) else now
        blocked = row.blocked_at and not is_before_clock_step(row.blocked_at, now)
        if row.blocked_until and blocked and priority is not Priority.URGENT:
            slot = max(slot, row.blocked_until)
        wait = max((slot - now).total_seconds(), 0.0)
        if wait > max_wait:
            raise Throttled(f"The provider's rate limit allows no call for {wait:.0f} s.", retry_after=wait)
        used = row.day_calls if row.day == now.date() else 0
        self._check_day(used, priority)
        interval = 1 / self.limit.per_second if self.limit.per_second else 0.0
        taken = AccountLimit.objects.filter(
            account=self.account, next_slot_at=row.next_slot_at, day=row.day, day_calls=row.day_calls
        ).update(
            next_slot_at=slot + timedelta(seconds=interval),
            day=now.date(),
            day_calls=F("day_calls") + 1 if row.day == now.date() else 1,
        )
        return wait if taken else None

    def _check_day(self, used: int, priority: Priority) -> None:
        if not self.limit.per_day or self.account.is_sandbox:
            return
        if used >= self.limit.per_day * DAY_QUOTA_SHARE[priority]:
            now = timezone.now()
            tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            raise Throttled(
                f"{used} of today's {self.limit.per_day} calls are used. The rest is reserved for more urgent calls.",
                retry_after=(tomorrow - now).total_seconds(),
            )
