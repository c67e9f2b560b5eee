"""Fill and drain spools in tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from django.db import OperationalError

from events.receiver.spool import recovery
from events.receiver.spool.file import Spool, spool
from events.storage.request_row import RequestRow


class FakeInsert:
    """An insert function that records its rows, and fails or refuses rows on demand."""

    def __init__(self, *, fails_after: int | None = None, refuses: Sequence[RequestRow] = ()) -> None:
        self.rows: list[RequestRow] = []
        self.fails_after = fails_after
        self.refuses = refuses

    def __call__(self, rows: Sequence[RequestRow]) -> dict[UUID, str]:
        if self.fails_after is not None and len(self.rows) + len(rows) > self.fails_after:
            raise OperationalError("the database is unavailable")
        self.rows += rows
        return {row.uid: "DataError" for row in rows if row in self.refuses}


def drain_rows(own_spool: Spool) -> list[RequestRow]:
    """Drain the spool, and return its rows."""
    insert = FakeInsert()
    own_spool.drain(insert)
    return insert.rows


def drain_abandoned_rows() -> list[RequestRow]:
    """Drain the files of ended processes, and return their rows."""
    insert = FakeInsert()
    recovery.drain_abandoned_files(insert)
    return insert.rows


def spooled_ids() -> list[UUID]:
    """Drain the spool of this process, and return the IDs of its rows in order."""
    return [row.uid for row in drain_rows(spool)]


def only_file(folder: Path) -> Path:
    """Return the only spool file in the folder."""
    (path,) = folder.glob("*.spool")
    return path
