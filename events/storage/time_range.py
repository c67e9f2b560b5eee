"""When things arrived, found through indexes: neither requests nor events have one on their times, but their ids are
made in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Greatest, Least
from django.utils import timezone

from events.models import Event, Outage, WebhookRequest

# Rows that are written at the same moment get their number and their id in any order.
SIDE_BY_SIDE = timedelta(minutes=1)
TOGETHER = 20
UUID_VERSION = 7
# A request is stored when its body has come, in some hours at most. What waited in the spool is noted as an outage.
LATEST_STORED = timedelta(hours=6)
NOTED_AHEAD = timedelta(minutes=10)  # so that not every portion of a drain is noted anew

# The usual spans that people choose from.
AGES: dict[str, tuple[str, timedelta]] = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
}

Row = TypeVar("Row", WebhookRequest, Event)


def first_id_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond; of the first one that there is for a time before 1970."""
    return UUID(int=(max(int(moment.timestamp() * 1000), 0) << 80) | (0x7 << 76) | (0b10 << 62))


def _shifted(moment: datetime, by: timedelta) -> datetime:
    """That time later or earlier, or the time itself where there is no other: people may ask for the year 1 or 9999."""
    try:
        return moment + by
    except OverflowError:
        return moment


def first_number_at(rows: QuerySet[Row], moment: datetime) -> int | None:
    """The number of the first row that was written at that time or later; None when there is none yet."""
    first = rows.order_by("uid").filter(uid__gte=first_id_at(moment)).values_list("pk", flat=True)[:TOGETHER]
    return min(first, default=None)


def note_late(received: Sequence[datetime]) -> None:
    """Call it before requests are stored that were received then, and waited: it notes the outage, if it is one. Any
    number of processes may; what they note may overlap. Raises Django's database errors."""
    first, now = min(received), timezone.now()
    if now - first <= SIDE_BY_SIDE or Outage.objects.filter(since__lte=first, stored_by__gte=now + NOTED_AHEAD / 2):
        return
    stored_by = now + NOTED_AHEAD
    touching = Outage.objects.filter(since__lte=stored_by, stored_by__gte=first).order_by("pk").first()
    if touching is None:
        Outage.objects.create(since=first, stored_by=stored_by)
    else:
        wider = {"since": Least("since", first), "stored_by": Greatest("stored_by", stored_by)}
        Outage.objects.filter(pk=touching.pk).update(**wider)


def _outages_over(moment: datetime) -> list[tuple[datetime, datetime]]:
    """Those in which something was received before that time and stored after it."""
    return list(Outage.objects.filter(since__lt=moment, stored_by__gt=moment).values_list("since", "stored_by"))


def end_of_requests_until(moment: datetime) -> int | None:
    """A number below which all requests are that were received before that time; None: any."""
    latest = max([_shifted(moment, LATEST_STORED), *(stored_by for _, stored_by in _outages_over(moment))])
    return first_number_at(WebhookRequest.objects.all(), latest)


def requests_since(rows: QuerySet[WebhookRequest], moment: datetime) -> QuerySet[WebhookRequest]:
    """Received at that time or later: stored after all that were stored before it."""
    return rows.filter(received_at__gte=moment, pk__gt=number_before(moment))


def number_before(moment: datetime) -> int:
    """A number above which all requests are that were received at that time or later. Some earlier ones are, too."""
    early = _shifted(min([moment, *(since for since, _ in _outages_over(moment))]), -SIDE_BY_SIDE)
    older = WebhookRequest.objects.filter(uid__lt=first_id_at(early)).order_by("-uid")
    return max(older.values_list("pk", flat=True)[:TOGETHER], default=0)


def number_of(uid: UUID) -> int | None:
    """The number behind which those follow that were stored after the request with that id. Where it was thrown away,
    some that were stored before it follow again, but none is left out. None: it was never one's id."""
    number = WebhookRequest.objects.filter(uid=uid).values_list("pk", flat=True).first()
    if number is not None or uid.version != UUID_VERSION:
        return number
    try:
        received_at = datetime.fromtimestamp((uid.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return None
    return number_before(received_at)


def requests_until(rows: QuerySet[WebhookRequest], moment: datetime) -> QuerySet[WebhookRequest]:
    """Received before that time."""
    rows = rows.filter(received_at__lt=moment)
    end = end_of_requests_until(moment)
    return rows if end is None else rows.filter(pk__lt=end)


def events_since(rows: QuerySet[Event], moment: datetime) -> QuerySet[Event]:
    """Received at that time or later. An event is written after its request."""
    first = first_number_at(Event.objects.all(), _shifted(moment, -SIDE_BY_SIDE))
    return rows.none() if first is None else rows.filter(pk__gte=first, received_at__gte=moment)


def events_until(rows: QuerySet[Event], moment: datetime) -> QuerySet[Event]:
    """Received before that time. Bounded by the request: an event may be read out of it much later."""
    rows = rows.filter(received_at__lt=moment)
    end = end_of_requests_until(moment)
    return rows if end is None else rows.filter(request_id__lt=end)
