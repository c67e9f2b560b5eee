"""Whose turn it is to write into SQLite, which takes one writer at a time.

It has all others look again after pauses that grow to a tenth of a second, in which nobody may be writing. So those of
this process that write most wait for each other here, and lose no time; and when another process writes they look again
every millisecond.
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

PATIENCE = 1.0  # seconds; then SQLite itself decides
LOOK = 0.001  # seconds until SQLite tells that another process writes: the shortest that it sleeps


class WriteTurns:
    """One at a time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must."""
        self._free = threading.Lock()

    @contextmanager
    def turn(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """For a transaction on that connection, from before it begins until it has ended. Other databases need none."""
        free = self._free
        taken = connection.vendor == "sqlite" and free.acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            if taken:
                free.release()


@contextmanager
def prompt_transaction(connection: BaseDatabaseWrapper, patience: float) -> Iterator[None]:
    """One on SQLite, on a connection outside Django's own ones whose timeout is LOOK, and whose `atomic` nobody uses.
    Raises OperationalError when others write for longer than `patience` seconds. Other databases commit each statement,
    and need none."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors:
        promptly(partial(raw.execute, "BEGIN IMMEDIATE"), time.monotonic() + patience)
    try:
        yield
        with connection.wrap_database_errors:
            raw.commit()
    finally:
        if raw.in_transaction:
            raw.rollback()


@contextmanager
def prompt_atomic(connection: BaseDatabaseWrapper, patience: float) -> Iterator[None]:
    """A durable transaction on one of Django's connections, that on SQLite begins as soon as no other process writes.
    Raises OperationalError when others write for longer than `patience` seconds."""
    with ExitStack() as transaction_open:

        def begin() -> None:
            transaction_open.enter_context(atomic(using=connection.alias, durable=True))

        if connection.vendor != "sqlite" or connection.in_atomic_block:
            begin()
        else:
            connection.ensure_connection()
            raw: Any = connection.connection
            (usual,) = raw.execute("PRAGMA busy_timeout").fetchone()
            raw.execute(f"PRAGMA busy_timeout = {round(LOOK * 1000)}")
            try:
                promptly(begin, time.monotonic() + patience)
            finally:
                raw.execute(f"PRAGMA busy_timeout = {usual}")
        yield


def promptly(begin: Callable[[], object], until: float) -> None:
    """Begins to write as soon as no other process does, on a connection whose timeout is LOOK. Raises what `begin`
    raises, and OperationalError when others write until that time of the monotonic clock."""
    while True:
        try:
            begin()
        except (sqlite3.OperationalError, OperationalError) as error:
            if not _is_busy(error.__cause__ or error) or time.monotonic() >= until:
                raise
        else:
            return


def _is_busy(error: BaseException) -> bool:
    """Whether another process writes."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


write_turns = WriteTurns()
os.register_at_fork(after_in_child=write_turns.reset)
