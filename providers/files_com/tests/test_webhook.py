"""Files.com's messages: what proves them, what they say, and what hostile ones come to."""

from __future__ import annotations

import dataclasses
import json
import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import Parsed, ParsedEvent, VerificationResult
from providers.contract.schemas import validate
from providers.files_com import provider
from providers.files_com.body_parser import MAX_ATTRIBUTES, MAX_ELEMENTS, MAX_FIELDS
from providers.files_com.schemas import FilesComSettings
from tests.harness.provider_contract import inbound

SECRET = "Bearer hk_" + "s3cr3t" * 6
FORM = "application/x-www-form-urlencoded"


# -- Verification --------------------------------------------------------------------------------------------------


def settings(**values: object) -> FilesComSettings:
    return validate(FilesComSettings, {"subdomain": "acme", **values})


EXPECTED = VerificationResult.VERIFIED, VerificationResult.FAILED, VerificationResult.NOT_VERIFIABLE


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("headers", "expecting", "not_expecting"),
    [
        ((("Authorization", SECRET),), EXPECTED[0], EXPECTED[0]),
        ((("authorization", f" {SECRET} "),), EXPECTED[0], EXPECTED[0]),
        ((("Authorization", "Bearer wrong"),), EXPECTED[1], EXPECTED[1]),
        ((("Authorization", ""),), EXPECTED[1], EXPECTED[1]),
        ((("X-Forwarded-Authorization", SECRET),), EXPECTED[1], EXPECTED[1]),
        ((("X-Other", "1"),), EXPECTED[1], EXPECTED[2]),
        ((), EXPECTED[1], EXPECTED[2]),
    ],
)
def test_the_three_outcomes(
    method: str,
    headers: tuple[tuple[str, str], ...],
    expecting: VerificationResult,
    not_expecting: VerificationResult,
) -> None:
    request = inbound(method=method, headers=headers)
    assert provider.verify(request, [SECRET], settings()).result is expecting
    assert provider.verify(request, [SECRET], settings(expect_header=False)).result is not_expecting


def test_the_newest_secret_counts_and_every_header_that_carries_one_is_hidden() -> None:
    old, new = SECRET + "1", SECRET + "2"
    headers = (("Authorization", old), ("X-Forwarded-Authorization", new))
    found = provider.verify(inbound(headers=headers), [new, old], settings())
    assert (found.secret_index, found.proof_headers) == (1, ("Authorization", "X-Forwarded-Authorization"))


@pytest.mark.parametrize(
    ("headers", "secrets", "words"),
    [
        ((), [SECRET], "is missing"),
        ((), [SECRET], "expect_header"),
        ((("Authorization", "Bearer old"),), [SECRET], "another value"),
        ((("X-Copy", SECRET),), [SECRET], "accepted only in Authorization"),
        ((("Authorization", SECRET),), [], "No secret is known"),
    ],
)
def test_a_failure_explains_itself(headers: tuple[tuple[str, str], ...], secrets: list[str], words: str) -> None:
    assert words in provider.verify(inbound(headers=headers), secrets, settings()).detail


# -- Parsing -------------------------------------------------------------------------------------------------------


def get(query: str) -> ParsedEvent:
    (event,) = provider.parse(inbound(method="GET", query=query, headers=())).events
    return event


def post(body: bytes, kind: str | None = None, *headers: tuple[str, str], query: str = "") -> Parsed:
    content_type = () if kind is None else (("Content-Type", kind),)
    return provider.parse(inbound(body, query=query, headers=(*content_type, *headers)))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", [None, FORM, "application/json", "text/plain"])
def test_nothing_at_all_is_a_ping(method: str, kind: str | None) -> None:
    headers = (("Content-Type", kind),) if kind else ()
    assert provider.parse(inbound(b" \n", method=method, headers=headers)) == Parsed(ping=True)


@pytest.mark.parametrize(("body", "kind"), [(b"{}", "application/json"), (b"<a/>", "text/xml"), (b"&", FORM)])
def test_a_message_that_says_nothing_is_a_ping(body: bytes, kind: str) -> None:
    assert post(body, kind) == Parsed(ping=True)


def test_data_is_a_string_map_of_the_query_with_everything_in_it() -> None:
    query = "action=move&path=a%2Fold.txt&destination=a%2Fnew.txt&at=2026-01-02T03:04:05+00:00&x=1&x=2&y=&action=copy"
    event = get(query)
    assert event.data == {
        "action": ["move", "copy"],
        "path": "a/old.txt",
        "destination": "a/new.txt",
        "at": "2026-01-02T03:04:05+00:00",
        "x": ["1", "2"],
        "y": "",
    }
    assert (event.type, event.resource) == ("move", "a/new.txt")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-02T03:04:05%2B00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05%2b02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05-0200", datetime(2026, 1, 2, 5, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.250+0000", datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02+03:04:05+UTC", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1767323045", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        *((odd, None) for odd in ("", "soon", "0", "0001-01-01T00:00:00%2B23:00", "9999-12-31T23:59:59-23:00",
                                  "9" * 30, "2026-13-01T00:00:00", "\u0661")),
    ],
)  # fmt: skip
def test_times(at: str, expected: datetime | None) -> None:
    assert get(f"action=create&at={at}").occurred_at == expected


def test_dedup_keys() -> None:
    base = {
        "action": "move", "interface": "web", "path": "a", "destination": "b",
        "at": "2026-01-02T03:04:05+00:00", "username": "ann", "type": "file",
    }  # fmt: skip

    def key(**changes: str) -> str:
        query = "&".join(f"{name}={quote(text, safe='')}" for name, text in {**base, **changes}.items())
        return get(query).dedup_key

    # A repetition, through whatever URL and in whatever form, is the same event.
    same = [key(), key(extra="1"), key(at="2026-01-02T04:04:05+01:00"), key(at="2026-01-02T03:04:05 00:00")]
    same += [item.dedup_key for item in post(json.dumps(base).encode(), "application/json").events]
    assert len(set(same)) == 1
    assert len({key(), *(key(**{name: "copy" if name == "action" else "other"}) for name in base)}) == 8


def test_what_happens_to_people_is_told_apart_by_all_of_it() -> None:
    query = "action=user_create&at=2026-01-02T03:04:05Z&username=ann&name="
    assert get(query + "ben").dedup_key != get(query + "carla").dedup_key
    assert get(query + "ben").dedup_key == get(query + "ben").dedup_key


def test_without_a_time_each_request_is_an_event_of_its_own() -> None:
    body = b'{"operation":"Upload","path":"/a","attempt":1}'
    first = inbound(body)
    later = replace(first, received_at=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    keys = [provider.parse(request).events[0].dedup_key for request in (first, first, later)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("Upload", Action.CREATED),
        ("Create Folder", Action.CREATED),
        ("resources.createFolder", Action.CREATED),
        ("DOWNLOAD", Action.READ),
        ("resources.delete", Action.DELETED),
        ("Rename", Action.RENAMED),
        ("Compress", Action.OTHER),
        ("...", Action.OTHER),
    ],
)
@pytest.mark.parametrize("key", ["operation", "event"])
@pytest.mark.parametrize("kind", ["application/json", FORM, "text/plain", None])
def test_exavault_words_in_any_content_type(operation: str, action: Action, key: str, kind: str | None) -> None:
    (event,) = post(json.dumps({key: operation, "path": "/a"}).encode(), kind).events
    assert (event.type, event.action, event.resource) == (operation, action, "a")


@pytest.mark.parametrize(
    ("body", "kind", "query"),
    [
        (b"", None, "utm=1"),
        (b"path=a", FORM, ""),
        (b'{"path": "a"}', "application/json", ""),
        (b'{"action": ""}', "application/json", ""),
        (b'{"action": 7}', "application/json", ""),
        (b'{"action": {"#text": ["x"]}}', "application/json", ""),
        (b"<a><path>b</path></a>", "application/xml", ""),
        (b"action=" + b"x" * 101, FORM, ""),
        (b"", None, "action=%20"),
        (b"[1]", "application/json", ""),
        (b"7", "application/vnd.x+json", ""),
        (b"action=create", "application/json", ""),
        (b"<a", "application/xml", ""),
        (b"\xff\xfe<", "text/xml", ""),
        (b"&".join([b"a=1"] * (MAX_FIELDS + 1)), FORM, ""),
        (b"", None, "&".join(["a=1"] * (MAX_FIELDS + 1))),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_does_not_say_what_happened_is_unreadable(body: bytes, kind: str | None, query: str) -> None:
    with pytest.raises(UnreadableRequest):
        post(body, kind, query=query)


@pytest.mark.parametrize("kind", [None, "text/csv", "application/pdf", "application/octet-stream", "nonsense"])
@pytest.mark.parametrize("body", [b"a,b\n1,2\n", b"\x00\xff\x00", b"{not json", b"<html><p>", b'{"path": 1}'])
def test_a_plain_file_is_an_event_and_no_error(kind: str | None, body: bytes) -> None:
    (event,) = post(body, kind, ("Content-Disposition", 'attachment; filename="a b.csv"')).events
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
def test_with_our_mark_a_body_is_a_file_whatever_it_looks_like(body: bytes, kind: str) -> None:
    (event,) = post(body, kind, ("x-hookkeeper-body", "file")).events
    assert (event.type, event.action) == ("file", Action.OTHER)
    (event,) = post(
        body, kind, ("x-hookkeeper-body", "file"), query="action=create&path=a&at=2026-01-02T03:04:05Z"
    ).events
    assert (event.type, event.resource) == ("create", "a")


@pytest.mark.parametrize("body", [b"", b" \n"])
@pytest.mark.parametrize("kind", [None, "application/json", "application/xml", FORM, "text/plain"])
def test_an_empty_file_is_a_file_and_no_ping(body: bytes, kind: str | None) -> None:
    mark = ("X-Hookkeeper-Body", "file")
    told = (("X-Files-Action", "create"), ("X-Files-Path", "a/empty.txt"))
    query = "action=create&path=a/empty.txt&at=2026-01-02T03:04:05Z"
    for parsed in (post(body, kind, mark, *told), post(body, kind, *told), post(body, kind, mark, query=query)):
        (event,) = parsed.events
        assert (event.type, event.action, event.resource) == ("create", Action.CREATED, "a/empty.txt")
        assert event.resource_type == "file"
    (event,) = post(body, kind, mark).events
    assert (event.type, event.action, event.resource) == ("file", Action.OTHER, None)


def test_a_get_has_no_file_whatever_the_mark_says() -> None:
    headers = (("X-Hookkeeper-Body", "file"),)
    assert provider.parse(inbound(method="GET", headers=headers)).ping
    (event,) = provider.parse(inbound(method="GET", query="action=user_destroy", headers=headers)).events
    assert (event.type, event.data) == ("user_destroy", {"action": "user_destroy"})


@pytest.mark.parametrize(("path", "resource"), [("/a/b", "a/b"), ("a/b", "a/b"), ("//a", "a"), ("/", None), ("", None)])
def test_a_resource_has_no_leading_slash_and_the_data_stay_as_sent(path: str, resource: str | None) -> None:
    (event,) = post(json.dumps({"operation": "Upload", "path": path}).encode(), "application/json").events
    assert (event.resource, event.data) == (resource, {"operation": "Upload", "path": path})


def test_headers_may_tell_of_a_file() -> None:
    (event,) = post(b"%PDF", "application/pdf", ("X-Files-Action", "update"), ("X-Files-Path", "a/b.pdf")).events
    assert (event.type, event.resource) == ("update", "a/b.pdf")
    assert event.data == {"content-type": "application/pdf", "action": "update", "path": "a/b.pdf"}


@pytest.mark.parametrize("root", ["hash", "webhook", "x:event xmlns:x='urn:x'"])
def test_any_root_element(root: str) -> None:
    name = root.partition(" ")[0]
    body = f"<?xml version='1.0' encoding='ISO-8859-1'?><{root}><action>read</action><path>\xe4</path></{name}>"
    (event,) = post(body.encode("latin-1"), "application/xml").events
    assert (event.type, event.resource, event.data) == ("read", "ä", {"action": "read", "path": "ä"})


BOMBS = {
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


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_xml_is_refused_in_bounded_time(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        post(BOMBS[name], "application/xml")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("name", [name for name in BOMBS if name.startswith(("attributes", "long"))])
def test_hostile_xml_takes_bounded_memory(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(UnreadableRequest):
        post(BOMBS[name], "application/xml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(BOMBS[name]) + 5_000_000


def test_some_attributes_are_read() -> None:
    body = b"<a><action>create</action><path " + b" ".join(b"a%d='1'" % i for i in range(1000)) + b">x</path></a>"
    (event,) = post(body, "application/xml").events
    assert (event.type, event.resource) == ("create", "x")


def multipart_kind(boundary: str = "b") -> str:
    return f"multipart/form-data; boundary={boundary}"


PART = b'--b\r\nContent-Disposition: form-data; name="action"\r\n\r\ncreate\r\n'


def test_a_multipart_form_with_a_large_file_is_read_quickly_and_without_it() -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n'
    body = PART + head + b"\r\n-b\n" * 1_500_000 + b"\r\n--b--\r\n"
    started = time.monotonic()
    (event,) = post(body, multipart_kind()).events
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
def test_multipart_rubbish_is_refused(body: bytes, kind: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        post(body, kind)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "body",
    [b"[" * 5_000_000, b'{"a":' * 2_000_000, b'{"action": ' + b"9" * 5_000_000 + b"}", b'{"action": 1e999}'],
    ids=range(4),
)
def test_bodies_made_to_hurt_are_refused_in_bounded_time(body: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(UnreadableRequest):
        post(body, "application/json")
    assert time.monotonic() - started < 5


def test_a_long_text_in_every_field_is_bounded() -> None:
    long = "é" * 1_000_000
    names = ("path", "destination", "username", "type", "at", "interface", "x")
    (event,) = post(json.dumps({"action": "create", **dict.fromkeys(names, long)}).encode(), "application/json").events
    assert (len(event.resource or ""), len(event.actor or "")) == (2000, 255)
    check_it_can_be_stored(event)


def check_it_can_be_stored(event: ParsedEvent) -> None:
    for text in (event.type, event.dedup_key, event.resource, event.actor, event.resource_type):
        assert text is None or (text and "\x00" not in text and text.encode())
    assert 0 < len(event.dedup_key) <= 255
    assert event.occurred_at is None or event.occurred_at.tzinfo is UTC
    json.dumps(event.data, allow_nan=False)


NAMES = st.sampled_from(
    ["action", "interface", "path", "destination", "at", "username", "type", "operation", "attempt"]
)
ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
WORDS = ANY_TEXT | st.sampled_from(
    ["create", "move", "file", "2026-01-02T03:04:05 00:00", "9" * 25, "\ud800", "+", "%"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
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
        st.sampled_from(["Content-Disposition", "X-Files-Action", "X-Hookkeeper-Body", "X"]), WORDS | st.just("file")
    ),
    max_size=3,
)


@given(BODIES, KINDS, HEADERS, ANY_TEXT | st.lists(st.tuples(NAMES, WORDS)).map(str), st.sampled_from(["GET", "POST"]))
def test_only_unreadable_request_ever_comes_out(
    body: bytes, kind: str, headers: list[tuple[str, str]], query: str, method: str
) -> None:
    request = inbound(body, method=method, query=query, headers=(("Content-Type", kind), *headers))
    with suppress(UnreadableRequest):
        parsed = provider.parse(request)
        for event in parsed.events:
            check_it_can_be_stored(event)
        assert parsed.ping != bool(parsed.events)
        assert provider.parse(request) == parsed


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT | st.just(SECRET))), st.lists(ANY_TEXT, max_size=3), st.booleans())
def test_verification_never_raises(headers: list[tuple[str, str]], secrets: list[str], expect_header: bool) -> None:
    request = inbound(headers=tuple(headers))
    found = provider.verify(request, [*secrets, SECRET], settings(expect_header=expect_header))
    assert (found.result is VerificationResult.NOT_VERIFIABLE) <= (not expect_header)
    proven = provider.verify(
        dataclasses.replace(request, headers=(*headers, ("Authorization", SECRET))), [SECRET], settings()
    )
    assert proven.result is VerificationResult.VERIFIED
