"""A row that waits to be stored, and the errors that storing it can end with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from events.storage.request_row import RequestRow

logger = logging.getLogger(__name__)

WAIT_SECONDS = 2.0  # until a row is given up and written to the spool instead; providers wait for 3 s or more


class NotStored(Exception):
    """The row is not stored; the sender has to send it again."""


class Busy(NotStored):
    """Too many rows are already waiting."""


class RefusedByDatabase(NotStored):
    """The database refuses this row."""


# Called with None when the row is on disk, or with the error. It may be called twice; the first call counts.
OnStored = Callable[[NotStored | None], None]


class PendingWrite:
    """A row on its way to the database. Either a thread waits for it, or `on_stored` is called at the end."""

    __slots__ = ("done", "error", "given_up", "on_stored", "row", "started_at")

    def __init__(self, row: RequestRow, on_stored: OnStored | None = None) -> None:
        self.row = row
        self.on_stored = on_stored
        self.error: NotStored | None = None
        self.given_up = False
        if on_stored is None:
            self.done = threading.Lock()
            self.done.acquire()
        else:
            self.started_at = time.monotonic()

    def wait(self) -> bool:
        """Wait until the row is stored or has failed. Return False if that takes too long."""
        return self.done.acquire(timeout=WAIT_SECONDS)

    def finish(self) -> None:
        """Wake the waiting thread or call `on_stored`. The row is stored, or `error` says why not."""
        if self.on_stored is None:
            self.done.release()
            return
        try:
            self.on_stored(self.error)
        except Exception:
            # The other rows of the batch have to be answered as well.
            logger.exception("A request could not be answered")

    def is_overdue(self) -> bool:
        """Return whether the row has to be given up. Always False for rows that a thread waits for."""
        if self.on_stored is None or self.given_up:
            return False
        return time.monotonic() - self.started_at > WAIT_SECONDS
