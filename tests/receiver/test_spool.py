"""The spool: what it was given is on the disk, comes out in order and once, whatever happened to the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.db import DataError, OperationalError
from django.utils import timezone
from pytest_django import Settings

from events import tasks
from events.models import WebhookRequest
from events.monitoring.problem_checks import HEARD_OF, receiver_spool
from events.receiver import spool_drain
from events.receiver.group_commit import writer
from events.receiver.request_table import RequestTable
from events.receiver.spool import file as spool_file
from events.receiver.spool import folder, records, recovery, status
from events.receiver.spool.file import Spool, SpoolError
from events.receiver.spool.records import HEADER_BYTES
from events.receiver.spool_drain import Drainer
from events.storage.request_row import RequestRow
from subscriptions.models import Problem, ProblemKind, Subscription
from subscriptions.problems import detector
from tests.harness.processes import ROOT, environment
from tests.harness.receiving import make_row

pytestmark = pytest.mark.django_db


class Taken:
    """An insert that notes what it was given, and fails or refuses on demand."""

    def __init__(self, *, fails_after: int | None = None, refuses: Sequence[RequestRow] = ()) -> None:
        self.rows: list[RequestRow] = []
        self.fails_after = fails_after
        self.refuses = refuses

    def __call__(self, rows: Sequence[RequestRow]) -> dict[UUID, str]:
        if self.fails_after is not None and len(self.rows) + len(rows) > self.fails_after:
            raise OperationalError("away")
        self.rows += rows
        return {row.uid: "DataError" for row in rows if row in self.refuses}


def drain(own: Spool) -> list[RequestRow]:
    taken = Taken()
    own.drain(taken)
    return taken.rows


def orphans() -> list[RequestRow]:
    taken = Taken()
    recovery.drain_abandoned_files(taken)
    return taken.rows


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("*.spool")
    return path


def test_rows_come_out_as_they_went_in(hook: Subscription, spool_folder: Path) -> None:
    rows = [
        make_row(hook, os.urandom(70_000), query="\u2028\xe9", processed_at=datetime(2026, 1, 2, tzinfo=UTC)),
        make_row(hook, b""),
        make_row(hook, b"\0" * 100),
    ]
    own = Spool()
    own.append(rows[:2])
    own.append(rows[2:])
    assert not own.is_empty
    assert drain(own) == rows
    assert own.is_empty
    assert drain(own) == []


def test_its_space_is_reserved_and_nobody_else_can_read_it(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    own.prepare()
    own.prepare()
    stat = the_file(spool_folder).stat()
    assert stat.st_size >= spool_file.RESERVED_BYTES
    assert stat.st_blocks * 512 >= spool_file.RESERVED_BYTES
    assert (stat.st_mode & 0o777, spool_folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_drained_file_is_used_again_and_its_old_records_are_none(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    own.append([make_row(hook, b"x" * 5000) for _ in range(10)])
    drain(own)
    fresh = make_row(hook)
    own.append([fresh])
    assert status.spool_status().requests == 1
    own.close()
    assert orphans() == [fresh]
    assert list(spool_folder.iterdir()) == []


def test_what_a_drain_did_not_reach_stays_in_order(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_ROWS", 3)
    rows = [make_row(hook) for _ in range(10)]
    own = Spool()
    own.append(rows)
    taken = Taken(fails_after=7)
    with pytest.raises(OperationalError):
        own.drain(taken)
    assert taken.rows == rows[:6]
    assert status.spool_status().requests == 4
    late = make_row(hook)
    own.append([late])
    assert drain(own) == [*rows[6:], late]


def test_what_comes_during_a_drain_is_drained_before_it_ends(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    first, second = make_row(hook), make_row(hook)
    own.append([first])
    taken: list[RequestRow] = []
    ended: list[int] = []

    def insert(rows: Sequence[RequestRow]) -> dict[UUID, str]:
        if not taken:
            own.append([second])
        taken.extend(rows)
        return {}

    assert own.drain(insert, when_empty=lambda: ended.append(len(taken))) == 2
    assert (taken, ended) == ([first, second], [2])


def test_a_file_is_rotated_and_the_closed_one_is_an_orphan(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "MAX_FILE_BYTES", 10_000)
    monkeypatch.setattr(spool_file, "RESERVED_BYTES", 5_000)
    own = Spool()
    rows = [make_row(hook, b"x" * 3000) for _ in range(7)]
    for row in rows:
        own.append([row])
    assert len(list(spool_folder.glob("*.spool"))) == 4
    assert status.spool_status().requests == 7
    assert [*orphans(), *drain(own)] == rows


def test_the_file_of_a_living_process_is_left_alone(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    own.append([make_row(hook)])
    assert orphans() == []
    assert not own.is_empty


def test_a_torn_end_is_no_record_and_no_damage(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own = Spool()
    own.append(rows)
    end = own._end
    own.close()
    with the_file(spool_folder).open("r+b") as file:
        file.seek(end - 500)
        file.write(b"\0" * 500)  # the last was not written to its end
    assert orphans() == rows[:2]
    assert list(spool_folder.iterdir()) == []


def test_a_file_that_was_cut_short_gives_what_it_has(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own = Spool()
    own.append(rows)
    end = own._end
    own.close()
    os.truncate(the_file(spool_folder), end - 1)
    assert orphans() == rows[:2]


def test_damage_in_the_middle_costs_the_damaged_record_only(
    hook: Subscription, spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own = Spool()
    own.append(rows[:1])
    middle = own._end
    own.append(rows[1:])
    own.close()
    with the_file(spool_folder).open("r+b") as file:
        file.seek(middle + 100)
        file.write(b"?")
    assert orphans() == [rows[0], rows[2]]
    assert "is damaged" in caplog.text
    (kept,) = spool_folder.iterdir()
    assert (kept.suffix, status.spool_status().damaged) == (".damaged", 1)


def test_damage_in_a_living_file_is_found_too(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own = Spool()
    own.append(rows)
    with the_file(spool_folder).open("r+b") as file:
        file.seek(HEADER_BYTES + 100)
        file.write(b"?")
    assert drain(own) == []
    assert orphans() == rows[1:]


def test_a_body_cannot_pass_for_a_record(hook: Subscription, spool_folder: Path) -> None:
    forged = records.encode(make_row(hook, b"forged"), os.urandom(8))
    own = Spool()
    own.append([make_row(hook, forged * 3)])
    end = own._end
    own.close()
    with the_file(spool_folder).open("r+b") as file:
        file.seek(end - 1)
        file.write(b"?")
    assert orphans() == []


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_file_without_a_head_holds_nothing(spool_folder: Path, content: bytes) -> None:
    spool_folder.mkdir()
    (spool_folder / "a.spool").write_bytes(content)
    assert orphans() == []
    assert list(spool_folder.iterdir()) == []


def test_a_file_whose_head_is_damaged_is_kept(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    own.append([make_row(hook)])
    own.close()
    content = bytearray(the_file(spool_folder).read_bytes())
    content[9] ^= 1
    the_file(spool_folder).write_bytes(content)
    assert orphans() == []
    (kept,) = spool_folder.iterdir()
    assert (kept.suffix, kept.read_bytes()) == (".damaged", bytes(content))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_record_of_another_version_is_kept_and_holds_up_no_other(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    original = records.decode

    def decode(payload: bytes) -> RequestRow:
        row = original(payload)
        if row == rows[which]:
            raise KeyError("a column that nobody knows")
        return row

    other, own = Spool(), Spool()
    other.append(rows)
    other.close()
    own.append([make_row(hook)])
    with monkeypatch.context() as patch:
        patch.setattr(records, "decode", decode)
        assert status.spool_status().requests == 4
        taken = Taken(fails_after=1)
        with contextlib.suppress(OperationalError):
            recovery.drain_abandoned_files(taken)  # the database goes away again
        assert {row.uid for row in [*taken.rows, *orphans()]} == {row.uid for row in rows if row is not rows[which]}
        assert (status.spool_status().damaged, status.spool_status().requests) == (1, 1)
    (kept,) = spool_folder.glob("*.damaged")
    kept.rename(kept.with_suffix(".spool"))
    assert orphans() == rows[which:]


def test_a_file_that_cannot_be_opened_or_put_aside_holds_up_no_other(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    paths: list[str] = []
    for row in rows:
        own = Spool()
        own.append([row])
        paths.append(str(own._path))
        own.close()
    original = os.open

    def refuse(path: Any, *how: Any, **more: Any) -> int:
        if path == paths[0]:
            raise PermissionError(13, "Permission denied")
        return original(path, *how, **more)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    taken = Taken(refuses=rows[1:2])
    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)
        patch.setattr(recovery, "store_refused", lambda rows, reasons: no_space() if reasons else None)
        assert recovery.drain_abandoned_files(taken) == 1
        assert status.spool_status().error == "The spool cannot be read: Permission denied."
    assert taken.rows == rows[1:]
    assert "cannot be opened: Permission denied" in caplog.text
    assert "cannot be drained: No space left" in caplog.text
    assert orphans() == rows[:2]


def test_a_file_that_is_being_made_is_left_alone_for_a_while(spool_folder: Path) -> None:
    spool_folder.mkdir()
    making = spool_folder / "a.new"
    making.write_bytes(b"")
    orphans()
    assert making.exists()
    os.utime(making, (time.time() - 100, time.time() - 100))
    orphans()
    assert not making.exists()


def test_a_record_that_the_database_refuses_is_put_aside(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook) for _ in range(3)]
    own = Spool()
    own.append(rows)
    own.drain(Taken(refuses=rows[1:2]))
    assert own.is_empty
    (aside,) = (spool_folder / "refused").glob("*.spool")
    assert aside.with_suffix(".txt").read_text() == "DataError\n"
    assert status.spool_status().refused == 1
    aside.rename(spool_folder / aside.name)
    assert orphans() == [rows[1]]


def test_full_is_full(hook: Subscription, spool_folder: Path, settings: Settings) -> None:
    settings.SPOOL_MAX_BYTES = 20_000_000
    own = Spool()
    own.append([make_row(hook, b"x" * 15_000_000)])
    with pytest.raises(SpoolError, match="SPOOL_MAX_BYTES"):
        own.append([make_row(hook, b"x" * 6_000_000)])
    small = make_row(hook)
    own.append([small])
    assert drain(own)[1:] == [small]


def test_what_was_reserved_can_be_used_when_the_disk_is_full(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Spool()
    own.prepare()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_space)
    rows = [make_row(hook, b"x" * 1_000_000) for _ in range(15)]
    for row in rows:
        own.append([row])
    with pytest.raises(SpoolError, match="No space left"):
        own.append([make_row(hook, b"x" * 2_000_000)])
    assert orphans() == rows


@pytest.mark.parametrize("number", spool_file.CANNOT_RESERVE)
def test_a_file_system_that_cannot_reserve_is_no_hindrance(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(number, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", cannot)
    row = make_row(hook, b"x" * 1000)
    own = Spool()
    own.append([row])
    own.close()
    assert orphans() == [row]


def test_a_file_that_is_drained_meanwhile_is_no_hindrance(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Spool()
    own.append([make_row(hook)])
    listed = folder.list_files
    for name in ("z.spool", "z.new"):
        (spool_folder / name).write_bytes(b"")

    def files(suffix: str = folder.SUFFIX) -> list[os.DirEntry[str]]:
        found = listed(suffix)
        (spool_folder / f"z{suffix}").unlink(missing_ok=True)
        return found

    for module in (recovery, spool_file):
        monkeypatch.setattr(module, "list_files", files)
    assert orphans() == []
    (spool_folder / "z.spool").write_bytes(b"")
    own.append([make_row(hook)])
    assert len(drain(own)) == 2


def test_after_a_failed_write_another_file_is_begun(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Spool()
    first, lost, last = (make_row(hook) for _ in range(3))
    own.append([first])

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(SpoolError, match="Input/output error"):
            own.append([lost])
    own.append([last])
    assert orphans()[:1] == [first]
    assert drain(own) == [last]


def test_the_status_counts_only_what_is_new(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    original = os.pread

    def pread(file: int, size: int, offset: int) -> bytes:
        reads.append(offset)
        return original(file, size, offset)

    own = Spool()
    own.append([make_row(hook) for _ in range(300)])
    assert status.spool_status().requests == 300
    monkeypatch.setattr(os, "pread", pread)
    assert status.spool_status().requests == 300
    assert len(reads) < 5
    own.append([make_row(hook)])
    assert status.spool_status().requests == 301
    assert len(reads) < 10


def test_what_the_status_remembers_changes_nothing(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_ROWS", 3)
    monkeypatch.setattr(spool_file, "MAX_FILE_BYTES", 20_000)
    chance = random.Random(1)
    own = Spool()
    seen: set[int] = set()
    for _ in range(60):
        with contextlib.suppress(OperationalError):
            match chance.randrange(5):
                case 0 | 1 | 2:
                    own.append([make_row(hook, b"x" * chance.randrange(2000)) for _ in range(chance.randrange(1, 9))])
                case 3:
                    own.drain(Taken(fails_after=chance.randrange(9)))
                case 4:
                    recovery.drain_abandoned_files(Taken(fails_after=chance.randrange(9)))
        remembered = status.spool_status()
        monkeypatch.setattr(status, "_file_counts", {})
        assert status.spool_status() == remembered
        seen.add(remembered.requests)
    assert len(seen) > 20
    own.close()


def test_the_status_tells_how_many_wait_since_when(hook: Subscription, spool_folder: Path, settings: Settings) -> None:
    assert status.spool_status() == status.SpoolStatus(0, 0, None, 0, 0, None)
    own = Spool()
    early = datetime(2026, 1, 1, tzinfo=UTC)
    own.append([make_row(hook, received_at=early), make_row(hook)])
    found = status.spool_status()
    assert (found.requests, found.oldest, found.error) == (2, early, None)
    assert found.size == own._end - HEADER_BYTES
    settings.SPOOL_MAX_BYTES = 10
    assert status.spool_status().error == "The spool is full: SPOOL_MAX_BYTES is 10."


WRITES_UNTIL_KILLED = """
import sys
from events.receiver.spool.file import spool
from tests.harness.receiving import make_row
from subscriptions import problems
from subscriptions.models import Problem, Subscription
from subscriptions.models import ProblemKind
hook = Subscription.objects.get()
while True:
    row = make_row(hook, b"x" * 2000)
    spool.append([row])
    print(row.uid, flush=True)
"""


@pytest.mark.django_db(transaction=True)
def test_what_a_killed_process_acknowledged_is_there(
    hook: Subscription, spool_folder: Path, until_lines: Callable[..., list[str]]
) -> None:
    env = environment(DJANGO_SETTINGS_MODULE="config.settings", DATA_DIR=str(spool_folder.parent))
    process = subprocess.Popen(
        [sys.executable, "-c", f"import django; django.setup()\n{WRITES_UNTIL_KILLED}"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    acknowledged = until_lines(process, 50)
    assert orphans() == []  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    acknowledged += process.stdout.read().split()
    process.stdout.close()
    assert tasks.drain_spool() >= len(acknowledged)
    uids = [str(uid) for uid in WebhookRequest.objects.order_by("id").values_list("uid", flat=True)]
    assert uids[: len(acknowledged)] == acknowledged
    assert len(uids) <= len(acknowledged) + 1  # written, but not told yet
    assert tasks.drain_spool() == 0


@pytest.fixture
def until_lines() -> Callable[..., list[str]]:
    def read(process: subprocess.Popen[str], count: int) -> list[str]:
        assert process.stdout is not None
        return [process.stdout.readline().strip() for _ in range(count)]

    return read


@pytest.mark.django_db(transaction=True)
def test_a_drain_that_dies_half_way_leaves_nothing_twice(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_ROWS", 2)
    rows = [make_row(hook) for _ in range(5)]
    own = Spool()
    own.append(rows)
    own.close()
    original = RequestTable.insert
    with monkeypatch.context() as patch:

        def insert_and_die(self: RequestTable, rows: Sequence[RequestRow]) -> None:
            original(self, rows)
            raise KeyboardInterrupt

        patch.setattr(RequestTable, "insert", insert_and_die)
        with pytest.raises(KeyboardInterrupt):
            tasks.drain_spool()
    assert WebhookRequest.objects.count() == 2
    tasks.drain_spool()
    assert list(WebhookRequest.objects.order_by("id").values_list("uid", flat=True)) == [row.uid for row in rows]


@pytest.mark.django_db(transaction=True)
def test_a_poisoned_record_does_not_hold_up_the_drain(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(hook) for _ in range(5)]
    original = RequestTable.insert

    def insert(self: RequestTable, given: Sequence[RequestRow]) -> None:
        if rows[2] in given:
            raise DataError("poison")
        original(self, given)

    monkeypatch.setattr(RequestTable, "insert", insert)
    own = Spool()
    own.append(rows)
    own.close()
    tasks.drain_spool()
    assert WebhookRequest.objects.count() == 4
    assert status.spool_status().refused == 1


def failing_at(monkeypatch: pytest.MonkeyPatch, *stubborn: RequestRow, error: Exception) -> None:
    """A database that fails as if it were away, but only at these."""
    original = RequestTable.insert

    def insert(self: RequestTable, given: Sequence[RequestRow]) -> None:
        if any(row in given for row in stubborn):
            self.close()
            raise error
        original(self, given)

    monkeypatch.setattr(RequestTable, "insert", insert)
    monkeypatch.setattr(spool_drain, "MAX_TRIES", 3)


def stored() -> list[UUID]:
    return list(WebhookRequest.objects.order_by("id").values_list("uid", flat=True))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alone", [False, True])
def test_a_record_at_which_the_database_always_fails_is_put_aside_after_some_tries(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, *, alone: bool
) -> None:
    rows = [make_row(hook) for _ in range(1 if alone else 5)]
    bad, others = rows[0 if alone else 2], [row.uid for row in rows if row is not rows[0 if alone else 2]]
    failing_at(monkeypatch, bad, error=OperationalError("out of memory\nwith details"))
    own = Spool()
    own.append(rows)
    own.close()
    for _ in range(2):
        with contextlib.suppress(OperationalError):
            tasks.drain_spool()
        assert status.spool_status().refused == 0
    assert bad.uid not in stored()
    tasks.drain_spool()
    assert stored() == others
    assert status.spool_status().requests == 0
    (reason,) = (spool_folder / "refused").glob("*.txt")
    assert reason.read_text() == "The database failed at this request 3 times: out of memory\n"
    monkeypatch.undo()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_put_aside_while_the_database_is_away_or_full(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    own = Spool()
    own.append(rows)
    own.close()
    full = OperationalError("database or disk is full")
    full.__cause__ = sqlite3.OperationalError("database or disk is full")
    full.__cause__.sqlite_errorname = "SQLITE_FULL"
    for error, takes in ((OperationalError("away"), False), (full, True)):
        with monkeypatch.context() as patch:
            failing_at(patch, *rows, error=error)
            patch.setattr(RequestTable, "can_insert", lambda *_, takes=takes: takes)
            for _ in range(5):
                with pytest.raises(OperationalError):
                    tasks.drain_spool()
    assert (status.spool_status().requests, status.spool_status().refused) == (3, 0)
    tasks.drain_spool()
    assert stored() == [row.uid for row in rows]


@pytest.mark.django_db(transaction=True)
def test_whether_the_database_takes_a_row_leaves_nothing_behind(hook: Subscription) -> None:
    table = RequestTable()
    row = make_row(hook)
    try:
        assert table.can_insert(row)
        assert stored() == []
        table.insert([row])
        assert table.can_insert(row)
        assert stored() == [row.uid]
    finally:
        table.close()


def test_a_forked_process_takes_another_file(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    own.append([make_row(hook)])
    child = os.fork()
    if child == 0:
        try:
            own.reset()
            own.append([make_row(hook)])
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert own._file is not None
    other = os.open(the_other(own), os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its process is gone
    os.close(other)
    assert len(orphans()) == 1
    assert len(drain(own)) == 1


def test_a_forked_process_drains_only_when_its_parent_did(spool_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drainer, "drain", lambda self: 0)
    monkeypatch.setattr(Drainer, "report", lambda self: None)
    own = Drainer(writer, Spool(), lambda rows: None)
    own.after_fork()
    assert own._thread is None
    own.start()
    first, stopped = own._thread, own._stopped
    own.after_fork()
    assert own._thread is not first
    assert own._thread is not None
    assert own._thread.is_alive()
    own.stop()
    own.after_fork()
    assert own._thread is None
    stopped.set()
    assert first is not None
    first.join(10)


def test_each_machine_tells_of_its_spool_where_problems_are_looked_for(hook: Subscription, spool_folder: Path) -> None:
    own = Spool()
    reporting = Drainer(writer, own, lambda rows: None)
    reporting.report()
    assert list(receiver_spool(timezone.now())) == []
    own.append([make_row(hook)])
    reporting.report()
    (cause,) = receiver_spool(timezone.now())
    waits = "1 request waits for the database. The oldest was received at 2026-01-02 03:04:05 UTC."
    assert cause.message == f"On {socket.gethostname()}: {waits}"
    assert cause.kind == ProblemKind.SPOOL
    drain(own)
    put_aside = make_row(hook)
    recovery.store_refused([put_aside], {put_aside.uid: "DataError"})
    reporting.report()
    (cause,) = receiver_spool(timezone.now())
    assert cause.message.endswith(": 1 request refused by the database, in the folder refused.")
    (spool_folder / "refused" / f"{put_aside.uid}.spool").unlink()
    reporting.report()
    assert list(receiver_spool(timezone.now())) == []


def the_other(own: Spool) -> Path:
    (path,) = (path for path in folder.spool_folder().glob("*.spool") if path != own._path)
    return path


def test_a_machine_that_never_returns_is_a_problem_that_a_person_can_end(
    hook: Subscription, spool_folder: Path
) -> None:
    Spool().append([make_row(hook)])
    reporting = Drainer(writer, Spool(), lambda rows: None)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        reporting.report()
        detector.detect([ProblemKind.SPOOL])
        assert "That is what it told" not in Problem.objects.get().message
        clock.shift(HEARD_OF)
        detector.detect([ProblemKind.SPOOL])
        problem = Problem.objects.get()
        assert problem.message.endswith("UTC; since then, nothing.")
        assert "resolve this" in problem.action
        detector.resolve(problem, by="staff:ann")
        clock.shift(timedelta(days=3))
        detector.detect([ProblemKind.SPOOL])
        assert Problem.objects.get().state == "resolved"
        reporting.report()  # it has returned
        detector.detect([ProblemKind.SPOOL])
        assert Problem.objects.get().state == "open"
