"""The worker's look for stored requests whose events are missing, in a thread that is left behind when it hangs.

What ends the whole process, or stops all of its threads, is for whoever restarts it;
`events.processing.poison_requests` keeps the count.
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

# What is younger, the web process is about to normalise itself: in a flood, as much as waits there takes it a second or
# so, and what both read, one reads for nothing.
GRACE = timedelta(seconds=2)
PATIENCE = 30.0  # seconds without a step forward until a look counts as hanging
PROMPT = 1.0  # seconds in which the database answers the simplest question, unless it hangs
MOST_LEFT = 8  # threads; then this process makes room for a new one
end_process = os._exit

Asked = queue.SimpleQueue[Future[int] | None]  # None: end


class Poll:
    """One daemon thread, and those that hang."""

    def __init__(self) -> None:
        self._asked: Asked | None = None
        self._thread: threading.Thread | None = None
        self._left: list[threading.Thread] = []
        self._moved_at = 0.0

    def look(self) -> int:
        """Normalises what waits. Returns how many requests were settled, or raises what went wrong; TimeoutError when
        a reading hangs: then the next look is another thread's."""
        if not settings.NORMALISE_IN_THREAD:
            return normalize.normalise_pending(older_than=GRACE)
        if self._asked is None or self._thread is None or not self._thread.is_alive():
            self._asked = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._run, args=(self._asked,), name="poll", daemon=True)
            self._thread.start()
        answer: Future[int] = Future()
        self._step(self._asked)
        self._asked.put(answer)
        while not wait([answer], timeout=max(0.0, self._moved_at + PATIENCE - time.monotonic())).done:
            if time.monotonic() >= self._moved_at + PATIENCE:
                if _database_hangs():
                    self._step(self._asked)
                    continue
                self._leave(self._thread)
                raise TimeoutError("Reading stored requests hangs; the next look goes on without what hangs.")
        return answer.result()

    def stop(self) -> None:
        """Ends the thread, once it is idle."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.put(None)

    def _step(self, asked: Asked) -> None:
        if self._asked is asked:  # else it is one that was left and goes on after all
            self._moved_at = time.monotonic()

    def _leave(self, thread: threading.Thread) -> None:
        self._asked = self._thread = None
        self._left = [*(other for other in self._left if other.is_alive()), thread]
        if len(self._left) >= MOST_LEFT:
            logger.critical("%s readings hang in this process. It ends, to be started again.", len(self._left))
            end_process(1)

    def _run(self, asked: Asked) -> None:
        while self._asked is asked and (answer := asked.get()) is not None:
            try:
                close_old_connections()
                answer.set_result(normalize.normalise_pending(older_than=GRACE, progress=partial(self._step, asked)))
            except Exception as error:  # noqa: BLE001  # whoever asked raises it
                answer.set_exception(error)
            finally:
                close_old_connections()
        connection.close()


def _database_hangs() -> bool:
    """Whether it was the database that was waited for. If so, this returns when it goes on, or raises its error."""
    asked_at = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return time.monotonic() - asked_at > PROMPT


poll = Poll()
