"""The product's web application on a database whose commits are slow: served by a process of its own.

SLOW_COMMIT: seconds that each takes longer. COMMITS: a file that gets a line with the number of rows when one begins.
GIVES_UP_AFTER: the writer's patience.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from config.wsgi import application
from events.receiver import pending_write
from events.receiver.request_table import RequestTable
from events.storage.request_row import RequestRow

__all__ = ["application"]

insert_each = RequestTable.insert_each


def insert_slowly(self: RequestTable, rows: Sequence[RequestRow]) -> dict[UUID, str]:
    """Notes it, waits, and inserts them."""
    with Path(os.environ["COMMITS"]).open("a") as commits:
        commits.write(f"{len(rows)}\n")
    time.sleep(float(os.environ["SLOW_COMMIT"]))
    return insert_each(self, rows)


RequestTable.insert_each = insert_slowly  # type: ignore[method-assign]
pending_write.WAIT_SECONDS = float(os.environ["GIVES_UP_AFTER"])
