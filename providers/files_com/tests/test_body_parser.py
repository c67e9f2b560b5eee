"""Files.com: parsing of files, XML and multipart forms, and of hostile bodies."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable

import pytest

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import Parsed
from providers.files_com import provider
from providers.files_com.body_parser import MAX_ATTRIBUTES, MAX_ELEMENTS
from providers.files_com.tests.samples import (
    FORM,
    parse_post,
)
from tests.harness.distorted_responses import check_storable
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


HOSTILE_XML: dict[str, Callable[[], bytes]] = {
    "laughs": lambda: (
        b'<!DOCTYPE l [<!ENTITY a "ha">'
        + b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 12))
        + b"]><a><action>&a11;</action></a>"
    ),
    "quadratic": lambda: (
        b'<!DOCTYPE b [<!ENTITY a "' + b"x" * 50_000 + b'">]><a><action>' + b"&a;" * 50_000 + b"</action></a>"
    ),
    "external": lambda: b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><action>&x;</action></a>',
    "external dtd": lambda: b'<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><a><action>create</action></a>',
    "parameter": lambda: b'<!DOCTYPE r [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]><a/>',
    "deep": lambda: b"<a>" * 1_000_000,
    "deep and closed": lambda: b"<a>" * 150_000 + b"</a>" * 150_000,
    "many": lambda: b"<a>" + b"<b/>" * (MAX_ELEMENTS + 1) + b"</a>",
    "attributes": lambda: b"<a " + b" ".join(b'a%d="1"' % i for i in range(200_000)) + b"><action>create</action>",
    "attributes and closed": lambda: b"<a " + b" ".join(b'a%d = "1"' % i for i in range(900_000)) + b"/>",
    "attributes in UTF-16": lambda: ("<a " + " ".join(f'a{i}="1"' for i in range(200_000)) + "/>").encode("utf-16"),
    "attributes of many": lambda: b"<a>" + b'<b c="1" d="2"/>' * (MAX_ATTRIBUTES // 2 + 1) + b"</a>",
    "long namespace": lambda: (
        b'<x:a xmlns:x="' + b"u" * 200_000 + b'">' + b"".join(b"<x:b%d/>" % i for i in range(9000))
    ),
    "encoding": lambda: b'<?xml version="1.0" encoding="no-such"?><a/>',
    "wide encoding": lambda: b'<?xml version="1.0" encoding="utf-7"?><a>+ADw-</a>',
    "two roots": lambda: b"<a/><b/>",
    "nul": lambda: b"<a>\x00</a>",
}


@pytest.mark.parametrize("name", HOSTILE_XML)
def test_hostile_xml_is_refused_in_bounded_time(name: str) -> None:
    body = HOSTILE_XML[name]()
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        parse_post(body, "application/xml")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", [name for name in HOSTILE_XML if name.startswith(("attributes", "long"))])
def test_hostile_xml_takes_bounded_memory(name: str) -> None:
    body = HOSTILE_XML[name]()
    tracemalloc.start()
    with pytest.raises(UnreadableRequest):
        parse_post(body, "application/xml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(body) + 5_000_000


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


@pytest.mark.slow
def test_long_values_are_truncated() -> None:
    long = "é" * 1_000_000
    names = ("path", "destination", "username", "type", "at", "interface", "x")
    (event,) = parse_post(
        json.dumps({"action": "create", **dict.fromkeys(names, long)}).encode(), "application/json"
    ).events
    assert (len(event.resource or ""), len(event.actor or "")) == (2000, 255)
    check_storable(Parsed((event,)))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename*=UTF-8''%C3%9Cber.pdf", "\xdcber.pdf"),
        ("attachment; FileName* = iso-8859-1'de'%DCber%20uns.pdf", "\xdcber uns.pdf"),
        ("attachment; filename=\"Uber.pdf\"; filename*=utf-8''%C3%9Cber.pdf", "\xdcber.pdf"),
        ("attachment; filename*=utf-8''a%3B%22b.pdf; filename=c.pdf", 'a;"b.pdf'),
        ("attachment; filename=Uber.pdf; filename*=UTF-8''%DC", "Uber.pdf"),
        ("attachment; filename=Uber.pdf; filename*=hex''4142", "Uber.pdf"),
        ("attachment; filename*=UTF-8''", None),
    ],
)
def test_the_extended_file_name_takes_precedence(disposition: str, name: str | None) -> None:
    (event,) = parse_post(b"%PDF", "application/pdf", ("Content-Disposition", disposition)).events
    assert event.resource == name


def test_a_multipart_file_with_an_extended_name_is_a_file() -> None:
    part = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename*=UTF-8''%C3%9C.bin\r\n\r\n"
    (event,) = parse_post(PART + part + b"x" * 100_000 + b"\r\n--b--\r\n", multipart_kind()).events
    assert event.data == {"action": "create", "f": "\xdc.bin"}


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("inbox/%C3%9Cber.pdf", "inbox/\xdcber.pdf"),
        ("inbox/a%20b+c.pdf", "inbox/a b+c.pdf"),
        ("inbox/\xdcber 100%.pdf", "inbox/\xdcber 100%.pdf"),
        ("inbox/%DCber.pdf", "inbox/%DCber.pdf"),
    ],
)
def test_a_path_in_a_header_is_decoded(sent: str, path: str) -> None:
    (event,) = parse_post(b"%PDF", "application/pdf", ("X-Files-Action", "create"), ("X-Files-Path", sent)).events
    assert (event.resource, event.data["path"]) == (path, path)  # type: ignore[index]  # it is a mapping
