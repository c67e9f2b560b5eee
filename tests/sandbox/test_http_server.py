"""The sandbox's HTTP server."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest
import requests

from providers.sandbox.server import CLOSE_TIMEOUT_SECONDS, MAX_BODY_BYTES, Sandbox
from providers.sandbox.tenant import LoginName
from tests.sandbox.client import SLUG, Client, eventually


def test_connections_are_kept_alive(client: Client) -> None:
    connection = http.client.HTTPConnection(client.sandbox.url.removeprefix("http://"), timeout=5)
    with closing(connection):
        connection.connect()
        connected = connection.sock
        for _ in range(2):
            connection.request("GET", "/_sandbox/")
            response = connection.getresponse()
            assert (response.status, response.version) == (200, 11)
            response.read()
            assert connection.sock is connected


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Transfer-Encoding: chunked", b"411"),
        (b"Content-Length: -5", b"400"),
        (b"Content-Length: %d" % (MAX_BODY_BYTES + 1), b"413"),
    ],
)
def test_bodies_without_a_valid_length_are_refused(client: Client, head: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(client.sandbox.url.rpartition(":")[2])), 5) as connection:
        connection.sendall(b"POST /_sandbox/egnyte-connect/emit HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)


def test_a_port_in_use_is_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=int(sandbox.url.rpartition(":")[2])).start()


def test_closing_does_not_wait_for_hanging_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_receiver:
        sandbox = Sandbox()
        sandbox.start()
        client = Client(sandbox)
        with client.session:
            client.register(f"http://127.0.0.1:{silent_receiver.getsockname()[1]}/hooks/t")
            client.control("faults", timeout=60)
            hanging = [lambda: client.emit(), lambda: client.call("GET", "/webhooks")]
            threads = [threading.Thread(target=_ignoring_broken_connections, args=(call,)) for call in hanging]
            for thread in threads:
                thread.start()
            eventually(lambda: any(call["status"] is None for call in client.state()["calls"]))
            eventually(lambda: sandbox.simulators[SLUG].tenants[LoginName.SPARE].in_flight == 1)
            started = time.monotonic()
            sandbox.close()
            for thread in threads:
                thread.join()
            assert time.monotonic() - started < CLOSE_TIMEOUT_SECONDS


def _ignoring_broken_connections(call: Callable[[], object]) -> None:
    try:
        call()
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, AssertionError):
        return  # the connection was closed before or during the response
