"""Database connections outside Django's own ones, for threads that store requests."""

from __future__ import annotations

import copy

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from events.storage.sqlite_lock import BUSY_TIMEOUT_SECONDS

PREPARE_THRESHOLD = 5  # psycopg's default; statements executed with `prepare=True` are prepared at once


def uses_sqlite() -> bool:
    """Return whether the database is SQLite."""
    return str(connections.settings[DEFAULT_DB_ALIAS]["ENGINE"]).endswith("sqlite3")


def open_own_connection(*, prepares: bool = False) -> BaseDatabaseWrapper:
    """Open a connection whose commits are on disk when they return.

    With `prepares`, statements executed with `prepare=True` are prepared on PostgreSQL.
    """
    options = copy.deepcopy(connections.settings[DEFAULT_DB_ALIAS])
    backend = load_backend(options["ENGINE"])
    if uses_sqlite():
        options["OPTIONS"]["timeout"] = BUSY_TIMEOUT_SECONDS
        make_durable = "PRAGMA synchronous = FULL"
    else:
        options["OPTIONS"]["prepare_threshold"] = PREPARE_THRESHOLD if prepares else None
        make_durable = (
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection: BaseDatabaseWrapper = backend.DatabaseWrapper(options, DEFAULT_DB_ALIAS)
    with connection.cursor() as cursor:
        cursor.execute(make_durable)
    return connection
