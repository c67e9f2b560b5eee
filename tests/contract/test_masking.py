"""Secrets are masked in every form, and before anything is cut."""

from __future__ import annotations

import html
import json
import time
from urllib.parse import quote

import pytest

from providers.contract import errors
from providers.contract.error_bodies import ErrorBodyReader
from providers.contract.http import Exchange, Http
from providers.contract.masking import SecretMask
from providers.contract.responses import ProviderResponse
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import Scripted, StubServer


def read_refusal(response: ProviderResponse) -> errors.Refused:
    return errors.Refused(ErrorBodyReader({"url": "url"}).read(response).message)


SECRET = 'a"b/c<d>é&key+0123456789'


@pytest.mark.parametrize("start", [280, 299, 495, 1990])
def test_a_secret_at_the_place_where_a_message_is_cut_is_masked_first(start: int) -> None:
    secret, seen = "Zk3vQ0bYt7uN2xW9", list[Exchange]()
    with StubServer() as server, Http(guard=LOOPBACK, secrets=[secret], record=seen.append) as client:
        bodies = [b"x" * start + secret.encode() + b"y" * 100, json.dumps({"message": "x" * start + secret}).encode()]
        server.say(*(Scripted(400, body) for body in bodies))
        for _ in bodies:
            with pytest.raises(errors.Refused) as caught:
                client.call(
                    "GET",
                    server.url,
                    read_error=lambda r: errors.Refused(ErrorBodyReader({"url": "url"}).read(r).message),
                )
            assert "Zk3" not in caught.value.message + repr(seen)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(json.dumps(SECRET)),
        SECRET.replace("/", "\\/"),
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        quote(quote(SECRET)),
        html.escape(SECRET),
        html.escape(html.escape(SECRET)),
        "".join(f"\\u{ord(c):04X}" for c in SECRET),
        "".join(f"&#{ord(c)};" for c in SECRET),
        "".join(f"&#x{ord(c):X};" for c in SECRET),
    ],
)
def test_a_secret_is_masked_in_every_form(form: str) -> None:
    mask = SecretMask([SECRET])
    assert mask.text(f"before {form} after").replace('"', "") in ("before *** after", "before \\***\\ after")
    assert b"0123456789" not in mask.body(f"before {form} after".encode())
    assert "0123456789" not in json.dumps(mask.json({"a": [form]}))


def test_a_secret_key_in_an_error_body_is_masked() -> None:
    with StubServer() as server, Http(guard=LOOPBACK, secret_keys=frozenset({"authToken"})) as client:
        server.say(Scripted.json({"authToken": "made-by-the-provider"}, status=500))
        with pytest.raises(errors.Unavailable) as caught:
            client.call("GET", server.url)
    assert "made-by" not in caught.value.message


def test_masking_a_large_body_takes_bounded_time() -> None:
    mask = SecretMask(["\\" * 20 + "secret-value", SECRET])
    started = time.process_time()
    mask.body(b"\\" * 100_000 + b"%41&amp;" * 100_000)
    assert time.process_time() - started < 5
