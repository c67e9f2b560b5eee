"""The group commit: one transaction for all that waits, nobody harmed by a neighbour, nobody waiting for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import ProgrammingError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import DuplicatePreparedStatement, InvalidSqlStatementName
from pytest_django import Settings

from events.models import WebhookRequest
from events.processing import normalize
from events.receiver import group_commit, own_connection, pending_write, request_table
from events.receiver.group_commit import Writer
from events.receiver.pending_write import Busy, NotStored, RefusedByDatabase
from events.receiver.request_table import RequestTable
from events.receiver.spool.file import spool
from events.receiver.spool_drain import Drainer
from events.storage import request_row
from events.storage.bulk_insert import Target
from events.storage.request_row import RequestRow
from providers.audit import state_changes
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import State, Subscription
from tests.harness.fake_provider import body_of, run_concurrently, store_request
from tests.harness.receiving import DatabaseOutage, make_row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def batches() -> list[list[UUID]]:
    """What was stored, batch by batch."""
    return []


@pytest.fixture
def own(settings: Settings, batches: list[list[UUID]]) -> Iterator[Writer]:
    """A writer of its own, in its thread, whose connection is closed in the end."""
    settings.RECEIVE_IN_THREADS = True
    running = Writer(on_rows_stored=lambda rows: batches.append([row.uid for row in rows]))
    yield running
    running.stop()


def stored() -> set[UUID]:
    return set(WebhookRequest.objects.values_list("uid", flat=True))


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_the_columns_are_all_that_a_request_has() -> None:
    assert WebhookRequest._meta.db_table == request_row.REQUESTS.table
    left_to_the_database = {"id", "tries", "tried_at"}
    names = {field.column for field in WebhookRequest._meta.concrete_fields} - left_to_the_database
    assert set(request_row.REQUESTS.columns) == names


def test_a_row_comes_back_as_it_was_written(hook: Subscription, own: Writer) -> None:
    plain = make_row(hook, b"\x00\xff" * 1000)
    full = make_row(hook, b"", processed_at=datetime(2026, 1, 2, tzinfo=UTC), outcome="rejected", query="\u2028é")
    own.store(plain)
    own.store(full)
    first, second = WebhookRequest.objects.order_by("id")
    assert (first.uid, bytes(first.body), first.size) == (plain.uid, b"\x00\xff" * 1000, 2000)
    assert (first.received_at, first.processed_at) == (plain.received_at, None)
    assert (first.headers, first.sealed_headers, first.repeated_keys) == ([["A", "b"]], {}, [])
    assert (first.account_id, first.subscription) == (hook.account_id, hook)
    assert (second.processed_at, second.outcome, second.query) == (full.processed_at, "rejected", "\u2028é")
    # Django's own writing reads the same.
    before = WebhookRequest.objects.filter(pk=first.pk).values().get()
    WebhookRequest.objects.get(pk=first.pk).save()
    assert WebhookRequest.objects.filter(pk=first.pk).values().get() == before


def test_what_comes_together_is_committed_together(
    hook: Subscription, own: Writer, batches: list[list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_write, "WAIT_SECONDS", 20.0)
    inserted: list[int] = []
    begun, held = threading.Event(), threading.Event()
    original = RequestTable.insert

    def insert(self: RequestTable, rows: Sequence[RequestRow]) -> None:
        begun.set()
        held.wait(10)
        original(self, rows)
        inserted.append(len(rows))

    monkeypatch.setattr(RequestTable, "insert", insert)
    rows = [make_row(hook) for _ in range(20)]

    def store(row: RequestRow) -> None:
        assert row is rows[0] or begun.wait(10)
        own.store(row)

    def let_go() -> None:
        until(lambda: len(own._waiting) == 19)
        held.set()

    run_concurrently(let_go, *[lambda row=row: store(row) for row in rows])
    assert inserted == [1, 19]
    assert stored() == {row.uid for row in rows}
    until(lambda: sum(map(len, batches)) == 20)


def test_rows_that_come_one_after_the_other_do_not_wait_and_many_at_once_a_little(
    hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(group_commit, "BATCH_INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(group_commit, "uses_sqlite", lambda: True)
    monkeypatch.setattr(time, "sleep", pauses.append)
    for _ in range(3):
        own._waiting = [pending_write.PendingWrite(make_row(hook, b"alone"))]
        assert len(own._next_batch(own._commit_threads[0])) == 1
    assert pauses == []
    own._waiting = [pending_write.PendingWrite(make_row(hook, b"several")) for _ in range(3)]
    assert len(own._next_batch(own._commit_threads[0])) == 3
    own._waiting = [pending_write.PendingWrite(make_row(hook, b"alone"))]
    assert len(own._next_batch(own._commit_threads[0])) == 1
    assert len(pauses) == 1
    assert 50 < pauses[0] <= 60
    own._waiting = [pending_write.PendingWrite(make_row(hook, b"alone"))]
    own._next_batch(own._commit_threads[0])
    assert len(pauses) == 1


def test_a_database_server_commits_as_soon_as_it_can(
    hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(group_commit, "BATCH_INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(group_commit, "uses_sqlite", lambda: False)
    monkeypatch.setattr(time, "sleep", pauses.append)
    for _ in range(2):
        own._waiting = [pending_write.PendingWrite(make_row(hook, b"several")) for _ in range(3)]
        assert len(own._next_batch(own._commit_threads[0])) == 3
    assert pauses == []


class Server:
    """A database server on whose disk each commit hangs until it may end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[list[bytes]] = []
        self.may_end = threading.Semaphore(0)
        monkeypatch.setattr(group_commit, "uses_sqlite", lambda: False)
        monkeypatch.setattr(RequestTable, "insert_each", lambda table, rows: self._insert_each(rows))

    def _insert_each(self, rows: Sequence[RequestRow]) -> dict[UUID, str]:
        self.begun.append([row.body for row in rows])
        assert self.may_end.acquire(timeout=10)
        return {}

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.begun) < count:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.mark.parametrize("last_took", [0.0, 10.0])
def test_commits_overlap_where_they_take_long(
    hook: Subscription, settings: Settings, monkeypatch: pytest.MonkeyPatch, last_took: float
) -> None:
    settings.RECEIVE_IN_THREADS = True
    server = Server(monkeypatch)
    own = Writer()
    own._shortest_duration = last_took
    calls = [
        threading.Thread(target=own.store, args=(make_row(hook, body),)) for body in (b"first", b"second", b"third")
    ]
    calls[0].start()
    server.wait_for(1)
    calls[1].start()
    calls[2].start()
    if last_took:
        server.wait_for(2)  # though the first has not ended
    else:
        time.sleep(0.2)
        assert server.begun == [[b"first"]]
    for _ in calls:
        server.may_end.release()
    for call in calls:
        call.join(10)
    own.stop()
    assert sorted(body for bodies in server.begun for body in bodies) == [b"first", b"second", b"third"]
    assert not own._is_hanging()


def test_commits_overlap_only_where_the_disk_is_slow_each_time(
    hook: Subscription, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RECEIVE_IN_THREADS = True
    monkeypatch.setattr(group_commit, "uses_sqlite", lambda: False)
    monkeypatch.setattr(RequestTable, "insert_each", lambda table, rows: {})
    took = 10.0
    monkeypatch.setattr(group_commit.CommitThread, "busy_for", lambda hand: 0.0 if hand.busy_since is None else took)
    monkeypatch.setattr(group_commit, "HANGING_SECONDS", 60.0)
    own = Writer()
    hands: list[int] = []
    for took in [10.0] * group_commit.RECENT_COMMITS + [0.001] + [10.0] * group_commit.RECENT_COMMITS:  # noqa: B007  # busy_for reads it
        own.store(make_row(hook))
        hands.append(len(own._active_threads()))
    own.stop()
    slow = group_commit.RECENT_COMMITS - 1
    assert hands == [1] * slow + [2] + [1] * group_commit.RECENT_COMMITS + [2]


def test_the_same_row_twice_is_there_once(hook: Subscription, own: Writer) -> None:
    row = make_row(hook)
    own.store(row)
    own.store(row)
    assert WebhookRequest.objects.count() == 1


def test_a_poisoned_row_is_found_and_its_neighbours_are_stored(
    hook: Subscription, own: Writer, batches: list[list[UUID]]
) -> None:
    good = [make_row(hook) for _ in range(9)]
    bad = make_row(hook, size=-1 if connection.vendor == "postgresql" else 2**70)
    answers: dict[UUID, str] = {}

    def store(row: RequestRow) -> None:
        try:
            own.store(row)
            answers[row.uid] = "stored"
        except NotStored as error:
            answers[row.uid] = type(error).__name__

    run_concurrently(*[lambda row=row: store(row) for row in [*good[:4], bad, *good[4:]]])
    assert answers == {**{row.uid: "stored" for row in good}, bad.uid: RefusedByDatabase.__name__}
    assert stored() == {row.uid for row in good}
    until(lambda: sum(map(len, batches)) == 9)


def test_a_batch_is_bounded_by_rows_and_bytes(hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_start_threads", lambda: None)
    monkeypatch.setattr(group_commit, "BATCH_ROWS", 3)
    monkeypatch.setattr(group_commit, "BATCH_BYTES", 100)
    for size in (1, 1, 1, 1, 99, 99, 500):
        own._enqueue(pending_write.PendingWrite(make_row(hook, b"x" * size)))
    assert own._waiting_bytes == 702
    taken = [[len(job.row.body) for job in own._next_batch(own._commit_threads[0])] for _ in range(4)]
    assert taken == [[1, 1, 1], [1, 99], [99], [500]]
    assert (own._waiting, own._waiting_bytes) == ([], 0)


def test_more_than_may_wait_is_turned_away(hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_start_threads", lambda: None)
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 100)
    own._enqueue(pending_write.PendingWrite(make_row(hook, b"x" * 1000)))  # one always may
    with pytest.raises(Busy):
        own.store(make_row(hook, b"x"))
    own._next_batch(own._commit_threads[0])
    monkeypatch.setattr(group_commit, "MAX_WAITING_ROWS", 2)
    for _ in range(2):
        own._enqueue(pending_write.PendingWrite(make_row(hook)))
    with pytest.raises(Busy):
        own.store(make_row(hook))


def waiting() -> list[UUID]:
    """What is in the spool, in order."""
    found: list[UUID] = []

    def note(rows: Sequence[RequestRow]) -> dict[UUID, str]:
        found.extend(row.uid for row in rows)
        return {}

    spool.drain(note)
    return found


def hanging(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A database that hangs until it is set."""
    let_go = threading.Event()
    original = RequestTable.insert

    def hang(self: RequestTable, rows: Sequence[RequestRow]) -> None:
        let_go.wait(10)
        original(self, rows)

    monkeypatch.setattr(RequestTable, "insert", hang)
    return let_go


def test_a_database_that_hangs_holds_nobody_for_long(
    hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch, spool_folder: Path
) -> None:
    monkeypatch.setattr(pending_write, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(group_commit, "HANGING_SECONDS", 0.3)
    let_go = hanging(monkeypatch)
    rows = [make_row(hook) for _ in range(10)]
    started = time.monotonic()
    for row in rows:
        own.store(row)
    assert time.monotonic() - started < 1.5  # two waited, the others saw that it hangs
    let_go.set()
    last = make_row(hook)
    until(lambda: not own._is_hanging())
    own.store(last)
    assert stored() == {rows[0].uid, last.uid}
    assert waiting() == [row.uid for row in rows]


def test_a_database_that_is_away_is_no_reason_to_refuse(
    hook: Subscription,
    own: Writer,
    database_outage: DatabaseOutage,
    spool_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    own.store(rows[0])
    database_outage.active = True
    own.store(rows[1])
    database_outage.active = False
    own.store(rows[2])  # behind what waits
    assert stored() == {rows[0].uid}
    assert caplog.text.count("they go to the spool: the database is away") == 1
    followed: list[UUID] = []
    drainer = Drainer(own, spool, lambda rows: followed.extend(row.uid for row in rows))
    assert drainer.drain() == 2
    assert not own.in_outage
    assert list(WebhookRequest.objects.order_by("id").values_list("uid", flat=True)) == [row.uid for row in rows]
    assert followed == [rows[1].uid, rows[2].uid]
    own.store(make_row(hook))
    assert (WebhookRequest.objects.count(), drainer.drain()) == (4, 0)


def test_without_a_spool_it_is_refused_and_tried_again(
    hook: Subscription, own: Writer, database_outage: DatabaseOutage, spool_folder: Path
) -> None:
    spool_folder.write_text("a file where the folder should be")
    database_outage.active = True
    with pytest.raises(NotStored, match="The spool cannot be written"):
        own.store(make_row(hook))
    database_outage.active = False
    own.store(make_row(hook))
    assert WebhookRequest.objects.count() == 1


class Left:
    """What follows a row that no thread waits for."""

    def __init__(self) -> None:
        self.heard: list[NotStored | None] = []

    def __call__(self, error: NotStored | None) -> None:
        self.heard.append(error)

    def wait(self) -> NotStored | None:
        until(lambda: bool(self.heard))
        return self.heard[0]


def test_nobody_has_to_wait_for_a_row_that_was_left(hook: Subscription, own: Writer) -> None:
    row, left = make_row(hook), Left()
    there: list[int] = []

    def then(error: NotStored | None) -> None:
        with connection.cursor() as cursor:  # of the writer's thread
            cursor.execute("SELECT count(*) FROM events_webhookrequest")
            there.append(cursor.fetchone()[0])
        connection.close()
        left(error)

    assert own.store(row, then) is False
    assert left.wait() is None
    assert there == [1]
    assert stored() == {row.uid}
    assert left.heard == [None]


def test_those_who_left_rows_hear_which_was_refused(hook: Subscription, own: Writer) -> None:
    bad = make_row(hook, size=-1 if connection.vendor == "postgresql" else 2**70)
    refused, kept_one = Left(), Left()
    own.store(bad, refused)
    own.store(make_row(hook), kept_one)
    assert isinstance(refused.wait(), RefusedByDatabase)
    assert kept_one.wait() is None


def test_what_follows_a_row_harms_no_other(
    hook: Subscription, own: Writer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "_start_threads", lambda: None)
    after = Left()
    own.store(make_row(hook), lambda error: 1 / 0)  # type: ignore[arg-type]
    own.store(make_row(hook), after)
    monkeypatch.undo()
    own._start_threads()
    assert after.wait() is None
    assert "A request could not be answered" in caplog.text


def test_when_much_waits_threads_wait_with_it(hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "BATCH_ROWS", 2)
    monkeypatch.setattr(own, "_start_threads", lambda: None)
    left = [Left(), Left()]
    for one in left:
        assert own.store(make_row(hook), one) is False
    monkeypatch.undo()
    unheard = Left()
    waited: list[bool] = []
    monkeypatch.setattr(group_commit, "BATCH_ROWS", 2)
    thread = threading.Thread(target=lambda: waited.append(own.store(make_row(hook), unheard)))
    thread.start()
    thread.join(30)
    assert waited == [True]
    assert unheard.heard == []
    assert [one.wait() for one in left] == [None, None]
    assert WebhookRequest.objects.count() == 3


@pytest.mark.parametrize("spool_works", [True, False])
def test_rows_that_were_left_are_given_up_when_the_database_hangs(
    hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch, spool_folder: Path, spool_works: bool
) -> None:
    monkeypatch.setattr(pending_write, "WAIT_SECONDS", 0.2)
    let_go = hanging(monkeypatch)
    if not spool_works:
        spool_folder.write_text("a file where the folder should be")
    rows, left = [make_row(hook) for _ in range(3)], [Left() for _ in range(3)]
    for row, one in zip(rows, left, strict=True):
        assert own.store(row, one) is False
    heard = [one.wait() for one in left]
    let_go.set()
    if spool_works:
        assert heard == [None] * 3
        assert sorted(waiting()) == sorted(row.uid for row in rows)
    else:
        assert [str(error).startswith("The spool cannot be written") for error in heard] == [True] * 3
    until(lambda: not own._is_hanging() and not own._waiting)
    own.store(make_row(hook))
    assert all(len(one.heard) == 1 for one in left)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server that drops connections")
def test_a_dropped_connection_is_opened_again(hook: Subscription, own: Writer) -> None:
    own.store(make_row(hook))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    own.store(make_row(hook))
    assert WebhookRequest.objects.count() == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps no statements")
def test_the_server_keeps_the_statement(hook: Subscription) -> None:
    table = RequestTable()
    try:
        table.insert([make_row(hook)])
        assert table._connection is not None
        with table._connection.cursor() as cursor:
            cursor.execute("SELECT statement FROM pg_prepared_statements")
            ((statement,),) = cursor.fetchall()
        assert statement.startswith("INSERT INTO events_webhookrequest")
    finally:
        table.close()


@pytest.mark.parametrize("error", [InvalidSqlStatementName, DuplicatePreparedStatement])
def test_behind_a_pooler_that_mixes_statements_up_none_is_prepared(
    hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    opened: list[bool] = []
    insert, open_own_connection = Target.insert, own_connection.open_own_connection

    def open_noted(*, prepares: bool) -> BaseDatabaseWrapper:
        opened.append(prepares)
        return open_own_connection(prepares=prepares)

    def refuse_prepared(self: Target, *arguments: Any) -> list[Any]:
        if opened[-1]:
            raise ProgrammingError("prepared statement") from error()
        return insert(self, *arguments)

    monkeypatch.setattr(RequestTable, "prepares", True)
    monkeypatch.setattr(request_table, "open_own_connection", open_noted)
    monkeypatch.setattr(Target, "insert", refuse_prepared)
    table, rows = RequestTable(), [make_row(hook) for _ in range(3)]
    assert not table.can_insert(rows[0])
    assert table.can_insert(rows[0])
    table.close()
    monkeypatch.setattr(RequestTable, "prepares", True)
    for row in rows:
        own.store(row)
    assert opened == [True, False, True, False]
    assert stored() == {row.uid for row in rows}
    assert not own.in_outage


def event_noted(hook: Subscription) -> None:
    store_request(hook, body_of({"id": "1", "type": "made"}))
    normalize.normalize_pending()


def secret_entered(hook: Subscription) -> None:
    secret_rotation.enter_secret(hook, "another", by="test")


def state_changed(hook: Subscription) -> None:
    state_changes.write(Subscription.objects.filter(pk=hook.pk), by="test", state=State.FAILING)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one lock for all writers")
@pytest.mark.parametrize("change", [event_noted, secret_entered, state_changed])
def test_who_changes_a_subscription_holds_up_none_of_its_requests(
    hook: Subscription, own: Writer, spool_folder: Path, change: Callable[[Subscription], object]
) -> None:
    locks: list[str] = []

    def store_when_locked(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "UPDATE" in sql and "subscriptions_subscription" in sql:
            own.store(make_row(hook))
            locks.append(sql)
        return result

    with connection.execute_wrapper(store_when_locked):
        change(hook)
    assert any("FOR NO KEY UPDATE" in sql for sql in locks)
    assert any(sql.startswith("UPDATE") for sql in locks)
    assert WebhookRequest.objects.filter(body=b"{}").count() == len(locks)  # what has to wait goes to the spool


def test_a_bug_of_ours_leaves_nobody_waiting(
    hook: Subscription, own: Writer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RequestTable, "insert", lambda self, rows: 1 / 0)
        with pytest.raises(NotStored, match="ZeroDivisionError"):
            own.store(make_row(hook))
    assert any(record.exc_info for record in caplog.records)
    own.store(make_row(hook))


def test_what_follows_may_fail_without_harm(hook: Subscription, settings: Settings) -> None:
    settings.RECEIVE_IN_THREADS = True
    own = Writer(on_rows_stored=lambda rows: 1 / 0)  # type: ignore[arg-type]
    try:
        own.store(make_row(hook))
        own.store(make_row(hook))
    finally:
        own.stop()
    assert WebhookRequest.objects.count() == 2


def test_commits_are_on_the_disk(hook: Subscription) -> None:
    own = own_connection.open_own_connection()
    try:
        with own.cursor() as cursor:
            if own.vendor == "sqlite":
                cursor.execute("PRAGMA synchronous")
                assert cursor.fetchone() == (2,)  # FULL
                cursor.execute("PRAGMA journal_mode")
                assert cursor.fetchone() == ("wal",)
            else:
                cursor.execute("SHOW synchronous_commit")
                assert cursor.fetchone() == ("on",)
        assert request_row.REQUESTS.max_rows(own) >= group_commit.BATCH_ROWS
    finally:
        own.close()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is the server's setting")
@pytest.mark.parametrize(("before", "then"), [("off", "on"), ("local", "local")])
def test_where_the_server_would_answer_before_the_disk_it_is_told_not_to(
    hook: Subscription, before: str, then: str
) -> None:
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = {before}")
    try:
        own = own_connection.open_own_connection()
        with own.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == (then,)
        own.close()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} RESET synchronous_commit")


def test_a_forked_process_has_a_thread_of_its_own(hook: Subscription, own: Writer) -> None:
    own.store(make_row(hook))
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            own.reset()
            own.store(make_row(hook))
            own.stop()
        finally:
            os._exit(0 if own._commit_threads[0].thread else 1)
    assert os.waitpid(child, 0)[1] == 0
    own.store(make_row(hook))
    assert WebhookRequest.objects.count() == 3
