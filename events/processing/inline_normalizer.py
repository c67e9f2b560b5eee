"""Normalises in the web process right after the commit, so that events are there at once.

Only a short cut: what it misses, or leaves behind when the process is killed, the worker's poll finds.
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
from events.processing import normalize
from events.retention import rejected
from events.storage import thread_priority
from events.storage.request_row import RequestRow

logger = logging.getLogger(__name__)

Chore = Callable[[], object]
# What waits here is held in memory. More is left to the worker, which takes what has waited for long.
WAITING_ROWS = 1000
WAITING_BYTES = 16 * 1024 * 1024
WAITING_CHORES = 1000
IDLE = 5.0  # seconds without a request before the database connection is given back
PAUSE = 1.0  # seconds after a failure
LONGEST_PAUSE = 30.0
# When this many come at once, the next batch begins no sooner after the last one began: one of twice the size costs
# much less than two. An event that comes alone does not wait.
MANY = 50
TOGETHER = 0.06  # seconds
# Then it computes for half of the time at most, and for less the more there is to do, down to this when a batch is
# full: whoever receives needs Python's lock as well, and while it goes to and fro a call costs half as much again. The
# worker does the rest, on another core; a database server computes there, too, SQLite here.
SHARE = 0.5
FULL_SHARE = 0.3
FULL_SHARE_SQLITE = 0.1
STRETCH = 4  # requests that are read before others may compute, who would else wait for scheduling.TURN each
HANGS = 30.0  # seconds with one batch, until the thread is left behind and another goes on
MOST_LEFT = 8  # then nobody goes on here, and all is the worker's


class Normaliser:
    """One daemon thread, started by the first request: a thread does not survive the server's fork."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must: it has no thread, and perhaps our locks as they were held."""
        self._lock = threading.Lock()
        self._come = threading.Condition()
        self._rows: deque[RequestRow] = deque()
        self._bytes = 0
        self._chores: list[Chore] = []
        self._thread: threading.Thread | None = None
        self._begun: float | None = None  # when the thread took its batch
        self._left: list[threading.Thread] = []
        self._steps = 0

    def follow(self, rows: Sequence[RequestRow]) -> None:
        """Tells the thread of requests that were stored just now. Never blocks, never raises."""
        if settings.NORMALISE_IN_THREAD and (fresh := [row for row in rows if row.outcome == Outcome.RECEIVED]):
            self._put(fresh)
        for row in rows:
            if row.outcome == Outcome.TRUNCATED:  # nothing will read it any more
                self.do(partial(normalize.note_accepted, row.subscription_id, row.received_at))
            elif row.outcome == Outcome.REJECTED and rejected.growth.calls_for_trim(
                row.subscription_id, rejected.size_of(row)
            ):
                self.do(partial(rejected.trim, row.subscription_id))

    def do(self, chore: Chore) -> None:
        """Has the thread do something. Never blocks, never raises."""
        if settings.NORMALISE_IN_THREAD:
            self._put((), chore)
        else:
            chore()

    def _put(self, rows: Iterable[RequestRow], *chores: Chore) -> None:
        with self._come:
            for row in rows:
                size = len(row.body)
                if self._rows and (len(self._rows) >= WAITING_ROWS or self._bytes + size > WAITING_BYTES):
                    logger.debug("Too many requests wait to be normalised here; the worker takes the next ones.")
                    break
                self._rows.append(row)
                self._bytes += size
            if len(self._chores) < WAITING_CHORES:
                self._chores += chores
            self._come.notify()
        if self._is_missing():
            self._start()

    def stop(self) -> None:
        """Ends the thread, once it has done what waits."""
        self._put((), self._retire)

    def _retire(self) -> None:
        self._thread = None

    def _is_missing(self) -> bool:
        """Whether there is no thread that goes on with the next."""
        if self._thread is None or not self._thread.is_alive():
            return True
        begun = self._begun
        if begun is None or time.monotonic() - begun < HANGS:
            return False
        return sum(thread.is_alive() for thread in self._left) < MOST_LEFT

    def _start(self) -> None:
        with self._lock:
            if not self._is_missing():
                return
            if self._thread is not None and self._thread.is_alive():
                logger.error("Reading stored requests hangs; another thread goes on.")
                self._left = [*(thread for thread in self._left if thread.is_alive()), self._thread]
            self._begun = None
            self._thread = threading.Thread(target=self._run, name="normaliser", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        thread_priority.give_way()  # the writer may have started it
        pause = PAUSE
        own = threading.current_thread()
        while self._thread is own:
            rows, chores = self._next_batch()
            self._begun = begun = time.monotonic()
            computed = time.thread_time()
            rest = 0.0
            try:
                close_old_connections()
                for chore in chores:
                    chore()
                normalize.normalise_stored(rows, progress=self._step)
                pause = PAUSE
                rest = self._rest(len(rows), time.monotonic() - begun, time.thread_time() - computed)
            except Exception:
                # Whatever it was, the next requests deserve another try; these are the worker's now.
                logger.exception("Normalising stopped; going on in %.0f s", pause)
                connection.close()
                rest = pause
                pause = min(pause * 2, LONGEST_PAUSE)
            if self._thread is own:
                self._begun = None
                time.sleep(rest)
        connection.close()

    def _step(self) -> None:
        self._steps += 1
        if self._steps % STRETCH == 0:
            thread_priority.let_others_compute()

    def _rest(self, count: int, took: float, computed: float) -> float:
        """Seconds until the next batch begins, after one of so many that took so long, and computed for so long of
        it."""
        if count < MANY:
            return 0.0
        when_full = FULL_SHARE_SQLITE if connection.vendor == "sqlite" else FULL_SHARE
        share = min(SHARE, when_full * normalize.BATCH / count)
        return max(TOGETHER - took, computed / share - took, 0.0)

    def _next_batch(self) -> tuple[list[RequestRow], list[Chore]]:
        """Waits until something comes, then takes all that is there, up to a batch."""
        with self._come:
            if self._come.wait_for(self._waits, IDLE):
                return self._take()
        connection.close()
        with self._come:
            self._come.wait_for(self._waits)
            return self._take()

    def _waits(self) -> bool:
        return bool(self._rows or self._chores)

    def _take(self) -> tuple[list[RequestRow], list[Chore]]:
        rows: list[RequestRow] = []
        size = 0
        while self._rows and len(rows) < normalize.BATCH and size < normalize.BATCH_BYTES:
            rows.append(self._rows.popleft())
            size += len(rows[-1].body)
        self._bytes -= size
        chores, self._chores = self._chores, []
        return rows, chores


normaliser = Normaliser()
os.register_at_fork(after_in_child=normaliser.reset)
