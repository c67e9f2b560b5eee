"""Normalize requests in the web process right after they are committed, so that events are visible at once.

This is only a shortcut: the worker's poller finds what it skips, or loses when the process is killed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from django.conf import settings
from django.db import close_old_connections, connection

from events.models import Outcome
from events.processing import normalize, subscription_activity
from events.retention import rejected
from events.storage import thread_priority
from events.storage.request_row import RequestRow

logger = logging.getLogger(__name__)

Job = Callable[[], object]
# The queue is held in memory. What exceeds it is left to the worker.
MAX_QUEUED_ROWS = 1000
MAX_QUEUED_BYTES = 16 * 1024 * 1024
MAX_QUEUED_JOBS = 1000
IDLE_SECONDS = 5.0  # without a request before the database connection is closed
RETRY_SECONDS = 1.0  # after the first failure, then doubled
MAX_RETRY_SECONDS = 30.0
# After a batch of at least LARGE_BATCH requests, the next batch starts at least LARGE_BATCH_SECONDS after the start of
# the last one: a batch of twice the size costs much less than two batches. A single event does not wait.
LARGE_BATCH = 50
LARGE_BATCH_SECONDS = 0.06
# After a large batch, the thread pauses so that it computes for at most this share of the time; for full batches, the
# share is lower. The receiving threads need the GIL as well, and contention for it makes a call 50% more expensive. The
# worker does the rest on another core. A database server computes on its own cores, SQLite in this process.
CPU_SHARE = 0.5
FULL_BATCH_CPU_SHARE = 0.3
FULL_BATCH_CPU_SHARE_SQLITE = 0.1
# Requests after which other threads may compute. Otherwise they would wait for SWITCH_INTERVAL_SECONDS each.
YIELD_EVERY = 4
HANGS_AFTER_SECONDS = 30.0  # with one batch; then the thread is abandoned and another one continues
MAX_ABANDONED_THREADS = 8  # then no thread continues here, and everything is left to the worker


class InlineNormalizer:
    """One daemon thread, started by the first request, since threads do not survive the server's fork."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start without a thread and rows, as a forked process must: locks may have been copied while held."""
        self._lock = threading.Lock()
        self._wakeup = threading.Condition()
        self._rows: deque[RequestRow] = deque()
        self._bytes = 0
        self._jobs: list[Job] = []
        self._thread: threading.Thread | None = None
        self._batch_started: float | None = None  # monotonic seconds; None while idle
        self._abandoned: list[threading.Thread] = []
        self._steps = 0

    def enqueue_rows(self, rows: Sequence[RequestRow]) -> None:
        """Queue requests that were just stored. Never blocks, never raises."""
        if settings.NORMALIZE_IN_THREAD and (received := [row for row in rows if row.outcome == Outcome.RECEIVED]):
            self._put(received)
        for row in rows:
            if row.outcome == Outcome.TRUNCATED:  # it will not be normalized, so its acceptance is recorded here
                self.enqueue_job(partial(subscription_activity.record_accepted, row.subscription_id, row.received_at))
            elif row.outcome == Outcome.REJECTED and rejected.growth.add(row.subscription_id, rejected.size_of(row)):
                self.enqueue_job(partial(rejected.trim, row.subscription_id))

    def enqueue_job(self, job: Job) -> None:
        """Run a job in the thread. Never blocks, never raises."""
        if settings.NORMALIZE_IN_THREAD:
            self._put((), job)
        else:
            job()

    def stop(self) -> None:
        """End the thread once its queue is empty."""
        self._put((), self._forget_thread)

    def _put(self, rows: Iterable[RequestRow], *jobs: Job) -> None:
        with self._wakeup:
            for row in rows:
                size = len(row.body)
                if self._rows and (len(self._rows) >= MAX_QUEUED_ROWS or self._bytes + size > MAX_QUEUED_BYTES):
                    logger.debug("The queue of the inline normalizer is full; the worker normalizes the rest.")
                    break
                self._rows.append(row)
                self._bytes += size
            if len(self._jobs) < MAX_QUEUED_JOBS:
                self._jobs += jobs
            self._wakeup.notify()
        if self._needs_thread():
            self._start()

    def _forget_thread(self) -> None:
        self._thread = None

    def _needs_thread(self) -> bool:
        """Return whether no thread is there to take the next batch."""
        if self._thread is None or not self._thread.is_alive():
            return True
        started = self._batch_started
        if started is None or time.monotonic() - started < HANGS_AFTER_SECONDS:
            return False
        return sum(thread.is_alive() for thread in self._abandoned) < MAX_ABANDONED_THREADS

    def _start(self) -> None:
        with self._lock:
            if not self._needs_thread():
                return
            if self._thread is not None and self._thread.is_alive():
                logger.error("Normalizing in the web process hangs; another thread continues.")
                self._abandoned = [*(thread for thread in self._abandoned if thread.is_alive()), self._thread]
            self._batch_started = None
            self._thread = threading.Thread(target=self._run, name="inline-normalizer", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        thread_priority.lower_wakeup_priority()  # it may inherit the priority of the commit thread
        retry = RETRY_SECONDS
        this_thread = threading.current_thread()
        while self._thread is this_thread:
            rows, jobs = self._next_batch()
            self._batch_started = started = time.monotonic()
            cpu_started = time.thread_time()
            pause = 0.0
            try:
                close_old_connections()
                for job in jobs:
                    job()
                normalize.normalize_rows(rows, progress=self._step)
                retry = RETRY_SECONDS
                pause = self._pause_after(len(rows), time.monotonic() - started, time.thread_time() - cpu_started)
            except Exception:
                # These requests are left to the worker. The thread continues with the next ones.
                logger.exception("Normalizing in the web process failed; retrying in %.0f s", retry)
                connection.close()
                pause = retry
                retry = min(retry * 2, MAX_RETRY_SECONDS)
            if self._thread is this_thread:
                self._batch_started = None
                time.sleep(pause)
        connection.close()

    def _step(self) -> None:
        self._steps += 1
        if self._steps % YIELD_EVERY == 0:
            thread_priority.yield_to_other_threads()

    def _pause_after(self, count: int, elapsed: float, cpu_seconds: float) -> float:
        """Return the seconds to wait after a batch of `count` requests.

        The batch took `elapsed` seconds, of which the thread computed for `cpu_seconds`.
        """
        if count < LARGE_BATCH:
            return 0.0
        full_batch_share = FULL_BATCH_CPU_SHARE_SQLITE if connection.vendor == "sqlite" else FULL_BATCH_CPU_SHARE
        share = min(CPU_SHARE, full_batch_share * normalize.BATCH_SIZE / count)
        return max(LARGE_BATCH_SECONDS - elapsed, cpu_seconds / share - elapsed, 0.0)

    def _next_batch(self) -> tuple[list[RequestRow], list[Job]]:
        """Wait until something is queued, then take it, up to one batch."""
        with self._wakeup:
            if self._wakeup.wait_for(self._has_work, IDLE_SECONDS):
                return self._take_batch()
        connection.close()
        with self._wakeup:
            self._wakeup.wait_for(self._has_work)
            return self._take_batch()

    def _has_work(self) -> bool:
        return bool(self._rows or self._jobs)

    def _take_batch(self) -> tuple[list[RequestRow], list[Job]]:
        rows: list[RequestRow] = []
        size = 0
        while self._rows and len(rows) < normalize.BATCH_SIZE and size < normalize.BATCH_BYTES:
            rows.append(self._rows.popleft())
            size += len(rows[-1].body)
        self._bytes -= size
        jobs, self._jobs = self._jobs, []
        return rows, jobs


inline_normalizer = InlineNormalizer()
os.register_at_fork(after_in_child=inline_normalizer.reset)
