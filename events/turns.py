"""Whose turn it is to write into SQLite, which takes one writer at a time.

It has all others look again after pauses that grow to a tenth of a second, in which nobody may be writing. So those of
this process that write most wait for each other here, and lose no time. What another process writes SQLite sees to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

PATIENCE = 1.0  # seconds; then SQLite itself decides


class WriteTurns:
    """One at a time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must."""
        self._free = threading.Lock()

    @contextmanager
    def turn(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """For a transaction on that connection, from before it begins until it has ended. Other databases need none."""
        free = self._free
        taken = connection.vendor == "sqlite" and free.acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            if taken:
                free.release()


write_turns = WriteTurns()
os.register_at_fork(after_in_child=write_turns.reset)
