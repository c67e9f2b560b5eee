"""An event as its row will be, in values that a database can take as they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from events.processing import feed_position
from events.storage.bulk_insert import NUMBER, TIME, Target
from events.storage.bulk_insert import UUID as UUID_TYPE
from events.storage.columns import column_json, column_key, column_text
from providers.contract.parsing import ParsedEvent
from providers.db.ids import new_id


class EventRow(NamedTuple):
    """The columns of an event, all but its number, its position and what comes later."""

    uid: UUID
    account_id: int
    subscription_id: int
    request_id: int
    provider: str
    type: str
    action: str
    resource_type: str | None
    resource: str | None
    actor: str | None
    occurred_at: datetime | None
    received_at: datetime
    provider_event_id: str | None
    dedup_key: str
    duplicates: int
    data: str | None


EVENTS = Target(
    "events_event",
    (*EventRow._fields, "position"),
    {
        "uid": UUID_TYPE,
        **dict.fromkeys(("account_id", "subscription_id", "request_id", "duplicates", "position"), NUMBER),
        **dict.fromkeys(("occurred_at", "received_at"), TIME),
    },
    returning=("request_id", "dedup_key"),
)


def event_row(
    event: ParsedEvent, *, account_id: int, subscription_id: int, request_id: int, provider: str, received_at: datetime
) -> EventRow:
    """What is kept of an event that came with that request. Raises ValueError when a plug-in's time has no zone."""
    if event.occurred_at is not None and event.occurred_at.tzinfo is None:
        raise ValueError("occurred_at has no time zone")
    return EventRow(
        uid=new_id(),
        account_id=account_id,
        subscription_id=subscription_id,
        request_id=request_id,
        provider=provider,
        type=column_text(event.type, 200),
        action=event.action.value,
        resource_type=_optional(event.resource_type, 50),
        resource=_optional(event.resource, 2000),
        actor=_optional(event.actor, 255),
        occurred_at=event.occurred_at,
        received_at=received_at,
        provider_event_id=_optional(event.provider_event_id, 255),
        dedup_key=column_key(event.dedup_key, 255),
        duplicates=0,
        data=None if event.data is None else column_json(event.data),
    )


def insert(rows: Sequence[EventRow]) -> list[tuple[int, str]]:
    """Inserts those that are not there yet, on this thread's connection and in its transaction; what has another key
    appears in the feed in this order. No others can be inserted until the transaction ends. Returns the request and the
    key of each that was not there."""
    if not rows:
        return []
    placed = [(*row, position) for position, row in enumerate(rows, feed_position.take(len(rows)))]
    most = EVENTS.most_rows(connection)
    found: list[tuple[int, str]] = []
    for start in range(0, len(placed), most):
        found += EVENTS.insert(connection, placed[start : start + most])
    return found


def _optional(value: str | None, limit: int) -> str | None:
    return None if value is None else column_text(value, limit)
