"""Events that came again: how often, and when last. A request counts an event once, however often it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from events.models import WebhookRequest
from events.storage.columns import column_json

Rows = list[tuple[int | str, ...]]


class Repeats(NamedTuple):
    """The keys of a request's events that were there already, from other requests."""

    request_id: int
    subscription_id: int
    received_at: datetime
    keys: set[str]


def count(found: Iterable[Repeats]) -> None:
    """Counts them all at once, in this thread's transaction: after an outage a provider sends again what it sent
    before, as quickly as anything else."""
    found = [repeats for repeats in found if repeats.keys]
    if not found:
        return
    rows = WebhookRequest.objects.filter(pk__among=frozenset(repeats.request_id for repeats in found))
    counted: dict[int, list[str]] = dict(rows.values_list("pk", "repeated_keys"))
    times: dict[tuple[int, str], tuple[int, datetime]] = {}
    keys_of: dict[int, list[str]] = {}
    for request_id, subscription_id, received_at, keys in found:
        fresh = sorted(keys.difference(counted[request_id]))
        for key in fresh:
            before, latest = times.get((subscription_id, key), (0, received_at))
            times[subscription_id, key] = before + 1, max(latest, received_at)
        if fresh:
            keys_of[request_id] = counted[request_id] = counted[request_id] + fresh
    _note_at_events(times)
    _note_at_requests(keys_of)


def _note_at_events(times: Mapping[tuple[int, str], tuple[int, datetime]]) -> None:
    moment = connection.ops.adapt_datetimefield_value
    given: Rows = [(*event, often, str(moment(latest))) for event, (often, latest) in times.items()]
    _join(
        """
        UPDATE events_event SET duplicates = duplicates + often, last_duplicate_at =
            CASE WHEN last_duplicate_at >= latest THEN last_duplicate_at ELSE latest END
        FROM {given} WHERE subscription_id = of_subscription AND dedup_key = of_key
        """,
        {"of_subscription": "bigint", "of_key": "text", "often": "integer", "latest": "timestamptz"},
        given,
    )


def _note_at_requests(keys_of: Mapping[int, list[str]]) -> None:
    _join(
        "UPDATE events_webhookrequest SET repeated_keys = keys FROM {given} WHERE id = of_request",
        {"of_request": "bigint", "keys": "text"},
        [(request_id, column_json(keys)) for request_id, keys in keys_of.items()],
    )


def _join(statement: str, columns: Mapping[str, str], rows: Rows) -> None:
    """Runs a statement in which `{given}` stands for these rows. They are one parameter, however many they are."""
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
