"""The inline normalizer: a thread of the web process, its bounded queue and its share of the CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from events.models import Event, Outcome
from events.processing import normalize, parse_request
from events.processing.inline_normalizer import (
    CPU_SHARE,
    FULL_BATCH_CPU_SHARE,
    FULL_BATCH_CPU_SHARE_SQLITE,
    LARGE_BATCH,
    LARGE_BATCH_SECONDS,
    YIELD_EVERY,
    InlineNormalizer,
)
from events.receiver.group_commit import writer
from subscriptions.models import Subscription
from tests.harness.fake_provider import body_of, fresh, store_request
from tests.harness.receiving import make_row, row_of_request

pytestmark = pytest.mark.django_db


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


@dataclass
class WatchedConnection:
    """The database connection of the thread that uses it; sets an event when it is closed."""

    closed: threading.Event

    def close(self) -> None:
        connection.close()
        self.closed.set()


@pytest.fixture
def running(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[InlineNormalizer, threading.Event]]:
    """Return a normalizer for this test, and an event that is set when its connection is closed."""
    settings.NORMALIZE_IN_THREAD = True
    monkeypatch.setattr(writer, "_on_rows_stored", lambda rows: None)  # so that the process's normalizer gets no rows
    monkeypatch.setattr("events.processing.inline_normalizer.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("events.processing.inline_normalizer.IDLE_SECONDS", 0.1)
    watched = WatchedConnection(threading.Event())
    monkeypatch.setattr("events.processing.inline_normalizer.connection", watched)
    yield InlineNormalizer(), watched.closed
    assert watched.closed.wait(10)


@pytest.mark.django_db(transaction=True)
def test_requests_are_normalized_at_once(hook: Subscription, running: tuple[InlineNormalizer, threading.Event]) -> None:
    inline_normalizer, _ = running
    for number in range(5):
        inline_normalizer.enqueue_rows([row_of_request(store_request(hook, body_of({"id": number, "type": "made"})))])
    until(lambda: Event.objects.count() == 5)


@pytest.mark.django_db(transaction=True)
def test_the_connection_is_closed_when_idle(
    hook: Subscription, running: tuple[InlineNormalizer, threading.Event]
) -> None:
    inline_normalizer, closed = running
    for number in range(2):
        closed.clear()
        request = store_request(hook, body_of({"id": number, "type": "made"}))
        inline_normalizer.enqueue_rows([row_of_request(request)])
        assert closed.wait(10)
        assert fresh(request).outcome == Outcome.PROCESSED


@pytest.mark.django_db(transaction=True)
def test_the_thread_survives_a_failure(
    hook: Subscription, running: tuple[InlineNormalizer, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    inline_normalizer, closed = running
    failed = threading.Event()

    def fail(rows: Any, **_: Any) -> int:
        failed.set()
        raise RuntimeError("a bug")

    lost, later = store_request(hook, b""), store_request(hook, b"")
    with monkeypatch.context() as patch:
        patch.setattr(normalize, "normalize_rows", fail)
        inline_normalizer.enqueue_rows([row_of_request(lost)])
        assert failed.wait(10)
    inline_normalizer.enqueue_rows([row_of_request(later)])
    until(lambda: fresh(later).outcome == Outcome.PING)
    assert fresh(lost).outcome == Outcome.RECEIVED  # left to the worker
    assert normalize.normalize_pending() == 1
    closed.clear()
    inline_normalizer.enqueue_job(list)  # so that the connection is closed again, for the fixture


def test_the_thread_does_not_start_when_disabled(hook: Subscription) -> None:
    inline_normalizer = InlineNormalizer()
    inline_normalizer.enqueue_rows([row_of_request(store_request(hook, b""))])
    assert inline_normalizer._thread is None


@pytest.fixture
def stopped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> InlineNormalizer:
    """Return a normalizer whose thread does not start."""
    settings.NORMALIZE_IN_THREAD = True
    inline_normalizer = InlineNormalizer()
    monkeypatch.setattr(inline_normalizer, "_start", lambda: None)
    return inline_normalizer


def test_the_queue_is_bounded(hook: Subscription, stopped: InlineNormalizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("events.processing.inline_normalizer.MAX_QUEUED_BYTES", 100)
    rows = [make_row(hook, b"x" * size) for size in (500, 1)]
    stopped.enqueue_rows(rows)
    assert stopped._next_batch() == (rows[:1], [])  # a large request may be queued if it is alone
    monkeypatch.setattr("events.processing.inline_normalizer.MAX_QUEUED_ROWS", 3)
    rows = [make_row(hook) for _ in range(4)]
    stopped.enqueue_rows(rows)
    assert stopped._next_batch() == (rows[:3], [])
    monkeypatch.setattr("events.processing.inline_normalizer.MAX_QUEUED_JOBS", 1)
    for job in (list, dict):
        stopped.enqueue_job(job)
    assert stopped._next_batch() == ([], [list])


def test_batches_are_bounded_by_rows_and_bytes(
    hook: Subscription, stopped: InlineNormalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "BATCH_SIZE", 2)
    monkeypatch.setattr(normalize, "BATCH_BYTES", 50)
    rows = [make_row(hook, b"x" * size) for size in (1, 1, 1, 60, 1)]
    stopped.enqueue_rows(rows)
    assert [stopped._next_batch()[0] for _ in range(3)] == [rows[:2], rows[2:4], rows[4:]]
    assert stopped._bytes == 0


FULL_BATCH = FULL_BATCH_CPU_SHARE_SQLITE if connection.vendor == "sqlite" else FULL_BATCH_CPU_SHARE


@pytest.mark.parametrize(
    ("count", "share"),
    [
        (LARGE_BATCH, min(CPU_SHARE, 5 * FULL_BATCH)),
        (normalize.BATCH_SIZE * 2 // 3, min(CPU_SHARE, 1.5 * FULL_BATCH)),
        (normalize.BATCH_SIZE, FULL_BATCH),
    ],
)
def test_large_batches_are_followed_by_a_pause(count: int, share: float) -> None:
    pause_after = InlineNormalizer()._pause_after
    assert pause_after(LARGE_BATCH - 1, 0.5, 0.5) == 0
    assert pause_after(count, 0.01, 0.001) == pytest.approx(LARGE_BATCH_SECONDS - 0.01)
    assert pause_after(count, 0.5, 0.4) == pytest.approx(0.4 / share - 0.5, rel=0.01)
    assert pause_after(count, 5, 0.01) == 0  # it waited longer for the database


def test_other_threads_may_compute_every_few_requests(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr("events.storage.thread_priority.yield_to_other_threads", lambda: order.append("yield"))
    original = parse_request.parse

    def parse(request: Any) -> Any:
        order.append("parse")
        return original(request)

    monkeypatch.setattr(parse_request, "parse", parse)
    rows = [
        row_of_request(store_request(hook, body_of({"id": number, "type": "made"})))
        for number in range(2 * YIELD_EVERY)
    ]
    assert normalize.normalize_rows(rows, progress=InlineNormalizer()._step) == 2 * YIELD_EVERY
    parsed = ["parse"] * YIELD_EVERY
    assert order == [*parsed[1:], "yield", *parsed, "yield", "parse"]
