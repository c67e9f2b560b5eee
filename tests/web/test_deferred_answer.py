"""Deferred answers: the commit thread answers, and the request's thread serves the next request meanwhile."""

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

from config.web import deferred_answer
from config.web.deferred_answer import NO_CONTENT, DeferredAnswer, defer_answers
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
        self.answers: list[tuple[Any, ...]] = []

    def response_bytes(self, *answer: Any) -> None:
        self.answers.append(answer)

    response_iter = response_bytes


def test_the_applications_response_is_sent_unless_it_is_deferred() -> None:
    call = GranianCall()
    own = DeferredAnswer(call)
    own.response_bytes(200, [], b"page")
    own.response_iter(200, [], [b"page"])
    assert call.answers == [(200, [], b"page"), (200, [], [b"page"])]
    own.detach()
    own.response_bytes(200, [], b"page")
    own.response_iter(200, [], [b"page"])
    assert len(call.answers) == 2
    own.send(503, [("Retry-After", "10")])
    assert call.answers[2:] == [(503, [NO_CONTENT, ("Retry-After", "10")], b"")]


def test_each_request_of_granian_gets_a_deferred_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ[DEFERRED_RESPONSE_KEY])
        start_response("204 No Content", [])
        return []

    server: Any = mp
    monkeypatch.setattr(server, "_wsgi_call_wrap", server._wsgi_call_wrap)
    defer_answers()
    serve = server._wsgi_call_wrap(application, {}, None)
    calls = [GranianCall(), GranianCall()]
    for call in calls:
        serve(call, {"PATH_INFO": "/"})
    assert [call.answers for call in calls] == [[(204, [], b"")]] * 2
    assert isinstance(seen[0], DeferredAnswer)
    assert seen[0] is not seen[1]


def test_nothing_is_deferred_with_another_server_interface() -> None:
    served: list[tuple[Any, Any]] = []
    call, scope = object(), object()
    deferred_answer._with_deferred_answer(lambda *given: served.append(given))(call, scope)
    assert served == [(call, scope)]


class Noted:
    """A deferred answer that records what was sent."""

    def __init__(self) -> None:
        self.left = False
        self.given: list[tuple[int, list[tuple[str, str]]]] = []

    def detach(self) -> None:
        self.left = True

    def send(self, status: int, headers: Any) -> None:
        self.given.append((status, list(headers)))

    def wait(self) -> None:
        deadline = time.monotonic() + 10
        while not self.given:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def send(hook_client: Client, hook: Subscription, noted: Noted, **headers: str) -> int:
    """Return the status that the application returns; it is not sent if the answer was deferred."""
    content: dict[str, Any] = {"data": b"{}", "content_type": "application/json", DEFERRED_RESPONSE_KEY: noted}
    status: int = hook_client.post(f"/hooks/{hook.token}", **content, headers=headers).status_code
    return status


@pytest.mark.usefixtures("receiver_threads")
@pytest.mark.parametrize(("secret", "status"), [("", 200), ("wrong", 401)])
def test_the_answer_is_sent_once_the_request_is_stored(
    hook_client: Client, hook: Subscription, secret: str, status: int
) -> None:
    noted = Noted()
    assert send(hook_client, hook, noted, Authorization=secret or hook.secrets[0]) == 503  # it claims nothing
    assert noted.left
    noted.wait()
    assert noted.given == [(status, [])]
    assert WebhookRequest.objects.count() == 1


@pytest.mark.usefixtures("receiver_threads")
def test_a_request_that_cannot_be_stored_is_answered_503(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("events.receiver.request_table.RequestTable.insert", lambda table, rows: 1 / 0)
    noted = Noted()
    assert send(hook_client, hook, noted, Authorization=hook.secrets[0]) == 503
    noted.wait()
    assert noted.given == [(503, [("Retry-After", "10")])]
    assert "A webhook request could not be stored: ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("receiver_threads")
def test_an_answer_that_needs_no_commit_is_not_deferred(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_is_hanging", lambda: True)  # so it goes to the spool at once
    noted = Noted()
    assert send(hook_client, hook, noted, Authorization=hook.secrets[0]) == 200
    assert not noted.left
    assert noted.given == []


# -- Served by granian -------------------------------------------------------------------------------------------------


class Slow:
    """A web process with a single request thread, on a database with slow commits."""

    def __init__(self, web: WebProcess, commits: Path, subscription: Subscription) -> None:
        self.web = web
        self._commits = commits
        self._path = f"/hooks/{subscription.token}"
        self._secret = subscription.secrets[0]

    def post(self, body: bytes) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=20)
        connection.request("POST", self._path, body, {"Authorization": self._secret})
        answer = connection.getresponse()
        assert (answer.getheader("Content-Length"), answer.read()) == ("0", b"")
        connection.close()
        return answer.status

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
def slow(
    tmp_path: Path, egnyte_subscription: Subscription, door: str, seconds: float, patience: float = 10.0
) -> Iterator[Slow]:
    commits = tmp_path / "commits"
    web = WebProcess(
        tmp_path / "web.log",
        entry=door,
        application="tests.harness.slow_commits:application",
        threads=1,
        DATA_DIR=str(tmp_path),
        SLOW_COMMIT=str(seconds),
        COMMITS=str(commits),
        GIVES_UP_AFTER=str(patience),
    )
    web.start()
    try:
        yield Slow(web, commits, egnyte_subscription)
    finally:
        web.kill()


@pytest.mark.parametrize("door", ENTRIES)
def test_one_thread_serves_many_requests_in_one_commit(
    tmp_path: Path, egnyte_subscription: Subscription, door: str
) -> None:
    with slow(tmp_path, egnyte_subscription, door, 1.0) as server, ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(server.post, [b"%d" % number for number in range(12)]))
    assert statuses == [200] * 12
    assert sum(server.commits) == 12
    assert len(server.commits) <= 4  # twelve, if the thread waited for each
    assert WebhookRequest.objects.count() == 12


@pytest.mark.parametrize("door", ENTRIES)
def test_a_server_that_is_terminated_still_answers(
    tmp_path: Path, egnyte_subscription: Subscription, door: str
) -> None:
    with slow(tmp_path, egnyte_subscription, door, 1.0) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.post, b"{}")
        server.wait_for_a_commit()
        server.web.terminate()
        assert asked.result(10) == 200
    assert WebhookRequest.objects.count() == 1


@pytest.mark.parametrize("door", ENTRIES)
def test_a_hanging_commit_is_not_waited_for(tmp_path: Path, egnyte_subscription: Subscription, door: str) -> None:
    with slow(tmp_path, egnyte_subscription, door, 60.0, patience=0.3) as server, ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        statuses = list(pool.map(server.post, [b"%d" % number for number in range(8)]))
        assert statuses == [200] * 8, server.web.log.read_text()
        assert time.monotonic() - started < 20
        # All of them, those that the commit has taken already as well.
        assert sum(path.stat().st_size > 0 for path in (tmp_path / "spool").iterdir()) == 1
        assert server.commits  # the one that hangs; the drainer's may hang beside it by now
    assert WebhookRequest.objects.count() == 0
