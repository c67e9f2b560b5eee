"""The body of an inbound request: its exact bytes, read up to a limit, whatever its HTTP shape.

Read from WSGI's own stream: Django's knows no body without Content-Length, as chunked ones are.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import InboundRequest

CHUNK = 64 * 1024
PREFIX = 64 * 1024  # kept of a body that is too large, where the provider sends files
READ_AT_MOST = 1024**3  # of such a body; what is kept is there long before
# A server's thread waits while a body comes, and cannot be called back. So not all of them may wait for bodies at once.
READING = 24  # of the threads that `manage.py up` starts (config/web/granian.py)
PATIENCE = 0.25  # seconds for a turn; who sends at once is done in less than a thousandth
REST = 1024 * 1024  # beyond the limit, read off before the answer
REST_SECONDS = 5.0
DIGITS = re.compile(r"[0-9]{1,18}")


class BrokenBody(ValueError):
    """The body did not come whole."""


class BodyTooLarge(ValueError):
    """It is larger than the limit."""


class NoTurn(Exception):
    """As many bodies are being waited for as may be."""


class Turns:
    """How many bodies may be waited for at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must."""
        # A semaphore, but for its price: those of `threading` are written in Python, and this is passed by every call.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(self._count):
            self._free.put(None)

    def __enter__(self) -> None:
        try:
            self._free.get(timeout=PATIENCE)
        except queue.Empty:
            raise NoTurn(f"{self._count} bodies are waited for already.") from None

    def __exit__(self, *_: object) -> None:
        self._free.put(None)


turns = Turns(READING)
os.register_at_fork(after_in_child=turns.reset)


@dataclass(slots=True)
class Body:
    """`size` is that of the body as it was sent; when truncated, `content` is only its beginning."""

    content: bytes = field(repr=False)
    size: int
    truncated: bool = False


def read_body(environ: Mapping[str, Any], *, limit: int, cut: bool) -> Body:
    """Reads the body of a WSGI request.

    Beyond `limit`: with `cut`, the beginning is kept and the rest read and thrown away, since a sender that cannot
    finish does not hear our answer. Otherwise raises BodyTooLarge, as early as it is known; where little more would
    come, that is read off first, for the same reason. Raises BrokenBody when it is shorter than announced, and NoTurn
    when too many are waited for. (That a chunked body was broken off is not told by every server; then it is kept as
    far as it came, and the sender, having got no answer, sends it again.)
    """
    expected = _expected(environ)
    if expected == 0:
        return Body(b"", 0)
    stream = environ["wsgi.input"]
    if expected is not None and expected > limit + REST and not cut:
        raise BodyTooLarge
    with turns:
        if expected is not None and expected > limit and not cut:
            if "HTTP_EXPECT" not in environ:  # who waits for our go-ahead has sent nothing yet
                _read_off(stream, expected)
            raise BodyTooLarge
        return _read(stream, expected, limit, cut)


def _expected(environ: Mapping[str, Any]) -> int | None:
    """The size as announced; None: read to the end of the stream."""
    announced = environ.get("CONTENT_LENGTH") or ""
    if announced:
        if not DIGITS.fullmatch(announced):
            raise BrokenBody("Content-Length is not a number.")
        return int(announced)
    if environ.get("wsgi.input_terminated"):
        return None
    if environ.get("HTTP_TRANSFER_ENCODING"):
        # Reading on would block until the sender hangs up.
        raise BrokenBody("This server does not tell where a chunked body ends.")
    return 0


def _read(stream: Any, expected: int | None, limit: int, cut: bool) -> Body:
    kept: list[bytes] = []
    size = 0
    while size != expected and size < READ_AT_MOST:
        chunk = _read_chunk(stream, CHUNK if expected is None else min(CHUNK, expected - size))
        if not chunk:
            break
        size += len(chunk)
        if size > limit and not cut:
            _read_off(stream, limit + REST - size)
            raise BodyTooLarge
        if size <= max(limit, PREFIX):
            kept.append(chunk)
    if expected is not None and size < min(expected, READ_AT_MOST):
        raise BrokenBody(f"Only {size} of {expected} bytes came.")
    if size > limit:
        return Body(b"".join(kept)[: min(PREFIX, limit)], max(size, expected or 0), truncated=True)
    return Body(b"".join(kept), size)


def _read_off(stream: Any, size: int) -> None:
    """Reads so much and throws it away, for some seconds: many a client writes everything before it reads."""
    deadline = time.monotonic() + REST_SECONDS
    while size > 0 and time.monotonic() < deadline and (chunk := _read_chunk(stream, min(CHUNK, size))):
        size -= len(chunk)


def _read_chunk(stream: Any, size: int) -> bytes:
    try:
        chunk: bytes = stream.read(size)
    except OSError as error:
        raise BrokenBody(f"The sender broke off: {error}") from None
    return chunk


# -- Packed bodies -----------------------------------------------------------------------------------------------------

GZIP = 16 + zlib.MAX_WBITS
ZLIB = zlib.MAX_WBITS
RAW = -zlib.MAX_WBITS
MEMBER = b"\x1f\x8b"  # how each part of a gzip body begins
ZEROS = re.compile(rb"\0*")
PIECE = 4096
CODINGS = ("gzip", "x-gzip", "deflate")


class _NotPacked(ValueError):
    """It is not what it was taken for."""


def unpacked(request: InboundRequest, *, limit: int) -> InboundRequest:
    """The request as it is read when its body came packed; what is kept are the bytes that came. Raises
    UnreadableRequest when it cannot be unpacked, or not within the limit: a few bytes can hold gigabytes."""
    coding = next((value for name, value in request.headers if name.lower() == "content-encoding"), "").strip().lower()
    if coding in ("", "identity") or not request.body:
        return request
    if coding not in CODINGS:
        raise UnreadableRequest(f"Its Content-Encoding, {coding[:50]}, is none that we can unpack.")
    try:
        body = _inflated(request.body, limit) if coding == "deflate" else _members(request.body, limit)
    except BodyTooLarge:
        raise UnreadableRequest(f"Its {coding} body holds more than MAX_BODY_BYTES, {limit}.") from None
    except EOFError:
        raise UnreadableRequest(f"Its {coding} body is cut short.") from None
    except zlib.error:
        raise UnreadableRequest(f"Its {coding} body is broken.") from None
    except _NotPacked:
        return request  # it says so, and is not
    return dataclasses.replace(request, body=body)


def _members(packed: bytes, limit: int) -> bytes:
    """Of a gzip body: its parts, one after the other, and perhaps zeros at the end, as Python's `gzip` reads them."""
    if not packed.startswith(MEMBER):
        raise _NotPacked
    parts: list[bytes] = []
    left, position = limit, 0
    while position < len(packed):
        unpacker = zlib.decompressobj(GZIP)
        while not unpacker.eof:
            # Little at once: what comes behind a part's end is copied, and there may be half a million of them.
            piece = packed[position : position + PIECE]
            if not piece:
                raise EOFError
            parts.append(unpacker.decompress(piece, left + 1))
            left -= len(parts[-1])
            if left < 0:
                raise BodyTooLarge
            position += len(piece) - len(unpacker.unused_data)
        position = ZEROS.match(packed, position).end()  # type: ignore[union-attr]  # it matches always
    return b"".join(parts)


def _inflated(packed: bytes, limit: int) -> bytes:
    """Of a deflate body: zlib's format, as the standard has it, or the bare stream, as many send it."""
    broken: Exception = _NotPacked()
    if packed[0] & 15 == zlib.DEFLATED and int.from_bytes(packed[:2]) % 31 == 0:
        try:
            return _unpack(packed, ZLIB, limit)
        except (zlib.error, EOFError) as error:
            broken = error
    try:
        return _unpack(packed, RAW, limit, to_the_end=True)
    except (zlib.error, EOFError):
        raise broken from None


def _unpack(packed: bytes, window: int, limit: int, *, to_the_end: bool = False) -> bytes:
    """What is in it. Raises zlib.error, EOFError when its end is missing or is not where it should be, and
    BodyTooLarge."""
    unpacker = zlib.decompressobj(window)
    body = unpacker.decompress(packed, limit + 1)
    if len(body) > limit:
        raise BodyTooLarge
    if not unpacker.eof or (to_the_end and unpacker.unused_data):
        raise EOFError
    return body
