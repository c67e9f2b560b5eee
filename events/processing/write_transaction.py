"""The transaction in which processing writes. On SQLite, it first waits for the write lock of this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from events.storage.sqlite_lock import immediate_atomic, write_lock

TIMEOUT_SECONDS = 30.0  # for other writers on SQLite


@contextmanager
def write_transaction() -> Iterator[None]:
    """Run a write transaction on this thread's connection.

    Raises OperationalError if other processes write into SQLite for longer than the timeout.
    """
    with write_lock.hold(connection), immediate_atomic(connection, TIMEOUT_SECONDS):
        yield
