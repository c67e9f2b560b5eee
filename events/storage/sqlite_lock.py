"""Wait for SQLite's write lock without idle pauses.

SQLite allows one writer at a time. By default, a blocked writer retries after pauses of up to a tenth of a second, in
which the database may be idle. So the frequent writers of this process first queue for a lock inside the process, then
retry every millisecond while another process writes.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import atomic

LOCK_TIMEOUT_SECONDS = 1.0  # for the lock of this process; then SQLite's own lock decides
BUSY_TIMEOUT_SECONDS = 0.001  # until SQLite reports that another process writes: the shortest that it supports


class WriteLock:
    """Lets one thread of this process write into SQLite at a time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Release the lock, as a forked process must."""
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """Hold the lock for a transaction on the connection. Does nothing for other databases."""
        lock = self._lock
        acquired = connection.vendor == "sqlite" and lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
        try:
            yield
        finally:
            if acquired:
                lock.release()


@contextmanager
def immediate_transaction(connection: BaseDatabaseWrapper, timeout: float) -> Iterator[None]:
    """Run a transaction on SQLite that starts as soon as no other process writes.

    For a connection outside Django's own ones, with the timeout BUSY_TIMEOUT_SECONDS and without `atomic`. Raises
    OperationalError when others write for longer than `timeout` seconds. Does nothing for other databases, which
    commit each statement.
    """
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors:
        retry_while_busy(partial(raw.execute, "BEGIN IMMEDIATE"), time.monotonic() + timeout)
    try:
        yield
        with connection.wrap_database_errors:
            raw.commit()
    finally:
        if raw.in_transaction:
            raw.rollback()


@contextmanager
def immediate_atomic(connection: BaseDatabaseWrapper, timeout: float) -> Iterator[None]:
    """Run a durable transaction on one of Django's connections, on SQLite as soon as no other process writes.

    Raises OperationalError when others write for longer than `timeout` seconds.
    """
    with ExitStack() as open_transaction:

        def begin() -> None:
            open_transaction.enter_context(atomic(using=connection.alias, durable=True))

        if connection.vendor != "sqlite" or connection.in_atomic_block:
            begin()
        else:
            connection.ensure_connection()
            raw: Any = connection.connection
            (usual_timeout,) = raw.execute("PRAGMA busy_timeout").fetchone()
            raw.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_SECONDS * 1000)}")
            try:
                retry_while_busy(begin, time.monotonic() + timeout)
            finally:
                raw.execute(f"PRAGMA busy_timeout = {usual_timeout}")
        yield


def retry_while_busy(write: Callable[[], object], deadline: float) -> None:
    """Call `write` until no other process holds SQLite's lock, on a connection with the timeout BUSY_TIMEOUT_SECONDS.

    `deadline` is a time of the monotonic clock, after which OperationalError is raised. Raises what else `write`
    raises.
    """
    while True:
        try:
            write()
        except (sqlite3.OperationalError, OperationalError) as error:
            if not _is_busy(error.__cause__ or error) or time.monotonic() >= deadline:
                raise
        else:
            return


def _is_busy(error: BaseException) -> bool:
    """Return whether the error means that another process writes."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


write_lock = WriteLock()
os.register_at_fork(after_in_child=write_lock.reset)
