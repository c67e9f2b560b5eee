"""Verification and parsing of Egnyte Connect's webhooks."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.capabilities import Action
from providers.contract.errors import (
    UnreadableRequest,
)
from providers.contract.parsing import Parsed, VerificationResult
from providers.egnyte_connect import provider
from providers.egnyte_connect.tests.samples import SECRET, settings
from tests.harness.inbound import inbound


@pytest.mark.parametrize("header", ["Authorization", "authentication", "X-Whatever"])
def test_the_secret_is_accepted_in_any_header(header: str) -> None:
    verification = provider.verify(inbound(headers=(("Host", "x"), (header, f" {SECRET} "))), [SECRET], settings())
    assert (verification.result, verification.proof_headers) == (VerificationResult.VERIFIED, (header,))


def test_every_header_with_the_secret_is_reported() -> None:
    headers = (("Authorization", SECRET), ("X-Forwarded-Authorization", SECRET), ("X-Other", "y"))
    verification = provider.verify(inbound(headers=headers), [SECRET], settings())
    assert verification.proof_headers == ("Authorization", "X-Forwarded-Authorization")


def test_only_header_accepts_one_header_but_reports_others() -> None:
    narrow = settings(only_header=True, auth_header_name="X-Hook")
    verification = provider.verify(inbound(headers=(("Authorization", SECRET),)), [SECRET], narrow)
    assert (verification.result, verification.proof_headers) == (VerificationResult.FAILED, ("Authorization",))
    assert "only in X-Hook" in verification.detail
    verification = provider.verify(inbound(headers=(("x-hook", SECRET),)), [SECRET], narrow)
    assert verification.result is VerificationResult.VERIFIED


def test_the_newest_matching_secret_is_reported() -> None:
    old, new = SECRET + "1", SECRET + "2"
    verification = provider.verify(inbound(headers=(("A", old), ("B", new))), [new, old], settings())
    assert verification.secret_index == 0


@pytest.mark.parametrize(
    ("headers", "secrets", "excerpt"),
    [
        ((), [SECRET], "Authorization is not among them"),
        ((("Authorization", "Bearer old"),), [SECRET], "another value"),
        ((("Authorization", SECRET),), [], "No secret is known"),
    ],
)
def test_a_failure_names_the_reason(headers: tuple[tuple[str, str], ...], secrets: list[str], excerpt: str) -> None:
    assert excerpt in provider.verify(inbound(headers=headers), secrets, settings()).detail


def test_the_named_header_is_sensitive() -> None:
    assert {"x-hook", "authorization"} <= provider.sensitive_headers(settings(auth_header_name="X-Hook"))


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    return {"eventId": "9c1d", "domain": "acme", "timestamp": 1767323045, "eventType": "fs:add_file", **changes}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b'{"events": []}', b"\xef\xbb\xbf[]"])
def test_empty_bodies_are_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [None, 1, "text", True, {"events": {}}, {"events": None}])
def test_a_body_without_elements_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableRequest):
        parse(value)


def test_an_element_without_type_does_not_affect_the_others() -> None:
    parsed = parse([{"eventId": "1"}, event(), event(eventType=7), event(eventType=" "), event(eventType="x" * 101)])
    assert [item.index for item in parsed.unreadable] == [0, 2, 3, 4]
    assert [item.type for item in parsed.events] == ["fs:add_file"]
    assert parse({"eventId": "1"}).unreadable
    assert not parse({"eventId": "1"}).ping


def test_an_event_with_a_field_named_events_is_one_event() -> None:
    assert len(parse(event(events=[])).events) == 1


def test_data_is_the_unmodified_element() -> None:
    element = event(data={"targetPath": "/a"}, extra=[1, {"b": None}])
    assert parse([element]).events[0].data == element


def test_dedup_keys_depend_on_domain_and_event_id() -> None:
    def key(**changes: object) -> str:
        return parse(event(**changes)).events[0].dedup_key

    assert key() == "acme:9c1d" == key(timestamp=5, webhookId="other")
    keys = [
        key(), key(eventId=7), key(domain="b"), key(domain=None), key(eventId="x" * 999), key(eventId="x" * 998),
        key(eventId="a\0"), key(eventId="a\ufffd"), key(eventId="\ud800"), key(domain="a:b", eventId="c"),
        key(domain="a", eventId="b:c"), key(eventId=None), key(eventId="", timestamp=2), key(eventId=True, timestamp=3),
    ]  # fmt: skip
    assert len(keys) == len(set(keys))
    assert all(len(item) <= 255 and item.isprintable() for item in keys)


def test_without_an_id_the_dedup_key_is_the_content_without_the_webhook() -> None:
    first = parse(event(eventId=None, webhookId="old")).events[0].dedup_key
    assert first == parse(event(eventId=None, webhookId="new")).events[0].dedup_key
    assert first != parse(event(eventId=None, timestamp=1)).events[0].dedup_key


NO_TIMES: tuple[object, ...] = (
    None, True, 0, -5, "soon", "nan", "1_0", "\u0661", 10**300, 1e300, [], {}, "9" * 30,
)  # fmt: skip


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045000, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1767323045000", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1767323045250000, datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)),
        ("1767323045250000000", datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)),
        ("2026-01-02T04:04:05.250+01:00", datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)),
        ("2026-01-02 03:04:05 UTC", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (" 1767323045.5 ", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_timestamps_are_parsed(timestamp: object, expected: datetime | None) -> None:
    assert parse(event(timestamp=timestamp)).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("user", "actor"),
    [
        ({"email": "a@b.test", "username": "u"}, "a@b.test"),
        ({"email": "", "username": "u"}, "u"),
        ({"email": None, "displayName": "Ann", "id": 7}, "Ann"),
        ({"id": 7}, "7"),
        ({"email": ["x"]}, None),
        ("ann", "ann"),
        (None, None),
        ([], None),
        ({"email": "a\0\ud800" + "x" * 999}, "a\ufffd\ufffd" + "x" * 252),
    ],
)
def test_the_actor_is_read_from_the_user(user: object, actor: str | None) -> None:
    assert parse(event(user=user)).events[0].actor == actor


@pytest.mark.parametrize(
    ("data", "resource", "previous"),
    [
        ({"sourcePath": "/from", "targetPath": "/to"}, "/to", "/from"),
        ({"source_path": "/from"}, "/from", None),
        ({"oldPath": "/from", "file": {"path": "/inner"}}, "/inner", "/from"),
        ({"targetPath": "/same", "sourcePath": "/same"}, "/same", None),
        ({"targetPath": "", "path": 7, "file": {"path": "/inner"}}, "/inner", None),
        ({"groupName": "Editors"}, "Editors", None),
        ({"groupName": "Editors", "oldName": "Writers"}, "Editors", "Writers"),
        ({"targetPath": "/" + "x" * 5000, "sourcePath": "/" + "y" * 5000}, "/" + "x" * 1999, "/" + "y" * 1999),
        ("text", None, None),
        ({}, None, None),
    ],
)
def test_the_resource_is_read_from_data(data: object, resource: str | None, previous: str | None) -> None:
    parsed = parse(event(data=data)).events[0]
    assert (parsed.resource, parsed.previous_resource) == (resource, previous)


def test_an_unknown_event_type_is_other_and_keeps_its_name() -> None:
    parsed_event = parse(event(eventType="fs:classify_file", data={"is_folder": True})).events[0]
    assert (parsed_event.type, parsed_event.action, parsed_event.resource_type) == (
        "fs:classify_file",
        Action.OTHER,
        "folder",
    )


ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too


@pytest.mark.slow
@given(
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT | st.just(SECRET))),
    st.lists(ANY_TEXT, max_size=3),
)
def test_verification_never_raises(headers: list[tuple[str, str]], secrets: list[str]) -> None:
    verification = provider.verify(inbound(headers=tuple(headers)), [*secrets, SECRET], settings())
    carried = any(value == SECRET for _, value in headers)
    assert verification.result is VerificationResult.VERIFIED or not carried
