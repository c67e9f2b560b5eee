"""Signed HTTP messages for tests, with the examples of RFC 9421."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from providers.contract.http_signatures import Policy, verify_hmac
from providers.contract.signature_components import Message, SignatureRefused

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CREATED = int(NOW.timestamp())
KEY = b"a key of the tests"
URI = "https://hooks.example.test/hooks/t0ken?a=%2F&b"
BODY = b'{"id": "1"}'
COVERED = ("@method", "@target-uri", "content-digest")
POLICY = Policy(COVERED)
PARAMETERS = f';created={CREATED};alg="hmac-sha256"'


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def digest_of(body: bytes, name: str = "sha-256") -> str:
    algorithm = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}[name]
    return f"{name}=:{b64(algorithm(body).digest())}:"


def signature(raw: str, lines: Sequence[str], key: bytes = KEY) -> str:
    base = "\n".join([*lines, f'"@signature-params": {raw}'])
    return b64(hmac.new(key, base.encode(), hashlib.sha256).digest())


def signed(
    components: Sequence[str] = COVERED,
    parameters: str = PARAMETERS,
    *,
    digest: str | None = None,
    label: str = "sig",
    extra: tuple[tuple[str, str], ...] = (),
    key: bytes = KEY,
) -> Message:
    """Return a message with a valid signature over these components, in this order."""
    digest = digest or digest_of(BODY)
    values = {
        "@method": "POST",
        "@target-uri": URI,
        "@authority": "hooks.example.test",
        "@scheme": "https",
        "@path": "/hooks/t0ken",
        "@query": "?a=%2F&b",
        "@request-target": "/hooks/t0ken?a=%2F&b",
        "content-digest": digest,
        **{name.lower(): value.strip() for name, value in extra},
    }
    names = " ".join(f'"{name}"' for name in components)
    raw = f"({names}){parameters}"
    signature_value = signature(raw, [f'"{name}": {values.get(name, "")}' for name in components], key)
    headers = (
        ("Content-Digest", digest),
        ("Signature-Input", f"{label}={raw}"),
        ("Signature", f"{label}=:{signature_value}:"),
        *extra,
    )
    return Message("POST", URI, headers, BODY)


def with_header(message: Message, name: str, value: str) -> Message:
    """Return the message with one header changed or added."""
    other_headers = tuple((key, old) for key, old in message.headers if key.lower() != name.lower())
    return replace(message, headers=(*other_headers, (name, value)))


def header(message: Message, name: str) -> str:
    return next(value for key, value in message.headers if key == name)


def refusal(message: Message, policy: Policy = POLICY, keys: Sequence[bytes] = (KEY,)) -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify_hmac(message, keys, policy, NOW)
    return str(caught.value)
