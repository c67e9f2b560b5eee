"""Ends a process in which nothing runs any more, so that whoever started it starts it anew.

Code in C that never returns, a regular expression for example, may hold Python's lock: then no thread of ours can do
anything. The operating system's timer needs no lock: as long as a thread runs, it is set again; when it rings, the log
shows where all threads are, and the process ends.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time

from django.conf import settings

FROZEN = 60.0  # seconds
EVERY = 5.0


class Guard:
    """One daemon thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts it, unless it runs or the settings say no."""
        if settings.WATCH_IN_THREAD and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
            faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)  # and then what the signal does: end
            self._set()
            self._thread.start()

    def after_fork(self) -> None:
        """In a forked process, where neither the parent's thread nor its timer is: starts them again if they ran."""
        if self._thread is not None:
            self._thread = None
            self.start()

    def _run(self) -> None:
        while True:
            time.sleep(EVERY)
            self._set()

    @staticmethod
    def _set() -> None:
        signal.setitimer(signal.ITIMER_REAL, FROZEN)


guard = Guard()
os.register_at_fork(after_in_child=guard.after_fork)
