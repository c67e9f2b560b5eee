"""Clients that send bodies or headers slowly, or too large ones, do not block the product."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from config.web import granian
from events.models import WebhookRequest
from events.storage import body as bodies
from subscriptions.models import Subscription
from tests.harness.hook_server import HookServer, serve
from tests.harness.processes import free_port
from tests.harness.receiving import hook_path

# One web server for all tests of the module, also where several processes share the tests.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.xdist_group("slow senders")]


@pytest.mark.parametrize("server_process", [("wsgi", granian.THREADS), ("drf", granian.THREADS)], indirect=True)
def test_hundred_slow_senders_do_not_block_the_product(server: HookServer) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(server.head("Content-Length: 1000") + b"{")
        time.sleep(2)  # senders beyond the limit are refused, a few at a time
        assert requests.get(server.url + "/livez", timeout=5).status_code == 200
        assert requests.head(server.hook_url, timeout=5).status_code == 200
        assert requests.post(server.hook_url, data=b"{}", headers=server.authentication, timeout=5).status_code == 503
        refused = sum(got_503(connection) for connection in slow)
        assert refused == 100 - bodies.MAX_CONCURRENT_BODIES
        slow[0].sendall(b" " * 998 + b"}")  # a sender that continues is served
        waiting = [connection for connection in slow if not got_503(connection)]
    finally:
        for connection in slow:
            connection.close()
    assert len(waiting) >= bodies.MAX_CONCURRENT_BODIES - 1
    deadline = time.monotonic() + 10
    while requests.post(server.hook_url, data=b"{}", headers=server.authentication, timeout=5).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def got_503(connection: socket.socket) -> bool:
    """Return whether a 503 has arrived, without consuming it."""
    connection.settimeout(0.01)
    try:
        return connection.recv(12, socket.MSG_PEEK).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False


def test_client_that_sends_everything_before_reading_gets_the_413(server: HookServer) -> None:
    large = bytes(10 * 1024 * 1024 + 500_000)
    assert requests.post(server.hook_url, data=large, headers=server.authentication, timeout=20).status_code == 413
    plain = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    plain.request("POST", hook_path(server.subscription), large, server.authentication)
    assert plain.getresponse().status == 413
    plain.close()
    pieces = (large[start : start + 65536] for start in range(0, len(large), 65536))
    assert requests.post(server.hook_url, data=pieces, headers=server.authentication, timeout=20).status_code == 413
    # A body far beyond the limit is not read: the response arrives before the body.
    head = server.head("Content-Length: 1000000000")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(12) == b"HTTP/1.1 413"


@pytest.fixture
def server_with_limits(
    egnyte_subscription: Subscription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HookServer]:
    """Run a web server with the limits of `manage.py up`, but a shorter timeout for headers."""
    monkeypatch.setattr(granian, "HEADER_SECONDS", 1)
    port = free_port()
    settings = {"RECEIVER_ENTRY": "wsgi", "DATA_DIR": str(tmp_path)}
    command = granian.command("127.0.0.1", port)
    with serve(command, port, tmp_path / "limited.log", **settings) as running:
        yield HookServer(running.port, egnyte_subscription, running.log)


def test_connections_with_slow_or_too_large_headers_are_closed(server_with_limits: HookServer) -> None:
    unfinished_head = server_with_limits.head("X-Slow: 1")[:-4]
    with socket.create_connection(("127.0.0.1", server_with_limits.port), timeout=10) as connection:
        connection.sendall(unfinished_head)
        started = time.monotonic()
        response = connection.recv(4096)
        assert response == b"" or b" 408 " in response
        assert time.monotonic() - started < 8
    too_many = "\r\n".join(f"X-{number}: 1" for number in range(101))
    for lines in (f"X-Large: {'x' * granian.HEADER_BYTES}", too_many):
        assert b" 431 " in server_with_limits.send_raw(f"{lines}\r\nContent-Length: 2", b"[]")
    allowed = "\r\n".join(f"X-{number}: {'x' * 500}" for number in range(90))
    assert b" 200 OK" in server_with_limits.send_raw(f"{allowed}\r\nContent-Length: 2", b"[]")
    assert WebhookRequest.objects.count() == 1
