"""Kill a process when its parent dies, so that a killed parent leaves no orphan.

`python -m config.supervisor.parent_death PARENT_PID COMMAND...` replaces itself with COMMAND, tied to PARENT_PID.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have this process killed when `parent`, the process that started it, ends. Exit if it has already ended.

    Only Linux supports this; elsewhere the function does nothing. The kernel watches the thread that started this
    process, so processes must be started from main threads.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Run the command given by the arguments. The tie to the parent survives exec."""
    parent, *command = sys.argv[1:]
    die_with_parent(int(parent))
    os.execv(command[0], command)  # noqa: S606  # started by our own supervisor


if __name__ == "__main__":
    main()
