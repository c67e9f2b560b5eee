"""Feed positions: the order in which readers of the feed see events.

Neither primary keys nor times follow the order of commits, so a reader that resumes by them could skip an event that
becomes visible a moment later. Positions do: a transaction that allocates some holds a lock until it ends.
"""

from __future__ import annotations

from django.db.models import F, QuerySet

from events.models import Event, FeedEnd


def allocate(count: int) -> int:
    """Allocate positions for events that this transaction inserts, and return the first.

    Other transactions wait for theirs until this one ends, so positions become visible in order and a reader of
    `position > x` misses none. Unused positions leave a gap.
    """
    end = FeedEnd.objects.filter(pk=1)
    if not end.update(position=F("position") + count):
        FeedEnd.objects.get_or_create(pk=1)
        end.update(position=F("position") + count)
    return end.values_list("position", flat=True).get() - count + 1


def events_after(position: int, limit: int) -> QuerySet[Event]:
    """Return the next events of the feed after this position, in order."""
    return Event.objects.filter(position__gt=position).order_by("position")[:limit]
