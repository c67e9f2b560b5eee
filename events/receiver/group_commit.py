"""Group commit: everything that waits to be stored goes into one transaction, and so costs one wait for the disk.

Threads that received a request hand over its row; one thread of the process writes what has come together meanwhile, on
a connection of its own. Then it wakes those who wait, or calls what they left to be called once the row is on the disk.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import ClassVar
from uuid import UUID

import django.db
import psycopg.errors
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from events.processing.inline_normalizer import inline_normalizer
from events.receiver.spool.file import SpoolError, spool
from events.storage import thread_priority
from events.storage.request_row import REQUESTS, RequestRow
from events.storage.sqlite_lock import LOOK, prompt_transaction, promptly, write_turns

logger = logging.getLogger(__name__)

BATCH_ROWS = 250
BATCH_BYTES = 8 * 1024 * 1024
# Seconds at least between the beginnings of two commits on SQLite, where several rows come per commit: each costs this
# process some computing, however many rows it takes. A row that comes alone does not wait.
TOGETHER = 0.0025
WAITING_ROWS = 1000
WAITING_BYTES = 64 * 1024 * 1024
PATIENCE = 2.0  # seconds until a row is given up, and spooled instead; a provider waits for three
LOOK_AGAIN = 0.2  # seconds, at rows that no thread waits for
# Where each of the last commits took longer than that, the next one is sent before the last has ended: so late that it
# takes along what was answered by the one before, and so early that the server has it when it waits for its disk again.
# A disk is slow each time; some commits take long as well because others compute, and overlapping those costs more than
# it brings.
OVERLAP_FROM = 0.0027  # seconds
LAST_COMMITS = 16
OVERLAP_AT = 0.7  # of the time that the quickest of them took
LATEST_OVERLAP = 0.05  # seconds
HANG = 1.0  # seconds after which a write is taken to hang, and nobody else waits for it
LOCK_WAIT = 1.5  # seconds for somebody else's lock on SQLite
# What is wrong with a row, not with the database.
POISON = (DataError, IntegrityError, ValueError, TypeError, OverflowError)
# A pooler hands each statement to any of the server's connections: what was prepared on one is missing on the next, or
# is there already.
MIXED_UP = (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement)
PREPARE_AFTER = 5  # psycopg's own; what is marked, it prepares at once


class NotStored(Exception):
    """The row is not kept; the sender has to come again."""


class Busy(NotStored):
    """More waits already than may."""


class Poisoned(NotStored):
    """The database refuses this very row."""


# Called with what went wrong; None: the row is on the disk. More than once, perhaps; the first one is meant.
Then = Callable[[NotStored | None], None]


class Job:
    """A row on its way, and what follows: a call, or a lock that its thread waits at."""

    __slots__ = ("done", "error", "given_up", "row", "since", "then")

    def __init__(self, row: RequestRow, then: Then | None = None) -> None:
        self.row = row
        self.then = then
        self.error: NotStored | None = None
        self.given_up = False
        if then is None:
            self.done = threading.Lock()
            self.done.acquire()
        else:
            self.since = time.monotonic()

    def end(self) -> None:
        """It is stored, or `error` says why not."""
        if self.then is None:
            self.done.release()
            return
        try:
            self.then(self.error)
        except Exception:
            # The other rows have to be answered as well.
            logger.exception("A request could not be answered")

    def waits_too_long(self) -> bool:
        """Whether it is to be given up; by whoever looks, since no thread waits for it."""
        return self.then is not None and not self.given_up and time.monotonic() - self.since > PATIENCE


class Table:
    """The table of requests, on a connection of its own: opened in the thread that uses it, after the server's fork."""

    # Whether PostgreSQL keeps the statement instead of planning it at each commit, which costs it a fifth more.
    prepares: ClassVar[bool] = True

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None

    def insert(self, rows: Sequence[RequestRow]) -> None:
        """Inserts them in one transaction; what is there already stays. On an error the connection is closed."""
        is_new = self._connection is None
        try:
            self._insert(rows)
        except (OperationalError, InterfaceError):
            if is_new or _is_sqlite():
                raise
            # The server was restarted since, or dropped us. Inserting twice does no harm.
            self._insert(rows)
        except ProgrammingError as error:
            if not _stops_preparing(error):
                raise
            self._insert(rows)

    def insert_each(self, rows: Sequence[RequestRow]) -> dict[UUID, str]:
        """Inserts them. A row that the database refuses is found by halving, and harms no other; returns which, and
        why."""
        if not rows:
            return {}
        try:
            self.insert(rows)
        except POISON as error:
            if len(rows) == 1:
                logger.error("The database refuses request %s: %s", rows[0].uid, type(error).__name__)
                return {rows[0].uid: type(error).__name__}
            half = len(rows) // 2
            return self.insert_each(rows[:half]) | self.insert_each(rows[half:])
        return {}

    def takes(self, row: RequestRow) -> bool:
        """Whether the database would take the row now. It is tried, and taken back."""
        try:
            connection = self._open()
            connection.set_autocommit(False)
            try:
                promptly(partial(REQUESTS.insert, connection, [row]), time.monotonic() + LOCK_WAIT)
            finally:
                connection.rollback()
                connection.set_autocommit(True)
        except django.db.Error as error:
            self.close()
            _stops_preparing(error)
            return False
        return True

    def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except django.db.Error as error:
            logger.debug("The writer's connection did not close: %s", error)

    def _open(self) -> BaseDatabaseWrapper:
        if self._connection is None:
            self._connection = own_connection(prepares=Table.prepares)
        return self._connection

    def _insert(self, rows: Sequence[RequestRow]) -> None:
        try:
            connection = self._open()
            with write_turns.turn(connection), prompt_transaction(connection, LOCK_WAIT):
                REQUESTS.insert(connection, rows)
        except POISON:
            raise
        except BaseException:
            self.close()
            raise


def _is_sqlite() -> bool:
    return str(connections.settings[DEFAULT_DB_ALIAS]["ENGINE"]).endswith("sqlite3")


def _stops_preparing(error: django.db.Error) -> bool:
    """Whether a pooler between us and PostgreSQL mixes up prepared statements. Then no new connection of this process
    prepares any."""
    if not isinstance(error.__cause__, MIXED_UP):
        return False
    if Table.prepares:
        logger.warning("The database's pooler does not keep prepared statements apart; the writer goes on without.")
    Table.prepares = False
    return True


def own_connection(*, prepares: bool = False) -> BaseDatabaseWrapper:
    """A connection outside Django's own ones, that notices early when the other side is gone, and whose commits are on
    the disk when they return. `prepares`: PostgreSQL keeps the statements that are marked for it."""
    at = copy.deepcopy(connections.settings[DEFAULT_DB_ALIAS])
    backend = load_backend(at["ENGINE"])
    if _is_sqlite():
        at["OPTIONS"]["timeout"] = LOOK
        durable = "PRAGMA synchronous = FULL"
    else:
        at["OPTIONS"]["prepare_threshold"] = PREPARE_AFTER if prepares else None
        durable = (
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection: BaseDatabaseWrapper = backend.DatabaseWrapper(at, DEFAULT_DB_ALIAS)
    with connection.cursor() as cursor:
        cursor.execute(durable)
    return connection


class Hand:
    """One thread that writes, on a connection of its own, and the lock that it sleeps at."""

    __slots__ = ("asleep", "bell", "busy_since", "jobs", "table", "thread")

    def __init__(self) -> None:
        self.asleep = False
        self.bell = threading.Lock()
        self.bell.acquire()
        self.table = Table()
        self.thread: threading.Thread | None = None
        self.busy_since: float | None = None
        self.jobs: Sequence[Job] = ()  # that it writes

    def busy_for(self) -> float:
        """Seconds that the commit under way has taken so far."""
        since = self.busy_since
        return 0.0 if since is None else time.monotonic() - since


class Writer:
    """A daemon thread, started by the first row: a thread does not survive the server's fork. For a database server
    there is a second one, whose commits overlap those of the first where the server's disk is slow.

    When the database fails, what waits goes to the spool, and so does all that comes until the spool was drained: what
    came later is then stored later as well.
    """

    def __init__(self, after: Callable[[Sequence[RequestRow]], None] = lambda rows: None) -> None:
        self._after = after
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must: it has no thread, and perhaps our locks as they were held."""
        self._lock = threading.Lock()
        self._waiting: list[Job] = []
        self._bytes = 0
        self._hands = [Hand() for _ in range(1 if _is_sqlite() else 2)]
        self._lookout: threading.Thread | None = None
        self._left = threading.Event()  # there may be rows that no thread waits for
        self._stopped = False
        self._begun, self._several = 0.0, False
        self._last_took: deque[float] = deque([0.0], maxlen=LAST_COMMITS)  # seconds
        self._quickest = 0.0  # of them
        self.away = False

    def store(self, row: RequestRow, then: Then | None = None) -> bool:
        """Keeps the row. True: it is on the disk, and survives whatever happens next. With `then` it may return False
        at once instead: `then` is called when the row is on the disk, or cannot be kept. Raises NotStored."""
        if not settings.RECEIVE_IN_THREADS:
            self._store_here(row)
            return True
        if self._hangs():
            _to_spool([row])
            return True
        if len(self._waiting) >= BATCH_ROWS or self._bytes >= BATCH_BYTES:
            then = None  # the thread waits, too, and takes no other call: more than can be written comes
        job = Job(row, then)
        self._take(job)
        if then is not None:
            if not self._left.is_set():
                self._left.set()
            return False
        if not job.done.acquire(timeout=PATIENCE):
            _give_up([job])
        if job.error is not None:
            raise job.error
        return True

    def stop(self) -> None:
        """Ends the threads, once they have written what waits."""
        with self._lock:
            self._stopped = True
            asleep = [hand for hand in self._hands if hand.asleep]
            for hand in asleep:
                hand.asleep = False
        for hand in asleep:
            hand.bell.release()
        self._left.set()
        for thread in self._threads():
            if thread is not None:
                thread.join()

    def end_outage(self) -> None:
        """Called by the drainer when the database takes rows again and nothing waits before them."""
        if self.away:
            self.away = False
            logger.warning("The database takes requests again.")

    def _store_here(self, row: RequestRow) -> None:
        """In the caller's own connection and transaction."""
        try:
            with django.db.transaction.atomic(durable=True):
                REQUESTS.insert(django.db.connection, [row])
        except POISON as error:
            raise Poisoned(type(error).__name__) from error
        except django.db.Error as error:
            self._begin_outage(error)
            _to_spool([row])
        else:
            self._after([row])

    def _hangs(self) -> bool:
        return any(hand.busy_for() > HANG for hand in self._hands)

    def _take(self, job: Job) -> None:
        size = len(job.row.body)
        with self._lock:
            if self._waiting and (len(self._waiting) >= WAITING_ROWS or self._bytes + size > WAITING_BYTES):
                raise Busy(f"{len(self._waiting)} requests wait to be stored already.")
            self._waiting.append(job)
            self._bytes += size
            free = self._free_hand()
        if free is not None:
            free.bell.release()
        elif not self.running:
            self._start()

    def _free_hand(self) -> Hand | None:
        """The one to wake for a new row, if any."""
        for hand in self._wanted_hands():
            if hand.asleep:
                hand.asleep = False
                return hand
        return None

    def _wanted_hands(self) -> Sequence[Hand]:
        """Where commits are quick, the first keeps more together by itself."""
        return self._hands if self._quickest > OVERLAP_FROM else self._hands[:1]

    def _not_before(self, hand: Hand) -> float:
        """Seconds until it may begin; 0 or less: now. What comes when the other has just begun is kept together."""
        others = [other.busy_for() for other in self._hands if other is not hand and other.busy_since is not None]
        return max((min(OVERLAP_AT * self._quickest, LATEST_OVERLAP) - busy for busy in others), default=0.0)

    @property
    def running(self) -> bool:
        """Whether all its threads live."""
        return all(map(_lives, self._threads()))

    def _threads(self) -> Sequence[threading.Thread | None]:
        return (*(hand.thread for hand in self._hands), self._lookout)

    def _start(self) -> None:
        with self._lock:
            for hand in self._hands:
                if not _lives(hand.thread):
                    hand.thread = threading.Thread(target=self._run, args=(hand,), name="writer", daemon=True)
                    hand.thread.start()
            if not _lives(self._lookout):
                self._lookout = threading.Thread(target=self._look_out, name="writer's lookout", daemon=True)
                self._lookout.start()

    def _run(self, hand: Hand) -> None:
        thread_priority.come_first()
        while jobs := self._next_batch(hand):
            stored: Sequence[RequestRow] = ()
            try:
                stored = self._write(hand, [job for job in jobs if not job.given_up])
            except Exception as error:
                # Whatever it was, nobody may wait for ever, and the next rows deserve another try.
                logger.exception("Requests could not be stored")
                for job in jobs:
                    job.error = NotStored(f"{type(error).__name__}: {error}")
            self._last_took.append(hand.busy_for())
            self._quickest, hand.busy_since = min(self._last_took), None
            for job in jobs:
                if not job.given_up:
                    job.end()
            hand.jobs = ()
            self._follow(stored)
        hand.table.close()
        django.db.connection.close()  # of whoever followed

    def _next_batch(self, hand: Hand) -> list[Job]:
        """Waits for the first row, then takes all that are there, up to a batch. Empty: it is over."""
        pause = self._begun + TOGETHER - time.monotonic() if self._several and _is_sqlite() else 0
        if pause > 0:
            time.sleep(pause)
        jobs = self._take_waiting(hand)
        self._begun, self._several = time.monotonic(), len(jobs) > 1
        return jobs

    def _take_waiting(self, hand: Hand) -> list[Job]:
        while True:
            with self._lock:
                wanted = bool(self._waiting) and hand in self._wanted_hands()
                pause = self._not_before(hand) if wanted else 0.0
                if self._stopped or (wanted and pause <= 0):
                    jobs = hand.jobs = self._cut()
                    hand.busy_since = time.monotonic() if jobs else None
                    return jobs
                hand.asleep = not wanted
            if wanted:
                time.sleep(pause)
            else:
                hand.bell.acquire()

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

    def _write(self, hand: Hand, jobs: Sequence[Job]) -> Sequence[RequestRow]:
        """Stores them here or there. Returns what is in the database."""
        rows = [job.row for job in jobs]
        if not self.away:
            try:
                refused = hand.table.insert_each(rows)
            except django.db.Error as error:
                self._begin_outage(error)
            else:
                if not refused:
                    return rows
                for job in jobs:
                    if job.row.uid in refused:
                        job.error = Poisoned("The database refuses it.")
                return [row for row in rows if row.uid not in refused]
        try:
            _to_spool(rows)
        except NotStored as error:
            self.away = False  # only the next rows can tell when the database is back
            for job in jobs:
                job.error = error
        return ()

    def _begin_outage(self, error: Exception) -> None:
        if not self.away:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logger.error("The database takes no requests; they go to the spool: %s", reason)
            self.away = True

    def _look_out(self) -> None:
        """Gives up the rows that were left here, and wait for too long."""
        while True:
            self._left.wait()
            with self._lock:
                jobs = [job for job in (*self._waiting, *self._under_way()) if job.then is not None]
                if not jobs:
                    if self._stopped:
                        return
                    self._left.clear()
                    continue
            if late := [job for job in jobs if job.waits_too_long()]:
                _give_up(late)
                for job in late:
                    job.end()
            time.sleep(LOOK_AGAIN)

    def _under_way(self) -> Iterator[Job]:
        return chain.from_iterable(hand.jobs for hand in self._hands)

    def _follow(self, rows: Sequence[RequestRow]) -> None:
        try:
            self._after(rows)
        except Exception:
            # They are stored; what follows, the worker's poll does as well.
            logger.exception("Stored requests could not be passed on")


def _lives(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.is_alive()


def _give_up(jobs: Sequence[Job]) -> None:
    """They go to the spool instead. They may be stored yet, and are there once all the same: their ids are given."""
    for job in jobs:
        job.given_up = True
    try:
        _to_spool([job.row for job in jobs])
    except NotStored as error:
        for job in jobs:
            job.error = error


def _to_spool(rows: Sequence[RequestRow]) -> None:
    if not rows:
        return
    try:
        spool.append(rows)
    except SpoolError as error:
        raise NotStored(str(error)) from error


writer = Writer(after=inline_normalizer.enqueue_rows)
os.register_at_fork(after_in_child=writer.reset)
