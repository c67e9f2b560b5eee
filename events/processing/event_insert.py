"""Event rows: build them from parsed events, and insert those that are not stored yet."""

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
    """The columns of an event, except the primary key, the position and what is written later."""

    uid: UUID
    account_id: int
    subscription_id: int
    request_id: int
    provider: str
    type: str
    action: str
    resource_type: str | None
    resource: str | None
    previous_resource: str | None
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
    """Return the row of an event from that request. Raises ValueError if the plug-in's time has no time zone."""
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
        previous_resource=_optional(event.previous_resource, 2000),
        actor=_optional(event.actor, 255),
        occurred_at=event.occurred_at,
        received_at=received_at,
        provider_event_id=_optional(event.provider_event_id, 255),
        dedup_key=column_key(event.dedup_key, 255),
        duplicates=0,
        data=None if event.data is None else column_json(event.data),
    )


def insert(rows: Sequence[EventRow]) -> list[tuple[int, str]]:
    """Insert the events that are not stored yet, and return (request ID, deduplication key) of each inserted one.

    Runs in this thread's transaction. New events appear in the feed in this order; until the transaction ends, no other
    transaction can insert events.
    """
    if not rows:
        return []
    positioned = [(*row, position) for position, row in enumerate(rows, feed_position.allocate(len(rows)))]
    max_rows = EVENTS.max_rows(connection)
    inserted: list[tuple[int, str]] = []
    for start in range(0, len(positioned), max_rows):
        inserted += EVENTS.insert(connection, positioned[start : start + max_rows])
    return inserted


def _optional(value: str | None, limit: int) -> str | None:
    return None if value is None else column_text(value, limit)
