"""Limits of the signature parser against hostile messages."""

from __future__ import annotations

import base64
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.http_signatures import check_content_digest, verify_hmac
from providers.contract.signature_components import Message, SignatureRefused
from tests.contract.signed_messages import BODY, KEY, NOW, POLICY, digest_of, header, refusal, signed, with_header

HUGE: dict[str, tuple[str, str]] = {
    "one long label": ("Signature-Input", "a" * 5_000_000),
    "many labels": ("Signature-Input", ",".join(f"s{number}=()" for number in range(1000))),
    "endless list": ("Signature-Input", "sig=(" + '"a" ' * 1_000_000),
    "many components": (
        "Signature-Input",
        "sig=(" + " ".join(f'"x{n}"' for n in range(500)) + ' "@method" "@target-uri" "content-digest")',
    ),
    "many parameters": ("Signature-Input", "sig=()" + ";a" * 3000),
    "backslashes": ("Signature-Input", 'sig=("' + "\\\\" * 3000),
    "spaces": ("Signature-Input", "sig=(" + " " * 8000),
    "commas": ("Signature", "," * 8000),
    "long base64": ("Signature", "sig=:" + "A" * 5_000_000 + ":"),
    "long digest": ("Content-Digest", "sha-256=:" + "A" * 8000),
    "many digests": ("Content-Digest", ", ".join(f"x{number}=:AAAA:" for number in range(500))),
    "long number": ("Signature-Input", "sig=();created=" + "9" * 8000),
}


@pytest.mark.parametrize("case", HUGE)
def test_hostile_headers_are_refused_quickly(case: str) -> None:
    message = with_header(signed(), *HUGE[case])
    started = time.thread_time()
    refusal(message)
    assert time.thread_time() - started < 1


@pytest.mark.slow
def test_many_headers_and_signatures_take_bounded_time() -> None:
    inputs = ", ".join(f's{number}=("@method" "@target-uri" "content-digest");created={number}' for number in range(8))
    signatures = ", ".join(f"s{number}=:AAAA:" for number in range(8))
    message = with_header(with_header(signed(), "Signature-Input", inputs), "Signature", signatures)
    message = replace(message, headers=(*message.headers, *((f"X-{n}", "v") for n in range(50_000))))
    started = time.thread_time()
    assert refusal(message, keys=[b"key"] * 4).count("matches none") == 8
    assert time.thread_time() - started < 2


TEXTS = st.text(max_size=60) | st.sampled_from(
    ["sig=()", 'sig=("@method")', "sig=:AAAA:", digest_of(BODY), "sha-256=:AAAA:", 'a=("x";b=1 "y");c="d", e=()']
)


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["Signature-Input", "Signature", "content-digest", "X"]), TEXTS)), TEXTS)
def test_verification_raises_only_signature_refused(headers: list[tuple[str, str]], uri: str) -> None:
    message = Message("POST", uri, tuple(headers), BODY)
    with pytest.raises(SignatureRefused):
        verify_hmac(message, [KEY], POLICY, NOW)
    with suppress(SignatureRefused):
        check_content_digest(message)


@given(st.sampled_from(["Content-Digest", "Signature-Input", "Signature"]), st.data())
def test_one_changed_character_is_refused(name: str, data: st.DataObject) -> None:
    message = signed()
    value = header(message, name)
    index = data.draw(st.integers(0, len(value) - 1))
    changed = value[:index] + data.draw(st.characters().filter(lambda new: new != value[index])) + value[index + 1 :]
    if name == "Signature" and base64_of(changed) == base64_of(value):
        return  # only unused bits at the end of the base64 text differ
    refusal(with_header(message, name, changed))


def base64_of(value: str) -> bytes | None:
    text = value.partition(":")[2].rstrip(":")
    with suppress(ValueError):
        return base64.b64decode(text, validate=True) if text else None
    return None
