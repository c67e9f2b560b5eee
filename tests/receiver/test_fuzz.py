"""Random requests at the callback URLs of all providers, through each entry, cause neither a 5xx nor a traceback.

The normal test run sends some requests; `make crash` sends many (FUZZ_REQUESTS). FUZZ_SEED repeats a failed run.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.models import Outcome, WebhookRequest
from events.processing import normalize
from providers.contract.capabilities import Proof
from providers.contract.registry import all_providers
from providers.entrust.simulator import sign
from providers.models import ProviderAccount
from subscriptions.models import Subscription
from tests.harness.crashing import WebProcess
from tests.harness.receiving import ENTRIES

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "250"))  # at each entry
RESPONSE_SECONDS = 3.0  # some requests announce more than they send
FIXTURES = Path(__file__).parents[2] / "providers"
SETTINGS = {
    "egnyte-connect": {"domain": "acme"},
    "egnyte-msp": {"domain": "acme"},
    "sidedrawer": {"tenant_id": "t"},
    "files-com": {"subdomain": "acme"},
    "entrust": {"hostname": "acme.example.com"},
}
METHODS = ("GET", "POST", "POST", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
NAMES = (
    *("Content-Type", "Content-Encoding", "Accept", "Host", "Cookie", "X-Forwarded-For", "Forwarded", "Expect"),
    *("Authorization", "Signature", "Signature-Input", "Content-Digest", "Date", "X-Odd", "Range", "X-Request-Id"),
    *("If-None-Match", "Upgrade", "Connection", "Content-Disposition", "User-Agent"),
)
VALUES = (
    *("", "application/json", "multipart/form-data; boundary=x", "multipart/form-data", "text/xml; charset=nonsense"),
    *("application/x-www-form-urlencoded", "gzip", "br", "100-continue", "a, b;c=d", "sha-256=:AAAA:", "x" * 4000),
    *('sig1=("@method" "@target-uri");created=1;keyid="k";alg="hmac-sha256"', "sig1=:AAAA:", "\xff\xfe"),
    *("bytes=0-1", "websocket", "1" * 30, "-1", "1.2.3.4, ::1"),
)


@pytest.fixture
def subscriptions(transactional_db: None) -> list[Subscription]:
    rows: list[Subscription] = []
    for slug in sorted(SETTINGS):
        account = ProviderAccount.objects.create(provider=slug, name=slug, settings=SETTINGS[slug])
        row = Subscription(account=account, due_at=None)
        row.save()
        if not row.secrets:
            Subscription.objects.filter(pk=row.pk).update(secrets=["a-secret-of-theirs"])
            row.refresh_from_db()
        rows.append(row)
    assert {row.account.provider for row in rows} == set(all_providers())
    return rows


@pytest.fixture(params=ENTRIES)
def web(request: pytest.FixtureRequest, spool_folder: Path, transactional_db: None) -> Iterator[WebProcess]:
    running = WebProcess(
        spool_folder.parent / "web.log", entry=request.param, DATA_DIR=str(spool_folder.parent), MAX_BODY_BYTES="200000"
    )
    running.start()
    yield running
    running.kill()


def bodies(chance: random.Random) -> Iterator[bytes]:
    """Yield an endless stream of real, broken and odd bodies."""
    real = [path.read_bytes() for path in sorted(FIXTURES.glob("*/fixtures/*")) if "expected" not in path.name]
    while True:
        body = chance.choice(real)
        kind = chance.randrange(8)
        if kind == 1:
            body = body[: chance.randrange(len(body) + 1)]
        elif kind == 2:
            body = bytes(chance.randrange(256) for _ in range(chance.randrange(300)))
        elif kind == 3:
            body = gzip.compress(body, mtime=0)
        elif kind == 4:
            body = b""
        elif kind == 5:
            body = b"[" * chance.randrange(5000)
        elif kind == 6:
            body = b"a" * chance.choice([199_999, 200_000, 200_001, 400_000])
        yield body


def authentication_headers(subscription: Subscription, body: bytes, query: str = "") -> dict[str, str]:
    """Return the headers with which the provider authenticates this body."""
    account, secret = subscription.account, subscription.secrets[0]
    if account.plugin.capabilities.proof is Proof.HMAC:
        return {"integrityHash": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
    if account.plugin.capabilities.proof is Proof.RFC9421:
        url = subscription.callback_url + query
        return sign(secret.encode(), url, body, digest="sha-256", created=int(time.time()))
    hint = account.plugin.secret_hint(account.typed_settings, secret)
    assert hint.header
    assert hint.value
    return {hint.header: hint.value}


def chunk_body(chance: random.Random, body: bytes) -> bytes:
    """Return the body in chunked encoding, sometimes incomplete or invalid."""
    pieces: list[bytes] = []
    while body:
        size = chance.randrange(1, len(body) + 1)
        pieces.append(b"%x\r\n%b\r\n" % (size, body[:size]))
        body = body[size:]
    pieces.append(chance.choice([b"0\r\n\r\n"] * 8 + [b"0\r\nX-Odd: 1\r\n\r\n", b"zz\r\n\r\n", b"5\r\n", b""]))
    return b"".join(pieces)


def random_request(chance: random.Random, subscription: Subscription, body: bytes) -> bytes:
    """Return a request with mostly invalid headers, and the body."""
    token = chance.choice([subscription.token] * 6 + ["nobody", "%00", "a/b", "%FF%FE"])
    query = chance.choice(["", "", "?a=%zz&&=;", "?action=create&path=%00%ff", "?format=xml", "?" + "q" * 3000])
    lines = [f"{chance.choice(METHODS)} /hooks/{token}{chance.choice(['', '/'])}{query} HTTP/1.1"]
    lines += [f"{chance.choice(NAMES)}: {chance.choice(VALUES)}" for _ in range(chance.randrange(8))]
    if chance.random() < 0.6:
        lines += [f"{name}: {value}" for name, value in authentication_headers(subscription, body, query).items()]
    kind = chance.random()
    if kind < 0.75:
        lines.append(f"Content-Length: {len(body)}")
    elif kind < 0.9:
        lines.append("Transfer-Encoding: chunked")
        body = chunk_body(chance, body)
    if chance.random() < 0.9:
        lines.append("Host: 127.0.0.1")
    return ("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode("latin-1") + body


def send(port: int, request: bytes) -> int | None:
    """Send the request, and return the status; None when the server closes the connection or waits for more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(RESPONSE_SECONDS)
            response = connection.recv(65536)
        except OSError:
            return None
    while response.startswith(b"HTTP/1.1 100"):
        response = response.partition(b"\r\n\r\n")[2]
    return int(response.split()[1]) if response.startswith(b"HTTP/1.1 ") else None


@pytest.mark.crash
@pytest.mark.timeout(120 + REQUESTS)
@pytest.mark.django_db(transaction=True)
def test_random_requests_cause_neither_5xx_nor_traceback(subscriptions: list[Subscription], web: WebProcess) -> None:
    seed = int(os.environ.get("FUZZ_SEED") or random.randrange(2**32))
    chance = random.Random(seed)
    for subscription in subscriptions:  # make sure that valid requests are accepted
        headers = authentication_headers(subscription, b"[]")
        headers |= {"Host": "x", "Content-Length": "2", "Connection": "close"}
        lines = [f"POST /hooks/{subscription.token} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        assert send(web.port, ("\r\n".join(lines) + "\r\n\r\n[]").encode()) == 200, subscription.account
    statuses: Counter[int | None] = Counter()
    stream = bodies(chance)
    for _ in range(REQUESTS):
        request = random_request(chance, chance.choice(subscriptions), next(stream))
        status = send(web.port, request)
        statuses[status] += 1
        assert status is None or status < 500, (seed, status, request[:2000])
    assert "Traceback" not in web.log.read_text(), seed
    assert statuses[200] > REQUESTS / 20, (seed, statuses)
    # A request whose parsing fails with an internal error is quarantined; none may be.
    normalize.normalize_pending()
    failed = WebhookRequest.objects.filter(outcome=Outcome.QUARANTINED, reason__contains="Parsing failed")
    assert not list(failed.values_list("reason", flat=True)), seed
