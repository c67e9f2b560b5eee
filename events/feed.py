"""The order of events: positions, given after the commit.

Neither ids nor times follow the order of commits, so a reader that goes by them could pass an event that becomes
visible a moment later. Positions are given to committed events only, by one transaction at a time.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.db.models import QuerySet

from events.models import Event, FeedEnd

BATCH = 100

NUMBER_THE_NEXT = """
    UPDATE events_event SET position = %s + numbered.nth
    FROM (
        SELECT waiting.id, row_number() OVER (ORDER BY waiting.id) AS nth
        FROM (SELECT id FROM events_event WHERE position IS NULL ORDER BY id LIMIT %s) AS waiting
    ) AS numbered
    WHERE events_event.id = numbered.id
"""
NUMBERING_LOCK = 0x686B6665  # a PostgreSQL advisory lock of ours


def assign_positions() -> int:
    """Gives a position to every committed event that has none, in the order of their ids. Returns how many got one.

    Each batch is a transaction that holds the lock until it has committed, so positions become visible in their order
    and without gaps: a reader of `position > x` never misses one.
    """
    total = 0
    # Looking costs no lock; most looks find nothing.
    while Event.objects.filter(position=None).exists():
        count = _assign_batch()
        total += count
        if count < BATCH:
            break
    return total


def after(position: int, limit: int) -> QuerySet[Event]:
    """The next events of the feed behind that position, in order."""
    return Event.objects.filter(position__gt=position).order_by("position")[:limit]


def keep_numbering_out() -> None:
    """For a transaction that updates events in an order of its own: until it ends, no positions are given. Two updates
    of the same rows in different orders would block each other. SQLite has only one writer anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [NUMBERING_LOCK])


def _assign_batch() -> int:
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBERING_LOCK])
        # The row lock on PostgreSQL; on SQLite the transaction itself (IMMEDIATE) has the only write lock.
        end, _ = FeedEnd.objects.select_for_update().get_or_create(pk=1)
        with connection.cursor() as cursor:
            cursor.execute(NUMBER_THE_NEXT, [end.position, BATCH])
            count: int = cursor.rowcount
        FeedEnd.objects.filter(pk=1).update(position=end.position + count)
    return count
