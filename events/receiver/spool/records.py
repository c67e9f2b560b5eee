"""The format of a spool file: a header, then one record for each request.

The header holds a magic number, a key of random bytes, and the offset up to which the file is drained. Each record
begins with that key. So neither the content of a body nor the remains of an earlier use of the file can be mistaken for
a record.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import orjson

from events.storage.request_row import RequestRow

MAGIC = b"HKSPOOL1"
HEADER = struct.Struct("<8s8sIQ")  # magic, key, checksum of both, drained offset
HEADER_BYTES = 32
RECORD_PREFIX = struct.Struct("<8sII")  # key, length of the payload, checksum of the payload
COLUMNS_LENGTH = struct.Struct("<I")  # bytes of the encoded columns; the body follows them
BATCH_ROWS = 100  # inserted in one transaction
BATCH_BYTES = 4 * 1024 * 1024


def encode(row: RequestRow, key: bytes) -> bytes:
    """Return the row as a record: prefix, columns as JSON, body."""
    columns = orjson.dumps(row._replace(body=b"")._asdict() | {"body": None})
    payload = b"".join((COLUMNS_LENGTH.pack(len(columns)), columns, row.body))
    return RECORD_PREFIX.pack(key, len(payload), zlib.crc32(payload)) + payload


def decode(payload: bytes) -> RequestRow:
    """Return the row that a payload holds. Raises ValueError, KeyError, TypeError or struct.error."""
    (length,) = COLUMNS_LENGTH.unpack_from(payload)
    end = COLUMNS_LENGTH.size + length
    columns = orjson.loads(payload[COLUMNS_LENGTH.size : end])
    columns["uid"] = UUID(columns["uid"])
    columns["body"] = payload[end:]
    for name in ("received_at", "processed_at"):
        if columns[name] is not None:
            columns[name] = datetime.fromisoformat(columns[name])
    return RequestRow(**columns)


def pack_header(key: bytes, drained: int) -> bytes:
    """Return the header of a file that is drained up to this offset."""
    return HEADER.pack(MAGIC, key, zlib.crc32(MAGIC + key), drained).ljust(HEADER_BYTES, b"\0")


def read_header(file: int) -> tuple[bytes, int] | None:
    """Return the key and the drained offset. None when there is no valid header, and so no record."""
    raw = os.pread(file, HEADER_BYTES, 0)
    if len(raw) < HEADER_BYTES:
        return None
    magic, key, checksum, drained = HEADER.unpack_from(raw)
    return (key, drained) if magic == MAGIC and checksum == zlib.crc32(magic + key) else None


def read_row(file: int, key: bytes, offset: int) -> tuple[RequestRow, int] | None:
    """Return the row at the offset, and the offset of the next record.

    None if there is no record, it is incomplete, or another version of Hookkeeper wrote it.
    """
    payload = read_payload(file, key, offset)
    if payload is None:
        return None
    try:
        return decode(payload), offset + RECORD_PREFIX.size + len(payload)
    except (ValueError, KeyError, TypeError, struct.error):
        return None


def read_payload(file: int, key: bytes, offset: int) -> bytes | None:
    """Return the payload of the record at the offset. None when there is no record, or it is incomplete or damaged."""
    raw = os.pread(file, RECORD_PREFIX.size, offset)
    if len(raw) < RECORD_PREFIX.size:
        return None
    record_key, length, checksum = RECORD_PREFIX.unpack(raw)
    if record_key != key or offset + RECORD_PREFIX.size + length > os.fstat(file).st_size:
        return None
    payload = os.pread(file, length, offset + RECORD_PREFIX.size)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def find_key(file: int, key: bytes, offset: int) -> int | None:
    """Return the offset at which the key occurs next, or None."""
    while chunk := os.pread(file, 1024 * 1024, offset):
        index = chunk.find(key)
        if index >= 0:
            return offset + index
        if len(chunk) < len(key):
            return None
        offset += len(chunk) - len(key) + 1
    return None


def read_rows(file: int, key: bytes, offset: int, end: int | None = None) -> Iterator[tuple[RequestRow, int]]:
    """Yield the rows from the offset on, each with the offset of the next record, up to the first incomplete record."""
    while end is None or offset < end:
        record = read_row(file, key, offset)
        if record is None:
            return
        row, offset = record
        yield row, offset


def batches(records: Iterator[tuple[RequestRow, int]]) -> Iterator[tuple[list[RequestRow], int]]:
    """Group rows into batches of a bounded size, each with the offset of the next record."""
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


def find_next_record(file: int, key: bytes, offset: int) -> int | None:
    """Return the offset of the next readable record, skipping damaged ones; None when there is none."""
    position = find_key(file, key, offset)
    while position is not None and read_row(file, key, position) is None:
        position = find_key(file, key, position + 1)
    return position


def count_records(file: int, key: bytes, offset: int, end: int | None = None) -> tuple[int, int]:
    """Return how many records follow the offset, without reading their content, and where the last one ends."""
    count, file_size = 0, os.fstat(file).st_size
    while end is None or offset < end:
        raw = os.pread(file, RECORD_PREFIX.size, offset)
        if len(raw) < RECORD_PREFIX.size:
            break
        record_key, length, _ = RECORD_PREFIX.unpack(raw)
        next_offset = offset + RECORD_PREFIX.size + length
        if record_key != key or next_offset > file_size:
            break
        count, offset = count + 1, next_offset
    return count, offset
