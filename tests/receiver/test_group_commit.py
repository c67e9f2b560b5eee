"""Group commit: rows that arrive together are committed together, and within bounds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from uuid import UUID

import pytest
from django.db import connection
from pytest_django import Settings

from events.models import WebhookRequest
from events.receiver import group_commit, pending_write
from events.receiver.group_commit import Writer
from events.receiver.pending_write import Busy, NotStored, PendingWrite, RefusedByDatabase
from events.receiver.request_table import RequestTable
from events.storage.request_row import RequestRow
from subscriptions.models import Subscription
from tests.harness.fake_provider import run_concurrently
from tests.harness.receiving import make_row, stored_ids, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_waiting_rows_are_committed_together(
    hook: Subscription, own_writer: Writer, stored_batches: list[list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_write, "WAIT_SECONDS", 20.0)
    inserted: list[int] = []
    started, may_continue = threading.Event(), threading.Event()
    original = RequestTable.insert

    def insert(self: RequestTable, rows: Sequence[RequestRow]) -> None:
        started.set()
        may_continue.wait(10)
        original(self, rows)
        inserted.append(len(rows))

    monkeypatch.setattr(RequestTable, "insert", insert)
    rows = [make_row(hook) for _ in range(20)]

    def store(row: RequestRow) -> None:
        assert row is rows[0] or started.wait(10)
        own_writer.store(row)

    def continue_when_all_wait() -> None:
        wait_until(lambda: len(own_writer._waiting) == 19)
        may_continue.set()

    run_concurrently(continue_when_all_wait, *[lambda row=row: store(row) for row in rows])
    assert inserted == [1, 19]
    assert stored_ids() == {row.uid for row in rows}
    wait_until(lambda: sum(map(len, stored_batches)) == 20)


def test_only_batches_of_several_rows_are_delayed(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(group_commit, "BATCH_INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(group_commit, "uses_sqlite", lambda: True)
    monkeypatch.setattr(time, "sleep", pauses.append)
    for _ in range(3):
        own_writer._waiting = [PendingWrite(make_row(hook, b"alone"))]
        assert len(own_writer._next_batch(own_writer._commit_threads[0])) == 1
    assert pauses == []
    own_writer._waiting = [PendingWrite(make_row(hook, b"several")) for _ in range(3)]
    assert len(own_writer._next_batch(own_writer._commit_threads[0])) == 3
    own_writer._waiting = [PendingWrite(make_row(hook, b"alone"))]
    assert len(own_writer._next_batch(own_writer._commit_threads[0])) == 1
    assert len(pauses) == 1
    assert 50 < pauses[0] <= 60
    own_writer._waiting = [PendingWrite(make_row(hook, b"alone"))]
    own_writer._next_batch(own_writer._commit_threads[0])
    assert len(pauses) == 1


def test_commits_to_a_database_server_are_not_delayed(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(group_commit, "BATCH_INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(group_commit, "uses_sqlite", lambda: False)
    monkeypatch.setattr(time, "sleep", pauses.append)
    for _ in range(2):
        own_writer._waiting = [PendingWrite(make_row(hook, b"several")) for _ in range(3)]
        assert len(own_writer._next_batch(own_writer._commit_threads[0])) == 3
    assert pauses == []


class HangingServer:
    """A database server whose commits hang until they are allowed to end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[list[bytes]] = []
        self.may_end = threading.Semaphore(0)
        monkeypatch.setattr(group_commit, "uses_sqlite", lambda: False)
        monkeypatch.setattr(RequestTable, "insert_each", lambda table, rows: self._insert_each(rows))

    def _insert_each(self, rows: Sequence[RequestRow]) -> dict[UUID, str]:
        self.started.append([row.body for row in rows])
        assert self.may_end.acquire(timeout=10)
        return {}

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.started) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.mark.parametrize("shortest_duration", [0.0, 10.0])
def test_slow_commits_overlap(
    hook: Subscription, settings: Settings, monkeypatch: pytest.MonkeyPatch, shortest_duration: float
) -> None:
    settings.RECEIVE_IN_THREADS = True
    server = HangingServer(monkeypatch)
    own_writer = Writer()
    own_writer._shortest_duration = shortest_duration
    calls = [
        threading.Thread(target=own_writer.store, args=(make_row(hook, body),))
        for body in (b"first", b"second", b"third")
    ]
    calls[0].start()
    server.wait_for(1)
    calls[1].start()
    calls[2].start()
    if shortest_duration:
        server.wait_for(2)  # although the first has not ended
    else:
        time.sleep(0.2)
        assert server.started == [[b"first"]]
    for _ in calls:
        server.may_end.release()
    for call in calls:
        call.join(10)
    own_writer.stop()
    assert sorted(body for bodies in server.started for body in bodies) == [b"first", b"second", b"third"]
    assert not own_writer._is_hanging()


def test_commits_overlap_only_if_all_recent_ones_were_slow(
    hook: Subscription, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RECEIVE_IN_THREADS = True
    monkeypatch.setattr(group_commit, "uses_sqlite", lambda: False)
    monkeypatch.setattr(RequestTable, "insert_each", lambda table, rows: {})
    duration = 10.0
    monkeypatch.setattr(
        group_commit.CommitThread, "busy_for", lambda thread: 0.0 if thread.busy_since is None else duration
    )
    monkeypatch.setattr(group_commit, "HANGING_SECONDS", 60.0)
    own_writer = Writer()
    recent = group_commit.RECENT_COMMITS
    active: list[int] = []
    for duration in [10.0] * recent + [0.001] + [10.0] * recent:  # noqa: B007  # busy_for reads it
        own_writer.store(make_row(hook))
        active.append(len(own_writer._active_threads()))
    own_writer.stop()
    assert active == [1] * (recent - 1) + [2] + [1] * recent + [2]


def test_same_row_is_stored_once(hook: Subscription, own_writer: Writer) -> None:
    row = make_row(hook)
    own_writer.store(row)
    own_writer.store(row)
    assert WebhookRequest.objects.count() == 1


def test_refused_row_does_not_affect_its_batch(
    hook: Subscription, own_writer: Writer, stored_batches: list[list[UUID]]
) -> None:
    good = [make_row(hook) for _ in range(9)]
    bad = make_row(hook, size=-1 if connection.vendor == "postgresql" else 2**70)
    results: dict[UUID, str] = {}

    def store(row: RequestRow) -> None:
        try:
            own_writer.store(row)
            results[row.uid] = "stored"
        except NotStored as error:
            results[row.uid] = type(error).__name__

    run_concurrently(*[lambda row=row: store(row) for row in [*good[:4], bad, *good[4:]]])
    assert results == {**{row.uid: "stored" for row in good}, bad.uid: RefusedByDatabase.__name__}
    assert stored_ids() == {row.uid for row in good}
    wait_until(lambda: sum(map(len, stored_batches)) == 9)


def test_batch_is_limited_by_rows_and_bytes(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_writer, "_start_threads", lambda: None)
    monkeypatch.setattr(group_commit, "BATCH_ROWS", 3)
    monkeypatch.setattr(group_commit, "BATCH_BYTES", 100)
    for size in (1, 1, 1, 1, 99, 99, 500):
        own_writer._enqueue(PendingWrite(make_row(hook, b"x" * size)))
    assert own_writer._waiting_bytes == 702
    sizes = [[len(write.row.body) for write in own_writer._next_batch(own_writer._commit_threads[0])] for _ in range(4)]
    assert sizes == [[1, 1, 1], [1, 99], [99], [500]]
    assert (own_writer._waiting, own_writer._waiting_bytes) == ([], 0)


def test_store_raises_busy_when_the_queue_is_full(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_writer, "_start_threads", lambda: None)
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 100)
    own_writer._enqueue(PendingWrite(make_row(hook, b"x" * 1000)))  # the first one may have any size
    with pytest.raises(Busy):
        own_writer.store(make_row(hook, b"x"))
    own_writer._next_batch(own_writer._commit_threads[0])
    monkeypatch.setattr(group_commit, "MAX_WAITING_ROWS", 2)
    for _ in range(2):
        own_writer._enqueue(PendingWrite(make_row(hook)))
    with pytest.raises(Busy):
        own_writer.store(make_row(hook))


def test_internal_error_leaves_no_thread_waiting(
    hook: Subscription, own_writer: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RequestTable, "insert", lambda self, rows: 1 / 0)
        with pytest.raises(NotStored, match="ZeroDivisionError"):
            own_writer.store(make_row(hook))
    assert any(record.exc_info for record in caplog.records)
    own_writer.store(make_row(hook))


def test_failure_after_the_commit_is_harmless(hook: Subscription, settings: Settings) -> None:
    settings.RECEIVE_IN_THREADS = True
    own_writer = Writer(on_rows_stored=lambda rows: 1 / 0)  # type: ignore[arg-type]
    try:
        own_writer.store(make_row(hook))
        own_writer.store(make_row(hook))
    finally:
        own_writer.stop()
    assert WebhookRequest.objects.count() == 2


def test_forked_process_starts_its_own_thread(hook: Subscription, own_writer: Writer) -> None:
    own_writer.store(make_row(hook))
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            own_writer.reset()
            own_writer.store(make_row(hook))
            own_writer.stop()
        finally:
            os._exit(0 if own_writer._commit_threads[0].thread else 1)
    assert os.waitpid(child, 0)[1] == 0
    own_writer.store(make_row(hook))
    assert WebhookRequest.objects.count() == 3
