"""Normalises in the web process right after the commit, so that events are there at once.

Only a short cut: what it misses, or leaves behind when the process is killed, the worker's poll finds.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections, connection

from events import pipeline, rejected, scheduling
from events.kept import KeptRequest
from events.models import Outcome

logger = logging.getLogger(__name__)

WAITING = 1000  # ids; more are left to the worker, which takes those that have waited for long
Chore = Callable[[], object]
IDLE = 5.0  # seconds without a request before the database connection is given back
PAUSE = 1.0  # seconds after a failure
LONGEST_PAUSE = 30.0
# When this many come at once, the next batch begins no sooner after the last one began: one of twice the size costs
# much less than two. An event that comes alone does not wait.
MANY = 50
TOGETHER = 0.06  # seconds
HANGS = 30.0  # seconds with one batch, until the thread is left behind and another goes on
MOST_LEFT = 8  # then nobody goes on here, and all is the worker's


class Normaliser:
    """One daemon thread, started by the first request: a thread does not survive the server's fork."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must: it has no thread, and perhaps our locks as they were held."""
        self._lock = threading.Lock()
        self._waiting: queue.Queue[UUID | Chore] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._begun: float | None = None  # when the thread took its batch
        self._left: list[threading.Thread] = []

    def follow(self, rows: Sequence[KeptRequest]) -> None:
        """Tells the thread of requests that were stored just now. Never blocks, never raises."""
        for row in rows:
            if row.outcome == Outcome.RECEIVED:
                self.wake(row.uid)
            elif row.outcome == Outcome.TRUNCATED:  # nothing will read it any more
                self.do(partial(pipeline.note_accepted, row.subscription_id, row.received_at))
            elif rejected.growth.calls_for_trim(row.subscription_id, rejected.size_of(row)):
                self.do(partial(rejected.trim, row.subscription_id))

    def wake(self, request: UUID) -> None:
        """Tells the thread of a stored request. Never blocks, never raises."""
        if settings.NORMALISE_IN_THREAD:
            self._put(request)

    def do(self, chore: Chore) -> None:
        """Has the thread do something. Never blocks, never raises."""
        if settings.NORMALISE_IN_THREAD:
            self._put(chore)
        else:
            chore()

    def _put(self, item: UUID | Chore) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            logger.debug("Too many requests wait to be normalised here; the worker takes this one.")
        if self._is_missing():
            self._start()

    def stop(self) -> None:
        """Ends the thread, once it has done what waits."""
        self._put(self._retire)

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
        scheduling.give_way()  # the writer may have started it
        pause = PAUSE
        own = threading.current_thread()
        while self._thread is own:
            batch = self._next_batch()
            self._begun = begun = time.monotonic()
            rest = 0.0
            try:
                close_old_connections()
                for item in batch:
                    if not isinstance(item, UUID):
                        item()
                pipeline.normalise_these([item for item in batch if isinstance(item, UUID)])
                pause = PAUSE
                rest = self._rest(len(batch), time.monotonic() - begun)
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

    def _rest(self, count: int, took: float) -> float:
        """Seconds until the next batch begins, after one of so many that took so long: half of the time is left to the
        receiving, which goes first. What does not fit into the other half, the worker does."""
        return max(TOGETHER - took, took) if count >= MANY else 0

    def _next_batch(self) -> list[UUID | Chore]:
        """Waits for the first item, then takes all that are there, up to a batch."""
        try:
            batch = [self._waiting.get(timeout=IDLE)]
        except queue.Empty:
            connection.close()
            batch = [self._waiting.get()]
        while len(batch) < pipeline.BATCH:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return batch


normaliser = Normaliser()
os.register_at_fork(after_in_child=normaliser.reset)
