"""Move requests from the spool into the database.

Each process drains its own file. Any process drains the files of processes that have ended.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import django.db

from events.processing.inline_normalizer import inline_normalizer
from events.receiver.group_commit import Writer, writer
from events.receiver.request_table import RequestTable
from events.receiver.spool.file import Spool, SpoolError, spool
from events.receiver.spool.recovery import InsertRows, drain_abandoned_files
from events.receiver.spool.status import SpoolStatus, spool_status
from events.storage.request_row import RequestRow
from events.storage.time_range import record_outage
from providers.db.ids import new_id
from subscriptions.models import Heartbeat

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 1.0  # between two drains
MAX_TRIES = 30  # for a record at which the database fails while it takes others
SPOOL_HEARTBEAT_PREFIX = "spool of "  # followed by the machine's name: the heartbeat with its spool's status
HEARTBEAT_NAME_CHARACTERS = 50

OnRowsStored = Callable[[Sequence[RequestRow]], None]


class PoisonRecords:
    """Records at which the database fails each time, as if it were unavailable, while it takes others.

    An example is a record that is too large for the server's memory. After MAX_TRIES such a record is set aside, since
    all later records would wait forever.
    """

    def __init__(self) -> None:
        self._tries: Counter[UUID] = Counter()

    def insert_one_by_one(
        self, table: RequestTable, rows: Sequence[RequestRow], error: django.db.Error
    ) -> dict[UUID, str]:
        """Insert the rows one by one after the database failed at their batch with this error.

        Returns the IDs that are given up, with the reason; all other rows are stored. Raises a database error if the
        database is unavailable, or a row has to be tried again later.
        """
        if _is_disk_full(error) or not table.can_insert(_empty_copy(rows[0])):
            raise error
        given_up: dict[UUID, str] = {}
        for row in rows:
            try:
                given_up |= table.insert_each([row])
            except django.db.Error as row_error:
                self._tries[row.uid] += 1
                is_early = self._tries[row.uid] < MAX_TRIES
                if is_early or _is_disk_full(row_error) or not table.can_insert(_empty_copy(row)):
                    raise
                given_up[row.uid] = f"The database failed at this request {MAX_TRIES} times: {_first_line(row_error)}"
        for row in rows:
            self._tries.pop(row.uid, None)
        return given_up


def _empty_copy(row: RequestRow) -> RequestRow:
    """Return another row of the same subscription without content."""
    return row._replace(uid=new_id(), headers="[]", sealed_headers="", query="", body=b"", size=0)


def _is_disk_full(error: django.db.Error) -> bool:
    """Return whether the database's disk is full. Small rows may then still fit, so a large one is not poison."""
    cause = error.__cause__
    return getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == "53100"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class Drainer:
    """A daemon thread of each process that receives."""

    def __init__(self, writer: Writer, spool: Spool, on_rows_stored: OnRowsStored) -> None:
        self._writer = writer
        self._spool = spool
        self._on_rows_stored = on_rows_stored
        self.reset()

    def reset(self) -> None:
        """Start without a thread, as a forked process must."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._reported: SpoolStatus | None = None

    def after_fork(self) -> None:
        """Start the thread again in a forked process if the parent's ran.

        Otherwise a server that loads the application before it forks would never drain its spool.
        """
        was_running = self._thread is not None and not self._stopped.is_set()
        self.reset()
        if was_running:
            self.start()

    def start(self) -> None:
        """Start the thread, which first reserves the spool's disk space."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="drainer", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def drain(self) -> int:
        """Drain all files, oldest first. Return how many requests were moved; 0 if the database is unavailable."""
        table = RequestTable()
        try:
            insert = make_insert(table, self._on_rows_stored)
            moved = drain_abandoned_files(insert) + self._spool.drain(insert, when_empty=self._writer.end_outage)
        except django.db.Error as error:
            logger.debug("The spool could not be drained yet: %s", error)
            return 0
        finally:
            table.close()
        if moved:
            logger.info("%s requests were moved from the spool into the database.", moved)
        return moved

    def report(self) -> None:
        """Store the status of this machine's spool in the database, because problems are detected on any machine."""
        status = spool_status()
        name = f"{SPOOL_HEARTBEAT_PREFIX}{socket.gethostname()}"[:HEARTBEAT_NAME_CHARACTERS]
        if status == self._reported and status.is_ok:
            return
        if status.is_ok:
            Heartbeat.objects.filter(name=name).delete()
        else:
            Heartbeat.beat(name, status.message)
        self._reported = status

    def _run(self) -> None:
        try:
            self._spool.prepare()
        except SpoolError as error:
            logger.error("No disk space could be reserved for a database outage: %s", error)
        while not self._stopped.wait(DRAIN_SECONDS):
            try:
                self.drain()
                self.report()
            except django.db.Error as error:
                logger.debug("The spool could not be reported: %s", error)
                django.db.connection.close()
            except Exception:
                # The thread must survive a bug: without it, the spool is never emptied.
                logger.exception("The spool could not be drained")
        django.db.connection.close()


def drain_abandoned() -> int:
    """Drain the files of ended processes, for a process that does not receive. Return how many requests were moved."""
    table = RequestTable()
    try:
        return drain_abandoned_files(make_insert(table, lambda rows: None))
    finally:
        table.close()


def make_insert(table: RequestTable, on_rows_stored: OnRowsStored) -> InsertRows:
    """Return the function with which the spool inserts rows. Rows that exist are skipped."""

    def insert(rows: Sequence[RequestRow]) -> Mapping[UUID, str]:
        django.db.close_old_connections()  # the database may have been unavailable
        record_outage([row.received_at for row in rows])
        try:
            refused = table.insert_each(rows)
        except django.db.Error as error:
            refused = poison_records.insert_one_by_one(table, rows, error)
        on_rows_stored([row for row in rows if row.uid not in refused])
        return refused

    return insert


poison_records = PoisonRecords()
drainer = Drainer(writer, spool, inline_normalizer.enqueue_rows)
os.register_at_fork(after_in_child=drainer.after_fork)
