"""Read the body of an inbound request: its exact bytes, up to a limit, with or without Content-Length.

It is read from the WSGI stream, because Django ignores bodies without Content-Length, such as chunked ones.
"""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHUNK_BYTES = 64 * 1024
TRUNCATED_BODY_BYTES = 64 * 1024  # what is stored of a body that is too large, if the provider sends files
MAX_READ_BYTES = 1024**3  # what is read of such a body
# A server thread cannot be interrupted while it waits for a body. So only some of the threads may read bodies at once.
MAX_CONCURRENT_BODIES = 24  # of the threads that `manage.py up` starts (config/web/granian.py)
SLOT_WAIT_SECONDS = 0.25  # ample: a body that is sent without pauses takes less than a millisecond
DISCARDED_BYTES = 1024 * 1024  # how much beyond the limit is read and discarded before the response
DISCARD_SECONDS = 5.0
DIGITS = re.compile(r"[0-9]{1,18}")


class BrokenBody(ValueError):
    """The body is incomplete, or its length is not known."""


class BodyTooLarge(ValueError):
    """The body exceeds the limit."""


class TooManyBodies(Exception):
    """The maximum number of bodies is being read already."""


class BoundedSemaphore:
    """Limits how many bodies are read at once. A context manager that raises TooManyBodies."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.reset()

    def reset(self) -> None:
        """Free all slots, as a forked process must."""
        # Every request passes here, and a queue is faster than `threading.Semaphore`, which is written in Python.
        self._slots: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(self._count):
            self._slots.put(None)

    def __enter__(self) -> None:
        try:
            self._slots.get(timeout=SLOT_WAIT_SECONDS)
        except queue.Empty:
            raise TooManyBodies(f"{self._count} bodies are being read already.") from None

    def __exit__(self, *_: object) -> None:
        self._slots.put(None)


body_slots = BoundedSemaphore(MAX_CONCURRENT_BODIES)
os.register_at_fork(after_in_child=body_slots.reset)


@dataclass(slots=True)
class Body:
    """A request body. `size` is its size as sent; if it is truncated, `content` is only its beginning."""

    content: bytes = field(repr=False)
    size: int
    truncated: bool = False


def read_body(environ: Mapping[str, Any], *, limit: int, can_truncate: bool) -> Body:
    """Read the body of a WSGI request, up to `limit` bytes.

    If `can_truncate`, a larger body is truncated: its beginning is returned, and the rest is read and discarded,
    because a sender that cannot finish does not read the response. Otherwise BodyTooLarge is raised as early as
    possible; a small rest is read first, for the same reason.

    Raises BrokenBody when the body is shorter than announced, and TooManyBodies. Not every server reports that a
    chunked body is incomplete. The part of such a body that arrived is accepted; the sender gets no response and sends
    the request again.
    """
    expected = _expected_size(environ)
    if expected == 0:
        return Body(b"", 0)
    stream = environ["wsgi.input"]
    if expected is not None and expected > limit + DISCARDED_BYTES and not can_truncate:
        raise BodyTooLarge
    with body_slots:
        if expected is not None and expected > limit and not can_truncate:
            if "HTTP_EXPECT" not in environ:  # otherwise the sender waits for "100 Continue" and has sent nothing
                _discard(stream, expected)
            raise BodyTooLarge
        return _read(stream, expected, limit, can_truncate=can_truncate)


def _expected_size(environ: Mapping[str, Any]) -> int | None:
    """Return the announced size in bytes; None if the body extends to the end of the stream."""
    announced = environ.get("CONTENT_LENGTH") or ""
    if announced:
        if not DIGITS.fullmatch(announced):
            raise BrokenBody("Content-Length is not a number.")
        return int(announced)
    if environ.get("wsgi.input_terminated"):
        return None
    if environ.get("HTTP_TRANSFER_ENCODING"):
        # Reading would block until the sender disconnects.
        raise BrokenBody("This server does not signal the end of a chunked body.")
    return 0


def _read(stream: Any, expected: int | None, limit: int, *, can_truncate: bool) -> Body:
    chunks: list[bytes] = []
    size = 0
    while size != expected and size < MAX_READ_BYTES:
        chunk = _read_chunk(stream, CHUNK_BYTES if expected is None else min(CHUNK_BYTES, expected - size))
        if not chunk:
            break
        size += len(chunk)
        if size > limit and not can_truncate:
            _discard(stream, limit + DISCARDED_BYTES - size)
            raise BodyTooLarge
        if size <= max(limit, TRUNCATED_BODY_BYTES):
            chunks.append(chunk)
    if expected is not None and size < min(expected, MAX_READ_BYTES):
        raise BrokenBody(f"Only {size} of {expected} bytes arrived.")
    if size > limit:
        content = b"".join(chunks)[: min(TRUNCATED_BODY_BYTES, limit)]
        return Body(content, max(size, expected or 0), truncated=True)
    return Body(b"".join(chunks), size)


def _discard(stream: Any, size: int) -> None:
    """Read up to `size` bytes for some seconds: many clients send everything before they read the response."""
    deadline = time.monotonic() + DISCARD_SECONDS
    while size > 0 and time.monotonic() < deadline and (chunk := _read_chunk(stream, min(CHUNK_BYTES, size))):
        size -= len(chunk)


def _read_chunk(stream: Any, size: int) -> bytes:
    try:
        chunk: bytes = stream.read(size)
    except OSError as error:
        raise BrokenBody(f"The connection broke: {error}") from None
    return chunk
