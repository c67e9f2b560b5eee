"""Find requests and events by time range through the index on their ID.

Times have no index. But IDs are UUIDv7, which sort by time, and primary keys nearly do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Greatest, Least
from django.utils import timezone

from events.models import Event, Outage, WebhookRequest

# Rows that are written at the same moment may get their primary keys and their IDs in a different order.
ORDER_TOLERANCE = timedelta(minutes=1)
ORDER_TOLERANCE_ROWS = 20
UUID_VERSION = 7
# A request is stored once its body has arrived, within a few hours. Longer delays, in the spool, are recorded as an
# outage.
MAX_STORE_DELAY = timedelta(hours=6)
OUTAGE_MARGIN = timedelta(minutes=10)  # recorded in advance, so that not every batch of a drain is recorded

# The usual spans to choose from.
TIME_SPANS: dict[str, tuple[str, timedelta]] = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
}

Row = TypeVar("Row", WebhookRequest, Event)


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of the millisecond; for times before 1970, the smallest of all."""
    return UUID(int=(max(int(moment.timestamp() * 1000), 0) << 80) | (0x7 << 76) | (0b10 << 62))


def _shifted(moment: datetime, by: timedelta) -> datetime:
    """Return the time shifted, or unchanged if that overflows: people may ask for the year 1 or 9999."""
    try:
        return moment + by
    except OverflowError:
        return moment


def first_key_at(rows: QuerySet[Row], moment: datetime) -> int | None:
    """Return the primary key of the first row that was written at that time or later; None if there is none yet."""
    first = (
        rows.order_by("uid").filter(uid__gte=first_id_at(moment)).values_list("pk", flat=True)[:ORDER_TOLERANCE_ROWS]
    )
    return min(first, default=None)


def record_outage(received: Sequence[datetime]) -> None:
    """Record an outage if the requests received at these times waited for long. Call this before storing them.

    Any number of processes may do so; their outages may overlap. Raises Django's database errors.
    """
    first, now = min(received), timezone.now()
    if now - first <= ORDER_TOLERANCE or Outage.objects.filter(
        since__lte=first, stored_by__gte=now + OUTAGE_MARGIN / 2
    ):
        return
    stored_by = now + OUTAGE_MARGIN
    touching = Outage.objects.filter(since__lte=stored_by, stored_by__gte=first).order_by("pk").first()
    if touching is None:
        Outage.objects.create(since=first, stored_by=stored_by)
    else:
        wider = {"since": Least("since", first), "stored_by": Greatest("stored_by", stored_by)}
        Outage.objects.filter(pk=touching.pk).update(**wider)


def _outages_over(moment: datetime) -> list[tuple[datetime, datetime]]:
    """Return the outages in which requests were received before that time and may be stored after it."""
    return list(Outage.objects.filter(since__lt=moment, stored_by__gt=moment).values_list("since", "stored_by"))


def key_above_requests_until(moment: datetime) -> int | None:
    """Return a primary key above those of all requests received before that time; None if there is no bound."""
    latest = max([_shifted(moment, MAX_STORE_DELAY), *(stored_by for _, stored_by in _outages_over(moment))])
    return first_key_at(WebhookRequest.objects.all(), latest)


def requests_since(rows: QuerySet[WebhookRequest], moment: datetime) -> QuerySet[WebhookRequest]:
    """Return the requests received at that time or later."""
    return rows.filter(received_at__gte=moment, pk__gt=key_before(moment))


def key_before(moment: datetime) -> int:
    """Return a primary key below those of all requests received at that time or later, and of some earlier ones."""
    early = _shifted(min([moment, *(since for since, _ in _outages_over(moment))]), -ORDER_TOLERANCE)
    older = WebhookRequest.objects.filter(uid__lt=first_id_at(early)).order_by("-uid")
    return max(older.values_list("pk", flat=True)[:ORDER_TOLERANCE_ROWS], default=0)


def key_of(uid: UUID) -> int | None:
    """Return the primary key after which to continue a walk that ended at the request with this ID.

    If that request has been deleted, the key is an earlier one, so that the walk repeats some requests and misses none.
    None if no request can have had this ID.
    """
    key = WebhookRequest.objects.filter(uid=uid).values_list("pk", flat=True).first()
    if key is not None or uid.version != UUID_VERSION:
        return key
    try:
        received_at = datetime.fromtimestamp((uid.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return None
    return key_before(received_at)


def requests_until(rows: QuerySet[WebhookRequest], moment: datetime) -> QuerySet[WebhookRequest]:
    """Return the requests received before that time."""
    rows = rows.filter(received_at__lt=moment)
    end = key_above_requests_until(moment)
    return rows if end is None else rows.filter(pk__lt=end)


def events_since(rows: QuerySet[Event], moment: datetime) -> QuerySet[Event]:
    """Return the events received at that time or later. Events are stored after their request."""
    first = first_key_at(Event.objects.all(), _shifted(moment, -ORDER_TOLERANCE))
    return rows.none() if first is None else rows.filter(pk__gte=first, received_at__gte=moment)


def events_until(rows: QuerySet[Event], moment: datetime) -> QuerySet[Event]:
    """Return the events received before that time.

    The bound is on the request's primary key, because an event may be normalized long after its request was stored.
    """
    rows = rows.filter(received_at__lt=moment)
    end = key_above_requests_until(moment)
    return rows if end is None else rows.filter(request_id__lt=end)
