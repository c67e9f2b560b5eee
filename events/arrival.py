"""When things arrived, found through indexes: neither requests nor events have one on their times, but their ids are
made in the order of time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet

from events.models import Event, WebhookRequest

# Rows that are written at the same moment get their number and their id in any order.
SIDE_BY_SIDE = timedelta(minutes=1)
TOGETHER = 20
# A request may be stored later than it came in, when the database was away.
LATEST_STORED = timedelta(hours=6)

# The usual spans that people choose from.
AGES: dict[str, tuple[str, timedelta]] = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
}

Row = TypeVar("Row", WebhookRequest, Event)


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (0x7 << 76) | (0b10 << 62))


def first_number_at(rows: QuerySet[Row], moment: datetime) -> int | None:
    """The number of the first row that was written at that time or later; None when there is none yet."""
    first = rows.order_by("uid").filter(uid__gte=first_id_at(moment)).values_list("pk", flat=True)[:TOGETHER]
    return min(first, default=None)


def requests_since(rows: QuerySet[WebhookRequest], moment: datetime) -> QuerySet[WebhookRequest]:
    """Received at that time or later. A request is written after it was received."""
    first = first_number_at(WebhookRequest.objects.all(), moment - SIDE_BY_SIDE)
    return rows.none() if first is None else rows.filter(pk__gte=first, received_at__gte=moment)


def requests_until(rows: QuerySet[WebhookRequest], moment: datetime) -> QuerySet[WebhookRequest]:
    """Received before that time."""
    rows = rows.filter(received_at__lt=moment)
    end = first_number_at(WebhookRequest.objects.all(), moment + LATEST_STORED)
    return rows if end is None else rows.filter(pk__lt=end)


def events_since(rows: QuerySet[Event], moment: datetime) -> QuerySet[Event]:
    """Received at that time or later. An event is written after its request."""
    first = first_number_at(Event.objects.all(), moment - SIDE_BY_SIDE)
    return rows.none() if first is None else rows.filter(pk__gte=first, received_at__gte=moment)


def events_until(rows: QuerySet[Event], moment: datetime) -> QuerySet[Event]:
    """Received before that time. Bounded by the request: an event may be read out of it much later."""
    rows = rows.filter(received_at__lt=moment)
    end = first_number_at(WebhookRequest.objects.all(), moment + LATEST_STORED)
    return rows if end is None else rows.filter(request_id__lt=end)
