"""The receiver's WSGI entry: hanging pages leave threads for webhooks."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from config.web import granian, receiver_entry
from config.web.receiver_entry import ReceiverEntry
from events.storage import body as bodies


class HangingApplication:
    """An application behind the receiver's entry whose pages respond only once `may_respond` is set."""

    def __init__(self) -> None:
        self.may_respond = threading.Event()
        self.entered = threading.Semaphore(0)
        self.entry = ReceiverEntry(self._respond)

    def get(self, path: str) -> str:
        """Return the status."""
        return self.request(path)[0]

    def request(self, path: str, **more: str) -> tuple[str, dict[str, str], bytes]:
        """Return status, headers and body."""
        response: list[Any] = []
        environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), **more}
        content = b"".join(self.entry(environ, lambda status, headers: response.extend((status, dict(headers)))))
        return response[0], response[1], content

    def _respond(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/livez":
            self.entered.release()
            self.may_respond.wait(10)
        start_response("200 OK", [])
        return ()


@pytest.fixture
def hanging() -> HangingApplication:
    return HangingApplication()


def test_hanging_pages_leave_threads_for_webhooks(hanging: HangingApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    assert receiver_entry.MAX_OTHER_REQUESTS + bodies.MAX_CONCURRENT_BODIES < granian.THREADS
    monkeypatch.setattr(receiver_entry, "WAIT_SECONDS", 0.2)
    threads = [
        threading.Thread(target=hanging.get, args=("/readyz",)) for _ in range(receiver_entry.MAX_OTHER_REQUESTS)
    ]
    for thread in threads:
        thread.start()
        assert hanging.entered.acquire(timeout=10)
    assert hanging.get("/livez") == "200 OK"
    assert hanging.get("/admin/") == "503 Service Unavailable"  # after WAIT_SECONDS
    monkeypatch.setattr(receiver_entry, "WAIT_SECONDS", 0.1)
    time.sleep(0.1)
    started = time.monotonic()
    assert [hanging.get("/admin/") for _ in range(20)] == [
        "503 Service Unavailable"
    ] * 20  # at once, because most are slow
    assert time.monotonic() - started < 1
    _, headers, body = hanging.request("/api/v1/events/")
    assert (headers["Retry-After"], headers["Content-Type"]) == ("1", "application/problem+json")
    assert json.loads(body)["code"] == "busy"
    hanging.may_respond.set()
    for thread in threads:
        thread.join(10)
    assert hanging.get("/admin/") == "200 OK"


def test_requests_wait_for_a_thread_while_pages_are_quick(
    hanging: HangingApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_entry, "WAIT_SECONDS", 10.0)
    statuses: list[str] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(hanging.get("/admin/")))
        for _ in range(3 * receiver_entry.MAX_OTHER_REQUESTS)
    ]
    for thread in threads:
        thread.start()
    for _ in range(receiver_entry.MAX_OTHER_REQUESTS):
        assert hanging.entered.acquire(timeout=10)
    hanging.may_respond.set()
    for thread in threads:
        thread.join(10)
    assert statuses == ["200 OK"] * 3 * receiver_entry.MAX_OTHER_REQUESTS


@pytest.mark.parametrize("header", [{"CONTENT_LENGTH": "1000"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_bodies_that_never_come_leave_threads_for_pages(
    hanging: HangingApplication, monkeypatch: pytest.MonkeyPatch, header: dict[str, str]
) -> None:
    monkeypatch.setattr(receiver_entry, "WAIT_SECONDS", 0.05)
    threads = [
        threading.Thread(target=hanging.request, args=("/admin/login/",), kwargs=header)
        for _ in range(receiver_entry.MAX_OTHER_BODIES)
    ]
    for thread in threads:
        thread.start()
        assert hanging.entered.acquire(timeout=10)
    assert hanging.request("/admin/login/", **header)[0] == "503 Service Unavailable"
    page = threading.Thread(target=hanging.get, args=("/admin/",))
    page.start()
    assert hanging.entered.acquire(timeout=10), "a page without a body is served"
    hanging.may_respond.set()
    for thread in (*threads, page):
        thread.join(10)
    assert hanging.request("/admin/login/", **header)[0] == "200 OK"
