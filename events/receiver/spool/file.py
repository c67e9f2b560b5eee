"""The spool file of this process: requests wait there while the database is unavailable.

Each process appends to its own file in DATA_DIR/spool. Every batch is written with one fsync before its requests are
answered. Space is reserved in advance, so that the spool works when the disk is full. A process locks its file while it
runs. An unlocked file is abandoned, and any process may drain it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings

from events.receiver.spool.folder import (
    SUFFIX,
    UNFINISHED_SUFFIX,
    list_files,
    spool_folder,
    sync_folders,
    write_all,
)
from events.receiver.spool.records import HEADER_BYTES, batches, encode, pack_header, read_rows
from events.receiver.spool.recovery import InsertRows, store_refused
from events.storage.request_row import RequestRow
from providers.db.ids import new_id

logger = logging.getLogger(__name__)

RESERVED_BYTES = 16 * 1024 * 1024  # reserved by each process in case the disk fills up
EXTENSION_BYTES = 4 * 1024 * 1024  # reserved at a time when a file grows beyond that
MAX_FILE_BYTES = 64 * 1024 * 1024  # after which a new file is started
# Errors of file systems that cannot reserve space, with a C library that does not emulate it.
CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class SpoolError(Exception):
    """The spool takes no requests: it is full, or cannot be written."""


class Spool:
    """The file of this process. Any thread may append to it; one thread drains it."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._lock = threading.Lock()
        self._forget_file()

    def reset(self) -> None:
        """Start without a file, as a forked process must: the file and its lock belong to the parent."""
        self._lock = threading.Lock()
        self.close()

    def close(self) -> None:
        """Unlock the file and abandon it with its content. Any process may then drain it."""
        if self._file is not None:
            os.close(self._file)
        self._forget_file()

    def _forget_file(self) -> None:
        self._file = None
        self._path: Path | None = None
        self._key = b""
        self._end = self._drained = HEADER_BYTES
        self._reserved = 0

    @property
    def is_empty(self) -> bool:
        """Whether no requests wait in the file of this process."""
        return self._drained >= self._end

    def prepare(self) -> None:
        """Create the file and reserve its space before the disk may fill up. Raises SpoolError."""
        with self._lock:
            try:
                self._open()
            except OSError as error:
                raise SpoolError(f"The spool cannot be written: {error.strerror}.") from error

    def append(self, rows: Sequence[RequestRow]) -> None:
        """Write the rows; they are on disk when this returns. Raises SpoolError when they are not all stored."""
        with self._lock:
            try:
                file = self._open()
                data = b"".join(encode(row, self._key) for row in rows)
                if self._end > HEADER_BYTES and self._end + len(data) > MAX_FILE_BYTES:
                    self.close()
                    file = self._open()
                    data = b"".join(encode(row, self._key) for row in rows)
                self._make_room(file, len(data))
                write_all(file, data, self._end)
                os.fsync(file)
            except OSError as error:
                # The end of the file is undefined now. Recovery drains its complete records.
                self.close()
                raise SpoolError(f"The spool cannot be written: {error.strerror}.") from error
            self._end += len(data)

    def drain(self, insert: InsertRows, *, when_empty: Callable[[], None] = lambda: None) -> int:
        """Move the waiting requests into the database, in order. Return how many were moved.

        `when_empty` is called once nothing waits, under the lock that appending takes. Raises what `insert` raises when
        the database is unavailable.
        """
        moved = 0
        while True:
            with self._lock:
                file, key, drained, end = self._file, self._key, self._drained, self._end
                if file is None or drained >= end:
                    self._recycle()
                    when_empty()
                    return moved
                file = os.dup(file)  # another thread may close it meanwhile
            try:
                for rows, offset in batches(read_rows(file, key, drained, end)):
                    store_refused(rows, insert(rows))
                    moved += len(rows)
                    self._note_drained(file, key, offset)
                if self._key == key and self._drained < end:
                    logger.error("The spool file %s is damaged; recovery drains its readable records", self._path)
                    with self._lock:
                        self.close()
            finally:
                os.close(file)

    def _note_drained(self, file: int, key: bytes, offset: int) -> None:
        os.pwrite(file, pack_header(key, offset), 0)
        with self._lock:
            if self._key == key:
                self._drained = offset

    def _open(self) -> int:
        if self._file is not None:
            return self._file
        spool_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        path = spool_folder() / f"{new_id()}{SUFFIX}"
        unfinished = path.with_suffix(UNFINISHED_SUFFIX)  # it must not look abandoned before it is locked
        file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            key = os.urandom(8)
            write_all(file, pack_header(key, HEADER_BYTES), 0)
            reserved = _reserve(file, HEADER_BYTES, RESERVED_BYTES)
            os.fsync(file)
            unfinished.rename(path)
            sync_folders(spool_folder(), spool_folder().parent)
        except OSError:
            os.close(file)
            unfinished.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        self._file, self._path, self._key = file, path, key
        self._end = self._drained = HEADER_BYTES
        self._reserved = reserved
        return file

    def _make_room(self, file: int, size: int) -> None:
        end = self._end + size
        others = sum(_size_of(entry) for entry in list_files() if entry.name != (self._path and self._path.name))
        if others + end > settings.SPOOL_MAX_BYTES:
            raise SpoolError(f"The spool is full: SPOOL_MAX_BYTES is {settings.SPOOL_MAX_BYTES}.")
        if end > self._reserved:
            self._reserved = _reserve(file, self._reserved, max(end - self._reserved, EXTENSION_BYTES))

    def _recycle(self) -> None:
        """Reuse the drained file under a new key, which makes its old records invalid."""
        if self._file is None or self._end == HEADER_BYTES:
            return
        try:
            key = os.urandom(8)
            write_all(self._file, pack_header(key, HEADER_BYTES), 0)
            os.fsync(self._file)
        except OSError as error:
            logger.warning("The spool file %s could not be reused: %s", self._path, error)
            self.close()
            return
        self._key = key
        self._end = self._drained = HEADER_BYTES


def _reserve(file: int, offset: int, size: int) -> int:
    """Reserve disk space from the offset on, if the file system supports that. Return the end of the range."""
    try:
        os.posix_fallocate(file, offset, size)
    except OSError as error:
        if error.errno not in CANNOT_RESERVE:
            raise
    return offset + size


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0  # another process has drained it


spool = Spool()
os.register_at_fork(after_in_child=spool.reset)
