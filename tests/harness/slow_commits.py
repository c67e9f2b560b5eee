"""The product's web application with slow commits, for a separate web process.

Environment: SLOW_COMMIT, the seconds that each commit takes longer; COMMITS, a file that gets a line with the number of
rows when a commit starts; GIVES_UP_AFTER, the seconds that the writer waits.
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
    """Record the commit, wait, and insert the rows."""
    with Path(os.environ["COMMITS"]).open("a") as commits:
        commits.write(f"{len(rows)}\n")
    time.sleep(float(os.environ["SLOW_COMMIT"]))
    return insert_each(self, rows)


RequestTable.insert_each = insert_slowly  # type: ignore[method-assign]
pending_write.WAIT_SECONDS = float(os.environ["GIVES_UP_AFTER"])
