"""Scheduling of the threads of a process that receives.

When a thread that holds Python's global interpreter lock (GIL) is preempted by one that then waits for the lock, two
context switches are wasted. With many threads that wake each other, these are most switches. So receiving threads do
not preempt a running thread when they wake up. The commit threads do, because all others wait for them. This works on
Linux; elsewhere these functions change nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

SWITCH_INTERVAL_SECONDS = 0.001  # Python's default is 0.005


def shorten_switch_interval() -> None:
    """Make running threads release the GIL sooner: receiving needs it only for a tenth of a millisecond at a time."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)


def yield_to_other_threads() -> None:
    """Release the GIL and the CPU core for about a tenth of a millisecond."""
    time.sleep(0)


def lower_wakeup_priority() -> None:
    """Lower the scheduling priority of this thread and its children: waking up does not preempt running threads."""
    if sys.platform == "linux":
        _set_policy(os.SCHED_BATCH)


def restore_wakeup_priority() -> None:
    """Let this thread preempt running threads when it wakes up."""
    if sys.platform == "linux":
        _set_policy(os.SCHED_OTHER)


def _set_policy(policy: int) -> None:
    # Where the system forbids it, everything works, only a little slower.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))
