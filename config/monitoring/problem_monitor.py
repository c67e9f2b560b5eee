"""Detect problems in the web process if no worker does: a dead worker cannot report itself."""

from __future__ import annotations

import logging
import os
import threading
from datetime import timedelta

from django.conf import settings
from django.db import close_old_connections, connection

from providers.accounts import encryption_keys
from subscriptions.notifications import dispatch
from subscriptions.problems import detector

logger = logging.getLogger(__name__)

CHECK_SECONDS = 15.0  # between two checks of whether the workers detect problems
TAKE_OVER_AFTER = timedelta(seconds=45)  # without a pass of the workers, which make one every 10 s


def run_if_overdue() -> bool:
    """Detect problems and notify people, if no process has done so for TAKE_OVER_AFTER. Return whether it did."""
    encryption_keys.require()
    if not detector.detect_if_due(TAKE_OVER_AFTER):
        return False
    dispatch.notify_all()
    return True


class ProblemMonitor:
    """A daemon thread of the web process that runs the detection when it is overdue."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread, unless it runs or the settings disable it."""
        if getattr(settings, "WATCH_IN_THREAD", True) and not self.running:
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=self._run, name="problem monitor", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()

    @property
    def running(self) -> bool:
        """Return whether the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def after_fork(self) -> None:
        """Restart in a forked process, which does not have the parent's thread."""
        if self._thread is not None:
            self._thread = None
            self.start()

    def _run(self) -> None:
        logged = ""
        while not self._stopped.wait(CHECK_SECONDS):
            try:
                close_old_connections()
                run_if_overdue()
                logged = ""
            except Exception as error:  # noqa: BLE001  # an unreachable database must not end the thread
                if repr(error) != logged:  # it may stay unreachable for hours
                    logger.warning("Could not detect problems; trying again: %r", error)
                logged = repr(error)
            finally:
                connection.close()


problem_monitor = ProblemMonitor()
os.register_at_fork(after_in_child=problem_monitor.after_fork)
