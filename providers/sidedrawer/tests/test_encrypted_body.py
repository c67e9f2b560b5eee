"""SideDrawer: detection of bodies that look encrypted."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from providers.contract.errors import (
    UnreadableRequest,
)
from providers.sidedrawer import provider
from providers.sidedrawer.tests.samples import (
    event,
    parse,
)
from tests.harness.inbound import inbound

CIPHERTEXT = base64.b64encode(hashlib.sha512(b"x").digest()).decode()
JWE = (
    "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX.XFBo"
)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (CIPHERTEXT.encode(), "base64 text"),
        (CIPHERTEXT.replace("+", "-").replace("/", "_").rstrip("=").encode(), "base64 text"),
        (b"\n".join(base64.encodebytes(b"\x01" * 200).split()), "base64 text"),
        (hashlib.sha512(b"x").hexdigest().encode(), "hexadecimal text"),
        (b"a1b2c3d4e5f60718293a4b5c:00112233445566778899aabbccddeeff", "hexadecimal text"),
        (JWE.encode(), "a JWE"),
        (json.dumps(CIPHERTEXT).encode(), "base64 text"),
        (json.dumps({"data": CIPHERTEXT, "keyVersion": 2}).encode(), "base64 text in the field data"),
        (json.dumps({"payload": JWE}).encode(), "a JWE in the field payload"),
        (json.dumps({"protected": "e30", "iv": "x", "ciphertext": "abc", "tag": "t"}).encode(), "field ciphertext"),
        (json.dumps({"encryptedData": "abc", "iv": "x"}).encode(), "field encryptedData"),
        (hashlib.sha512(b"x").digest(), "binary data"),
        (b"\xff\x80\x07", "binary data"),
        (b"deadbeefdeadbeef", "hexadecimal text"),
        (b'"' + b"ab" * 40 + b'"', "hexadecimal text"),
        (json.dumps([CIPHERTEXT]).encode(), "base64 text in a list"),
        (json.dumps({"events": [CIPHERTEXT, CIPHERTEXT]}).encode(), "base64 text in a list"),
        (b'["deadbeefdeadbeef"]', "hexadecimal text in a list"),
        (b'{"iv": "00112233", "content": "deadbeef"}', "hexadecimal text in the field content"),
        (b'{"iv": "AAECAw==", "content": "c2VjcmV0"}', "base64 text in the field content"),
        (b'{"iv": "AAECAw==", "tag": "BAUG", "value": "c2VjcmV0"}', "base64 text in the field value"),
        (b'{"nonce": "AAECAw==", "data": "c2VjcmV0"}', "base64 text in the field data"),
        (b'{"authTag": "AAECAw==", "payload": "c2VjcmV0"}', "base64 text in the field payload"),
        (json.dumps({"tag": "BAUG", "value": CIPHERTEXT}).encode(), "base64 text in the field value"),
        (b'{"iv": "AAECAw==", "encrypted": "c2VjcmV0"}', "field encrypted"),
        (b'{"version": 1, "encrypted": {"iv": "AA==", "content": "c2VjcmV0"}}', "in the field content of encrypted"),
    ],
)
def test_a_body_that_looks_encrypted_is_unreadable(body: bytes, form: str) -> None:
    with pytest.raises(UnreadableRequest) as caught:
        provider.parse(inbound(body))
    assert "encrypted" in str(caught.value)
    assert "integrity key" in str(caught.value)
    assert form in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"<html><body>Service unavailable, please try again</body></html>", b"{broken", b"a=1&b=2", b"short", b"deadbeef"],
)
def test_other_unreadable_bodies_do_not_look_encrypted(body: bytes) -> None:
    with pytest.raises(UnreadableRequest) as caught:
        provider.parse(inbound(body))
    assert "encrypted" not in str(caught.value)


def test_an_event_with_a_long_text_does_not_look_encrypted() -> None:
    assert parse(event(data=CIPHERTEXT)).events[0].type == "record.update"
    assert parse({"checksum": CIPHERTEXT}).events[0].type == "unknown.unknown"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (event(iv="00112233", content="deadbeefdeadbeef", tag="AAECAw=="), "record.update"),
        ({"eventType": "record.created", "content": CIPHERTEXT, "iv": "AAECAw=="}, "record.create"),
        ({"name": "x", "tag": "vip", "content": "hello"}, "unknown.unknown"),
        ({"iv": "AAECAw==", "content": "two text"}, "unknown.unknown"),
        ({"data": "64b7f0c2a1d3e40012ab34cd"}, "unknown.unknown"),
    ],
)
def test_an_object_with_event_fields_or_plain_text_is_an_event(value: object, kind: str) -> None:
    assert [item.type for item in parse(value).events] == [kind]
    assert [item.type for item in parse([value]).events] == [kind]


def test_a_ciphertext_among_events_does_not_affect_them() -> None:
    parsed = parse([event(), CIPHERTEXT])
    assert (len(parsed.events), len(parsed.unreadable)) == (1, 1)
