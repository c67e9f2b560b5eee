"""Duplicates: events that arrived again. Each event has a count of them and the time of the last one.

A request counts an event once, however often the request is reprocessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from events.models import WebhookRequest
from events.storage.columns import column_json

Rows = list[tuple[int | str, ...]]


class DuplicateKeys(NamedTuple):
    """The keys of a request's events that other requests brought first."""

    request_id: int
    subscription_id: int
    received_at: datetime
    keys: set[str]


def count(duplicates: Iterable[DuplicateKeys]) -> None:
    """Count the duplicates of many requests in two statements, in this thread's transaction.

    Two statements, because providers resend many requests at full speed after an outage.
    """
    duplicates = [request for request in duplicates if request.keys]
    if not duplicates:
        return
    rows = WebhookRequest.objects.filter(pk__among=frozenset(request.request_id for request in duplicates))
    counted: dict[int, list[str]] = dict(rows.values_list("pk", "repeated_keys"))
    by_event: dict[tuple[int, str], tuple[int, datetime]] = {}
    by_request: dict[int, list[str]] = {}
    for request_id, subscription_id, received_at, keys in duplicates:
        new_keys = sorted(keys.difference(counted[request_id]))
        for key in new_keys:
            number, latest = by_event.get((subscription_id, key), (0, received_at))
            by_event[subscription_id, key] = number + 1, max(latest, received_at)
        if new_keys:
            by_request[request_id] = counted[request_id] = counted[request_id] + new_keys
    _update_events(by_event)
    _update_requests(by_request)


def _update_events(by_event: Mapping[tuple[int, str], tuple[int, datetime]]) -> None:
    adapt = connection.ops.adapt_datetimefield_value
    rows: Rows = [(*event, number, str(adapt(latest))) for event, (number, latest) in by_event.items()]
    _update_from(
        """
        UPDATE events_event SET duplicates = duplicates + number, last_duplicate_at =
            CASE WHEN last_duplicate_at >= latest THEN last_duplicate_at ELSE latest END
        FROM {given} WHERE subscription_id = of_subscription AND dedup_key = of_key
        """,
        {"of_subscription": "bigint", "of_key": "text", "number": "integer", "latest": "timestamptz"},
        rows,
    )


def _update_requests(by_request: Mapping[int, list[str]]) -> None:
    _update_from(
        "UPDATE events_webhookrequest SET repeated_keys = keys FROM {given} WHERE id = of_request",
        {"of_request": "bigint", "keys": "text"},
        [(request_id, column_json(keys)) for request_id, keys in by_request.items()],
    )


def _update_from(statement: str, columns: Mapping[str, str], rows: Rows) -> None:
    """Run a statement in which `{given}` stands for these rows. They are passed as one parameter, as JSON."""
    if not rows:
        return
    if connection.vendor == "postgresql":
        values = ", ".join(
            f"(value ->> {index})::{kind} AS {name}" for index, (name, kind) in enumerate(columns.items())
        )
        source = "jsonb_array_elements(%s::jsonb)"
    else:
        values = ", ".join(f"json_extract(value, '$[{index}]') AS {name}" for index, name in enumerate(columns))
        source = "json_each(%s)"
    given = f"(SELECT {values} FROM {source}) AS given"  # noqa: S608  # names only
    with connection.cursor() as cursor:
        cursor.execute(statement.format(given=given), [column_json(rows)])
