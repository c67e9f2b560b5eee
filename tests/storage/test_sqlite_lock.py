"""Who writes when: those of one process take turns on SQLite, and the writer's thread goes before the others."""

from __future__ import annotations

import os
import sqlite3
import sys
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
from events.storage import sqlite_lock, thread_priority
from events.storage.sqlite_lock import WriteLock


@dataclass(frozen=True)
class Connection:
    """As much of one as is looked at."""

    vendor: str


def order_of(vendor: str, own: WriteLock) -> list[str]:
    """What happens when a second writer comes while the first one writes."""
    happened: list[str] = []
    first_writes, second_came = threading.Event(), threading.Event()

    def first() -> None:
        with own.hold(Connection(vendor)):  # type: ignore[arg-type]
            first_writes.set()
            assert second_came.wait(10)
            time.sleep(0.1)
            happened.append("first")

    def second() -> None:
        assert first_writes.wait(10)
        second_came.set()
        with own.hold(Connection(vendor)):  # type: ignore[arg-type]
            happened.append("second")

    run(first, second)
    return happened


def run(*calls: Callable[[], None]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_those_that_write_into_sqlite_wait_for_each_other() -> None:
    assert order_of("sqlite", WriteLock()) == ["first", "second"]


def test_others_do_not() -> None:
    assert order_of("postgresql", WriteLock()) == ["second", "first"]


def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_lock, "LOCK_TIMEOUT_SECONDS", 0.01)
    assert order_of("sqlite", WriteLock()) == ["second", "first"]


def test_who_failed_has_had_its_turn() -> None:
    own = WriteLock()
    with pytest.raises(ValueError, match="poison"), own.hold(Connection("sqlite")):  # type: ignore[arg-type]
        raise ValueError("poison")
    assert order_of("sqlite", own) == ["first", "second"]


def test_a_forked_process_inherits_no_turn() -> None:
    own = WriteLock()
    with own.hold(Connection("sqlite")):  # type: ignore[arg-type]
        own.reset()  # as the fork's child does
        assert order_of("sqlite", own) == ["first", "second"]


# -- Another process writes --------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """What another process has open: a table, in the file `db`."""
    other = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE numbers (number)")
    yield other
    other.close()


@pytest.fixture
def own(db: None, tmp_path: Path, table: sqlite3.Connection) -> Iterator[BaseDatabaseWrapper]:
    """Ours, on the same file."""
    settings = {
        **connections.databases["default"],
        "NAME": str(tmp_path / "db"),
        "OPTIONS": {"timeout": sqlite_lock.BUSY_TIMEOUT_SECONDS},
    }
    connection = SQLite(settings)
    yield connection
    connection.close()


def test_who_waits_for_another_process_writes_as_soon_as_it_has_ended(
    table: sqlite3.Connection, own: BaseDatabaseWrapper
) -> None:
    own.ensure_connection()
    table.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, table.commit)
    timer.start()
    with sqlite_lock.immediate_transaction(own, 20):
        assert not table.in_transaction
        own.connection.execute("INSERT INTO numbers VALUES (1)")
    timer.join()
    assert table.execute("SELECT number FROM numbers").fetchall() == [(1,)]


def test_nobody_waits_for_another_process_for_ever(table: sqlite3.Connection, own: BaseDatabaseWrapper) -> None:
    table.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"), sqlite_lock.immediate_transaction(own, 0.05):
        raise AssertionError("it is not its turn")
    table.commit()
    with sqlite_lock.immediate_transaction(own, 0.05):
        own.connection.execute("INSERT INTO numbers VALUES (2)")
    assert table.execute("SELECT number FROM numbers").fetchall() == [(2,)]


def test_what_fails_is_taken_back(table: sqlite3.Connection, own: BaseDatabaseWrapper) -> None:
    def fail() -> None:
        with sqlite_lock.immediate_transaction(own, 1):
            own.connection.execute("INSERT INTO numbers VALUES (3)")
            own.connection.execute("INSERT INTO missing VALUES (3)")

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        fail()
    table.execute("BEGIN IMMEDIATE")  # nobody holds it
    assert table.execute("SELECT number FROM numbers").fetchall() == []


@pytest.mark.skipif(connections["default"].vendor != "sqlite", reason="only SQLite has one lock for all writers")
@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_django_begins_as_soon_as_another_process_has_ended() -> None:
    own = connections["default"]
    other = sqlite3.connect(own.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match="locked"), sqlite_lock.immediate_atomic(own, 0.05):
        raise AssertionError("it is not its turn")
    assert not own.in_atomic_block
    timer = threading.Timer(0.3, other.commit)
    timer.start()
    with sqlite_lock.immediate_atomic(own, 20):
        assert own.in_atomic_block
        FeedEnd.objects.create(pk=1, position=7)
    timer.join()
    other.close()
    assert FeedEnd.objects.get().position == 7
    with own.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (30_000,)


def test_another_error_is_not_waited_for(own: BaseDatabaseWrapper) -> None:
    own.ensure_connection()
    own.connection.execute("BEGIN")
    with pytest.raises(OperationalError, match="within a transaction"), sqlite_lock.immediate_transaction(own, 20):
        raise AssertionError("it never began")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these policies")
def test_a_thread_gives_way_and_its_children_do_unless_they_come_first() -> None:
    found: dict[str, int] = {}

    def child(name: str, begin: Callable[[], None]) -> None:
        begin()
        found[name] = os.sched_getscheduler(0)

    def parent() -> None:
        thread_priority.lower_wakeup_priority()
        run(lambda: child("receives", lambda: None), lambda: child("writes", thread_priority.restore_wakeup_priority))

    run(parent)
    assert found == {"receives": os.SCHED_BATCH, "writes": os.SCHED_OTHER}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_whoever_computes_hands_pythons_lock_on_soon() -> None:
    before = sys.getswitchinterval()
    try:
        thread_priority.shorten_switch_interval()
        assert sys.getswitchinterval() == pytest.approx(thread_priority.SWITCH_INTERVAL_SECONDS)
    finally:
        sys.setswitchinterval(before)


def test_where_the_system_forbids_it_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setscheduler", forbid)
    thread_priority.lower_wakeup_priority()
    thread_priority.restore_wakeup_priority()
