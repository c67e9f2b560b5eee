"""Run in a process of its own: fills the tables, as years of receiving would have."""

from __future__ import annotations

import sys

import django

django.setup()

from django.db import connection  # noqa: E402 - needs Django

EVENTS_PER_REQUEST = 10
AT_ONCE = 250_000  # rows in one statement
SHORTEST_SPAN = 90 * 24 * 3600  # seconds that the rows are spread over, back from now

NUMBERS = {
    "postgresql": "SELECT n FROM generate_series({first}::bigint, {last}) AS n",
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s",
}
# An id whose first 48 bits are the time in milliseconds, as UUIDv7 has it, and whose last 48 bits are the number.
UID = {
    "postgresql": "(lpad(to_hex({ms}), 12, '0') || '70008000' || lpad(to_hex({n}), 12, '0'))::uuid",
    "sqlite": "printf('%012x70008000%012x', {ms}, {n})",
}
AT = {
    "postgresql": "to_timestamp({ms} / 1000.0)",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {ms} / 1000.0, 'unixepoch')",
}
EMPTY_BODY = {"postgresql": "'\\x5b5d'::bytea", "sqlite": "x'5b5d'"}
YES_NO = {"postgresql": ("true", "false"), "sqlite": ("1", "0")}


def main(events: int) -> None:
    """That many processed events, ten to a request, for the first subscription."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, account_id FROM subscriptions_subscription ORDER BY id LIMIT 1")
        subscription, account = cursor.fetchone()
    requests = events // EVENTS_PER_REQUEST
    for first in range(1, requests + 1, AT_ONCE):
        _requests(first, min(first + AT_ONCE - 1, requests), requests, subscription, account)
    for first in range(1, events + 1, AT_ONCE):
        _events(first, min(first + AT_ONCE - 1, events), events, subscription, account)
    _finish(events)


def _requests(first: int, last: int, total: int, subscription: int, account: int) -> None:
    values = {
        "id": "n",
        "uid": _uid(total),
        "account_id": str(account),
        "subscription_id": str(subscription),
        "received_at": _at(total),
        "method": "'POST'",
        "headers": "'[]'",
        "body": EMPTY_BODY[connection.vendor],
        "size": "2",
        "verification": "'verified'",
        "outcome": "'processed'",
        "processed_at": _at(total),
    }
    _insert("events_webhookrequest", values, first, last)


def _events(first: int, last: int, total: int, subscription: int, account: int) -> None:
    values = {
        "id": "n",
        "uid": _uid(total),
        "account_id": str(account),
        "subscription_id": str(subscription),
        "request_id": f"(n - 1) / {EVENTS_PER_REQUEST} + 1",
        "provider": "'egnyte-connect'",
        "type": "CASE n % 3 WHEN 0 THEN 'fs:add_file' WHEN 1 THEN 'fs:move_file' ELSE 'link:create' END",
        "action": "CASE n % 3 WHEN 0 THEN 'created' WHEN 1 THEN 'moved' ELSE 'shared' END",
        "received_at": _at(total),
        "dedup_key": "'filled-' || n",
        "duplicates": "0",
        "data": '\'{"eventType":"fs:add_file"}\'',
        "position": "n",
    }
    _insert("events_event", values, first, last)


def _insert(table: str, values: dict[str, str], first: int, last: int) -> None:
    values = {**_defaults(table), **values}
    numbers = NUMBERS[connection.vendor].format(first=first, last=last)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM ({numbers}) AS numbers"
        )


def _defaults(table: str) -> dict[str, str]:
    """An empty value for each column that must have one, so that new columns need nothing here."""
    from django.apps import apps
    from django.db import models

    model = next(item for item in apps.get_models() if item._meta.db_table == table)
    found: dict[str, str] = {}
    for column in model._meta.concrete_fields:
        name = column.column
        if name is None or column.null or column.primary_key:
            continue
        if isinstance(column, models.BooleanField):
            found[name] = YES_NO[connection.vendor][1]
        elif isinstance(column, models.IntegerField):
            found[name] = "0"
        elif isinstance(column, models.TextField | models.CharField):
            default = column.get_prep_value(column.get_default())
            found[name] = "'" + str(default or "").replace("'", "''") + "'"
    return found


def _ms(total: int) -> str:
    step = max(SHORTEST_SPAN * 1000 // total, 1)
    now = {
        "postgresql": "(extract(epoch FROM now()) * 1000)::bigint",
        "sqlite": "CAST(strftime('%s', 'now') AS INTEGER) * 1000",
    }[connection.vendor]
    return f"({now} - ({total} - n) * {step})"


def _uid(total: int) -> str:
    return UID[connection.vendor].format(ms=_ms(total), n="n")


def _at(total: int) -> str:
    return AT[connection.vendor].format(ms=_ms(total))


def _finish(events: int) -> None:
    """New rows go on behind these."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO events_feedend (id, position) VALUES (1, %s)", [events])
        if connection.vendor == "postgresql":
            for table in ("events_event", "events_webhookrequest"):
                cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")
                cursor.execute(f"VACUUM ANALYZE {table}")
        else:
            cursor.execute("ANALYZE")


if __name__ == "__main__":
    main(int(sys.argv[1]))
