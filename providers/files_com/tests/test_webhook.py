"""Files.com: verification and parsing of messages."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import Parsed, VerificationResult
from providers.files_com import provider
from providers.files_com.body_parser import MAX_FIELDS
from providers.files_com.tests.samples import (
    FORM,
    SECRET,
    parse_get,
    parse_post,
    settings,
)
from tests.harness.inbound import inbound

EXPECTED = VerificationResult.VERIFIED, VerificationResult.FAILED, VerificationResult.NOT_VERIFIABLE


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("headers", "with_header_expected", "without_header_expected"),
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
def test_the_result_depends_on_the_header_and_the_setting(
    method: str,
    headers: tuple[tuple[str, str], ...],
    with_header_expected: VerificationResult,
    without_header_expected: VerificationResult,
) -> None:
    request = inbound(method=method, headers=headers)
    assert provider.verify(request, [SECRET], settings()).result is with_header_expected
    assert provider.verify(request, [SECRET], settings(expect_header=False)).result is without_header_expected


def test_every_header_with_a_secret_is_a_proof_header() -> None:
    old, new = SECRET + "1", SECRET + "2"
    headers = (("Authorization", old), ("X-Forwarded-Authorization", new))
    verification = provider.verify(inbound(headers=headers), [new, old], settings())
    assert (verification.secret_index, verification.proof_headers) == (
        1,
        ("Authorization", "X-Forwarded-Authorization"),
    )


@pytest.mark.parametrize(
    ("headers", "secrets", "text"),
    [
        ((), [SECRET], "is missing"),
        ((), [SECRET], "expect_header"),
        ((("Authorization", "Bearer old"),), [SECRET], "another value"),
        ((("X-Copy", SECRET),), [SECRET], "accepted only in Authorization"),
        ((("Authorization", SECRET),), [], "has no secret"),
    ],
)
def test_a_failed_verification_is_explained(
    headers: tuple[tuple[str, str], ...], secrets: list[str], text: str
) -> None:
    assert text in provider.verify(inbound(headers=headers), secrets, settings()).detail


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", [None, FORM, "application/json", "text/plain"])
def test_an_empty_request_is_a_ping(method: str, kind: str | None) -> None:
    headers = (("Content-Type", kind),) if kind else ()
    assert provider.parse(inbound(b" \n", method=method, headers=headers)) == Parsed(ping=True)


@pytest.mark.parametrize(("body", "kind"), [(b"{}", "application/json"), (b"<a/>", "text/xml"), (b"&", FORM)])
def test_a_message_without_fields_is_a_ping(body: bytes, kind: str) -> None:
    assert parse_post(body, kind) == Parsed(ping=True)


def test_the_data_contain_every_query_parameter() -> None:
    query = "action=move&path=a%2Fold.txt&destination=a%2Fnew.txt&at=2026-01-02T03:04:05+00:00&x=1&x=2&y=&action=copy"
    event = parse_get(query)
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
def test_event_times_are_parsed(at: str, expected: datetime | None) -> None:
    assert parse_get(f"action=create&at={at}").occurred_at == expected


def test_the_dedup_key_depends_on_the_identity_fields() -> None:
    base = {
        "action": "move", "interface": "web", "path": "a", "destination": "b",
        "at": "2026-01-02T03:04:05+00:00", "username": "ann", "type": "file",
    }  # fmt: skip

    def key(**changes: str) -> str:
        query = "&".join(f"{name}={quote(text, safe='')}" for name, text in {**base, **changes}.items())
        return parse_get(query).dedup_key

    # A retransmission to any URL and in any format has the same key.
    same = [key(), key(extra="1"), key(at="2026-01-02T04:04:05+01:00"), key(at="2026-01-02T03:04:05 00:00")]
    same += [item.dedup_key for item in parse_post(json.dumps(base).encode(), "application/json").events]
    assert len(set(same)) == 1
    assert len({key(), *(key(**{name: "copy" if name == "action" else "other"}) for name in base)}) == 8


@pytest.mark.parametrize("path", ["inbox/a.pdf", "", None])
def test_the_dedup_key_of_a_file_depends_on_its_content(path: str | None) -> None:
    headers = [("X-Files-Action", "create"), ("X-Files-At", "2026-01-02T03:04:05Z")]
    headers += [] if path is None else [("X-Files-Path", path)]

    def key(body: bytes, seconds: int = 5) -> str:
        request = inbound(body, headers=(("Content-Type", "application/pdf"), *headers))
        request = replace(request, received_at=datetime(2026, 1, 2, 3, 4, seconds, tzinfo=UTC))
        return provider.parse(request).events[0].dedup_key

    assert key(b"one") == key(b"one") != key(b"two")
    # The path may be lost on the way. Then a file with the same content may be another one.
    assert (key(b"one", seconds=6) == key(b"one")) == bool(path)


def test_the_dedup_key_depends_on_every_field_of_a_body() -> None:
    def key(kind: str = "application/json", query: str = "", **more: object) -> str:
        fields = {"action": "create", "path": "a", "at": "2026-01-02T03:04:05Z", **more}
        body = json.dumps(fields) if kind == "application/json" else urlencode(fields)
        return parse_post(body.encode(), kind, query=query).events[0].dedup_key

    assert key(size=1) == key(size=1, attempt=2) == key(size=1, query="url=2") != key(size=2)
    assert len({key(), key(FORM, size=1), key(FORM, size=2), key(size=1), key(interface="sftp")}) == 5


def test_the_dedup_key_of_user_events_depends_on_all_fields() -> None:
    query = "action=user_create&at=2026-01-02T03:04:05Z&username=ann&name="
    assert parse_get(query + "ben").dedup_key != parse_get(query + "carla").dedup_key
    assert parse_get(query + "ben").dedup_key == parse_get(query + "ben").dedup_key


@pytest.mark.parametrize(
    ("fields", "resource", "previous"),
    [
        ({"action": "move", "path": "a/old", "destination": "b/new"}, "b/new", "a/old"),
        ({"action": "copy", "path": "/a", "destination": "/b"}, "b", "a"),
        ({"action": "move", "path": "a", "destination": ""}, "a", None),
        ({"action": "move", "path": "a", "destination": "/a"}, "a", None),
        ({"operation": "Move", "path": "/b/new", "sourcepath": "/a/old"}, "b/new", "a/old"),
        ({"operation": "Rename", "path": "/b", "sourcepath": ""}, "b", None),
        ({"action": "create", "path": "a"}, "a", None),
    ],
)
def test_a_move_has_two_places(fields: dict[str, str], resource: str, previous: str | None) -> None:
    for event in (*parse_post(json.dumps(fields).encode(), "application/json").events, parse_get(urlencode(fields))):
        assert (event.resource, event.previous_resource) == (resource, previous)


def test_each_request_without_a_time_is_an_event() -> None:
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
def test_exavault_operations_are_mapped_in_any_content_type(
    operation: str, action: Action, key: str, kind: str | None
) -> None:
    (event,) = parse_post(json.dumps({key: operation, "path": "/a"}).encode(), kind).events
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
def test_a_message_without_an_action_is_unreadable(body: bytes, kind: str | None, query: str) -> None:
    with pytest.raises(UnreadableRequest):
        parse_post(body, kind, query=query)


ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too


@pytest.mark.slow
@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT | st.just(SECRET))), st.lists(ANY_TEXT, max_size=3), st.booleans())
def test_verification_never_raises_for_random_headers(
    headers: list[tuple[str, str]], secrets: list[str], expect_header: bool
) -> None:
    request = inbound(headers=tuple(headers))
    verification = provider.verify(request, [*secrets, SECRET], settings(expect_header=expect_header))
    assert (verification.result is VerificationResult.NOT_VERIFIABLE) <= (not expect_header)
    proven = provider.verify(
        dataclasses.replace(request, headers=(*headers, ("Authorization", SECRET))), [SECRET], settings()
    )
    assert proven.result is VerificationResult.VERIFIED
