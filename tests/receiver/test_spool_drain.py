"""Draining the spool into the database, also after crashes and with poison records."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.db import DataError, OperationalError

from events import tasks
from events.models import WebhookRequest
from events.receiver import spool_drain
from events.receiver.group_commit import writer
from events.receiver.request_table import RequestTable
from events.receiver.spool import records, status
from events.receiver.spool.file import Spool
from events.receiver.spool_drain import Drainer
from events.storage.request_row import RequestRow
from subscriptions.models import Subscription
from tests.harness.processes import ROOT, environment
from tests.harness.receiving import make_row, stored_ids_in_order
from tests.harness.spooling import drain_abandoned_rows

pytestmark = pytest.mark.django_db(transaction=True)

APPEND_UNTIL_KILLED = """
from events.receiver.spool.file import spool
from subscriptions.models import Subscription
from tests.harness.receiving import make_row
hook = Subscription.objects.get()
while True:
    row = make_row(hook, b"x" * 2000)
    spool.append([row])
    print(row.uid, flush=True)
"""


@pytest.mark.slow
def test_rows_of_a_killed_process_are_drained(hook: Subscription, spool_folder: Path) -> None:
    env = environment(DJANGO_SETTINGS_MODULE="config.settings", DATA_DIR=str(spool_folder.parent))
    process = subprocess.Popen(
        [sys.executable, "-c", f"import django; django.setup()\n{APPEND_UNTIL_KILLED}"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(50)]
    assert drain_abandoned_rows() == []  # the process is running
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    assert tasks.drain_spool() >= len(acknowledged)
    uids = [str(uid) for uid in stored_ids_in_order()]
    assert uids[: len(acknowledged)] == acknowledged
    assert len(uids) <= len(acknowledged) + 1  # one may be written but not acknowledged
    assert tasks.drain_spool() == 0


def test_interrupted_drain_stores_no_row_twice(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_ROWS", 2)
    rows = [make_row(hook) for _ in range(5)]
    own_spool = Spool()
    own_spool.append(rows)
    own_spool.close()
    original = RequestTable.insert
    with monkeypatch.context() as patch:

        def insert_and_fail(self: RequestTable, rows: Sequence[RequestRow]) -> None:
            original(self, rows)
            raise KeyboardInterrupt

        patch.setattr(RequestTable, "insert", insert_and_fail)
        with pytest.raises(KeyboardInterrupt):
            tasks.drain_spool()
    assert WebhookRequest.objects.count() == 2
    tasks.drain_spool()
    assert stored_ids_in_order() == [row.uid for row in rows]


def test_refused_record_does_not_block_the_drain(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(hook) for _ in range(5)]
    original = RequestTable.insert

    def insert(self: RequestTable, batch: Sequence[RequestRow]) -> None:
        if rows[2] in batch:
            raise DataError("poison")
        original(self, batch)

    monkeypatch.setattr(RequestTable, "insert", insert)
    own_spool = Spool()
    own_spool.append(rows)
    own_spool.close()
    tasks.drain_spool()
    assert WebhookRequest.objects.count() == 4
    assert status.spool_status().refused == 1


def fail_inserts_of(monkeypatch: pytest.MonkeyPatch, *poison: RequestRow, error: Exception) -> None:
    """Make inserts of these rows fail with the error, as if the database were unavailable."""
    original = RequestTable.insert

    def insert(self: RequestTable, batch: Sequence[RequestRow]) -> None:
        if any(row in batch for row in poison):
            self.close()
            raise error
        original(self, batch)

    monkeypatch.setattr(RequestTable, "insert", insert)
    monkeypatch.setattr(spool_drain, "MAX_TRIES", 3)


@pytest.mark.parametrize("alone", [False, True])
def test_poison_record_is_set_aside_after_some_tries(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    rows = [make_row(hook) for _ in range(1 if alone else 5)]
    bad = rows[0 if alone else 2]
    others = [row.uid for row in rows if row is not bad]
    fail_inserts_of(monkeypatch, bad, error=OperationalError("out of memory\nwith details"))
    own_spool = Spool()
    own_spool.append(rows)
    own_spool.close()
    for _ in range(2):
        with contextlib.suppress(OperationalError):
            tasks.drain_spool()
        assert status.spool_status().refused == 0
    assert bad.uid not in stored_ids_in_order()
    tasks.drain_spool()
    assert stored_ids_in_order() == others
    assert status.spool_status().requests == 0
    (reason,) = (spool_folder / "refused").glob("*.txt")
    assert reason.read_text() == "The database failed at this request 3 times: out of memory\n"
    monkeypatch.undo()


def test_no_record_is_set_aside_while_the_database_is_unavailable_or_full(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    own_spool = Spool()
    own_spool.append(rows)
    own_spool.close()
    full = OperationalError("database or disk is full")
    full.__cause__ = sqlite3.OperationalError("database or disk is full")
    full.__cause__.sqlite_errorname = "SQLITE_FULL"
    for error, can_insert in ((OperationalError("the database is unavailable"), False), (full, True)):
        with monkeypatch.context() as patch:
            fail_inserts_of(patch, *rows, error=error)
            patch.setattr(RequestTable, "can_insert", lambda *_, result=can_insert: result)
            for _ in range(5):
                with pytest.raises(OperationalError):
                    tasks.drain_spool()
    assert (status.spool_status().requests, status.spool_status().refused) == (3, 0)
    tasks.drain_spool()
    assert stored_ids_in_order() == [row.uid for row in rows]


def test_forked_process_drains_only_if_its_parent_did(spool_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drainer, "drain", lambda self: 0)
    monkeypatch.setattr(Drainer, "report", lambda self: None)
    drainer = Drainer(writer, Spool(), lambda rows: None)
    drainer.after_fork()
    assert drainer._thread is None
    drainer.start()
    first, stopped = drainer._thread, drainer._stopped
    drainer.after_fork()
    assert drainer._thread is not first
    assert drainer._thread is not None
    assert drainer._thread.is_alive()
    drainer.stop()
    drainer.after_fork()
    assert drainer._thread is None
    stopped.set()
    assert first is not None
    first.join(10)
