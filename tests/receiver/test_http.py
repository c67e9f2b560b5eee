"""Receiving over real HTTP: chunked, aborted, large, slow and odd requests."""

from __future__ import annotations

import os
import socket
import time

import pytest
import requests
from pytest_django.live_server_helper import LiveServer

from events.models import Event, Outcome, WebhookRequest
from providers.contract.registry import get_provider
from subscriptions.models import Subscription
from tests.harness.hook_server import HookServer
from tests.harness.receiving import AUTHENTICATION, hook_path

# One web server for all tests of the module, also where several processes share the tests.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.xdist_group("http")]


def wait_for_requests(count: int) -> list[WebhookRequest]:
    """Wait until this many requests are stored, and return them, oldest first."""
    deadline = time.monotonic() + 30
    while WebhookRequest.objects.count() < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return list(WebhookRequest.objects.order_by("id"))


def test_server_that_does_not_signal_the_end_of_chunked_bodies_responds_400(
    hook: Subscription, live_server: LiveServer
) -> None:
    url = live_server.url + hook_path(hook)
    assert requests.post(url, data=b"abc", headers=AUTHENTICATION, timeout=10).status_code == 200
    assert requests.post(url, data=iter([b"abc"]), headers=AUTHENTICATION, timeout=10).status_code == 400
    assert WebhookRequest.objects.count() == 1


def test_chunked_body_is_stored_byte_for_byte(server: HookServer) -> None:
    body = os.urandom(200_000)
    pieces = (body[start : start + 7001] for start in range(0, len(body), 7001))
    response = requests.post(server.hook_url, data=pieces, headers=server.authentication, timeout=10)
    assert (response.status_code, response.content) == (200, b"")
    (request,) = wait_for_requests(1)
    assert (bytes(request.body), request.size) == (body, len(body))
    headers = dict(request.headers)
    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Authorization"] == "***"
    assert not any("Ours" in name for name in headers)
    assert request.remote_addr == "127.0.0.1"


def test_too_large_body_is_413_with_and_without_content_length(server: HookServer) -> None:
    body = b"x" * (12 * 1024 * 1024)
    for data in (body, iter([body[:6_000_000], body[6_000_000:]])):
        response = requests.post(server.hook_url, data=data, headers=server.authentication, timeout=20)
        assert (response.status_code, response.content) == (413, b"")
    assert b" 413 " in server.send_raw(f"Content-Length: {10**15}", b"only the beginning")
    assert WebhookRequest.objects.count() == 0
    largest = b"x" * (10 * 1024 * 1024)
    assert requests.post(server.hook_url, data=largest, headers=server.authentication, timeout=20).status_code == 200


def test_aborted_body_is_not_stored(server: HookServer) -> None:
    server.send_raw("Content-Length: 1000", b"[{", hang_up=True)
    assert b" 400 " in server.send_raw("Content-Length: two", b"[]")
    assert b" 200 OK" in server.send_raw("Content-Length: 2", b"[]")
    assert [bytes(request.body) for request in wait_for_requests(1)] == [b"[]"]


def test_broken_chunked_body_is_stored_as_far_as_it_arrived(server: HookServer) -> None:
    """The server does not report that the body is incomplete; docs/receiver.md says so."""
    assert b" 200 OK" in server.send_raw("Transfer-Encoding: chunked", b"nonsense\r\n[]\r\n0\r\n\r\n")
    server.send_raw("Transfer-Encoding: chunked", b"2\r\n[{\r\n", hang_up=True)
    assert [bytes(request.body) for request in wait_for_requests(2)] == [b"", b"[{"]


def test_expect_100_continue_is_answered(server: HookServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(server.head("Expect: 100-continue\r\nContent-Length: 2"))
        assert b" 100 Continue" in connection.recv(4096)
        connection.sendall(b"[]")
        assert b" 200 OK" in connection.recv(4096)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(server.head("Expect: 100-continue\r\nContent-Length: 99999999"))
        assert b" 413 " in connection.recv(4096)


def test_odd_headers_and_methods_over_http(server: HookServer) -> None:
    odd = {"Host": "evil.example", "Accept": "application/xml", "Content-Type": "nonsense"}
    body = b'[{"eventId": "e1", "eventType": "fs:add_file", "data": {"targetPath": "/Shared/a"}}]'
    for url in (server.hook_url, server.hook_url + "/?format=xml"):
        response = requests.post(url, data=body, headers=server.authentication | odd, timeout=10, allow_redirects=False)
        assert (response.status_code, response.content) == (200, b"")
    assert requests.head(server.hook_url, headers=odd, timeout=10).status_code == 200
    assert requests.get(server.hook_url, headers=odd, timeout=10).status_code == 405
    assert requests.post(server.hook_url, data=body, timeout=10).status_code == 401
    assert requests.post(server.url + "/hooks/unknown", data=body, timeout=10, allow_redirects=False).status_code == 404
    assert server.subscription.token not in server.log.read_text()


def test_headers_are_stored_as_far_as_the_web_server_passes_them_on(server: HookServer) -> None:
    """docs/receiver.md lists what it drops."""
    assert b" 200 OK" in server.send_raw("X-B: Ä\r\nX-A: 1\r\nX-A: 2\r\nX-C: ok\r\nContent-Length: 2", b"[]")
    headers = dict(wait_for_requests(1)[0].headers)
    assert {name: headers[name] for name in ("X-A", "X-B", "X-C")} == {"X-A": "1,2", "X-B": "", "X-C": "ok"}


def test_events_are_available_at_once(server: HookServer) -> None:
    body = b'[{"eventId": "e1", "eventType": "fs:add_file", "data": {"targetPath": "/Shared/a"}}]'
    for _ in range(2):
        requests.post(server.hook_url, data=body, headers=server.authentication, timeout=10)
        deadline = time.monotonic() + 20  # only the web process runs here; an idle machine needs milliseconds
        while WebhookRequest.objects.filter(outcome=Outcome.RECEIVED).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    event = Event.objects.get()
    assert (event.provider_event_id, event.action, event.duplicates, event.position) == ("e1", "created", 1, 1)
    assert get_provider("egnyte-connect").event_type("fs:add_file") is not None
