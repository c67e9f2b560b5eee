"""Requests per hour, without counting rows: the difference between the first primary keys of two hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Max

from events.models import WebhookRequest
from events.storage.time_range import first_key_at

HOUR = timedelta(hours=1)
CACHE_SECONDS = 3 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour and the number of requests received in it, including those deleted since."""

    start: datetime
    count: int


def received_per_hour(now: datetime, hours: int) -> Sequence[Hour]:
    """Return the last hours, oldest first, including the current one. Each costs one index lookup, once."""
    current = now.replace(minute=0, second=0, microsecond=0)
    starts = [current - HOUR * back for back in reversed(range(hours))]
    end = (WebhookRequest.objects.aggregate(last=Max("pk"))["last"] or 0) + 1
    firsts = _first_keys(starts, end)
    return [
        Hour(start, max(following - first, 0))
        for start, first, following in zip(starts, firsts, [*firsts[1:], end], strict=True)
    ]


def _first_keys(starts: Sequence[datetime], end: int) -> list[int]:
    """Return for each time the primary key of the first request since then, or `end` if there is none."""
    keys = {f"first-request:{start.isoformat()}": start for start in starts}
    cached = cache.get_many(keys)
    firsts: dict[str, int] = {}
    next_first = end
    for key, start in reversed(keys.items()):
        first = cached.get(key) or first_key_at(WebhookRequest.objects.all(), start)
        if first is None:
            firsts[key] = next_first
        elif key not in cached:
            # It never changes: later requests have larger keys.
            cache.set(key, first, CACHE_SECONDS)
        next_first = firsts.setdefault(key, first or next_first)
    return [firsts[key] for key in keys]
