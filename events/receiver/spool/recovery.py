"""Recovery: drain the spool files of ended processes, and set aside the records that the database refuses."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from events.receiver.spool.folder import (
    DAMAGED_SUFFIX,
    REFUSED_FOLDER,
    SUFFIX,
    UNFINISHED_SUFFIX,
    list_files,
    spool_folder,
    sync_folders,
    write_all,
)
from events.receiver.spool.records import (
    HEADER_BYTES,
    batches,
    encode,
    find_next_record,
    pack_header,
    read_header,
    read_payload,
    read_rows,
)
from events.storage.request_row import RequestRow

logger = logging.getLogger(__name__)

UNFINISHED_SECONDS = 60.0  # after which a file that was not finished is deleted
REASON_SUFFIX = ".txt"

# Inserts the rows, and returns the IDs that the database refuses with the reason. Raises a database error when the
# database is unavailable.
InsertRows = Callable[[Sequence[RequestRow]], Mapping[UUID, str]]


def drain_abandoned_files(insert: InsertRows) -> int:
    """Move the requests in the files of ended processes into the database, oldest file first.

    Returns how many requests were moved. A file that cannot be opened, read or written is logged and skipped. Raises
    what `insert` raises.
    """
    _delete_unfinished_files()
    moved = 0
    for entry in list_files():
        try:
            file = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process has drained it
        except OSError as error:
            logger.error("The spool file %s cannot be opened: %s", entry.path, error.strerror)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            moved += _drain_abandoned_file(Path(entry.path), file, insert)
        except BlockingIOError:
            continue  # its process is running
        except OSError as error:
            logger.error("The spool file %s cannot be drained: %s", entry.path, error.strerror)
        finally:
            os.close(file)
    return moved


def store_refused(rows: Sequence[RequestRow], reasons: Mapping[UUID, str]) -> None:
    """Write each row that has a reason to a file in the folder `refused`, and the reason to a text file next to it.

    To retry a row, move its file back into the spool folder.
    """
    for row in rows:
        if row.uid not in reasons:
            continue
        path = spool_folder() / REFUSED_FOLDER / f"{row.uid}{SUFFIX}"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = os.urandom(8)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, pack_header(key, HEADER_BYTES) + encode(row, key), 0)
            os.fsync(file)
        finally:
            os.close(file)
        sync_folders(path.parent, spool_folder())  # before the record is removed from its original file
        path.with_suffix(REASON_SUFFIX).write_text(f"{reasons[row.uid]}\n")
        logger.error("The database refuses request %s of the spool (%s); it is in %s", row.uid, reasons[row.uid], path)


def _delete_unfinished_files() -> None:
    for entry in list_files(UNFINISHED_SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < time.time() - UNFINISHED_SECONDS:
                Path(entry.path).unlink()


def _drain_abandoned_file(path: Path, file: int, insert: InsertRows) -> int:
    """Drain a locked file, then delete it, or rename it if it is damaged. Return how many requests were moved."""
    header = read_header(file)
    moved, damaged = 0, header is None and os.fstat(file).st_size > HEADER_BYTES
    if header is not None:
        moved, damaged = _drain_records(file, *header, insert)
    if damaged:
        logger.error("The spool file %s is damaged. Its readable records are drained, and the file is kept.", path)
        path.rename(path.with_suffix(DAMAGED_SUFFIX))
    else:
        path.unlink(missing_ok=True)
    return moved


def _drain_records(file: int, key: bytes, offset: int, insert: InsertRows) -> tuple[int, bool]:
    """Drain every readable record from the offset on. Return how many, and whether there are unreadable ones."""
    moved, damaged = 0, False
    position: int | None = offset
    while position is not None:
        damaged = damaged or position > offset
        offset = position
        for rows, offset in batches(read_rows(file, key, position)):
            store_refused(rows, insert(rows))
            moved += len(rows)
            if not damaged:  # in a damaged file, records before this offset may become readable after a repair
                os.pwrite(file, pack_header(key, offset), 0)
        # An incomplete record is the normal end of a killed process's file, unless others follow it. A complete record
        # that cannot be decoded has to be kept.
        damaged = damaged or read_payload(file, key, offset) is not None
        position = find_next_record(file, key, offset)
    return moved, damaged
