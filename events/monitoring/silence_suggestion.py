"""Suggest the expected quiet time of a subscription from its own history."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from django.db import connection
from django.db.models import F, Max, Q

from events.models import Event
from events.storage.time_range import first_key_at
from subscriptions.lifecycle import quiet_hours
from subscriptions.lifecycle.quiet_hours import QuietHours
from subscriptions.models import Subscription

logger = logging.getLogger(__name__)

HISTORY = timedelta(days=28)
MAX_SAMPLES = 2000  # how many events are read at most for a suggestion
MIN_DAYS = 3  # with events; fewer are not enough for a suggestion
PERCENTILE = 0.9  # of the longest silences of each day
MARGIN = 1.5
SUGGESTION_INTERVAL = timedelta(days=1)
MAX_SUGGESTIONS = 20  # in one pass
MIN_SECONDS = 900
IN_CHUNK = 500  # SQLite limits the number of parameters

# Walks backwards through the index on (subscription, id) in steps of at least a given stride.
SAMPLE = """
    WITH RECURSIVE sampled(id) AS (
        SELECT CAST(%s AS bigint)
        UNION ALL
        SELECT (
            SELECT event.id FROM events_event AS event
            WHERE event.subscription_id = %s AND event.id < sampled.id - %s AND event.id >= %s
            ORDER BY event.id DESC LIMIT 1
        )
        FROM sampled WHERE sampled.id IS NOT NULL
    )
    SELECT id FROM sampled WHERE id IS NOT NULL LIMIT %s
"""


def update_suggestions(now: datetime) -> None:
    """Store new suggestions for subscriptions that receive events, each once a day."""
    due = Q(quiet_suggested_at=None) | Q(quiet_suggested_at__lt=now - SUGGESTION_INTERVAL)
    rows = Subscription.objects.filter(due, deleted_at=None, last_event_at__isnull=False).defer("secrets")
    for row in rows.order_by(F("quiet_suggested_at").asc(nulls_first=True))[:MAX_SUGGESTIONS]:
        Subscription.objects.filter(pk=row.pk).update(quiet_suggestion=suggestion(row, now), quiet_suggested_at=now)


def quiet_hours_of(row: Subscription) -> QuietHours | None:
    """Return the quiet hours of a subscription; None if it has none, or if their time zone no longer exists."""
    if row.quiet_hours is None:
        return None
    try:
        return quiet_hours.parse_quiet_hours(row.quiet_hours)
    except quiet_hours.InvalidQuietHours as error:
        logger.warning("The quiet hours of subscription %s are ignored: %s", row.uid, error)
        return None


def suggestion(row: Subscription, now: datetime) -> int | None:
    """Return the expected quiet time in seconds that the last four weeks suggest; None if there are too few events.

    For each day, take the longest silence that ended on it, without quiet hours. Of these, take a high percentile, so
    that one unusual holiday does not decide, and add a margin.
    """
    hours = quiet_hours_of(row)
    longest: defaultdict[date, timedelta] = defaultdict(timedelta)
    times = sample_times(row, now)
    for before, after in pairwise(times):
        day = after.astimezone(hours.zone if hours else UTC).date()
        if after - before > longest[day]:  # without quiet hours, it is never longer than this
            longest[day] = max(longest[day], quiet_hours.counted_time(before, after, hours))
    if len(longest) < MIN_DAYS:
        return None
    ranked = sorted(longest.values())
    usual = ranked[math.ceil(PERCENTILE * len(ranked)) - 1]
    return _rounded(usual.total_seconds() * MARGIN)


def sample_times(row: Subscription, now: datetime) -> list[datetime]:
    """Return when events of the last weeks were received, oldest first: all of them, or an even sample.

    The samples are spread evenly over the events of the whole installation, and each costs one step in the index. This
    makes a gap between two events at most about twenty minutes too long.
    """
    newest = Event.objects.filter(subscription=row.pk).aggregate(last=Max("pk"))["last"]
    first = first_key_at(Event.objects.all(), now - HISTORY)
    if newest is None or first is None:
        return []
    stride = max(newest - first, 0) // MAX_SAMPLES
    with connection.cursor() as cursor:
        cursor.execute(SAMPLE, [newest, row.pk, stride, first, MAX_SAMPLES + 2])
        keys = [key for (key,) in cursor.fetchall()]
    return [moment for chunk in _chunks(keys) for moment in _times(chunk)]


def _chunks(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    """Yield the keys in order, in chunks that fit into one query."""
    ordered = sorted(keys)
    return (ordered[start : start + IN_CHUNK] for start in range(0, len(ordered), IN_CHUNK))


def _times(keys: Sequence[int]) -> list[datetime]:
    return list(Event.objects.filter(pk__in=keys).order_by("pk").values_list("received_at", flat=True))


def _rounded(seconds: float) -> int:
    step = 300 if seconds < 2 * 3600 else 1800 if seconds < 86400 else 6 * 3600
    return min(max(math.ceil(seconds / step) * step, MIN_SECONDS), quiet_hours.MAX_QUIET_SECONDS)
