"""Reading a body from the WSGI stream."""

from __future__ import annotations

import io
from typing import Any

import pytest

from events.storage import body as bodies
from events.storage.body import Body, BodyTooLarge, BrokenBody, read_body


class Unread(io.RawIOBase):
    def read(self, size: int = -1, /) -> bytes:
        raise AssertionError("the body was read")


def test_body_announced_as_too_large_is_not_read() -> None:
    with pytest.raises(BodyTooLarge):
        read_body(
            {"CONTENT_LENGTH": str(11 + bodies.DISCARDED_BYTES), "wsgi.input": Unread()}, limit=10, can_truncate=False
        )
    with pytest.raises(BodyTooLarge):
        read_body(
            {"CONTENT_LENGTH": "11", "wsgi.input": Unread(), "HTTP_EXPECT": "100-continue"},
            limit=10,
            can_truncate=False,
        )


def test_body_slightly_over_the_limit_is_discarded_for_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(b"x" * 500_000)
    with pytest.raises(BodyTooLarge):
        read_body({"CONTENT_LENGTH": "500000", "wsgi.input": stream}, limit=10, can_truncate=False)
    assert stream.tell() == 500_000
    monkeypatch.setattr(bodies, "DISCARD_SECONDS", -1.0)
    stream.seek(0)
    with pytest.raises(BodyTooLarge):
        read_body({"CONTENT_LENGTH": "500000", "wsgi.input": stream}, limit=10, can_truncate=False)
    assert stream.tell() == 0


def test_endless_body_is_read_up_to_the_limit_only() -> None:
    stream = io.BytesIO(b"x" * 10_000_000)
    with pytest.raises(BodyTooLarge):
        read_body({"wsgi.input": stream, "wsgi.input_terminated": True}, limit=100_000, can_truncate=False)
    assert stream.tell() < 300_000 + bodies.DISCARDED_BYTES


@pytest.mark.parametrize(
    ("environ", "body"),
    [
        ({"CONTENT_LENGTH": "3"}, Body(b"abc", 3)),  # the rest belongs to the next request
        ({"CONTENT_LENGTH": "3", "wsgi.input_terminated": True}, Body(b"abc", 3)),
        ({"CONTENT_LENGTH": "0"}, Body(b"", 0)),
        ({"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}, Body(b"abcdef", 6)),
        ({"wsgi.input_terminated": True}, Body(b"abcdef", 6)),  # as in HTTP/2
        ({}, Body(b"", 0)),
        ({"CONTENT_LENGTH": ""}, Body(b"", 0)),
    ],
)
def test_only_the_body_of_the_request_is_read(environ: dict[str, Any], body: Body) -> None:
    assert read_body({**environ, "wsgi.input": io.BytesIO(b"abcdef")}, limit=10, can_truncate=False) == body


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": "7"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "six"},
        {"CONTENT_LENGTH": "\u0666"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ],
)
def test_incomplete_body_or_bad_length_is_broken(environ: dict[str, Any]) -> None:
    with pytest.raises(BrokenBody):
        read_body({**environ, "wsgi.input": io.BytesIO(b"abcdef")}, limit=10, can_truncate=False)
