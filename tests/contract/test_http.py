"""HTTP calls to providers: refused addresses, masked secrets, and the error for each response."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from email.utils import formatdate
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract import address_guard, errors, http
from providers.contract.address_guard import AddressGuard
from providers.contract.call_limits import NoLimit, Priority
from providers.contract.http import Exchange, Http
from providers.contract.masking import MASK
from providers.contract.responses import ProviderResponse, error_for, retry_after
from tests.harness.live_session import LOOPBACK
from tests.harness.stub_server import Scripted, StubServer


def make_response(status: int, headers: dict[str, str] | None = None, body: bytes = b"{}") -> ProviderResponse:
    return ProviderResponse(status, headers or {}, body)


# -- The address guard -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "192.0.0.192", "192.0.0.9", "168.63.129.16", "192.88.99.1", "198.18.0.1", "240.0.0.1", "fec0::1", "100::1",
        "::10.0.0.1", "::93.184.216.34", "::ffff:0:10.0.0.1", "64:ff9b:1::a00:1", "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254", "64:ff9b::192.0.0.192", "2002:0a00:0001::", "2002:a9fe:a9fe::1", "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1", "5f00::1", "::ffff:168.63.129.16",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(errors.AddressRefused, match="ALLOW_PRIVATE_NETWORKS"):
        AddressGuard().check(address, 443)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34", "64:ff9b::93.184.216.34",
        "2002:5db8:d822::1", "192.0.1.1", "168.63.129.17", "2001:4860:4860::8888",
    ],
)  # fmt: skip
def test_public_addresses_pass(address: str) -> None:
    AddressGuard().check(address, 443)


def test_only_the_allowed_networks_and_endpoints_pass() -> None:
    guard = AddressGuard(networks=(ip_network("10.0.0.0/8"),), endpoints=frozenset({("127.0.0.1", 8010)}))
    guard.check("10.200.0.1", 1)
    guard.check("127.0.0.1", 8010)
    for address, port in (("127.0.0.1", 8011), ("127.0.0.2", 8010), ("192.168.0.1", 8010)):
        with pytest.raises(errors.AddressRefused):
            guard.check(address, port)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::93.184.216.34"])
def test_public_addresses_are_called_through_tls_only(address: str) -> None:
    with pytest.raises(errors.AddressRefused, match="https://"):
        AddressGuard().check(address, 80, encrypted=False)
    AddressGuard(networks=(ip_network(address),)).check(address, 80, encrypted=False)


def test_allowed_addresses_are_called_without_tls() -> None:
    guard = AddressGuard(networks=(ip_network("10.0.0.0/8"),), endpoints=frozenset({("127.0.0.1", 8010)}))
    guard.check("10.200.0.1", 80, encrypted=False)
    guard.check("127.0.0.1", 8010, encrypted=False)


def test_no_secret_is_sent_over_http_to_a_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))]

    def connect(*_: object) -> None:
        raise AssertionError("the guard let the call pass")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(address_guard, "create_connection", connect)
    with Http(guard=AddressGuard()) as client, pytest.raises(errors.AddressRefused, match="https://"):
        client.call("GET", "http://public.example.test/", headers={"Authorization": "Bearer secret"})


def test_resolving_a_name_counts_into_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def resolve(*_: object) -> list[tuple[Any, ...]]:
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    started = time.monotonic()
    with Http(guard=AddressGuard(), deadline=started + 0.2) as client, pytest.raises(errors.DeadlineExceeded):
        client.call("GET", "https://slow-dns.example.test/")
    released.set()
    assert time.monotonic() - started < 5


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Http(guard=AddressGuard()) as client, pytest.raises(errors.AddressRefused):
        client.call("GET", "https://rebinding.example.test/")


def test_the_checked_address_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    original = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any) -> Any:
        resolved.append(host)
        return original("127.0.0.1" if host == "named.example.test" else host, port, *rest)

    with StubServer() as server, Http(guard=LOOPBACK) as client:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        client.call("GET", server.url.replace("127.0.0.1", "named.example.test") + "/x")
        assert server.received[0].header("Host") == server.url.replace("http://127.0.0.1", "named.example.test")
    assert resolved.count("named.example.test") == 1


def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with StubServer() as server, Http(guard=LOOPBACK) as client:
        assert client.call("GET", f"{server.url}/").status == 200


# -- Responses ---------------------------------------------------------------------------------------------------------

MAPPING = {
    301: errors.InvalidResponse,
    400: errors.Refused,
    401: errors.AuthenticationFailed,
    403: errors.PermissionMissing,
    404: errors.NotFound,
    408: errors.Unavailable,
    409: errors.LimitReached,
    410: errors.NotFound,
    418: errors.Refused,
    422: errors.Refused,
    429: errors.Throttled,
    500: errors.Unavailable,
    503: errors.Unavailable,
    599: errors.Unavailable,
}


@pytest.mark.parametrize("status", MAPPING)
def test_each_status_becomes_the_matching_error(status: int) -> None:
    error = error_for(make_response(status, body=b'{"message": "from the provider"}'))
    assert type(error) is MAPPING[status]
    assert error.status == status
    assert str(status) in error.message


@given(st.integers(100, 999), st.binary(max_size=300))
def test_every_status_and_body_becomes_an_error_with_a_message(status: int, body: bytes) -> None:
    assert error_for(make_response(status, body=body)).message


def test_a_503_with_retry_after_counts_as_throttling() -> None:
    error = error_for(make_response(503, {"Retry-After": "7"}))
    assert isinstance(error, errors.Throttled)
    assert error.retry_after == 7


@pytest.mark.parametrize(
    ("value", "minimum", "maximum"),
    [("0", 0, 0), ("12", 12, 12), ("1.5", 1.5, 1.5), ("-3", 0, 0), ("999999999", 86400, 86400)],
)
def test_retry_after_in_seconds_is_bounded(value: str, minimum: float, maximum: float) -> None:
    seconds = retry_after(make_response(429, {"Retry-After": value}))
    assert seconds is not None
    assert minimum <= seconds <= maximum


@pytest.mark.parametrize(
    "value",
    ["", "soon", "nan", "Tue, 99 Nov 2026 10:00:00 GMT", "inf", "-inf", "Infinity", "1e400", "1_0", "\u0661", "9" * 10,
     "9" * 5000, "1." + "9" * 5000, "a" * 100_000, "Fri, 31 Dec 9999 23:59:59 GMT"],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_an_invalid_retry_after_is_none(value: str) -> None:
    assert retry_after(make_response(429, {"Retry-After": value})) is None


def test_retry_after_as_a_date() -> None:
    seconds = retry_after(make_response(429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)}))
    assert seconds is not None
    assert 55 <= seconds <= 61


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[" * 100_000, b"\xff\xfe"], ids=range(5))
def test_a_body_that_is_not_json_is_an_invalid_response(body: bytes) -> None:
    with pytest.raises(errors.InvalidResponse) as caught:
        make_response(200, body=body).json()
    assert caught.value.outcome_unknown


def test_a_body_that_is_not_an_object_is_an_invalid_response() -> None:
    with pytest.raises(errors.InvalidResponse):
        make_response(200, body=b"[]").json_object()


def test_a_redirect_is_not_followed() -> None:
    with StubServer() as server, Http(guard=LOOPBACK) as client:
        server.say(Scripted(302, headers={"Location": f"{server.url}/elsewhere"}))
        with pytest.raises(errors.InvalidResponse, match="redirect"):
            client.call("GET", f"{server.url}/")
        assert [call.path for call in server.received] == ["/"]


def test_a_too_large_response_is_not_read_to_its_end() -> None:
    with StubServer() as server, Http(guard=LOOPBACK) as client:
        server.say(Scripted(200, b"x" * (http.MAX_RESPONSE_BYTES + 1)))
        with pytest.raises(errors.InvalidResponse, match="larger than 2 MiB"):
            client.call("GET", f"{server.url}/")


BOMB_BYTES = 100 * 1024 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
def test_a_decompression_bomb_takes_bounded_memory(encoding: str) -> None:
    compressed = gzip.compress(bytes(BOMB_BYTES), 9, mtime=0)
    if encoding == "deflate":
        compressed = zlib.compress(bytes(BOMB_BYTES), 9)
    if encoding == "gzip, gzip":
        compressed = gzip.compress(compressed, 9, mtime=0)
    with StubServer() as server, Http(guard=LOOPBACK) as client:
        server.say(Scripted(200, compressed, {"Content-Encoding": encoding}))
        tracemalloc.start()
        try:
            with pytest.raises(errors.InvalidResponse, match="larger than 2 MiB"):
                client.call("GET", f"{server.url}/")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8 * http.MAX_RESPONSE_BYTES


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br", "no-such-coding"])
def test_a_wrong_content_encoding_fails_the_call(encoding: str) -> None:
    with StubServer() as server, Http(guard=LOOPBACK) as client:
        server.say(Scripted(200, b"not compressed at all", {"Content-Encoding": encoding}))
        with pytest.raises((errors.Unavailable, errors.InvalidResponse)) as caught:
            client.call("GET", f"{server.url}/").json()
        assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "body", [b'{"a": NaN}', b'{"a": 1e999}', b'{"a": -Infinity}', b"9" * 5000, b"[" * 200 + b"]" * 200], ids=range(5)
)
def test_json_that_cannot_be_stored_is_an_invalid_response(body: bytes) -> None:
    with pytest.raises(errors.InvalidResponse):
        make_response(200, body=body).json()
    recorded: list[http.Exchange] = []
    with StubServer() as server, Http(guard=LOOPBACK, record=recorded.append) as client:
        server.say(Scripted(200, body))
        client.call("GET", f"{server.url}/")
    assert json.dumps(recorded[0].response_body, allow_nan=False)


def test_unstorable_characters_are_replaced_in_messages_and_records() -> None:
    recorded: list[http.Exchange] = []
    with StubServer() as server, Http(guard=LOOPBACK, record=recorded.append) as client:
        server.say(Scripted(422, b'{"wr\\u0000ng": "\\ud800"}'))
        with pytest.raises(errors.Refused) as caught:
            client.call(
                "GET", f"{server.url}/", read_error=lambda response: errors.Refused(f"a\x00b {response.json()}")
            )
    assert caught.value.message.startswith("a\ufffdb ")
    assert str(caught.value) == caught.value.message
    assert recorded[0].response_body == {"wr\ufffdng": "\ufffd"}


@pytest.mark.slow
def test_a_response_that_arrives_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_TIMEOUT_SECONDS", 0.5)
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(400):
                try:
                    connection.sendall(b"x" * 100)
                except OSError:
                    return
                time.sleep(0.1)

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    started = time.monotonic()
    with Http(guard=LOOPBACK) as client, pytest.raises(errors.Unavailable) as caught:
        client.call("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert caught.value.outcome_unknown
    assert time.monotonic() - started < 20
    thread.join()
    listener.close()


def test_a_refused_connection_means_that_nothing_happened() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with Http(guard=LOOPBACK) as client, pytest.raises(errors.Unavailable) as caught:
        client.call("POST", f"http://127.0.0.1:{port}/")
    assert not caught.value.outcome_unknown


def test_no_call_starts_after_the_deadline() -> None:
    with StubServer() as server, Http(guard=LOOPBACK, deadline=time.monotonic() - 1) as client:
        with pytest.raises(errors.Unavailable, match="No time"):
            client.call("GET", f"{server.url}/")
        assert server.received == []


# -- Limits and records ------------------------------------------------------------------------------------------------


class Counting(NoLimit):
    """A limiter that records how it is called."""

    def __init__(self) -> None:
        self.priorities: list[Priority] = []
        self.penalties: list[float] = []

    def acquire(self, priority: Priority, deadline: float | None) -> None:
        self.priorities.append(priority)

    def penalise(self, seconds: float) -> None:
        self.penalties.append(seconds)


def test_the_limiter_is_called_before_each_call_and_after_throttling() -> None:
    limiter = Counting()
    with StubServer() as server, Http(guard=LOOPBACK, limiter=limiter, priority=Priority.RENEWAL) as client:
        server.say(Scripted(), Scripted(429, headers={"Retry-After": "9"}))
        client.call("GET", f"{server.url}/")
        with pytest.raises(errors.Throttled):
            client.call("GET", f"{server.url}/")
    assert limiter.priorities == [Priority.RENEWAL] * 2
    assert limiter.penalties == [9]


def test_recorded_exchanges_contain_no_secret() -> None:
    seen: list[Exchange] = []
    secrets = ("s3cr3t/with+odd=chars", "s3cr3t")
    with StubServer() as server:
        client = Http(guard=LOOPBACK, secrets=secrets, secret_keys=frozenset({"authHeader"}), record=seen.append)
        client.hide("obtained-later")
        server.say(
            Scripted.json({"echo": f"you sent {secrets[0]}", "authheader": "hidden by its name", "n": [secrets[1]]}),
            Scripted(400, f"obtained-later {secrets[0]}".encode()),
        )
        with client:
            client.call(
                "POST",
                f"{server.url}/{secrets[1]}",
                json_body={"authHeader": "another", "list": [{"deep": secrets[0]}], "count": 3},
                headers={"Authorization": f"Bearer {secrets[0]}"},
            )
            with pytest.raises(errors.Refused) as caught:
                client.call("GET", f"{server.url}/")
    first = seen[0]
    assert first.request_body == {"authHeader": MASK, "list": [{"deep": MASK}], "count": 3}
    assert first.response_body == {"echo": f"you sent {MASK}", "authheader": MASK, "n": [MASK]}
    assert first.url.endswith(f"/{MASK}")
    assert (first.status, seen[1].status) == (200, 400)
    for secret in (*secrets, "obtained-later", "another", "hidden by its name"):
        assert secret not in repr(seen) + caught.value.message
