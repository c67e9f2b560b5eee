"""Runs what is periodic inside the worker itself, so that no broker, however lossy, can stop it."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from celery import Celery, bootsteps
from django.db import DatabaseError, close_old_connections

from config.monitoring.watchdog import guard

logger = logging.getLogger(__name__)
LONGEST_SLEEP = 1.0
STOP_TIMEOUT = 3.0
SAY_AGAIN_AFTER = 60.0


@dataclass(slots=True)
class Entry:
    """One line of the schedule, and when it is due next (monotonic seconds: a clock that is set must stall nothing)."""

    name: str
    task: str
    every: float
    due: float
    run: Future[None] | None = field(default=None, repr=False)
    said: tuple[str, float] = ("", 0.0)

    def complain(self, error: Exception) -> None:
        """Logs why a run failed; the same reason only once a minute, since it may come every second for hours."""
        now = time.monotonic()
        reason = repr(error)
        if self.said[0] == reason and now - self.said[1] < SAY_AGAIN_AFTER:
            return
        self.said = (reason, now)
        # A database that is away is no mistake of ours: a traceback would only hide what is said about it.
        trace = None if isinstance(error, DatabaseError) else error
        logger.error(
            "The periodic task %s failed and runs again in %g s: %s", self.name, self.every, error, exc_info=trace
        )

    @property
    def running(self) -> bool:
        """Whether its last run is still under way."""
        return self.run is not None and not self.run.done()


class LocalScheduler:
    """Calls the tasks of Celery's beat schedule in a few threads of this process; `celery beat` would send messages.

    No entry runs twice at once here, and what a task raises is logged and ends only that run.
    """

    def __init__(self, app: Celery, *, threads: int = 4) -> None:
        self._app = app
        now = time.monotonic()
        self.entries = [
            Entry(name, str(entry["task"]), float(entry["schedule"]), due=now)
            for name, entry in app.conf.beat_schedule.items()
        ]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="schedule")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def start(self) -> None:
        """Starts in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Starts nothing more, and waits a little for what runs."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def tick(self) -> float:
        """Starts whatever is due. Returns the seconds until something may be due next."""
        now = time.monotonic()
        for entry in self.entries:
            if entry.due <= now and not entry.running:
                entry.run = self._pool.submit(self._call, entry)
                # Counted from now: what was missed while a run took long is not made up for.
                entry.due = now + entry.every
        waits = [max(entry.due - now, 0.05) for entry in self.entries]
        return min([LONGEST_SLEEP, *waits])

    def _loop(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = self.tick()

    def _call(self, entry: Entry) -> None:
        close_old_connections()
        try:
            self._app.tasks[entry.task]()
        except Exception as error:  # noqa: BLE001  # whatever one task does wrong, the others and its next run must go on
            entry.complain(error)
        finally:
            close_old_connections()


class ScheduleStep(bootsteps.StartStopStep):
    """Starts the scheduler with the worker. It comes before the consumer, which may wait for a broker for ever."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.scheduler: LocalScheduler | None = None

    def start(self, parent: Any) -> None:
        """Called by the worker."""
        self.scheduler = LocalScheduler(parent.app)
        self.scheduler.start()
        guard.start()

    def stop(self, parent: Any) -> None:
        """Called by the worker."""
        if self.scheduler:
            self.scheduler.stop()

    terminate = stop
