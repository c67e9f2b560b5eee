"""Group commit: everything that waits to be stored goes into one transaction, and so costs one wait for the disk.

Threads that received a request hand over its row and wait; one thread of the process writes what has come together
meanwhile, on a connection of its own, and wakes them. `store` returns once the row is on the disk.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Callable, Sequence

import django.db
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from events import kept
from events.kept import KeptRequest
from events.normaliser import normaliser

logger = logging.getLogger(__name__)

BATCH_ROWS = 250
BATCH_BYTES = 8 * 1024 * 1024
WAITING_ROWS = 1000
WAITING_BYTES = 64 * 1024 * 1024
PATIENCE = 2.0  # seconds until a waiting thread gives up; a provider waits for three
LOCK_WAIT = 1.5  # seconds for somebody else's lock on SQLite
# What is wrong with a row, not with the database.
POISON = (DataError, IntegrityError, ValueError, TypeError, OverflowError)


class NotStored(Exception):
    """The row is not kept; the sender has to come again."""


class Busy(NotStored):
    """More waits already than may."""


class Poisoned(NotStored):
    """The database refuses this very row."""


class TooSlow(NotStored):
    """It took longer than a sender waits. It may be stored yet."""


class Job:
    """A row on its way, and the lock that its thread waits at."""

    __slots__ = ("done", "error", "given_up", "row")

    def __init__(self, row: KeptRequest) -> None:
        self.row = row
        self.error: NotStored | None = None
        self.given_up = False
        self.done = threading.Lock()
        self.done.acquire()


class Table:
    """The table of requests, on a connection of its own: opened in the thread that uses it, after the server's fork."""

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None

    def insert(self, rows: Sequence[KeptRequest]) -> None:
        """Inserts them in one transaction; what is there already stays. On an error the connection is closed."""
        if self._connection is None:
            self._insert(rows)
            return
        try:
            self._insert(rows)
        except (OperationalError, InterfaceError):
            if connections.settings[DEFAULT_DB_ALIAS]["ENGINE"].endswith("sqlite3"):
                raise
            # The server was restarted since, or dropped us. Inserting twice does no harm.
            self._insert(rows)

    def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except django.db.Error as error:
            logger.debug("The writer's connection did not close: %s", error)

    def most_rows(self) -> int:
        """How many rows fit into one insert."""
        return min(BATCH_ROWS, kept.most_rows(self._open()))

    def _open(self) -> BaseDatabaseWrapper:
        if self._connection is None:
            self._connection = own_connection()
        return self._connection

    def _insert(self, rows: Sequence[KeptRequest]) -> None:
        try:
            kept.insert(self._open(), rows)
        except POISON:
            raise
        except BaseException:
            self.close()
            raise


def own_connection() -> BaseDatabaseWrapper:
    """A connection outside Django's own ones, that notices early when the other side is gone, and whose commits are on
    the disk when they return."""
    at = copy.deepcopy(connections.settings[DEFAULT_DB_ALIAS])
    backend = load_backend(at["ENGINE"])
    if at["ENGINE"].endswith("sqlite3"):
        at["OPTIONS"]["timeout"] = LOCK_WAIT
        durable = "PRAGMA synchronous = FULL"
    else:
        durable = (
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection: BaseDatabaseWrapper = backend.DatabaseWrapper(at, DEFAULT_DB_ALIAS)
    with connection.cursor() as cursor:
        cursor.execute(durable)
    return connection


class Writer:
    """One daemon thread, started by the first row: a thread does not survive the server's fork."""

    def __init__(self, after: Callable[[Sequence[KeptRequest]], None] = lambda rows: None) -> None:
        self._after = after
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must: it has no thread, and perhaps our locks as they were held."""
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._bytes = 0
        self._asleep = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._table = Table()

    def store(self, row: KeptRequest) -> None:
        """Keeps the row: when this returns it is committed, and survives whatever happens next. Raises NotStored or
        Django's database errors."""
        if not settings.RECEIVE_IN_THREADS:
            self._store_here(row)
            return
        job = Job(row)
        self._take(job)
        if not job.done.acquire(timeout=PATIENCE):
            job.given_up = True
            raise TooSlow(f"The database took more than {PATIENCE:g} s.")
        if job.error is not None:
            raise job.error

    def stop(self) -> None:
        """Ends the thread, once it has written what waits."""
        with self._lock:
            self._stopped = True
            thread = self._thread
            ring, self._asleep = self._asleep, False
        if ring:
            self._bell.release()
        if thread is not None:
            thread.join()

    def _store_here(self, row: KeptRequest) -> None:
        """In the caller's own connection and transaction."""
        with django.db.transaction.atomic(durable=True):
            kept.insert(django.db.connection, [row])
        self._after([row])

    def _take(self, job: Job) -> None:
        size = len(job.row.body)
        with self._lock:
            if self._waiting and (len(self._waiting) >= WAITING_ROWS or self._bytes + size > WAITING_BYTES):
                raise Busy(f"{len(self._waiting)} requests wait to be stored already.")
            self._waiting.append(job)
            self._bytes += size
            ring, self._asleep = self._asleep, False
        if ring:
            self._bell.release()
        elif self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while jobs := self._next_batch():
            try:
                self._write(jobs)
            except Exception as error:
                # Whatever it was, nobody may wait for ever, and the next rows deserve another try.
                logger.exception("Requests could not be stored")
                for job in jobs:
                    job.error = NotStored(f"{type(error).__name__}: {error}")
            self._wake(jobs)
        self._table.close()

    def _next_batch(self) -> list[Job]:
        """Waits for the first row, then takes all that are there, up to a batch. Empty: it is over."""
        while True:
            with self._lock:
                if self._waiting or self._stopped:
                    return self._cut()
                self._asleep = True
            self._bell.acquire()

    def _cut(self) -> list[Job]:
        jobs, size = self._waiting, 0
        for index, job in enumerate(jobs):
            size += len(job.row.body)
            if index == BATCH_ROWS or (index and size > BATCH_BYTES):
                self._waiting = jobs[index:]
                self._bytes -= size - len(job.row.body)
                return jobs[:index]
        self._waiting, self._bytes = [], 0
        return jobs

    def _write(self, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if not job.given_up]
        try:
            self._commit(jobs)
        except django.db.Error as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logger.error("%s requests could not be stored: %s", len(jobs), reason)
            for job in jobs:
                job.error = NotStored(reason)

    def _commit(self, jobs: Sequence[Job]) -> None:
        """Inserts them. A row that the database refuses is found by halving, and harms nobody else."""
        if not jobs:
            return
        try:
            self._table.insert([job.row for job in jobs])
        except POISON as error:
            if len(jobs) > 1:
                self._commit(jobs[: len(jobs) // 2])
                self._commit(jobs[len(jobs) // 2 :])
                return
            logger.error("The database refuses request %s: %s", jobs[0].row.uid, type(error).__name__)
            jobs[0].error = Poisoned(type(error).__name__)

    def _wake(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.done.release()
        try:
            self._after([job.row for job in jobs if job.error is None])
        except Exception:
            # They are stored; what follows, the worker's poll does as well.
            logger.exception("Stored requests could not be passed on")


writer = Writer(after=normaliser.follow)
os.register_at_fork(after_in_child=writer.reset)
