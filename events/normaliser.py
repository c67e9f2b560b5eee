"""Normalises in the web process right after the commit, so that events are there at once.

Only a short cut: what it misses, or leaves behind when the process is killed, the worker's poll finds.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time

from django.conf import settings
from django.db import close_old_connections, connection

from events import pipeline

logger = logging.getLogger(__name__)

WAITING = 10_000  # ids; more are left to the worker
IDLE = 5.0  # seconds without a request before the database connection is given back
PAUSE = 1.0  # seconds after a failure
LONGEST_PAUSE = 30.0


class Normaliser:
    """One daemon thread, started by the first request: a thread does not survive the server's fork."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must: it has no thread, and perhaps our locks as they were held."""
        self._lock = threading.Lock()
        self._ids: queue.Queue[int] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def wake(self, request_id: int) -> None:
        """Tells the thread of a stored request. Never blocks, never raises."""
        if not getattr(settings, "NORMALISE_IN_THREAD", True):
            return
        try:
            self._ids.put_nowait(request_id)
        except queue.Full:
            logger.debug("Too many requests wait to be normalised here; the worker takes this one.")
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="normaliser", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = PAUSE
        while True:
            ids = self._next_batch()
            try:
                close_old_connections()
                pipeline.normalise_batch(ids)
                pause = PAUSE
            except Exception:
                # Whatever it was, the next requests deserve another try; these are the worker's now.
                logger.exception("Normalising stopped; going on in %.0f s", pause)
                connection.close()
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    def _next_batch(self) -> list[int]:
        """Waits for the first id, then takes all that are there, up to a batch."""
        try:
            ids = [self._ids.get(timeout=IDLE)]
        except queue.Empty:
            connection.close()
            ids = [self._ids.get()]
        while len(ids) < pipeline.BATCH:
            try:
                ids.append(self._ids.get_nowait())
            except queue.Empty:
                break
        return ids


normaliser = Normaliser()
os.register_at_fork(after_in_child=normaliser.reset)
