"""Looks for problems in the web process when no worker does: a dead worker cannot say that it is dead."""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta

from django.conf import settings
from django.db import close_old_connections, connection

from subscriptions.notifications import dispatch
from subscriptions.problems import detector

logger = logging.getLogger(__name__)

EVERY = 15.0  # seconds between two looks at whether the workers do it
PATIENCE = timedelta(seconds=45)  # without a pass, until this process makes one; they make one every 10 s


def look() -> bool:
    """One pass and whatever there is to tell, if nobody has made one for a while. Whether it was done."""
    if not detector.detect_in_turn(PATIENCE):
        return False
    dispatch.notify_all()
    return True


class Watch:
    """One daemon thread of the web process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Starts it, unless it runs or the settings say no."""
        if getattr(settings, "WATCH_IN_THREAD", True) and not self.running:
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends it soon."""
        self._stopped.set()

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def after_fork(self) -> None:
        """In a forked process, where the parent's thread is not: starts again what ran."""
        if self._thread is not None:
            self._thread = None
            self.start()

    def _run(self) -> None:
        said = ""
        while not self._stopped.wait(EVERY):
            try:
                close_old_connections()
                look()
                said = ""
            except Exception as error:  # noqa: BLE001  # a database that is away must not end the watch
                if repr(error) != said:  # it may stay away for hours
                    logger.warning("Looking for problems failed, and is tried again: %r", error)
                said = repr(error)
            finally:
                connection.close()


watch = Watch()
os.register_at_fork(after_in_child=watch.after_fork)
