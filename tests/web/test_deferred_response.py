"""Deferred responses: the commit thread sends the response, while the request's thread serves the next request."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from granian.server import mp

from config.web import deferred_response
from config.web.deferred_response import NO_CONTENT, GranianDeferredResponse, defer_responses
from events.models import WebhookRequest
from events.receiver.group_commit import writer
from events.receiver.handler import DEFERRED_RESPONSE_KEY
from subscriptions.models import Subscription
from tests.harness.crashing import WebProcess
from tests.harness.receiving import ENTRIES

pytestmark = pytest.mark.django_db(transaction=True)


class GranianCall:
    """The protocol object that granian passes to the application's wrapper."""

    def __init__(self) -> None:
        self.responses: list[tuple[Any, ...]] = []

    def response_bytes(self, *response: Any) -> None:
        self.responses.append(response)

    response_iter = response_bytes


def test_the_response_of_the_application_is_sent_unless_it_is_deferred() -> None:
    call = GranianCall()
    deferred = GranianDeferredResponse(call)
    deferred.response_bytes(200, [], b"page")
    deferred.response_iter(200, [], [b"page"])
    assert call.responses == [(200, [], b"page"), (200, [], [b"page"])]
    deferred.detach()
    deferred.response_bytes(200, [], b"page")
    deferred.response_iter(200, [], [b"page"])
    assert len(call.responses) == 2
    deferred.send(503, [("Retry-After", "10")])
    assert call.responses[2:] == [(503, [NO_CONTENT, ("Retry-After", "10")], b"")]


def test_each_request_of_granian_gets_a_deferred_response(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ[DEFERRED_RESPONSE_KEY])
        start_response("204 No Content", [])
        return []

    server: Any = mp
    monkeypatch.setattr(server, "_wsgi_call_wrap", server._wsgi_call_wrap)
    defer_responses()
    serve = server._wsgi_call_wrap(application, {}, None)
    calls = [GranianCall(), GranianCall()]
    for call in calls:
        serve(call, {"PATH_INFO": "/"})
    assert [call.responses for call in calls] == [[(204, [], b"")]] * 2
    assert isinstance(seen[0], GranianDeferredResponse)
    assert seen[0] is not seen[1]


def test_nothing_is_deferred_with_another_server_interface() -> None:
    served: list[tuple[Any, Any]] = []
    call, scope = object(), object()
    deferred_response._with_deferred_response(lambda *arguments: served.append(arguments))(call, scope)
    assert served == [(call, scope)]


class RecordedResponse:
    """A deferred response that records what was sent."""

    def __init__(self) -> None:
        self.detached = False
        self.responses: list[tuple[int, list[tuple[str, str]]]] = []

    def detach(self) -> None:
        self.detached = True

    def send(self, status: int, headers: Any) -> None:
        self.responses.append((status, list(headers)))

    def wait(self) -> None:
        deadline = time.monotonic() + 10
        while not self.responses:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def send(hook_client: Client, hook: Subscription, recorded: RecordedResponse, **headers: str) -> int:
    """Return the status that the application returns; it is not sent if the response was deferred."""
    content: dict[str, Any] = {"data": b"{}", "content_type": "application/json", DEFERRED_RESPONSE_KEY: recorded}
    status: int = hook_client.post(f"/hooks/{hook.token}", **content, headers=headers).status_code
    return status


@pytest.mark.usefixtures("receiver_threads")
@pytest.mark.parametrize(("secret", "status"), [("", 200), ("wrong", 401)])
def test_the_response_is_sent_once_the_request_is_stored(
    hook_client: Client, hook: Subscription, secret: str, status: int
) -> None:
    recorded = RecordedResponse()
    assert (
        send(hook_client, hook, recorded, Authorization=secret or hook.secrets[0]) == 503
    )  # in case it is sent after all, it confirms nothing
    assert recorded.detached
    recorded.wait()
    assert recorded.responses == [(status, [])]
    assert WebhookRequest.objects.count() == 1


@pytest.mark.usefixtures("receiver_threads")
def test_a_request_that_cannot_be_stored_is_answered_503(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("events.receiver.request_table.RequestTable.insert", lambda table, rows: 1 / 0)
    recorded = RecordedResponse()
    assert send(hook_client, hook, recorded, Authorization=hook.secrets[0]) == 503
    recorded.wait()
    assert recorded.responses == [(503, [("Retry-After", "10")])]
    assert "A webhook request could not be stored: ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("receiver_threads")
def test_a_response_that_needs_no_commit_is_not_deferred(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_is_hanging", lambda: True)  # so it goes to the spool at once
    recorded = RecordedResponse()
    assert send(hook_client, hook, recorded, Authorization=hook.secrets[0]) == 200
    assert not recorded.detached
    assert recorded.responses == []


# -- With granian -------------------------------------------------------------------------------------------------


class SlowServer:
    """A web process with a single request thread, on a database with slow commits."""

    def __init__(self, web: WebProcess, commits: Path, subscription: Subscription) -> None:
        self.web = web
        self._commits = commits
        self._path = f"/hooks/{subscription.token}"
        self._secret = subscription.secrets[0]

    def post(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=20)
        connection.request("POST", self._path, body, {"Authorization": self._secret})
        response = connection.getresponse()
        assert (response.getheader("Content-Length"), response.read()) == ("0", b"")
        connection.close()
        return response.status

    @property
    def commits(self) -> list[int]:
        """Return the number of rows of each commit that has started."""
        return [int(line) for line in self._commits.read_text().split()] if self._commits.exists() else []

    def wait_for_a_commit(self) -> None:
        deadline = time.monotonic() + 20
        while not self.commits:
            assert time.monotonic() < deadline, self.web.log.read_text()
            time.sleep(0.01)


@contextmanager
def run_slow_server(
    tmp_path: Path, egnyte_subscription: Subscription, entry: str, seconds: float, give_up_after: float = 10.0
) -> Iterator[SlowServer]:
    commits = tmp_path / "commits"
    web = WebProcess(
        tmp_path / "web.log",
        entry=entry,
        application="tests.harness.slow_commits:application",
        threads=1,
        DATA_DIR=str(tmp_path),
        SLOW_COMMIT=str(seconds),
        COMMITS=str(commits),
        GIVES_UP_AFTER=str(give_up_after),
    )
    web.start()
    try:
        yield SlowServer(web, commits, egnyte_subscription)
    finally:
        web.kill()


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_one_thread_serves_many_requests_in_one_commit(
    tmp_path: Path, egnyte_subscription: Subscription, entry: str
) -> None:
    with run_slow_server(tmp_path, egnyte_subscription, entry, 1.0) as server, ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(server.post, [b"%d" % number for number in range(12)]))
    assert statuses == [200] * 12
    assert sum(server.commits) == 12
    assert len(server.commits) <= 4  # twelve, if the thread waited for each
    assert WebhookRequest.objects.count() == 12


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_server_that_is_terminated_still_answers(
    tmp_path: Path, egnyte_subscription: Subscription, entry: str
) -> None:
    with run_slow_server(tmp_path, egnyte_subscription, entry, 1.0) as server, ThreadPoolExecutor(1) as pool:
        pending = pool.submit(server.post, b"{}")
        server.wait_for_a_commit()
        server.web.terminate()
        assert pending.result(10) == 200
    assert WebhookRequest.objects.count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_requests_do_not_wait_for_a_hanging_commit(
    tmp_path: Path, egnyte_subscription: Subscription, entry: str
) -> None:
    with (
        run_slow_server(tmp_path, egnyte_subscription, entry, 60.0, give_up_after=0.3) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        started = time.monotonic()
        statuses = list(pool.map(server.post, [b"%d" % number for number in range(8)]))
        assert statuses == [200] * 8, server.web.log.read_text()
        assert time.monotonic() - started < 20
        # All requests are in the spool, including those of the hanging commit.
        assert sum(path.stat().st_size > 0 for path in (tmp_path / "spool").iterdir()) == 1
        assert server.commits  # the hanging one; by now, the drainer's may hang as well
    assert WebhookRequest.objects.count() == 0
