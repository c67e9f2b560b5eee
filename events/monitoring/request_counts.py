"""How many requests came in each hour, without counting them: the difference between the first numbers of two hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Max

from events.models import WebhookRequest
from events.storage.time_range import first_number_at

HOUR = timedelta(hours=1)
REMEMBERED = 3 * 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour and what came in. Requests that were stored but thrown away since are counted as well."""

    start: datetime
    count: int


def received_per_hour(now: datetime, hours: int) -> Sequence[Hour]:
    """The last hours, the current one included, oldest first. Each costs one index look-up, once."""
    current = now.replace(minute=0, second=0, microsecond=0)
    starts = [current - HOUR * back for back in reversed(range(hours))]
    end = (WebhookRequest.objects.aggregate(last=Max("pk"))["last"] or 0) + 1
    marks = _first_numbers(starts, end)
    return [
        Hour(start, max(following - mark, 0))
        for start, mark, following in zip(starts, marks, [*marks[1:], end], strict=True)
    ]


def _first_numbers(starts: Sequence[datetime], end: int) -> list[int]:
    """For each time the number of the first request from then on; where none came since, the end."""
    keys = {f"first-request:{start.isoformat()}": start for start in starts}
    known = cache.get_many(keys)
    found: dict[str, int] = {}
    later = end
    for key, start in reversed(keys.items()):
        number = known.get(key) or first_number_at(WebhookRequest.objects.all(), start)
        if number is None:
            found[key] = later
        elif key not in known:
            # It stays the first for ever: what comes later has a later id.
            cache.set(key, number, REMEMBERED)
        later = found.setdefault(key, number or later)
    return [found[key] for key in keys]
