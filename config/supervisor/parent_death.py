"""Ties a process to its parent, so that a killed parent leaves no orphan behind.

`python -m config.supervisor.parent_death PARENT_PID COMMAND...` becomes COMMAND, tied to the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """From now on this process is killed when `parent`, the process that started it, ends; at once if it has already.

    Only Linux can do that; elsewhere nothing happens. Strictly it is the thread that started this process that counts,
    so processes are to be started from main threads.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Runs the command of the arguments. The tie outlives exec."""
    parent, *command = sys.argv[1:]
    die_with_parent(int(parent))
    os.execv(command[0], command)  # noqa: S606  # started by our own supervisor


if __name__ == "__main__":
    main()
