"""Verification and parsing of Egnyte MSP's webhooks."""

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
from providers.egnyte_msp import provider
from providers.egnyte_msp.event_types import LINK_NFR
from providers.egnyte_msp.tests.samples import FIXTURES, SECRET, event, settings
from tests.harness.distorted_responses import check_storable
from tests.harness.inbound import inbound


def test_the_secret_is_accepted_in_the_named_header() -> None:
    headers = (("Host", "x"), ("x-hook-key", f" {SECRET} "))
    verification = provider.verify(inbound(headers=headers), [SECRET], settings())
    assert (verification.result, verification.proof_headers) == (VerificationResult.VERIFIED, ("x-hook-key",))
    assert "expected" not in verification.detail


def test_the_secret_is_accepted_in_a_former_header_with_a_note() -> None:
    verification = provider.verify(inbound(headers=(("X-Old", SECRET), ("X-Copy", SECRET))), [SECRET], settings())
    assert (verification.result, verification.proof_headers) == (VerificationResult.VERIFIED, ("X-Old", "X-Copy"))
    assert "expected in X-Hook-Key" in verification.detail


def test_the_newest_matching_secret_is_reported() -> None:
    old, new = SECRET + "1", SECRET + "2"
    verification = provider.verify(inbound(headers=(("A", old), ("B", new))), [new, old], settings())
    assert verification.secret_index == 0


@pytest.mark.parametrize(
    ("headers", "secrets", "excerpt"),
    [
        ((), [SECRET], "X-Hook-Key is not among them"),
        ((("X-Hook-Key", "old"),), [SECRET], "another value"),
        ((("X-Hook-Key", SECRET),), [], "No secret is known"),
    ],
)
def test_a_failure_names_the_reason(headers: tuple[tuple[str, str], ...], secrets: list[str], excerpt: str) -> None:
    assert excerpt in provider.verify(inbound(headers=headers), secrets, settings()).detail


def test_the_named_header_is_sensitive_and_hinted() -> None:
    named = settings(auth_header_name="X-Partner")
    assert {"x-partner", "authorization"} <= provider.sensitive_headers(named)
    hint = provider.secret_hint(named, SECRET)
    assert (hint.header, hint.value) == ("X-Partner", SECRET)
    assert SECRET not in repr(hint)


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def link_nfr(**changes: object) -> dict[str, object]:
    body: dict[str, object] = json.loads((FIXTURES / f"{LINK_NFR}.json").read_text("utf-8"))
    return {**body, **changes}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b"\xef\xbb\xbf[]"])
def test_empty_bodies_are_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [None, 1, "text", True])
def test_a_body_without_elements_is_unreadable(value: object) -> None:
    with pytest.raises(UnreadableRequest):
        parse(value)


def test_an_element_without_type_does_not_affect_the_others() -> None:
    odd = [{"reseller_code": "1"}, event(event_type=7), event(event_type=" "), event(event_type="X" * 101), None]
    parsed = parse([event(), *odd])
    assert [item.index for item in parsed.unreadable] == [1, 2, 3, 4, 5]
    assert [item.type for item in parsed.events] == ["USER_ADDED"]
    assert parse({"reseller_code": "1"}).unreadable
    assert not parse({"reseller_code": "1"}).ping


def test_data_is_the_unmodified_element() -> None:
    for element in (event(extra=[1, {"b": None}]), link_nfr(extra={"a": [True]})):
        assert parse(element).events[0].data == element
        assert parse([element]).events[0].data == element


def test_an_array_of_one_has_the_same_dedup_key() -> None:
    assert parse(event()) == parse([event()])


TEXTS = (
    "reseller_code", "first_name", "last_name", "email", "company_name", "transaction_timestamp", "event_created_by",
    "nfr_domain_name", "nfr_plan",
)  # fmt: skip
NOT_OF_TYPE: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(TEXTS, (None, 1, True, ["x"], {})),
    "transaction_timestamp": (),  # any value; an unreadable time is empty
    "is_event_by_staff_user": (None, "true", 0, 1, []),
    "power_users": (None, "10", 1.5, True, []),
    "storage": (None, "1000", 1e30, False, {}),
}


@pytest.mark.parametrize("name", NOT_OF_TYPE)
def test_link_nfr_is_validated_field_by_field(name: str) -> None:
    missing = link_nfr()
    del missing[name]
    for element in (missing, *(link_nfr(**{name: value}) for value in NOT_OF_TYPE[name])):
        parsed = parse(element)
        assert parsed.events == ()
        assert [item.index for item in parsed.unreadable] == [0]
        assert f"`{name}`: " in parsed.unreadable[0].reason
        assert parsed.unreadable[0].reason.count("`") == 2


def test_all_wrong_fields_are_named_without_values() -> None:
    (element,) = parse(link_nfr(email=["ann@private.test"], storage="much", nfr_plan=7)).unreadable
    assert [name for name in link_nfr() if f"`{name}`" in element.reason] == [
        "email",
        "nfr_plan",
        "storage",
    ]
    for value in ("private", "much", "7"):
        assert value not in element.reason


def test_empty_strings_and_unknown_fields_are_valid() -> None:
    parsed = parse(link_nfr(first_name="", nfr_plan="", surprise={"deep": [1]}, power_users=0, storage=10**20))
    assert not parsed.unreadable
    assert len(parsed.events) == 1


def test_the_dedup_key_covers_everything_but_the_order_of_keys() -> None:
    def key(**changes: object) -> str:
        return parse(event(**changes)).events[0].dedup_key

    assert key() == key() == parse(dict(reversed(event().items()))).events[0].dedup_key
    keys = [
        key(), key(transaction_timestamp="2026-01-02T03:04:05.001Z"), key(transaction_timestamp=None),
        key(reseller_code="RX13"), key(event_type="USER_TFA_ENABLED"), key(more=1), key(more="1"), key(more=True),
        key(more="é"), key(more="\ud800"), key(more=[1, 2]), key(more=[2, 1]),
    ]  # fmt: skip
    assert len(keys) == len(set(keys))


NO_TIMES: tuple[object, ...] = (
    None, True, 0, "soon", "", "2026-01-02T23:59:60Z", "2026-01-02T24:00:00Z", "2026-02-30", "2026-13-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59", "2" * 100, [], {}, ["2026-01-02"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.250Z", datetime(2026, 1, 2, 3, 4, 5, 250000, tzinfo=UTC)),
        ("2026-01-02T04:04:05+01:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (" 2026-01-02 03:04:05 ", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("20260102T030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_timestamps_are_parsed(timestamp: object, expected: datetime | None) -> None:
    for element in (event(transaction_timestamp=timestamp), link_nfr(transaction_timestamp=timestamp)):
        assert parse(element).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("changes", "resource", "actor"),
    [
        ({"user_email": "u@b.test", "event_created_by": "Bob"}, "u@b.test", "Bob"),
        ({"email": "owner@b.test"}, "RX12", "owner@b.test"),
        ({"reseller_code": "", "company_name": "Lee IT", "event_created_by": " "}, "Lee IT", None),
        ({"event_type": "RESELLER_INVOICE_PAID", "invoice_id": 4711}, "4711", None),
        ({"event_type": "RESELLER_INVOICE_PAID", "invoice_number": True}, "RX12", None),
        ({"event_type": "RESELLER_CREATED_PROTECT_TRIAL", "domain": "acme"}, "acme", None),
        ({"reseller_code": ["x"]}, None, None),
        (
            {"user_email": "a\0\ud800" + "x" * 5000, "event_created_by": "y" * 300},
            "a\ufffd\ufffd" + "x" * 1997,
            "y" * 255,
        ),
    ],
)
def test_resource_and_actor_are_read(changes: dict[str, object], resource: str | None, actor: str | None) -> None:
    parsed_event = parse(event(**changes)).events[0]
    assert (parsed_event.resource, parsed_event.actor) == (resource, actor)


def test_an_unknown_event_type_is_other_and_keeps_its_name() -> None:
    parsed_event = parse(event(event_type="reseller_tier_changed")).events[0]
    assert (parsed_event.type, parsed_event.action, parsed_event.resource_type) == (
        "reseller_tier_changed",
        Action.OTHER,
        None,
    )
    assert parsed_event.resource == "RX12"


ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT | st.just(SECRET))), st.lists(ANY_TEXT, max_size=3))
def test_verification_never_raises(headers: list[tuple[str, str]], secrets: list[str]) -> None:
    verification = provider.verify(inbound(headers=tuple(headers)), [*secrets, SECRET], settings())
    if any(value == SECRET for _, value in headers):
        assert verification.result is VerificationResult.VERIFIED


@pytest.mark.slow
def test_long_texts_are_cut() -> None:
    long = "é" * 1_000_000
    parsed = parse([{**link_nfr(), **dict.fromkeys(TEXTS, long)}, {**event(), **dict.fromkeys(TEXTS, long)}])
    check_storable(parsed)
    assert len(parsed.events[0].resource or "") == 2000
    assert [item.occurred_at for item in parsed.events] == [None, None]
