"""Decompress the bodies of requests that came with a Content-Encoding, within a size limit."""

from __future__ import annotations

import dataclasses
import re
import zlib

from events.storage.body import BodyTooLarge
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import InboundRequest

# Window sizes that tell zlib the format.
GZIP = 16 + zlib.MAX_WBITS
ZLIB = zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS
GZIP_MAGIC = b"\x1f\x8b"  # starts each member of a gzip body
ZEROS = re.compile(rb"\0*")
PIECE_BYTES = 4096
CODINGS = ("gzip", "x-gzip", "deflate")


class _NotCompressed(ValueError):
    """The body is not compressed, whatever its header says."""


def decompress_body(request: InboundRequest, *, limit: int) -> InboundRequest:
    """Return the request with its body decompressed, for the plug-in. The stored bytes stay as they were sent.

    Raises UnreadableRequest when the body cannot be decompressed, or exceeds the limit in bytes: a small body can
    decompress to gigabytes.
    """
    coding = next((value for name, value in request.headers if name.lower() == "content-encoding"), "").strip().lower()
    if coding in ("", "identity") or not request.body:
        return request
    if coding not in CODINGS:
        raise UnreadableRequest(f"The Content-Encoding {coding[:50]} is not supported.")
    try:
        body = _inflate(request.body, limit) if coding == "deflate" else _gunzip(request.body, limit)
    except BodyTooLarge:
        raise UnreadableRequest(f"The {coding} body decompresses to more than MAX_BODY_BYTES ({limit}).") from None
    except EOFError:
        raise UnreadableRequest(f"The {coding} body is incomplete.") from None
    except zlib.error:
        raise UnreadableRequest(f"The {coding} body is damaged.") from None
    except _NotCompressed:
        return request
    return dataclasses.replace(request, body=body)


def _gunzip(compressed: bytes, limit: int) -> bytes:
    """Decompress the members of a gzip body, which zeros may follow, like Python's `gzip` does."""
    if not compressed.startswith(GZIP_MAGIC):
        raise _NotCompressed
    parts: list[bytes] = []
    remaining, position = limit, 0
    while position < len(compressed):
        decompressor = zlib.decompressobj(GZIP)
        while not decompressor.eof:
            # In small pieces: zlib copies what follows a member's end, and there may be half a million members.
            piece = compressed[position : position + PIECE_BYTES]
            if not piece:
                raise EOFError
            parts.append(decompressor.decompress(piece, remaining + 1))
            remaining -= len(parts[-1])
            if remaining < 0:
                raise BodyTooLarge
            position += len(piece) - len(decompressor.unused_data)
        position = ZEROS.match(compressed, position).end()  # type: ignore[union-attr]  # it always matches
    return b"".join(parts)


def _inflate(compressed: bytes, limit: int) -> bytes:
    """Decompress a deflate body: the zlib format, as RFC 9110 defines it, or a raw stream, as many senders do it."""
    zlib_error: Exception = _NotCompressed()
    if compressed[0] & 15 == zlib.DEFLATED and int.from_bytes(compressed[:2]) % 31 == 0:
        try:
            return _decompress(compressed, ZLIB, limit)
        except (zlib.error, EOFError) as error:
            zlib_error = error
    try:
        return _decompress(compressed, RAW_DEFLATE, limit, to_the_end=True)
    except (zlib.error, EOFError):
        raise zlib_error from None


def _decompress(compressed: bytes, window: int, limit: int, *, to_the_end: bool = False) -> bytes:
    """Decompress one stream. Raises zlib.error, BodyTooLarge, and EOFError when the end is missing.

    With `to_the_end`, raises EOFError also if the stream ends before the body does.
    """
    decompressor = zlib.decompressobj(window)
    body = decompressor.decompress(compressed, limit + 1)
    if len(body) > limit:
        raise BodyTooLarge
    if not decompressor.eof or (to_the_end and decompressor.unused_data):
        raise EOFError
    return body
