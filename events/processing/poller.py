"""The worker's poller: normalizes pending requests in a thread that is abandoned if it hangs.

A process that dies, or hangs as a whole, is restarted by the supervisor; `poison_requests` counts its attempts.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from concurrent.futures import Future, wait
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import close_old_connections, connection

from events.processing import normalize

logger = logging.getLogger(__name__)

# Younger requests are left to the web process, which usually normalizes them within a second. If both parse the same
# request, one result is discarded.
MIN_AGE = timedelta(seconds=2)
HANGS_AFTER_SECONDS = 30.0  # without progress
SLOW_QUERY_SECONDS = 1.0  # a database that takes longer for a trivial query counts as hanging
MAX_ABANDONED_THREADS = 8  # then the process ends, to be restarted
end_process = os._exit

Polls = queue.SimpleQueue[Future[int] | None]  # None: end the thread


class Poller:
    """One daemon thread, and those that were abandoned because they hang."""

    def __init__(self) -> None:
        self._polls: Polls | None = None
        self._thread: threading.Thread | None = None
        self._abandoned: list[threading.Thread] = []
        self._progress_at = 0.0  # monotonic seconds

    def poll(self) -> int:
        """Normalize all pending requests, and return how many were normalized.

        Raises TimeoutError if parsing hangs, and then continues with another thread at the next poll. Raises any other
        exception of the thread.
        """
        if not settings.NORMALIZE_IN_THREAD:
            return normalize.normalize_pending(older_than=MIN_AGE)
        if self._polls is None or self._thread is None or not self._thread.is_alive():
            self._polls = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._run, args=(self._polls,), name="poller", daemon=True)
            self._thread.start()
        result: Future[int] = Future()
        self._note_progress(self._polls)
        self._polls.put(result)
        while not wait([result], timeout=max(0.0, self._deadline() - time.monotonic())).done:
            if time.monotonic() >= self._deadline():
                if _was_database_hanging():
                    self._note_progress(self._polls)
                    continue
                self._abandon(self._thread)
                raise TimeoutError("Parsing a stored request hangs; the next poll continues without it.")
        return result.result()

    def stop(self) -> None:
        """End the thread once it is idle."""
        polls, self._polls = self._polls, None
        if polls is not None:
            polls.put(None)

    def _deadline(self) -> float:
        return self._progress_at + HANGS_AFTER_SECONDS

    def _note_progress(self, polls: Polls) -> None:
        if self._polls is polls:  # otherwise the caller is an abandoned thread that still runs
            self._progress_at = time.monotonic()

    def _abandon(self, thread: threading.Thread) -> None:
        self._polls = self._thread = None
        self._abandoned = [*(other for other in self._abandoned if other.is_alive()), thread]
        if len(self._abandoned) >= MAX_ABANDONED_THREADS:
            logger.critical("%s threads hang in this process. It ends, to be restarted.", len(self._abandoned))
            end_process(1)

    def _run(self, polls: Polls) -> None:
        progress = partial(self._note_progress, polls)
        while self._polls is polls and (result := polls.get()) is not None:
            try:
                close_old_connections()
                result.set_result(normalize.normalize_pending(older_than=MIN_AGE, progress=progress))
            except Exception as error:  # noqa: BLE001  # `poll` raises it
                result.set_exception(error)
            finally:
                close_old_connections()
        connection.close()


def _was_database_hanging() -> bool:
    """Return whether a trivial query takes so long that the thread was probably waiting for the database.

    Returns once the database answers. Raises the database's error if the query fails.
    """
    started = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return time.monotonic() - started > SLOW_QUERY_SECONDS


poller = Poller()
