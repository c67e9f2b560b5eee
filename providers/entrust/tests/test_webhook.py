"""Entrust: verification and parsing of webhook requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.capabilities import Action, Proof
from providers.contract.errors import (
    UnreadableRequest,
)
from providers.contract.parsing import InboundRequest, Parsed, Verification, VerificationResult
from providers.entrust import provider
from providers.entrust.tests.samples import (
    SECRET,
    settings,
    signed,
)
from tests.harness.distorted_responses import check_storable
from tests.harness.inbound import RECEIVED_AT, inbound

# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, *secrets: str, **values: object) -> Verification:
    return provider.verify(request, secrets or (SECRET,), settings(**values))


VECTOR_BODY = (
    b'{"id":"019a0000-0000-7000-8000-000000000001","type":"user.created","accountId":"11111111-2222-4333-8444-555555555555"'
    b',"eventTime":"2026-01-02T03:04:05Z","data":{"subjectName":"admin1","entityName":"jdoe"}}'
)
VECTOR = inbound(
    VECTOR_BODY,
    url="https://hooks.example.test/in/abc123",
    headers=(
        ("Host", "10.0.0.1:8000"),
        ("Content-Type", "application/json"),
        ("Content-Digest", "sha-256=:MucHx4F2CvL0VZOjaGcJSCREs8KYxq1ZbFv/LEKZazo=:"),
        (
            "Signature-Input",
            'sig=("@method" "@target-uri" "content-digest");created=1767323045;alg="hmac-sha256"',
        ),
        ("Signature", "sig=:Nk9cXRmI5wNxCD+HHNxBGsUTly22DriQn3lzd5aZEwA=:"),
    ),
)


def test_a_precomputed_signature_is_verified() -> None:
    verification = verify(VECTOR)
    assert (verification.result, verification.secret_index, verification.proof_headers) == (
        VerificationResult.VERIFIED,
        0,
        (),
    )
    assert "sig is valid" in verification.detail
    assert "as text" in verification.detail
    assert verify(replace(VECTOR, body=VECTOR_BODY + b"\n")).result is VerificationResult.FAILED
    assert verify(replace(VECTOR, url="https://hooks.example.test/in/abc124")).result is VerificationResult.FAILED
    assert verify(replace(VECTOR, query="x=1")).result is VerificationResult.FAILED


def test_the_query_is_signed_as_received() -> None:
    request = signed(inbound(b"{}", query="a=%2f&b=+"), SECRET.encode())
    assert verify(request).result is VerificationResult.VERIFIED
    assert verify(replace(request, query="a=%2F&b=+")).result is VerificationResult.FAILED


def test_an_empty_query_may_be_signed_with_its_question_mark() -> None:
    url = inbound().url
    request = signed(replace(inbound(b"{}"), url=f"{url}?"), SECRET.encode())
    assert verify(replace(request, url=url)).result is VerificationResult.VERIFIED
    assert verify(replace(request, url=url, query="a")).result is VerificationResult.FAILED


def test_a_former_callback_url_is_accepted() -> None:
    moved = replace(VECTOR, url="https://new.example.test/in/abc123")
    assert verify(moved).result is VerificationResult.FAILED
    verification = verify(replace(moved, former_urls=("https://older.example.test/in/abc123", VECTOR.url)))
    assert verification.result is VerificationResult.VERIFIED
    other = replace(moved, former_urls=("https://older.example.test/in/abc123",))
    assert verify(other).result is VerificationResult.FAILED


RAW_KEY = bytes(range(200, 232))
URL_SAFE = base64.urlsafe_b64encode(RAW_KEY).decode()


@pytest.mark.parametrize(
    "secret",
    [
        base64.b64encode(RAW_KEY).decode(),
        URL_SAFE,
        URL_SAFE.rstrip("="),
        f"whsec_{base64.b64encode(RAW_KEY).decode()}",
    ],
)
def test_the_key_may_be_text_or_base64(secret: str) -> None:
    as_text, decoded = signed(inbound(b"{}"), secret.encode()), signed(inbound(b"{}"), RAW_KEY)
    for request, form, text in ((as_text, "text", "as text"), (decoded, "base64", "decoded from base64")):
        other = "base64" if form == "text" else "text"
        assert text in verify(request, secret).detail
        assert verify(request, secret, key_form=form).result is VerificationResult.VERIFIED
        assert verify(request, secret, key_form=other).result is VerificationResult.FAILED


def test_the_index_of_an_older_token_is_returned() -> None:
    old = base64.b64encode(RAW_KEY).decode()
    verification = verify(signed(inbound(b"{}"), RAW_KEY), "new", old)
    assert (verification.result, verification.secret_index) == (VerificationResult.VERIFIED, 1)


@pytest.mark.parametrize("secret", ["", "=", "whsec_", "whsec_===", "é", "\ud800", "a", "ab_-=="])
@pytest.mark.parametrize("form", ["auto", "text", "base64"])
def test_an_unusable_token_verifies_nothing(secret: str, form: str) -> None:
    proof = hmac.new(b"x", b"", hashlib.sha256).digest()
    for request in (VECTOR, signed(inbound(b"{}"), proof), signed(inbound(b"{}"), b"\0")):
        assert verify(request, secret, key_form=form).result is VerificationResult.FAILED


@pytest.mark.parametrize(
    ("age", "setting", "refusal"),
    [
        (0, {}, ""),
        (6 * 3600, {}, ""),
        (6 * 3600 + 1, {}, "too long ago"),
        (300 * 86400, {}, "too long ago"),
        (300 * 86400, {"signature_max_age": 0}, ""),
        (86400, {"signature_max_age": 86400}, ""),
        (86401, {"signature_max_age": 86400}, "too long ago"),
        (-300, {}, ""),
        (-301, {}, "in the future"),
        (-301, {"signature_max_age": 0}, "in the future"),
        (-86400 * 365, {"signature_max_age": 86400}, "in the future"),
    ],
)
def test_an_old_signature_and_one_from_the_future_are_refused(
    age: int, setting: dict[str, object], refusal: str
) -> None:
    request = signed(inbound(b"{}"), SECRET.encode(), created=int(RECEIVED_AT.timestamp()) - age)
    verification = verify(request, **setting)
    assert (verification.result is VerificationResult.FAILED) == bool(refusal)
    assert refusal in verification.detail


def sha2(body: bytes, key: bytes = SECRET.encode()) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "value", [sha2(b"{}"), sha2(b"{}").upper(), f" {sha2(b'{}')} ", f"sha256={sha2(b'{}')}"], ids=range(4)
)
def test_the_older_body_signature_is_accepted_only_with_the_setting(value: str) -> None:
    request = inbound(b"{}", headers=(("X-Sha2-Signature", value),))
    verification = verify(request)
    assert verification.result is VerificationResult.FAILED
    assert "use the setting accept_body_signature" in verification.detail
    verification = verify(request, "other", SECRET, accept_body_signature=True)
    assert (verification.result, verification.secret_index) == (VerificationResult.VERIFIED, 1)
    assert "x-sha2-signature contains the HMAC-SHA256 of the body" in verification.detail


def test_the_older_body_signature_also_takes_the_key_decoded_from_base64() -> None:
    request = inbound(b"{}", headers=(("x-sha2-signature", sha2(b"{}", RAW_KEY)),))
    assert verify(request, URL_SAFE, accept_body_signature=True).result is VerificationResult.VERIFIED
    assert verify(request, URL_SAFE, accept_body_signature=True, key_form="text").result is VerificationResult.FAILED


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ((("x-sha2-signature", sha2(b"[]")),), "x-sha2-signature does not contain the HMAC"),
        ((("x-sha2-signature", ""),), "x-sha2-signature does not contain the HMAC"),
        ((("X-Hub-Signature-256", "sha256=ab"), ("X-Other", "1")), "another signature: X-Hub-Signature-256."),
        ((("Accept", "*/*"),), "There is no header Content-Digest."),
    ],
)
@pytest.mark.parametrize("accepted", [False, True])
def test_the_reason_says_which_other_signature_was_there(
    headers: tuple[tuple[str, str], ...], text: str, accepted: bool
) -> None:
    verification = verify(inbound(b"{}", headers=headers), accept_body_signature=accepted)
    assert verification.result is VerificationResult.FAILED
    assert text in verification.detail
    assert ("signature" in verification.detail) == (headers[0][0] != "Accept")


@pytest.mark.parametrize(
    ("headers", "secrets", "text"),
    [
        ((), (SECRET,), "no header Content-Digest"),
        (VECTOR.headers[:3], (SECRET,), "no header Signature-Input"),
        (VECTOR.headers[:4], (SECRET,), "no header Signature"),
        (VECTOR.headers, ("another",), "matches none of the keys"),
        (VECTOR.headers, ("",), "has no secret"),
    ],
)
def test_a_failed_verification_is_explained(
    headers: tuple[tuple[str, str], ...], secrets: tuple[str, ...], text: str
) -> None:
    assert text in verify(replace(VECTOR, headers=headers), *secrets).detail


def test_the_secret_hint_has_the_token_and_no_header() -> None:
    hint = provider.secret_hint(settings(), SECRET)
    assert (hint.kind, hint.header, hint.value) == (Proof.RFC9421, None, SECRET)


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(value: object) -> Parsed:
    return provider.parse(inbound(json.dumps(value).encode()))


def event(**changes: object) -> dict[str, object]:
    return {"id": "019a", "type": "user.created", "eventTime": "2026-01-02T03:04:05Z", "data": {}, **changes}


@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"{}", b"[]", b"null", b"\xef\xbb\xbf{}"])
def test_empty_bodies_are_pings(body: bytes) -> None:
    assert provider.parse(inbound(body)) == Parsed(ping=True)


@pytest.mark.parametrize("value", [0, 1.5, "text", True, False, [None], [{"type": "a"}], {"a": None}, {"data": {}}])
def test_any_json_without_an_event_type_is_an_untyped_event(value: object) -> None:
    (parsed_event,) = parse(value).events
    assert (parsed_event.type, parsed_event.action, parsed_event.data) == ("untyped", Action.OTHER, value)


@pytest.mark.parametrize("name", [None, 7, "", " ", "x" * 101, ["user.created"], {}])
def test_an_event_without_a_usable_type_is_untyped(name: object) -> None:
    assert parse(event(type=name)).events[0].type == "untyped"


def test_equal_test_payloads_at_different_times_are_different_events() -> None:
    request = inbound(b'{"message": "test"}')
    first = provider.parse(request).events[0].dedup_key
    assert first == provider.parse(request).events[0].dedup_key
    later = replace(request, received_at=RECEIVED_AT + timedelta(microseconds=1))
    assert first != provider.parse(later).events[0].dedup_key


def test_dedup_keys_depend_on_the_event_id() -> None:
    def key(**changes: object) -> str:
        return parse(event(**changes)).events[0].dedup_key

    assert key() == "019a" == key(eventTime=None, data={"other": 1}, accountId="b")
    keys = [
        key(), key(id=7), key(id="x" * 999), key(id="x" * 998), key(id="a\0"), key(id="a\ufffd"), key(id="\ud800"),
        key(id="content:1"), key(id=None), key(id="", data=1), key(id=True, data=2),
    ]  # fmt: skip
    assert len(keys) == len(set(keys))
    assert all(len(item) <= 255 and item.isprintable() for item in keys)


INVALID_TIMES = (None, 0, True, "", "soon", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00", "2" * 999)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5Z", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        *((odd, None) for odd in INVALID_TIMES),
    ],
)
def test_event_times_are_parsed(moment: object, expected: datetime | None) -> None:
    assert parse(event(eventTime=moment)).events[0].occurred_at == expected


@pytest.mark.parametrize(
    ("data", "resource", "actor"),
    [
        ({"entityName": "jdoe", "entityId": "1", "subjectName": "admin1", "subject": "2"}, "jdoe", "admin1"),
        ({"entityName": "", "entityId": 1, "subjectName": None, "subject": "2"}, "1", "2"),
        ({"entityId": {}, "resourceName": "USER", "subject": True}, "USER", None),
        ({"entityName": "x" * 5000, "subjectName": "a\0\ud800" + "y" * 999}, "x" * 2000, "a\ufffd\ufffd" + "y" * 252),
        ("text", None, None),
        ([], None, None),
    ],
)
def test_resource_and_actor_are_read_from_the_data(data: object, resource: str | None, actor: str | None) -> None:
    (parsed_event,) = parse(event(data=data)).events
    assert (parsed_event.resource, parsed_event.actor) == (resource, actor)


def test_an_unknown_event_type_has_the_action_other() -> None:
    (parsed_event,) = parse(event(type="grid.burned", data={"entityType": "GRIDS"})).events
    assert (parsed_event.type, parsed_event.action, parsed_event.resource_type) == ("grid.burned", Action.OTHER, "grid")
    assert parse(event(type="a", data={"entityType": "NEW_THINGS"})).events[0].resource_type == "new_things"
    assert parse(event(type="a", data={"entityType": 7})).events[0].resource_type is None


ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too
HEADER_NAMES = st.sampled_from(["Content-Digest", "Signature-Input", "Signature", "signature"]) | ANY_TEXT
HEADER_VALUES = st.sampled_from([value for _, value in VECTOR.headers]) | ANY_TEXT


@pytest.mark.slow
@given(
    st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=8),
    st.lists(ANY_TEXT, max_size=3),
    ANY_TEXT,
    st.sampled_from(["auto", "text", "base64"]),
)
def test_verification_never_raises_for_random_headers(
    headers: list[tuple[str, str]], secrets: list[str], query: str, form: str
) -> None:
    verification = verify(inbound(b"{}", headers=tuple(headers), query=query), *secrets, SECRET, key_form=form)
    assert verification.result is VerificationResult.FAILED
    assert SECRET not in verification.detail


@pytest.mark.parametrize(
    "body",
    [b'{"id": NaN}', b"\xff"],
)
def test_what_is_not_strict_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        provider.parse(inbound(body))


@pytest.mark.slow
def test_long_values_are_truncated() -> None:
    long = "é" * 1_000_000
    names = ("entityType", "entityId", "entityName", "subject", "subjectName")
    parsed = parse(event(id=long, type=long, eventTime=long, data=dict.fromkeys((*names, long), long)))
    check_storable(parsed)
    assert len(parsed.events[0].resource or "") == 2000
