"""Files.com: parsing of files, XML and multipart forms, and of hostile bodies."""

from __future__ import annotations

import json
import time
import tracemalloc
from contextlib import suppress
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import ParsedEvent
from providers.files_com import provider
from providers.files_com.body_parser import MAX_ATTRIBUTES, MAX_ELEMENTS
from providers.files_com.tests.samples import (
    FORM,
    parse_post,
)
from tests.harness.inbound import inbound


@pytest.mark.parametrize("kind", [None, "text/csv", "application/pdf", "application/octet-stream", "nonsense"])
@pytest.mark.parametrize("body", [b"a,b\n1,2\n", b"\x00\xff\x00", b"{not json", b"<html><p>", b'{"path": 1}'])
def test_a_plain_file_is_an_event(kind: str | None, body: bytes) -> None:
    (event,) = parse_post(body, kind, ("Content-Disposition", 'attachment; filename="a b.csv"')).events
    assert (event.type, event.action, event.resource_type, event.resource) == ("file", Action.OTHER, "file", "a b.csv")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"invoice": 1}', "application/json"),
        (b'{"action": "create"}', "application/json"),
        (b"<order><action>buy</action></order>", "application/xml"),
        (b"not json", "application/json"),
        (b"<!DOCTYPE x><x/>", "text/xml"),
        (b"a=1", FORM),
        (b"--x", "multipart/form-data; boundary=y"),
    ],
)
def test_a_body_with_our_header_is_a_file_in_any_format(body: bytes, kind: str) -> None:
    (event,) = parse_post(body, kind, ("x-hookkeeper-body", "file")).events
    assert (event.type, event.action) == ("file", Action.OTHER)
    (event,) = parse_post(
        body, kind, ("x-hookkeeper-body", "file"), query="action=create&path=a&at=2026-01-02T03:04:05Z"
    ).events
    assert (event.type, event.resource) == ("create", "a")


@pytest.mark.parametrize("body", [b"", b" \n"])
@pytest.mark.parametrize("kind", [None, "application/json", "application/xml", FORM, "text/plain"])
def test_an_empty_file_is_not_a_ping(body: bytes, kind: str | None) -> None:
    mark = ("X-Hookkeeper-Body", "file")
    received = (("X-Files-Action", "create"), ("X-Files-Path", "a/empty.txt"))
    query = "action=create&path=a/empty.txt&at=2026-01-02T03:04:05Z"
    for parsed in (
        parse_post(body, kind, mark, *received),
        parse_post(body, kind, *received),
        parse_post(body, kind, mark, query=query),
    ):
        (event,) = parsed.events
        assert (event.type, event.action, event.resource) == ("create", Action.CREATED, "a/empty.txt")
        assert event.resource_type == "file"
    (event,) = parse_post(body, kind, mark).events
    assert (event.type, event.action, event.resource) == ("file", Action.OTHER, None)


def test_a_get_never_has_a_file() -> None:
    headers = (("X-Hookkeeper-Body", "file"),)
    assert provider.parse(inbound(method="GET", headers=headers)).ping
    (event,) = provider.parse(inbound(method="GET", query="action=user_destroy", headers=headers)).events
    assert (event.type, event.data) == ("user_destroy", {"action": "user_destroy"})


@pytest.mark.parametrize(("path", "resource"), [("/a/b", "a/b"), ("a/b", "a/b"), ("//a", "a"), ("/", None), ("", None)])
def test_the_resource_has_no_leading_slash_and_the_data_are_unchanged(path: str, resource: str | None) -> None:
    (event,) = parse_post(json.dumps({"operation": "Upload", "path": path}).encode(), "application/json").events
    assert (event.resource, event.data) == (resource, {"operation": "Upload", "path": path})


def test_the_fields_of_a_file_are_read_from_headers() -> None:
    (event,) = parse_post(b"%PDF", "application/pdf", ("X-Files-Action", "update"), ("X-Files-Path", "a/b.pdf")).events
    assert (event.type, event.resource) == ("update", "a/b.pdf")
    assert event.data == {"content-type": "application/pdf", "action": "update", "path": "a/b.pdf"}


@pytest.mark.parametrize("root", ["hash", "webhook", "x:event xmlns:x='urn:x'"])
def test_xml_may_have_any_root_element(root: str) -> None:
    name = root.partition(" ")[0]
    body = f"<?xml version='1.0' encoding='ISO-8859-1'?><{root}><action>read</action><path>\xe4</path></{name}>"
    (event,) = parse_post(body.encode("latin-1"), "application/xml").events
    assert (event.type, event.resource, event.data) == ("read", "ä", {"action": "read", "path": "ä"})


HOSTILE_XML = {
    "laughs": b'<!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 12))
    + b"]><a><action>&a11;</action></a>",
    "quadratic": b'<!DOCTYPE b [<!ENTITY a "' + b"x" * 50_000 + b'">]><a><action>' + b"&a;" * 50_000 + b"</action></a>",
    "external": b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><action>&x;</action></a>',
    "external dtd": b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><a><action>create</action></a>',
    "parameter": b'<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]><a/>',
    "deep": b"<a>" * 1_000_000,
    "deep and closed": b"<a>" * 150_000 + b"</a>" * 150_000,
    "many": b"<a>" + b"<b/>" * (MAX_ELEMENTS + 1) + b"</a>",
    "attributes": b"<a " + b" ".join(b'a%d="1"' % i for i in range(200_000)) + b"><action>create</action>",
    "attributes and closed": b"<a " + b" ".join(b'a%d = "1"' % i for i in range(900_000)) + b"/>",
    "attributes in UTF-16": ("<a " + " ".join(f'a{i}="1"' for i in range(200_000)) + "/>").encode("utf-16"),
    "attributes of many": b"<a>" + b'<b c="1" d="2"/>' * (MAX_ATTRIBUTES // 2 + 1) + b"</a>",
    "long namespace": b'<x:a xmlns:x="' + b"u" * 200_000 + b'">' + b"".join(b"<x:b%d/>" % i for i in range(9000)),
    "encoding": b'<?xml version="1.0" encoding="no-such"?><a/>',
    "wide encoding": b'<?xml version="1.0" encoding="utf-7"?><a>+ADw-</a>',
    "two roots": b"<a/><b/>",
    "nul": b"<a>\x00</a>",
}


@pytest.mark.parametrize("name", HOSTILE_XML)
def test_hostile_xml_is_refused_in_bounded_time(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        parse_post(HOSTILE_XML[name], "application/xml")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", [name for name in HOSTILE_XML if name.startswith(("attributes", "long"))])
def test_hostile_xml_takes_bounded_memory(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(UnreadableRequest):
        parse_post(HOSTILE_XML[name], "application/xml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(HOSTILE_XML[name]) + 5_000_000


def test_xml_attributes_are_accepted() -> None:
    body = b"<a><action>create</action><path " + b" ".join(b"a%d='1'" % i for i in range(1000)) + b">x</path></a>"
    (event,) = parse_post(body, "application/xml").events
    assert (event.type, event.resource) == ("create", "x")


def multipart_kind(boundary: str = "b") -> str:
    return f"multipart/form-data; boundary={boundary}"


PART = b'--b\r\nContent-Disposition: form-data; name="action"\r\n\r\ncreate\r\n'


def test_a_multipart_form_with_a_large_file_is_parsed_quickly_without_the_file() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n'
    body = PART + head + b"\r\n-b\n" * 1_500_000 + b"\r\n--b--\r\n"
    started = time.monotonic()
    (event,) = parse_post(body, multipart_kind()).events
    assert time.monotonic() - started < 3
    assert event.data == {"action": "create", "f": "x.bin"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PART, multipart_kind()),  # not closed
        (PART + b"--b--\r\n", "multipart/form-data"),
        (PART + b"--b--\r\n", multipart_kind("other")),
        (PART + b"--b--\r\n", multipart_kind('"\r\n"')),
        (b"--b\r\n\r\nno header\r\n--b--\r\n", multipart_kind()),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", multipart_kind()),
        (PART.replace(b"create", b"x" * 70_000) + b"--b--\r\n", multipart_kind()),
        (PART * 2000 + b"--b--\r\n", multipart_kind()),
        (b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\n\r\n--b--\r\n", multipart_kind()),
        (b"--b\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n--b--\r\n", multipart_kind()),
        (b"\x00" * 1_000_000, multipart_kind()),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_malformed_multipart_form_is_refused(body: bytes, kind: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        parse_post(body, kind)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "body",
    [b"[" * 5_000_000, b'{"a":' * 2_000_000, b'{"action": ' + b"9" * 5_000_000 + b"}", b'{"action": 1e999}'],
    ids=range(4),
)
def test_hostile_json_is_refused_in_bounded_time(body: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        parse_post(body, "application/json")
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_long_values_are_truncated() -> None:
    long = "é" * 1_000_000
    names = ("path", "destination", "username", "type", "at", "interface", "x")
    (event,) = parse_post(
        json.dumps({"action": "create", **dict.fromkeys(names, long)}).encode(), "application/json"
    ).events
    assert (len(event.resource or ""), len(event.actor or "")) == (2000, 255)
    assert_storable(event)


def assert_storable(event: ParsedEvent) -> None:
    for text in (event.type, event.dedup_key, event.resource, event.actor, event.resource_type):
        assert text is None or (text and "\x00" not in text and text.encode())
    assert 0 < len(event.dedup_key) <= 255
    assert event.occurred_at is None or event.occurred_at.tzinfo is UTC
    json.dumps(event.data, allow_nan=False)


NAMES = st.sampled_from(
    ["action", "interface", "path", "destination", "at", "username", "type", "operation", "attempt"]
)
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
TEXTS = ANY_TEXT | st.sampled_from(
    ["create", "move", "file", "2026-01-02T03:04:05 00:00", "9" * 25, "\ud800", "+", "%"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | ANY_TEXT, inner, max_size=6),
    max_leaves=20,
)
MESSAGES = st.dictionaries(NAMES, JSON, max_size=9)
PIECES = st.sampled_from([
    b"<a>", b"</a>", b"<action>", b"</action>", b"create", b"<", b">", b"&", b"&#0;", b"&#x110000;", b"<![CDATA[",
    b"]]>", b"<?x ?>", b"<!--", b"--b", b"\r\n", b"--", b'Content-Disposition: form-data; name="action"',
    b"; filename*=utf-8''%ff",
    b"\xff", b"\x00", b"=", b"%", b"%e4", b"action=create", b"{", b'"', b"\xef\xbb\xbf",
])  # fmt: skip
BODIES = (
    st.binary(max_size=300)
    | st.lists(PIECES, max_size=40).map(b"".join)
    | MESSAGES.map(lambda value: json.dumps(value).encode())
)
KINDS = st.sampled_from(
    ["application/json", "application/xml", "text/xml; charset=x", FORM, "multipart/form-data; boundary=b",
     'multipart/form-data; boundary="', "multipart/form-data; boundary=\ud800", "text/plain", "", "a/b+json", "a/b+xml"]
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Disposition", "X-Files-Action", "X-Hookkeeper-Body", "X"]), TEXTS | st.just("file")
    ),
    max_size=3,
)


@pytest.mark.slow
@given(BODIES, KINDS, HEADERS, ANY_TEXT | st.lists(st.tuples(NAMES, TEXTS)).map(str), st.sampled_from(["GET", "POST"]))
def test_parsing_raises_only_unreadable_request(
    body: bytes, kind: str, headers: list[tuple[str, str]], query: str, method: str
) -> None:
    request = inbound(body, method=method, query=query, headers=(("Content-Type", kind), *headers))
    with suppress(UnreadableRequest):
        parsed = provider.parse(request)
        for event in parsed.events:
            assert_storable(event)
        assert parsed.ping != bool(parsed.events)
        assert provider.parse(request) == parsed
