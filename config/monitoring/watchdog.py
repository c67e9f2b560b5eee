"""Ends a process in which nothing runs any more, so that whoever started it starts it anew.

Code in C that never returns, a regular expression for example, may hold Python's lock: then no thread of ours can do
anything. The operating system's timer needs no lock: as long as a thread runs, it is set again; when it rings, the log
shows where all threads are, and the process ends.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import threading

from django.conf import settings

FROZEN = 60.0  # seconds
EVERY = 5.0


class Guard:
    """One daemon thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Starts it, unless it runs or the settings say no."""
        if settings.WATCH_IN_THREAD and self._thread is None:
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._over,), name="guard", daemon=True)
            faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)  # and then what the signal does: end
            self._set(FROZEN)
            self._thread.start()
            atexit.register(self._stop)

    def after_fork(self) -> None:
        """In a forked process, where neither the parent's thread nor its timer is: starts them again if they ran."""
        if self._thread is not None:
            self._thread = None
            atexit.unregister(self._stop)
            self.start()

    def _stop(self) -> None:
        # While Python itself ends, no thread could set the timer again, however well that goes.
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._set(0)

    def _run(self, over: threading.Event) -> None:
        while not over.wait(EVERY):
            self._set(FROZEN)

    @staticmethod
    def _set(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


guard = Guard()
os.register_at_fork(after_in_child=guard.after_fork)
