"""Insert many rows with one statement, without the ORM, which would take longer than the rest of a request."""

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

MAX_ROWS = 1000  # in one statement
UUID, TIME, NUMBER, BYTES, TEXT = "uuid", "timestamptz", "bigint", "bytea", "text"  # PostgreSQL's type names


@dataclass(frozen=True, slots=True)
class Target:
    """A table and the columns to insert. `types` has the types of columns that are not text."""

    table: str
    columns: tuple[str, ...]
    types: Mapping[str, str]
    returning: tuple[str, ...] = ()

    def insert(self, connection: BaseDatabaseWrapper, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Insert the rows with one statement, skipping those that exist.

        Returns the columns in `returning`, if any, of the new rows. Raises Django's database errors, and ValueError or
        OverflowError for a value that cannot be sent.
        """
        connection.ensure_connection()
        raw: Any = connection.connection
        with connection.wrap_database_errors:
            if connection.vendor == "postgresql":
                statement = _postgres_statement(self.table, self._columns_with_types(), self.returning)
                with psycopg.Cursor(raw) as cursor:  # binds on the server; Django's cursor would send each body as text
                    # Prepared if the connection allows it; Django's own connections do not.
                    cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)], prepare=True)
                    return cursor.fetchall() if self.returning else []
            # Without Django's cursor, which would rewrite the long statement each time.
            statement = _sqlite_statement(self.table, self.columns, len(rows), self.returning)
            new_rows: list[Any] = raw.execute(statement, self._sqlite_values(rows)).fetchall()
            return new_rows

    def max_rows(self, connection: BaseDatabaseWrapper) -> int:
        """Return how many rows fit into one statement."""
        if connection.vendor == "postgresql":
            return MAX_ROWS
        connection.ensure_connection()
        raw: Any = connection.connection
        limit: int = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        return min(MAX_ROWS, limit // len(self.columns))

    def _columns_with_types(self) -> tuple[tuple[str, str], ...]:
        return tuple((name, self.types.get(name, TEXT)) for name in self.columns)

    def _sqlite_values(self, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        converted = [
            (index, convert)
            for index, name in enumerate(self.columns)
            if (convert := _SQLITE_CONVERTERS.get(self.types.get(name, TEXT)))
        ]
        values = list(chain.from_iterable(rows))
        width = len(self.columns)
        for index, convert in converted:
            values[index::width] = [None if value is None else convert(value) for value in values[index::width]]
        return values


def _sqlite_time(moment: datetime) -> str:
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ").removesuffix("+00:00")


# Django stores UUIDs as hexadecimal text, and times as text in UTC.
_SQLITE_CONVERTERS: Mapping[str, Callable[[Any], str]] = {UUID: attrgetter("hex"), TIME: _sqlite_time}


@lru_cache(maxsize=8)
def _postgres_statement(table: str, columns: tuple[tuple[str, str], ...], returning: tuple[str, ...]) -> str:
    """Return the statement, whose parameters are one array for each column."""
    arrays = ", ".join(f"%b::{kind}[]" for _, kind in columns)
    names = ", ".join(name for name, _ in columns)
    values = f"SELECT * FROM unnest({arrays})"  # noqa: S608  # names only
    return f"INSERT INTO {table} ({names}) {values} {_on_conflict(returning)}"


@lru_cache(maxsize=256)
def _sqlite_statement(table: str, columns: tuple[str, ...], count: int, returning: tuple[str, ...]) -> str:
    row = f"({', '.join('?' * len(columns))})"
    names = ", ".join(columns)
    values = f"VALUES {', '.join([row] * count)}"
    return f"INSERT INTO {table} ({names}) {values} {_on_conflict(returning)}"


def _on_conflict(returning: tuple[str, ...]) -> str:
    return "ON CONFLICT DO NOTHING" + (f" RETURNING {', '.join(returning)}" if returning else "")
