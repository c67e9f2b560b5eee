"""The state of this machine's spool, read from its files: the waiting requests, and whether it can take more."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from events.receiver.spool.folder import DAMAGED_SUFFIX, REFUSED_FOLDER, SUFFIX, list_files, spool_folder
from events.receiver.spool.records import count_records, read_header, read_row
from providers.times import readable_time

FULL_SHARE = 0.95  # the share of SPOOL_MAX_BYTES from which the spool counts as full


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """The contents of this machine's spool. `error` is the reason why it cannot take requests; None if it can."""

    requests: int
    size: int
    oldest: datetime | None
    refused: int
    damaged: int
    error: str | None

    @property
    def is_ok(self) -> bool:
        """Whether the spool is empty and works."""
        return not (self.requests or self.refused or self.damaged or self.error)

    @property
    def message(self) -> str:
        """The status in a few sentences."""
        parts = [self.error] if self.error else []
        if self.requests:
            verb = "waits" if self.requests == 1 else "wait"
            parts.append(f"{_count(self.requests, 'request')} {verb} for the database.")
        if self.oldest:
            parts.append(f"The oldest was received at {readable_time(self.oldest)}.")
        if self.refused:
            parts.append(f"{_count(self.refused, 'request')} refused by the database, in the folder {REFUSED_FOLDER}.")
        if self.damaged:
            parts.append(f"{_count(self.damaged, 'damaged file')} kept.")
        return " ".join(parts) or "No requests wait."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def spool_status() -> SpoolStatus:
    """Return the status of this machine's spool: the files of all processes, running or ended."""
    global _file_counts  # replaced as a whole, since any thread may call this
    requests = size = refused = damaged = 0
    oldest: datetime | None = None
    error: str | None = None
    try:
        counts = {entry.path: _count_file(entry.path) for entry in list_files()}
        _file_counts = {path: count for path, count in counts.items() if count is not None}
        requests = sum(count.records for count in _file_counts.values())
        size = sum(count.end - count.start for count in _file_counts.values())
        oldest = min((count.oldest for count in _file_counts.values() if count.oldest is not None), default=None)
        damaged = len(list_files(DAMAGED_SUFFIX))
        refused = sum(1 for _ in (spool_folder() / REFUSED_FOLDER).glob(f"*{SUFFIX}"))
        error = _why_unusable(size)
    except OSError as os_error:
        error = f"The spool cannot be read: {os_error.strerror}."
    return SpoolStatus(requests, size, oldest, refused, damaged, error)


def _why_unusable(size: int) -> str | None:
    folder = spool_folder() if spool_folder().exists() else settings.DATA_DIR
    if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is not writable."
    if size >= settings.SPOOL_MAX_BYTES * FULL_SHARE:
        return f"The spool is full: SPOOL_MAX_BYTES is {settings.SPOOL_MAX_BYTES}."
    return None


@dataclass(frozen=True, slots=True)
class _FileCount:
    """The records of a file between two offsets, and when the oldest of them was received.

    The inode and the key identify one use of a file.
    """

    inode: int
    key: bytes
    start: int
    end: int
    records: int
    oldest: datetime | None


# The last count of each file, so that the next one counts only new records: files are counted every second and may hold
# a gigabyte.
_file_counts: dict[str, _FileCount] = {}


def _count_file(path: str) -> _FileCount | None:
    """Count the waiting records of a file. None when the file does not exist or has no valid header."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        header = read_header(file)
        if header is None:
            return None
        key, start = header
        inode = os.fstat(file).st_ino
        last = _file_counts.get(path)
        if last is None or (last.inode, last.key) != (inode, key) or not last.start <= start <= last.end:
            last = _FileCount(inode, key, start, start, 0, None)
        drained, drained_end = count_records(file, key, last.start, start)
        if drained_end != start:
            last, drained = _FileCount(inode, key, start, start, 0, None), 0
        added, end = count_records(file, key, last.end)
        oldest = last.oldest
        if oldest is None or start > last.start:
            first = read_row(file, key, start)
            oldest = first[0].received_at if first is not None else None
        return _FileCount(inode, key, start, end, last.records - drained + added, oldest)
    finally:
        os.close(file)
