"""The base class of tasks. Messages only wake up workers: the work is in the database, where the schedule finds it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import Task
from celery.result import AsyncResult
from kombu.exceptions import KombuError

logger = logging.getLogger(__name__)
PAUSE_SECONDS = 15.0


class BrokerPause:
    """Skip publishing for a while after the broker failed, so that the next callers do not wait for it."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def active(self) -> bool:
        """Return whether publishing is skipped at the moment."""
        return time.monotonic() < self._until

    def begin(self) -> None:
        """Skip publishing for PAUSE_SECONDS."""
        with self._lock:
            self._until = time.monotonic() + PAUSE_SECONDS

    def end(self) -> None:
        """Allow publishing again."""
        with self._lock:
            self._until = 0.0


broker_pause = BrokerPause()


class WakeUpTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """The base class of all tasks. Publishing never raises: if the broker is unreachable, the error is logged."""

    def apply_async(self, *args: Any, **kwargs: Any) -> AsyncResult[Any] | None:  # type: ignore[override]
        """Publish the message. Return None if the broker is unreachable; periodic tasks then do the work later."""
        if broker_pause.active():
            return None
        try:
            return super().apply_async(*args, **kwargs)
        except (KombuError, OSError) as error:
            broker_pause.begin()
            logger.warning("The broker is unreachable (%s); publishing is skipped for %g s.", error, PAUSE_SECONDS)
            return None
