"""SideDrawer: verification of webhook requests."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.parsing import VerificationResult
from providers.sidedrawer import provider
from providers.sidedrawer.tests.samples import (
    settings,
)
from tests.harness.inbound import inbound

VECTOR_HEX = "47218758515756d868e172a5e0379a167fb10e308111f0ef13b49d5d67d6719b"
VECTOR_BASE64 = "RyGHWFFXVtho4XKl4DeaFn+xDjCBEfDvE7SdXWfWcZs="


def verify(value: str | None, *, body: bytes = b'{"a":1}', secrets: tuple[str, ...] = ("k1",), **changes: Any) -> Any:
    headers = () if value is None else ((str(changes.pop("header", "integrityHash")), value),)
    return provider.verify(inbound(body, headers=headers), secrets, settings(**changes))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (VECTOR_HEX, "hex"),
        (VECTOR_HEX.upper(), "hex"),
        (f" {VECTOR_HEX} ", "hex"),
        (f"sha256={VECTOR_HEX}", "hex after sha256="),
        (f"SHA256={VECTOR_BASE64}", "base64 after sha256="),
        (VECTOR_BASE64, "base64"),
        (VECTOR_BASE64.rstrip("="), "base64"),
        (VECTOR_BASE64.replace("+", "-"), "base64url"),
        (VECTOR_BASE64.replace("+", "-").rstrip("="), "base64url"),
    ],
)
@pytest.mark.parametrize("header", ["integrityHash", "integrityhash", "IntegrityHash"])
def test_every_encoding_is_accepted_and_named(value: str, form: str, header: str) -> None:
    verification = verify(value, header=header)
    assert (verification.result, verification.secret_index) == (VerificationResult.VERIFIED, 0)
    assert f"({form})" in verification.detail
    assert verification.proof_headers == (header,)


@pytest.mark.parametrize(
    "value",
    ["", "sha256=", VECTOR_HEX[:-1], VECTOR_HEX + "0", VECTOR_BASE64.lower(), "sha1=" + VECTOR_HEX, "\ud800", "é" * 64],
)
def test_any_other_value_fails(value: str) -> None:
    assert verify(value).result is VerificationResult.FAILED


def test_a_missing_header_or_key_fails() -> None:
    assert verify(None).result is VerificationResult.FAILED
    assert "no header integrityHash" in verify(None).detail
    assert verify(VECTOR_HEX, secrets=()).result is VerificationResult.FAILED
    assert "no integrity key" in verify(VECTOR_HEX, secrets=("",)).detail


def test_a_valid_hash_in_another_header_fails_and_is_named() -> None:
    assert verify(VECTOR_HEX, header="x-hash", integrity_header="X-Hash").result is VerificationResult.VERIFIED
    verification = verify(VECTOR_HEX, header="X-Hash")
    assert verification.result is VerificationResult.FAILED
    assert "header X-Hash contains the valid hash" in verification.detail
    assert "integrity_header" in verification.detail
    assert "x-hash" in provider.sensitive_headers(settings(integrity_header="X-Hash"))


def test_the_index_of_the_newest_matching_key_is_returned() -> None:
    assert verify(VECTOR_HEX, secrets=("new", "k1")).secret_index == 1
    assert verify(VECTOR_HEX, secrets=("k1", "k1")).secret_index == 0


def test_compact_json_is_tried_only_with_the_setting() -> None:
    pretty = b'{\n  "a": 1\n}'
    assert verify(VECTOR_HEX, body=pretty).result is VerificationResult.FAILED
    verification = verify(VECTOR_HEX, body=pretty, accept_compact_json=True)
    assert verification.result is VerificationResult.VERIFIED
    assert "compact JSON" in verification.detail
    assert "compact" not in verify(VECTOR_HEX, accept_compact_json=True).detail
    for body in (b"", b"\xff", b"{", b"[" * 100_000, b'"\\ud800"'):
        assert verify(VECTOR_HEX, body=body, accept_compact_json=True).result is VerificationResult.FAILED


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b"[1.0, -0.0, 0, -0, 1.50, 123.456, -7.25]", "[1,0,0,0,1.5,123.456,-7.25]"),
        (
            b"[1e21, 1.0e20, 1.25e+22, 123456789012345680000]",
            "[1e+21,100000000000000000000,1.25e+22,123456789012345680000]",
        ),
        (b"[1e-6, 0.000001234, 1e-7, -1.5e-9, 5e-324]", "[0.000001,0.000001234,1e-7,-1.5e-9,5e-324]"),
        (b"[9007199254740993, 1152921504606846976]", "[9007199254740992,1152921504606847000]"),
        (b"[" + b"9" * 400 + b", true, null]", "[null,true,null]"),
        (b'{"b": 1, "10": 2, "9": 3, "01": 4, "4294967295": 5}', '{"9":3,"10":2,"b":1,"01":4,"4294967295":5}'),
        ('{"ä": "\\u00e9\\u2028\\/\\u0001\\n\x7f"}'.encode(), '{"ä":"é\u2028/\\u0001\\n\x7f"}'),
        (b'["\\uD800", "\\ud83d\\ude00"]', '["\\ud800","\U0001f600"]'),
    ],
)
def test_compact_json_equals_that_of_javascript(body: bytes, written: str) -> None:
    signature = hmac.new(b"k1", written.encode(), hashlib.sha256).hexdigest()
    assert verify(signature, body=body, accept_compact_json=True).result is VerificationResult.VERIFIED


def test_many_headers_and_a_large_body_take_bounded_time() -> None:
    headers = tuple((f"X-{number}", VECTOR_HEX) for number in range(1000))
    started = time.thread_time()
    verification = provider.verify(inbound(b"x" * 10_000_000, headers=headers), ["k1", "k2"], settings())
    assert verification.result is VerificationResult.FAILED
    assert time.thread_time() - started < 3


ANY_TEXT = st.text(st.characters(categories=None), max_size=30)  # lone surrogates and NUL too


@pytest.mark.slow
@given(
    st.lists(st.tuples(ANY_TEXT | st.just("integrityHash"), ANY_TEXT | st.just(VECTOR_HEX))),
    st.lists(ANY_TEXT, max_size=3),
    st.binary(max_size=100) | st.just(b'{"a":1}'),
    st.booleans(),
)
def test_verification_never_raises_for_random_headers(
    headers: list[tuple[str, str]], secrets: list[str], body: bytes, compact: bool
) -> None:
    verification = provider.verify(
        inbound(body, headers=tuple(headers)), [*secrets, "k1"], settings(accept_compact_json=compact)
    )
    carried = ("integrityHash", VECTOR_HEX) in headers and body == b'{"a":1}'
    assert verification.result is VerificationResult.VERIFIED or not carried
