"""Where requests wait, on the disk, while the database is away.

A file of each process in DATA_DIR/spool, to which records are only appended, each batch with one fsync before anybody
is answered. Space is reserved ahead, so that there is room when the disk is full. A process holds a lock on its file
for as long as it lives: what is unlocked is an orphan, and anybody's to drain.

A file begins with a head: a magic word, a key of random bytes, and how far it was drained. Each record begins with that
key, so that nothing in a body, nor what is left of an earlier use of the file, can be taken for a record.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import orjson
from django.conf import settings

from events.storage.request_row import RequestRow
from providers.db.ids import new_id
from providers.times import readable_time

logger = logging.getLogger(__name__)

MAGIC = b"HKSPOOL1"
HEAD = struct.Struct("<8s8sIQ")  # magic, key, checksum of both, drained up to
HEAD_SIZE = 32
RECORD = struct.Struct("<8sII")  # key, length, checksum of what follows
LENGTH = struct.Struct("<I")  # of the columns; the body follows
RESERVE = 16 * 1024 * 1024  # bytes that a process keeps for itself, in case the disk gets full
AHEAD = 4 * 1024 * 1024
CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # as C libraries say it that do not write it instead
LARGEST_FILE = 64 * 1024 * 1024  # then another one is begun
BATCH_ROWS = 100  # in one transaction
BATCH_BYTES = 4 * 1024 * 1024
SUFFIX = ".spool"
MAKING = ".new"
MAKING_TAKES = 60.0  # seconds at most
DAMAGED = ".damaged"
REASON = ".txt"
REFUSED = "refused"  # a folder of records that the database does not take

Insert = Callable[[Sequence[RequestRow]], Mapping[UUID, str]]  # returns which it refuses, and why


class SpoolError(Exception):
    """The spool takes nothing: it is full, or cannot be written."""


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What waits in the spool of this machine. `trouble`: why it could take nothing, or None."""

    requests: int
    size: int
    oldest: datetime | None
    refused: int
    damaged: int
    trouble: str | None

    @property
    def sound(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.requests or self.refused or self.damaged or self.trouble)

    @property
    def words(self) -> str:
        """It in a few sentences."""
        parts = [self.trouble] if self.trouble else []
        if self.requests:
            parts.append(f"{_number(self.requests, 'request')} {_wait(self.requests)} for the database.")
        if self.oldest:
            parts.append(f"The oldest came at {readable_time(self.oldest)}.")
        if self.refused:
            parts.append(f"{_number(self.refused, 'request')} that the database refuses, in its folder {REFUSED}.")
        if self.damaged:
            parts.append(f"{_number(self.damaged, 'damaged file')} kept.")
        return " ".join(parts) or "Nothing waits."


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"


def folder() -> Path:
    """Where the files are."""
    path: Path = settings.DATA_DIR / "spool"
    return path


# -- Records -----------------------------------------------------------------------------------------------------------


def encode(row: RequestRow, key: bytes) -> bytes:
    """The row as a record."""
    columns = orjson.dumps(row._replace(body=b"")._asdict() | {"body": None})
    payload = b"".join((LENGTH.pack(len(columns)), columns, row.body))
    return RECORD.pack(key, len(payload), zlib.crc32(payload)) + payload


def decode(payload: bytes) -> RequestRow:
    """The row of a record."""
    (length,) = LENGTH.unpack_from(payload)
    end = LENGTH.size + length
    columns = orjson.loads(payload[LENGTH.size : end])
    columns["uid"] = UUID(columns["uid"])
    columns["body"] = payload[end:]
    for name in ("received_at", "processed_at"):
        if columns[name] is not None:
            columns[name] = datetime.fromisoformat(columns[name])
    return RequestRow(**columns)


def _head(key: bytes, drained: int) -> bytes:
    return HEAD.pack(MAGIC, key, zlib.crc32(MAGIC + key), drained).ljust(HEAD_SIZE, b"\0")


def _read_head(file: int) -> tuple[bytes, int] | None:
    """Key, and up to where it was drained. None when there is no valid head, and so no record."""
    raw = os.pread(file, HEAD_SIZE, 0)
    if len(raw) < HEAD_SIZE:
        return None
    magic, key, checksum, drained = HEAD.unpack_from(raw)
    return (key, drained) if magic == MAGIC and checksum == zlib.crc32(magic + key) else None


def _row_at(file: int, key: bytes, offset: int) -> tuple[RequestRow, int] | None:
    """The row there, and where the next begins. None when there is none, or it cannot be read: it was not written to
    its end, or by another version of this program."""
    payload = _payload_at(file, key, offset)
    if payload is None:
        return None
    try:
        return decode(payload), offset + RECORD.size + len(payload)
    except (ValueError, KeyError, TypeError, struct.error):
        return None


def _payload_at(file: int, key: bytes, offset: int) -> bytes | None:
    """What the record there holds. None when there is none, or it was not written to its end."""
    raw = os.pread(file, RECORD.size, offset)
    if len(raw) < RECORD.size:
        return None
    found, length, checksum = RECORD.unpack(raw)
    if found != key or offset + RECORD.size + length > os.fstat(file).st_size:
        return None
    payload = os.pread(file, length, offset + RECORD.size)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def _next_key(file: int, key: bytes, offset: int) -> int | None:
    """Where the key comes next."""
    while chunk := os.pread(file, 1024 * 1024, offset):
        index = chunk.find(key)
        if index >= 0:
            return offset + index
        if len(chunk) < len(key):
            return None
        offset += len(chunk) - len(key) + 1
    return None


def _records(file: int, key: bytes, offset: int, end: int | None = None) -> Iterator[tuple[RequestRow, int]]:
    """The rows from there on, each with where the next begins. A torn end is no record."""
    while end is None or offset < end:
        found = _row_at(file, key, offset)
        if found is None:
            return
        row, offset = found
        yield row, offset


def _batches(records: Iterator[tuple[RequestRow, int]]) -> Iterator[tuple[list[RequestRow], int]]:
    rows: list[RequestRow] = []
    size = offset = 0
    for row, offset in records:
        rows.append(row)
        size += len(row.body)
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield rows, offset
            rows, size = [], 0
    if rows:
        yield rows, offset


# -- The file of this process ------------------------------------------------------------------------------------------


class Spool:
    """This process's own file: appended to by its threads, drained by one of them."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._lock = threading.Lock()
        self._begin_anew()

    def reset(self) -> None:
        """Begins anew, as a forked process must. The file, and its lock, are the parent's."""
        self._lock = threading.Lock()
        self.close()

    def close(self) -> None:
        """Leaves the file, with what is in it, to whoever drains orphans."""
        if self._file is not None:
            os.close(self._file)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._file = None
        self._path: Path | None = None
        self._key = b""
        self._end = self._drained = HEAD_SIZE
        self._reserved = 0

    @property
    def empty(self) -> bool:
        """Whether nothing waits in this process's file."""
        return self._drained >= self._end

    def prepare(self) -> None:
        """Makes the file and reserves its space, while there is some. Raises SpoolError."""
        with self._lock:
            try:
                self._open()
            except OSError as error:
                raise SpoolError(f"The spool cannot be written: {error.strerror}.") from error

    def append(self, rows: Sequence[RequestRow]) -> None:
        """Keeps the rows: when this returns they are on the disk. Raises SpoolError, and then none is answered for."""
        with self._lock:
            try:
                file = self._open()
                data = b"".join(encode(row, self._key) for row in rows)
                if self._end > HEAD_SIZE and self._end + len(data) > LARGEST_FILE:
                    self.close()  # and so gives it to the drainers
                    file = self._open()
                    data = b"".join(encode(row, self._key) for row in rows)
                self._make_room(file, len(data))
                _write_all(file, data, self._end)
                os.fsync(file)
            except OSError as error:
                # What the file holds by now, nobody knows; its complete records are an orphan's.
                self.close()
                raise SpoolError(f"The spool cannot be written: {error.strerror}.") from error
            self._end += len(data)

    def drain(self, insert: Insert, *, when_empty: Callable[[], None] = lambda: None) -> int:
        """Moves what waits into the database, in order; `insert` raises when it is away, and returns what it refuses.
        `when_empty` is called while nothing can be appended. Returns how many were moved."""
        moved = 0
        while True:
            with self._lock:
                file, key, drained, end = self._file, self._key, self._drained, self._end
                if file is None or drained >= end:
                    self._recycle()
                    when_empty()
                    return moved
                file = os.dup(file)  # another thread may begin another file meanwhile
            try:
                for rows, offset in _batches(_records(file, key, drained, end)):
                    put_aside(rows, insert(rows))
                    moved += len(rows)
                    self._note_drained(file, key, offset)
                if self._key == key and self._drained < end:
                    logger.error("The spool file %s is damaged; what can be read of it is drained", self._path)
                    with self._lock:
                        self.close()
            finally:
                os.close(file)

    def _note_drained(self, file: int, key: bytes, offset: int) -> None:
        os.pwrite(file, _head(key, offset), 0)
        with self._lock:
            if self._key == key:
                self._drained = offset

    def _open(self) -> int:
        if self._file is not None:
            return self._file
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder() / f"{new_id()}{SUFFIX}"
        making = path.with_suffix(MAKING)  # nobody may take it for an orphan before it is locked
        file = os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            key = os.urandom(8)
            _write_all(file, _head(key, HEAD_SIZE), 0)
            reserved = _reserve(file, HEAD_SIZE, RESERVE)
            os.fsync(file)
            making.rename(path)
            _sync(folder(), folder().parent)
        except OSError:
            os.close(file)
            making.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise
        self._file, self._path, self._key = file, path, key
        self._end = self._drained = HEAD_SIZE
        self._reserved = reserved
        return file

    def _make_room(self, file: int, size: int) -> None:
        end = self._end + size
        others = sum(_size_of(entry) for entry in _files() if entry.name != (self._path and self._path.name))
        if others + end > settings.SPOOL_MAX_BYTES:
            raise SpoolError(f"The spool is full: SPOOL_MAX_BYTES is {settings.SPOOL_MAX_BYTES}.")
        if end > self._reserved:
            self._reserved = _reserve(file, self._reserved, max(end - self._reserved, AHEAD))

    def _recycle(self) -> None:
        """Makes the drained file new: under another key, its records are none any more."""
        if self._file is None or self._end == HEAD_SIZE:
            return
        try:
            key = os.urandom(8)
            _write_all(self._file, _head(key, HEAD_SIZE), 0)
            os.fsync(self._file)
        except OSError as error:
            logger.warning("The spool file %s could not be used again: %s", self._path, error)
            self.close()
            return
        self._key = key
        self._end = self._drained = HEAD_SIZE


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _reserve(file: int, offset: int, size: int) -> int:
    """Reserves so much space from there; returns up to where. Where the file system cannot, it has to do without."""
    try:
        os.posix_fallocate(file, offset, size)
    except OSError as error:
        if error.errno not in CANNOT_RESERVE:
            raise
    return offset + size


def _sync(*folders: Path) -> None:
    """Brings the names in them to the disk: what a file holds is of no use when its name is gone."""
    for path in folders:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _files(suffix: str = SUFFIX) -> list[os.DirEntry[str]]:
    """The files there, oldest first: their names are ids, made in the order of time."""
    try:
        with os.scandir(folder()) as entries:
            return sorted((item for item in entries if item.name.endswith(suffix)), key=lambda item: item.name)
    except FileNotFoundError:
        return []


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0  # it was drained meanwhile


# -- The files of the dead ---------------------------------------------------------------------------------------------


def drain_orphans(insert: Insert) -> int:
    """Moves what processes left behind that are gone, file by file, oldest first; see Spool.drain. A file that cannot
    be opened, read or written stays, and holds up no other."""
    moved = 0
    for entry in _files(MAKING):
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < time.time() - MAKING_TAKES:
                Path(entry.path).unlink()
    for entry in _files():
        try:
            file = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # somebody else was quicker
        except OSError as error:
            logger.error("The spool file %s cannot be opened: %s", entry.path, error.strerror)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            moved += _drain_orphan(Path(entry.path), file, insert)
        except BlockingIOError:
            continue  # its process lives
        except OSError as error:
            logger.error("The spool file %s cannot be drained: %s", entry.path, error.strerror)
        finally:
            os.close(file)
    return moved


def _drain_orphan(path: Path, file: int, insert: Insert) -> int:
    head = _read_head(file)
    moved, damaged = 0, head is None and os.fstat(file).st_size > HEAD_SIZE
    if head is not None:
        key, offset = head
        found: int | None = offset
        while found is not None:
            damaged = damaged or found > offset
            offset = found
            for rows, offset in _batches(_records(file, key, found)):
                put_aside(rows, insert(rows))
                moved += len(rows)
                if not damaged:  # else whoever makes it readable finds it again
                    os.pwrite(file, _head(key, offset), 0)
            # A torn record is the end, unless another one follows. A whole one that cannot be read is kept.
            damaged = damaged or _payload_at(file, key, offset) is not None
            found = _next_record(file, key, offset)
    if damaged:
        logger.error("The spool file %s is damaged; what can be read of it is drained, and the file kept", path)
        path.rename(path.with_suffix(DAMAGED))
    else:
        path.unlink(missing_ok=True)
    return moved


def _next_record(file: int, key: bytes, offset: int) -> int | None:
    found = _next_key(file, key, offset)
    while found is not None and _row_at(file, key, found) is None:
        found = _next_key(file, key, found + 1)
    return found


def put_aside(rows: Sequence[RequestRow], reasons: Mapping[UUID, str]) -> None:
    """Keeps what the database does not take, each in a file of its own, with the reason in another: moved up into the
    spool again, and unlocked, it is tried once more."""
    for row in rows:
        if row.uid not in reasons:
            continue
        path = folder() / REFUSED / f"{row.uid}{SUFFIX}"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = os.urandom(8)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, _head(key, HEAD_SIZE) + encode(row, key), 0)
            os.fsync(file)
        finally:
            os.close(file)
        _sync(path.parent, folder())  # before the file that it stood in is taken away
        path.with_suffix(REASON).write_text(f"{reasons[row.uid]}\n")
        logger.error("The database refuses request %s of the spool (%s); it is in %s", row.uid, reasons[row.uid], path)


# -- How it stands -----------------------------------------------------------------------------------------------------


def status() -> SpoolStatus:
    """What waits on this machine: the files are the fact, whoever wrote them."""
    global _counted  # replaced as a whole: any thread may ask
    requests = size = refused = damaged = 0
    oldest: datetime | None = None
    trouble: str | None = None
    try:
        found = {entry.path: _waiting_in(entry.path) for entry in _files()}
        _counted = {path: counted for path, counted in found.items() if counted is not None}
        requests = sum(counted.count for counted in _counted.values())
        size = sum(counted.end - counted.start for counted in _counted.values())
        oldest = min((counted.first for counted in _counted.values() if counted.first is not None), default=None)
        damaged = len(_files(DAMAGED))
        refused = sum(1 for _ in (folder() / REFUSED).glob(f"*{SUFFIX}"))
        trouble = _trouble(size)
    except OSError as error:
        trouble = f"The spool cannot be read: {error.strerror}."
    return SpoolStatus(requests, size, oldest, refused, damaged, trouble)


def _trouble(size: int) -> str | None:
    place = folder() if folder().exists() else settings.DATA_DIR
    if not os.access(place, os.W_OK | os.X_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
        return f"{place} cannot be written to."
    if size >= settings.SPOOL_MAX_BYTES * 0.95:
        return f"It is full: SPOOL_MAX_BYTES is {settings.SPOOL_MAX_BYTES}."
    return None


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted of a file: the records between two places, and when the first was received. The key tells one
    use of a file from the next."""

    inode: int
    key: bytes
    start: int
    end: int
    count: int
    first: datetime | None


# Of each file, so that only what is new is counted: it is asked for each second, while a gigabyte may wait.
_counted: dict[str, _Counted] = {}


def _waiting_in(path: str) -> _Counted | None:
    """How many records wait in a file; None when there is no file, or it holds none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        head = _read_head(file)
        if head is None:
            return None
        key, start = head
        inode = os.fstat(file).st_ino
        known = _counted.get(path)
        if known is None or (known.inode, known.key) != (inode, key) or not known.start <= start <= known.end:
            known = _Counted(inode, key, start, start, 0, None)
        gone, reached = _count(file, key, known.start, start)
        if reached != start:
            known, gone = _Counted(inode, key, start, start, 0, None), 0
        more, end = _count(file, key, known.end)
        first = known.first
        if first is None or start > known.start:
            oldest = _row_at(file, key, start)
            first = oldest[0].received_at if oldest is not None else None
        return _Counted(inode, key, start, end, known.count - gone + more, first)
    finally:
        os.close(file)


def _count(file: int, key: bytes, offset: int, end: int | None = None) -> tuple[int, int]:
    """How many records there are from there on, and where the last one ends."""
    count, size = 0, os.fstat(file).st_size
    while (end is None or offset < end) and len(raw := os.pread(file, RECORD.size, offset)) == RECORD.size:
        found, length, _ = RECORD.unpack(raw)
        if found != key or offset + RECORD.size + length > size:
            break
        count, offset = count + 1, offset + RECORD.size + length
    return count, offset


spool = Spool()
os.register_at_fork(after_in_child=spool.reset)
