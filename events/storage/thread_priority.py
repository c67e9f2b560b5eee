"""Which of the process's threads go first, and for how long.

A thread that holds Python's lock and is put aside for another, which then waits for that lock, costs two switches for
nothing; with many threads that wake each other that is most of them. So those that receive wait until the running one
sleeps. Only the writer does not, since all the others wait for it. Linux can do that; elsewhere nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

TURN = 0.001  # seconds; Python's own is 5 milliseconds


def take_short_turns() -> None:
    """Whichever thread of this process computes hands Python's lock on after that long, when others wait for it: the
    many that receive need it for a tenth of a millisecond each, and those that make pages for long."""
    sys.setswitchinterval(TURN)


def let_others_compute() -> None:
    """This thread sleeps for about a tenth of a millisecond: that hands on Python's lock, and the core."""
    time.sleep(0)


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
