"""The watchdog ends a process in which no Python thread runs any more, so that it is restarted.

C code that never returns, for example a regular expression, may hold the interpreter lock and stop every thread. The
operating system's timer needs no lock: a thread keeps resetting it, and if it expires, the log shows where all
threads are and the process ends.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import threading

from django.conf import settings

FREEZE_SECONDS = 60.0  # without a reset, until the process ends
RESET_SECONDS = 5.0


class Watchdog:
    """A daemon thread that keeps resetting the timer."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread, unless it runs or the settings disable it."""
        if settings.WATCH_IN_THREAD and self._thread is None:
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="watchdog", daemon=True)
            faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)  # then the signal ends the process
            self._set(FREEZE_SECONDS)
            self._thread.start()
            atexit.register(self._stop)

    def after_fork(self) -> None:
        """Restart in a forked process, which has neither the parent's thread nor its timer."""
        if self._thread is not None:
            self._thread = None
            atexit.unregister(self._stop)
            self.start()

    def _stop(self) -> None:
        # While the interpreter shuts down, no thread can reset the timer.
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._set(0)

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(RESET_SECONDS):
            self._set(FREEZE_SECONDS)

    @staticmethod
    def _set(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


watchdog = Watchdog()
os.register_at_fork(after_in_child=watchdog.after_fork)
