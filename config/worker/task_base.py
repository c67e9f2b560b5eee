"""Messages to the worker are wake-ups: the row in the database is the work, and the schedule finds what they missed."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import Task
from celery.result import AsyncResult
from kombu.exceptions import KombuError

logger = logging.getLogger(__name__)
PAUSE = 15.0


class BrokerPause:
    """Remembers that the broker failed, so that the next callers do not wait for it as well."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def active(self) -> bool:
        """Whether publishing is not even tried at the moment."""
        return time.monotonic() < self._until

    def begin(self) -> None:
        """Called after a failure."""
        with self._lock:
            self._until = time.monotonic() + PAUSE

    def end(self) -> None:
        """Called to try again at once."""
        with self._lock:
            self._until = 0.0


broker_pause = BrokerPause()


class WakeUp(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """The base of all our tasks: for want of a broker, `delay` and `apply_async` never raise, and hardly ever wait."""

    def apply_async(self, *args: Any, **kwargs: Any) -> AsyncResult[Any] | None:  # type: ignore[override]
        """Publishes the wake-up. None when the broker could not take it; the periodic tasks then do the work later."""
        if broker_pause.active():
            return None
        try:
            return super().apply_async(*args, **kwargs)
        except (KombuError, OSError) as error:
            broker_pause.begin()
            logger.warning("The broker took no message (%s); the schedule does its work instead.", error)
            return None
