"""Fill the tables as years of receiving would. Runs in a process of its own."""

from __future__ import annotations

import sys

import django

django.setup()

from django.db import connection  # noqa: E402 - needs Django

EVENTS_PER_REQUEST = 10
ROWS_PER_STATEMENT = 250_000
MIN_SPAN_SECONDS = 90 * 24 * 3600  # the rows are spread over this time before now

NUMBERS = {
    "postgresql": "SELECT n FROM generate_series({first}::bigint, {last}) AS n",
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s",
}
# A UUIDv7: the first 48 bits are the time in milliseconds, and the last 48 bits are the row number.
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
    """Insert processed events of the first subscription, ten for each request."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, account_id FROM subscriptions_subscription ORDER BY id LIMIT 1")
        subscription, account = cursor.fetchone()
    requests = events // EVENTS_PER_REQUEST
    for first in range(1, requests + 1, ROWS_PER_STATEMENT):
        _requests(first, min(first + ROWS_PER_STATEMENT - 1, requests), requests, subscription, account)
    for first in range(1, events + 1, ROWS_PER_STATEMENT):
        _events(first, min(first + ROWS_PER_STATEMENT - 1, events), events, subscription, account)
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
    """Return an empty value for each column without a default, so that new columns need no change here."""
    from django.apps import apps
    from django.db import models

    model = next(item for item in apps.get_models() if item._meta.db_table == table)
    defaults: dict[str, str] = {}
    for column in model._meta.concrete_fields:
        name = column.column
        if name is None or column.null or column.primary_key:
            continue
        if isinstance(column, models.BooleanField):
            defaults[name] = YES_NO[connection.vendor][1]
        elif isinstance(column, models.IntegerField):
            defaults[name] = "0"
        elif isinstance(column, models.TextField | models.CharField):
            default = column.get_prep_value(column.get_default())
            defaults[name] = "'" + str(default or "").replace("'", "''") + "'"
    return defaults


def _ms(total: int) -> str:
    step = max(MIN_SPAN_SECONDS * 1000 // total, 1)
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
    """Let new rows continue after these."""
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
