"""Which of the process's threads the operating system lets go first.

A thread that holds Python's lock and is put aside for another, which then waits for that lock, costs two switches for
nothing; with many threads that wake each other that is most of them. So those that receive wait until the running one
sleeps. Only the writer does not, since all the others wait for it. Linux can do that; elsewhere nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import sys


def give_way() -> None:
    """This thread, and those that it starts, put no running one aside when they wake."""
    if sys.platform == "linux":
        _schedule(os.SCHED_BATCH)


def come_first() -> None:
    """This thread does."""
    if sys.platform == "linux":
        _schedule(os.SCHED_OTHER)


def _schedule(policy: int) -> None:
    # Where the system does not allow it, everything works as well, only a little slower.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
