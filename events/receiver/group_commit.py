"""Group commit: all waiting rows are stored in one transaction, and so share one wait for the disk.

Threads that receive a request enqueue its row. Commit threads, each with its own connection, store the rows enqueued
meanwhile. Then they wake the waiting threads, or call the callbacks of rows that no thread waits for.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import django.db
from django.conf import settings

from events.processing.inline_normalizer import inline_normalizer
from events.receiver.own_connection import uses_sqlite
from events.receiver.pending_write import Busy, NotStored, OnStored, PendingWrite, RefusedByDatabase
from events.receiver.request_table import ROW_ERRORS, RequestTable
from events.receiver.spool.file import SpoolError, spool
from events.storage import thread_priority
from events.storage.request_row import REQUESTS, RequestRow

logger = logging.getLogger(__name__)

BATCH_ROWS = 250
BATCH_BYTES = 8 * 1024 * 1024
MAX_WAITING_ROWS = 1000
MAX_WAITING_BYTES = 64 * 1024 * 1024
# Minimum time between the starts of two commits on SQLite while several rows arrive per commit: a commit costs some CPU
# time however many rows it stores. A row that arrives alone does not wait.
BATCH_INTERVAL_SECONDS = 0.0025
EXPIRY_CHECK_SECONDS = 0.2  # between two checks for overdue rows with a callback
HANGING_SECONDS = 1.0  # after which a commit counts as hanging, and new rows go to the spool
# If each of the last RECENT_COMMITS took longer than OVERLAP_MIN_SECONDS, the next commit starts before the last one
# has ended: late enough to include the requests that follow the last answers, and early enough to reach the server
# before its disk is idle. All recent commits have to be slow, because a slow disk is always slow. Single slow commits
# are caused by CPU load, and overlapping those costs more than it gains.
OVERLAP_MIN_SECONDS = 0.0027
RECENT_COMMITS = 16
OVERLAP_START = 0.7  # as a share of the shortest recent duration
OVERLAP_START_MAX_SECONDS = 0.05


class CommitThread:
    """A thread that commits on its own connection, and the lock that it sleeps on."""

    __slots__ = ("asleep", "batch", "busy_since", "table", "thread", "wakeup")

    def __init__(self) -> None:
        self.asleep = False
        self.wakeup = threading.Lock()
        self.wakeup.acquire()
        self.table = RequestTable()
        self.thread: threading.Thread | None = None
        self.busy_since: float | None = None
        self.batch: Sequence[PendingWrite] = ()  # being stored

    def busy_for(self) -> float:
        """Return the seconds since the current commit started; 0 if there is none."""
        since = self.busy_since
        return 0.0 if since is None else time.monotonic() - since


class Writer:
    """Stores rows by group commit.

    Its daemon threads start with the first row, because threads do not survive a fork. SQLite gets one commit thread. A
    database server gets two, whose commits overlap when its disk is slow.

    When the database fails, waiting rows go to the spool. So do all later ones until the spool is drained, so that rows
    are stored in the order of their arrival.
    """

    def __init__(self, on_rows_stored: Callable[[Sequence[RequestRow]], None] = lambda rows: None) -> None:
        self._on_rows_stored = on_rows_stored
        self.reset()

    def reset(self) -> None:
        """Start without threads and rows, as a forked process must: locks may have been copied while held."""
        self._lock = threading.Lock()
        self._waiting: list[PendingWrite] = []
        self._waiting_bytes = 0
        self._commit_threads = [CommitThread() for _ in range(1 if uses_sqlite() else 2)]
        self._expiry_thread: threading.Thread | None = None
        self._may_have_callbacks = threading.Event()  # set when rows may wait without a thread
        self._stopped = False
        self._last_start, self._last_had_several = 0.0, False
        self._recent_durations: deque[float] = deque([0.0], maxlen=RECENT_COMMITS)  # seconds
        self._shortest_duration = 0.0  # of the recent ones
        self.in_outage = False

    def store(self, row: RequestRow, on_stored: OnStored | None = None) -> bool:
        """Store the row in the database or the spool. Return True once it is on disk.

        With `on_stored`, this may return False at once; `on_stored` is then called once the row is on disk or cannot be
        stored. Raises NotStored.
        """
        if not settings.RECEIVE_IN_THREADS:
            self._store_in_this_thread(row)
            return True
        if self._is_hanging():
            _append_to_spool([row])
            return True
        if len(self._waiting) >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
            on_stored = None  # more requests arrive than can be stored, so this thread waits and takes no other request
        write = PendingWrite(row, on_stored)
        self._enqueue(write)
        if on_stored is not None:
            if not self._may_have_callbacks.is_set():
                self._may_have_callbacks.set()
            return False
        if not write.wait():
            _give_up([write])
        if write.error is not None:
            raise write.error
        return True

    def stop(self) -> None:
        """End the threads once they have stored the waiting rows."""
        with self._lock:
            self._stopped = True
            sleeping = [thread for thread in self._commit_threads if thread.asleep]
            for commit_thread in sleeping:
                commit_thread.asleep = False
        for commit_thread in sleeping:
            commit_thread.wakeup.release()
        self._may_have_callbacks.set()
        for thread in self._threads():
            if thread is not None:
                thread.join()

    def end_outage(self) -> None:
        """Store rows in the database again. The drainer calls this when the spool is empty."""
        if self.in_outage:
            self.in_outage = False
            logger.warning("The database is available again; requests are stored in it.")

    @property
    def is_running(self) -> bool:
        """Whether all threads are alive."""
        return all(map(_is_alive, self._threads()))

    def _store_in_this_thread(self, row: RequestRow) -> None:
        """Store the row on the caller's connection, in a transaction."""
        try:
            with django.db.transaction.atomic(durable=True):
                REQUESTS.insert(django.db.connection, [row])
        except ROW_ERRORS as error:
            raise RefusedByDatabase(type(error).__name__) from error
        except django.db.Error as error:
            self._begin_outage(error)
            _append_to_spool([row])
        else:
            self._on_rows_stored([row])

    def _is_hanging(self) -> bool:
        return any(thread.busy_for() > HANGING_SECONDS for thread in self._commit_threads)

    # -- The queue

    def _enqueue(self, write: PendingWrite) -> None:
        size = len(write.row.body)
        with self._lock:
            is_full = len(self._waiting) >= MAX_WAITING_ROWS or self._waiting_bytes + size > MAX_WAITING_BYTES
            if self._waiting and is_full:
                raise Busy(f"{len(self._waiting)} requests are already waiting to be stored.")
            self._waiting.append(write)
            self._waiting_bytes += size
            sleeping = self._claim_sleeping_thread()
        if sleeping is not None:
            sleeping.wakeup.release()
        elif not self.is_running:
            self._start_threads()

    def _claim_sleeping_thread(self) -> CommitThread | None:
        """Return the commit thread to wake for a new row, marked as awake; None when none is needed."""
        for thread in self._active_threads():
            if thread.asleep:
                thread.asleep = False
                return thread
        return None

    def _active_threads(self) -> Sequence[CommitThread]:
        """Return the commit threads that share the work: one while commits are fast, since it makes larger batches."""
        return self._commit_threads if self._shortest_duration > OVERLAP_MIN_SECONDS else self._commit_threads[:1]

    def _dequeue_batch(self) -> list[PendingWrite]:
        writes, size = self._waiting, 0
        for index, write in enumerate(writes):
            size += len(write.row.body)
            if index == BATCH_ROWS or (index and size > BATCH_BYTES):
                self._waiting = writes[index:]
                self._waiting_bytes -= size - len(write.row.body)
                return writes[:index]
        self._waiting, self._waiting_bytes = [], 0
        return writes

    # -- The commit threads

    def _threads(self) -> Sequence[threading.Thread | None]:
        return (*(thread.thread for thread in self._commit_threads), self._expiry_thread)

    def _start_threads(self) -> None:
        with self._lock:
            for thread in self._commit_threads:
                if not _is_alive(thread.thread):
                    thread.thread = threading.Thread(target=self._run, args=(thread,), name="writer", daemon=True)
                    thread.thread.start()
            if not _is_alive(self._expiry_thread):
                self._expiry_thread = threading.Thread(target=self._expire_stale, name="writer expiry", daemon=True)
                self._expiry_thread.start()

    def _run(self, thread: CommitThread) -> None:
        thread_priority.restore_wakeup_priority()
        while batch := self._next_batch(thread):
            stored: Sequence[RequestRow] = ()
            try:
                stored = self._write(thread, [write for write in batch if not write.given_up])
            except Exception as error:
                # No thread may wait forever, and the next rows may succeed.
                logger.exception("Requests could not be stored")
                for write in batch:
                    write.error = NotStored(f"{type(error).__name__}: {error}")
            self._recent_durations.append(thread.busy_for())
            self._shortest_duration, thread.busy_since = min(self._recent_durations), None
            for write in batch:
                if not write.given_up:
                    write.finish()
            thread.batch = ()
            self._report_stored(stored)
        thread.table.close()
        django.db.connection.close()  # which callbacks may have opened

    def _next_batch(self, thread: CommitThread) -> list[PendingWrite]:
        """Wait for rows, and return up to a batch of them. An empty list ends the thread."""
        pause = 0.0
        if self._last_had_several and uses_sqlite():
            pause = self._last_start + BATCH_INTERVAL_SECONDS - time.monotonic()
        if pause > 0:
            time.sleep(pause)  # more rows share the next commit
        batch = self._wait_for_batch(thread)
        self._last_start, self._last_had_several = time.monotonic(), len(batch) > 1
        return batch

    def _wait_for_batch(self, thread: CommitThread) -> list[PendingWrite]:
        while True:
            with self._lock:
                has_work = bool(self._waiting) and thread in self._active_threads()
                delay = self._overlap_delay(thread) if has_work else 0.0
                if self._stopped or (has_work and delay <= 0):
                    batch = thread.batch = self._dequeue_batch()
                    thread.busy_since = time.monotonic() if batch else None
                    return batch
                thread.asleep = not has_work
            if has_work:
                time.sleep(delay)  # until the other thread's commit is far enough
            else:
                thread.wakeup.acquire()

    def _overlap_delay(self, thread: CommitThread) -> float:
        """Return the seconds until the thread may start while another one commits; 0 or less if it may start now."""
        start = min(OVERLAP_START * self._shortest_duration, OVERLAP_START_MAX_SECONDS)
        others = [other for other in self._commit_threads if other is not thread and other.busy_since is not None]
        return max((start - other.busy_for() for other in others), default=0.0)

    def _write(self, thread: CommitThread, writes: Sequence[PendingWrite]) -> Sequence[RequestRow]:
        """Store the rows in the database or the spool. Return those that are in the database."""
        rows = [write.row for write in writes]
        if not self.in_outage:
            try:
                refused = thread.table.insert_each(rows)
            except django.db.Error as error:
                self._begin_outage(error)
            else:
                if not refused:
                    return rows
                for write in writes:
                    if write.row.uid in refused:
                        write.error = RefusedByDatabase("The database refuses the request.")
                return [row for row in rows if row.uid not in refused]
        try:
            _append_to_spool(rows)
        except NotStored as error:
            self.in_outage = False  # nothing to drain, so only the next rows can show that the database is back
            for write in writes:
                write.error = error
        return ()

    def _begin_outage(self, error: Exception) -> None:
        if not self.in_outage:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            logger.error("The database is unavailable; requests are written to the spool: %s", reason)
            self.in_outage = True

    def _report_stored(self, rows: Sequence[RequestRow]) -> None:
        try:
            self._on_rows_stored(rows)
        except Exception:
            # The requests are stored, and the worker normalizes those that are not normalized here.
            logger.exception("Stored requests could not be queued for normalization")

    # -- Rows that no thread waits for

    def _expire_stale(self) -> None:
        """Give up rows that have a callback and have waited too long."""
        while True:
            self._may_have_callbacks.wait()
            with self._lock:
                writes = [*self._waiting, *(write for thread in self._commit_threads for write in thread.batch)]
                writes = [write for write in writes if write.on_stored is not None]
                if not writes:
                    if self._stopped:
                        return
                    self._may_have_callbacks.clear()
                    continue
            if overdue := [write for write in writes if write.is_overdue()]:
                _give_up(overdue)
                for write in overdue:
                    write.finish()
            time.sleep(EXPIRY_CHECK_SECONDS)


def _is_alive(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.is_alive()


def _give_up(writes: Sequence[PendingWrite]) -> None:
    """Write the rows to the spool instead. If they are committed later, their IDs prevent duplicates."""
    for write in writes:
        write.given_up = True
    try:
        _append_to_spool([write.row for write in writes])
    except NotStored as error:
        for write in writes:
            write.error = error


def _append_to_spool(rows: Sequence[RequestRow]) -> None:
    if not rows:
        return
    try:
        spool.append(rows)
    except SpoolError as error:
        raise NotStored(str(error)) from error


writer = Writer(on_rows_stored=inline_normalizer.enqueue_rows)
os.register_at_fork(after_in_child=writer.reset)
