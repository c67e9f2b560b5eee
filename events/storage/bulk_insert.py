"""Many rows into a table by one statement, past the ORM: it would take longer than all else that a request costs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper

MOST_ROWS = 1000
UUID, TIME, NUMBER, BYTES, TEXT = "uuid", "timestamptz", "bigint", "bytea", "text"  # as PostgreSQL calls them


@dataclass(frozen=True, slots=True)
class Target:
    """A table and the columns that are given. `types` names those that hold something else than text."""

    table: str
    columns: tuple[str, ...]
    types: Mapping[str, str]
    returning: tuple[str, ...] = ()

    def insert(self, connection: BaseDatabaseWrapper, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Inserts them by one statement, each unless it is there already. Returns the columns of `returning`, if any,
        of those that were not. Raises Django's database errors, and ValueError or OverflowError for a value that cannot
        even be sent."""
        connection.ensure_connection()
        raw: Any = connection.connection
        with connection.wrap_database_errors:
            if connection.vendor == "postgresql":
                statement = _postgres_statement(self.table, self._typed(), self.returning)
                with psycopg.Cursor(raw) as cursor:  # binds on the server; Django's own would write each body as text
                    # Prepared where the connection allows that, which Django's own do not.
                    cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)], prepare=True)
                    return cursor.fetchall() if self.returning else []
            # Straight to the library: Django's cursor would rewrite a statement of this length each time.
            statement = _sqlite_statement(self.table, self.columns, len(rows), self.returning)
            found: list[Any] = raw.execute(statement, self._sqlite_values(rows)).fetchall()
            return found

    def most_rows(self, connection: BaseDatabaseWrapper) -> int:
        """How many fit into one statement."""
        if connection.vendor == "postgresql":
            return MOST_ROWS
        connection.ensure_connection()
        raw: Any = connection.connection
        limit: int = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        return min(MOST_ROWS, limit // len(self.columns))

    def _typed(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, self.types.get(name, TEXT)) for name in self.columns)

    def _sqlite_values(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        changed = [
            (index, change)
            for index, name in enumerate(self.columns)
            if (change := _AS_DJANGO.get(self.types.get(name, TEXT)))
        ]
        values = list(chain.from_iterable(rows))
        width = len(self.columns)
        for index, change in changed:
            values[index::width] = [None if value is None else change(value) for value in values[index::width]]
        return values


def _sqlite_time(moment: datetime) -> str:
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ").removesuffix("+00:00")


# Ids as hexadecimal text, times as text in UTC.
_AS_DJANGO: Mapping[str, Callable[[Any], str]] = {UUID: attrgetter("hex"), TIME: _sqlite_time}


@lru_cache(maxsize=8)
def _postgres_statement(table: str, columns: tuple[tuple[str, str], ...], returning: tuple[str, ...]) -> str:
    # One array for each column.
    arrays = ", ".join(f"%b::{kind}[]" for _, kind in columns)
    names = ", ".join(name for name, _ in columns)
    values = f"SELECT * FROM unnest({arrays})"  # noqa: S608  # names only
    return f"INSERT INTO {table} ({names}) {values} {_unless_there(returning)}"


@lru_cache(maxsize=256)
def _sqlite_statement(table: str, columns: tuple[str, ...], count: int, returning: tuple[str, ...]) -> str:
    row = f"({', '.join('?' * len(columns))})"
    names = ", ".join(columns)
    values = f"VALUES {', '.join([row] * count)}"
    return f"INSERT INTO {table} ({names}) {values} {_unless_there(returning)}"


def _unless_there(returning: tuple[str, ...]) -> str:
    return "ON CONFLICT DO NOTHING" + (f" RETURNING {', '.join(returning)}" if returning else "")
