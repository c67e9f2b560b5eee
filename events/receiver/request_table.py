"""Insert request rows on a separate connection, and find the rows that the database refuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar
from uuid import UUID

import django.db
import psycopg.errors
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

from events.receiver.own_connection import open_own_connection, uses_sqlite
from events.storage.request_row import REQUESTS, RequestRow
from events.storage.sqlite_lock import immediate_transaction, retry_while_busy, write_lock

logger = logging.getLogger(__name__)

LOCK_TIMEOUT_SECONDS = 1.5  # for another writer's lock on SQLite
# Errors of a row, not of the database.
ROW_ERRORS = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
# A connection pooler may run each statement on another server connection, where a prepared statement is missing or
# exists already.
POOLER_ERRORS = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)


class RequestTable:
    """The table of requests. Its connection is opened in the thread that uses it, after the server has forked."""

    # Whether PostgreSQL prepares the statement. Planning it at each commit costs the server a fifth more.
    prepares: ClassVar[bool] = True

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None

    def insert(self, rows: Sequence[RequestRow]) -> None:
        """Insert the rows in one transaction, skipping those that exist.

        Raises Django's database errors, and closes the connection then.
        """
        is_new = self._connection is None
        try:
            self._insert(rows)
        except (OperationalError, InterfaceError):
            if is_new or uses_sqlite():
                raise
            # The server has restarted or dropped the connection. Inserting twice is harmless.
            self._insert(rows)
        except ProgrammingError as error:
            if not _is_pooler_error(error):
                raise
            _stop_preparing()
            self._insert(rows)

    def insert_each(self, rows: Sequence[RequestRow]) -> dict[UUID, str]:
        """Insert the rows, except those that the database refuses. Return the IDs of these with the reason.

        Refused rows are found by halving. Raises Django's database errors when the database is unavailable.
        """
        if not rows:
            return {}
        try:
            self.insert(rows)
        except ROW_ERRORS as error:
            if len(rows) == 1:
                logger.error("The database refuses request %s: %s", rows[0].uid, type(error).__name__)
                return {rows[0].uid: type(error).__name__}
            half = len(rows) // 2
            return self.insert_each(rows[:half]) | self.insert_each(rows[half:])
        return {}

    def can_insert(self, row: RequestRow) -> bool:
        """Return whether the database would take the row now. The row is inserted and rolled back."""
        try:
            connection = self._open()
            connection.set_autocommit(False)
            try:
                deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
                retry_while_busy(partial(REQUESTS.insert, connection, [row]), deadline)
            finally:
                connection.rollback()
                connection.set_autocommit(True)
        except django.db.Error as error:
            self.close()
            if _is_pooler_error(error):
                _stop_preparing()
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except django.db.Error as error:
            logger.debug("The connection for storing requests did not close: %s", error)

    def _open(self) -> BaseDatabaseWrapper:
        if self._connection is None:
            self._connection = open_own_connection(prepares=RequestTable.prepares)
        return self._connection

    def _insert(self, rows: Sequence[RequestRow]) -> None:
        try:
            connection = self._open()
            with write_lock.hold(connection), immediate_transaction(connection, LOCK_TIMEOUT_SECONDS):
                REQUESTS.insert(connection, rows)
        except ROW_ERRORS:
            raise
        except BaseException:
            self.close()
            raise


def _is_pooler_error(error: django.db.Error) -> bool:
    """Return whether a connection pooler between us and PostgreSQL mixes up prepared statements."""
    return isinstance(error.__cause__, POOLER_ERRORS)


def _stop_preparing() -> None:
    """Stop preparing statements on new connections of this process."""
    if RequestTable.prepares:
        logger.warning("The database's connection pooler mixes up prepared statements; no more are used.")
    RequestTable.prepares = False
