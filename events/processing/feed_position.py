"""The order of events: positions.

Neither ids nor times follow the order of commits, so a reader that goes by them could pass an event that becomes
visible a moment later. Positions do: whoever takes some keeps all others from it until the transaction ends.
"""

from __future__ import annotations

from django.db.models import F, QuerySet

from events.models import Event, FeedEnd


def take(count: int) -> int:
    """Takes that many positions for events that this transaction inserts, and returns the first. Nobody else gets any
    until it ends, so they become visible in their order: a reader of `position > x` never misses one. What is taken and
    not used leaves a gap."""
    end = FeedEnd.objects.filter(pk=1)
    if not end.update(position=F("position") + count):
        FeedEnd.objects.get_or_create(pk=1)
        end.update(position=F("position") + count)
    return end.values_list("position", flat=True).get() - count + 1


def after(position: int, limit: int) -> QuerySet[Event]:
    """The next events of the feed behind that position, in order."""
    return Event.objects.filter(position__gt=position).order_by("position")[:limit]
