"""Waiting for SQLite's write lock, within the process and across processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite

from events.models import FeedEnd
from events.storage import sqlite_lock
from events.storage.sqlite_lock import WriteLock


@dataclass(frozen=True)
class StubConnection:
    """A connection with only the attribute that the lock uses."""

    vendor: str


def order_of_writes(vendor: str, lock: WriteLock) -> list[str]:
    """Let a second writer arrive while the first one writes, and return the order in which they finish."""
    finished: list[str] = []
    first_writes, second_waits = threading.Event(), threading.Event()

    def first() -> None:
        with lock.hold(StubConnection(vendor)):  # type: ignore[arg-type]
            first_writes.set()
            assert second_waits.wait(10)
            time.sleep(0.1)
            finished.append("first")

    def second() -> None:
        assert first_writes.wait(10)
        second_waits.set()
        with lock.hold(StubConnection(vendor)):  # type: ignore[arg-type]
            finished.append("second")

    run(first, second)
    return finished


def run(*calls: Callable[[], None]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_sqlite_writers_of_a_process_wait_for_each_other() -> None:
    assert order_of_writes("sqlite", WriteLock()) == ["first", "second"]


def test_writers_of_other_databases_do_not_wait() -> None:
    assert order_of_writes("postgresql", WriteLock()) == ["second", "first"]


def test_waiting_for_the_lock_ends_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_lock, "LOCK_TIMEOUT_SECONDS", 0.01)
    assert order_of_writes("sqlite", WriteLock()) == ["second", "first"]


def test_lock_is_released_after_an_exception() -> None:
    lock = WriteLock()
    with pytest.raises(ValueError, match="poison"), lock.hold(StubConnection("sqlite")):  # type: ignore[arg-type]
        raise ValueError("poison")
    assert order_of_writes("sqlite", lock) == ["first", "second"]


def test_forked_process_does_not_inherit_the_lock() -> None:
    lock = WriteLock()
    with lock.hold(StubConnection("sqlite")):  # type: ignore[arg-type]
        lock.reset()  # as the fork's child does
        assert order_of_writes("sqlite", lock) == ["first", "second"]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open a connection, as another process would, with a table in the file `db`."""
    other = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE numbers (number)")
    yield other
    other.close()


@pytest.fixture
def own_connection(db: None, tmp_path: Path, table: sqlite3.Connection) -> Iterator[BaseDatabaseWrapper]:
    """Open a connection of ours to the same file."""
    settings = {
        **connections.databases["default"],
        "NAME": str(tmp_path / "db"),
        "OPTIONS": {"timeout": sqlite_lock.BUSY_TIMEOUT_SECONDS},
    }
    connection = SQLite(settings)
    yield connection
    connection.close()


def test_transaction_starts_as_soon_as_the_other_process_has_ended(
    table: sqlite3.Connection, own_connection: BaseDatabaseWrapper
) -> None:
    own_connection.ensure_connection()
    table.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, table.commit)
    timer.start()
    with sqlite_lock.immediate_transaction(own_connection, 20):
        assert not table.in_transaction
        own_connection.connection.execute("INSERT INTO numbers VALUES (1)")
    timer.join()
    assert table.execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_waiting_for_another_process_ends_after_the_timeout(
    table: sqlite3.Connection, own_connection: BaseDatabaseWrapper
) -> None:
    table.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"), sqlite_lock.immediate_transaction(own_connection, 0.05):
        raise AssertionError("the transaction started")
    table.commit()
    with sqlite_lock.immediate_transaction(own_connection, 0.05):
        own_connection.connection.execute("INSERT INTO numbers VALUES (2)")
    assert table.execute("SELECT number FROM numbers").fetchall() == [(2,)]


def test_failed_transaction_is_rolled_back(table: sqlite3.Connection, own_connection: BaseDatabaseWrapper) -> None:
    def fail() -> None:
        with sqlite_lock.immediate_transaction(own_connection, 1):
            own_connection.connection.execute("INSERT INTO numbers VALUES (3)")
            own_connection.connection.execute("INSERT INTO missing VALUES (3)")

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        fail()
    table.execute("BEGIN IMMEDIATE")  # the lock is free
    assert table.execute("SELECT number FROM numbers").fetchall() == []


@pytest.mark.skipif(connections["default"].vendor != "sqlite", reason="only SQLite has one lock for all writers")
@pytest.mark.django_db(transaction=True)
def test_django_transaction_starts_as_soon_as_the_other_process_has_ended() -> None:
    own_connection = connections["default"]
    other = sqlite3.connect(own_connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"), sqlite_lock.immediate_atomic(own_connection, 0.05):
        raise AssertionError("the transaction started")
    assert not own_connection.in_atomic_block
    timer = threading.Timer(0.3, other.commit)
    timer.start()
    with sqlite_lock.immediate_atomic(own_connection, 20):
        assert own_connection.in_atomic_block
        FeedEnd.objects.create(pk=1, position=7)
    timer.join()
    other.close()
    assert FeedEnd.objects.get().position == 7
    with own_connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (30_000,)


def test_other_errors_are_raised_at_once(own_connection: BaseDatabaseWrapper) -> None:
    own_connection.ensure_connection()
    own_connection.connection.execute("BEGIN")
    with (
        pytest.raises(OperationalError, match="within a transaction"),
        sqlite_lock.immediate_transaction(own_connection, 20),
    ):
        raise AssertionError("the transaction started")
