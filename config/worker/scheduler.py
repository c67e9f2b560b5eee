"""The scheduler runs periodic tasks inside the worker, so that they do not depend on a broker."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from celery import Celery, bootsteps
from django.db import DatabaseError, close_old_connections

from config.monitoring.watchdog import watchdog

logger = logging.getLogger(__name__)
MAX_SLEEP_SECONDS = 1.0
STOP_TIMEOUT_SECONDS = 3.0
LOG_AGAIN_SECONDS = 60.0


@dataclass(slots=True)
class Entry:
    """One entry of the schedule. `due` is in monotonic seconds, so that setting the clock delays nothing."""

    name: str
    task: str
    every: float
    due: float
    run: Future[None] | None = field(default=None, repr=False)
    last_failure: tuple[str, float] = ("", 0.0)

    def log_failure(self, error: Exception) -> None:
        """Log why a run failed. Log the same reason at most once a minute: it may recur every second for hours."""
        now = time.monotonic()
        reason = repr(error)
        if self.last_failure[0] == reason and now - self.last_failure[1] < LOG_AGAIN_SECONDS:
            return
        self.last_failure = (reason, now)
        # An unreachable database is not a bug: a traceback would only obscure the message.
        trace = None if isinstance(error, DatabaseError) else error
        logger.error("Periodic task %s failed and runs again in %g s: %s", self.name, self.every, error, exc_info=trace)

    @property
    def running(self) -> bool:
        """Return whether the last run has not finished yet."""
        return self.run is not None and not self.run.done()


class LocalScheduler:
    """Run the tasks of Celery's beat schedule in a few threads of this process. `celery beat` would send messages.

    An entry never runs twice at once in a process. An exception is logged and ends only that run.
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
        """Start the scheduler's thread."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further runs, and wait briefly for the running ones."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def tick(self) -> float:
        """Start what is due. Return the seconds until the next entry may be due."""
        now = time.monotonic()
        for entry in self.entries:
            if entry.due <= now and not entry.running:
                entry.run = self._pool.submit(self._run_entry, entry)
                # Counted from now: runs missed during a long run are skipped.
                entry.due = now + entry.every
        waits = [max(entry.due - now, 0.05) for entry in self.entries]
        return min([MAX_SLEEP_SECONDS, *waits])

    def _loop(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = self.tick()

    def _run_entry(self, entry: Entry) -> None:
        close_old_connections()
        try:
            self._app.tasks[entry.task]()
        except Exception as error:  # noqa: BLE001  # an error must not stop other tasks or the next run
            entry.log_failure(error)
        finally:
            close_old_connections()


def exit_with_wrong_keys() -> None:
    """Exit if ENCRYPTION_KEYS are not those of the database. If it is down, each task checks them later."""
    from providers.accounts import encryption_keys  # the apps are not ready when this module is imported

    try:
        encryption_keys.require()
    except encryption_keys.WrongKeys as error:
        logger.critical("%s", error)
        raise SystemExit(1) from None
    except DatabaseError as error:
        logger.warning("ENCRYPTION_KEYS could not be checked yet: %s", error)
    finally:
        close_old_connections()


class SchedulerStep(bootsteps.StartStopStep):
    """Start the scheduler with the worker, before the consumer, which may wait for a broker forever."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self.scheduler: LocalScheduler | None = None

    def start(self, parent: Any) -> None:
        """Start the scheduler and the watchdog, unless ENCRYPTION_KEYS are wrong; the worker calls this."""
        exit_with_wrong_keys()
        self.scheduler = LocalScheduler(parent.app)
        self.scheduler.start()
        watchdog.start()

    def stop(self, parent: Any) -> None:
        """Stop the scheduler; the worker calls this."""
        if self.scheduler:
            self.scheduler.stop()

    terminate = stop
