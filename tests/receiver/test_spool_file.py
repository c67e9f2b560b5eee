"""The spool file: appended rows are on disk, and are drained once and in order."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.db import OperationalError
from pytest_django import Settings

from events.receiver.spool import file as spool_file
from events.receiver.spool import folder, records, recovery, status
from events.receiver.spool.file import Spool, SpoolError
from events.receiver.spool.records import HEADER_BYTES
from events.storage.request_row import RequestRow
from subscriptions.models import Subscription
from tests.harness.receiving import make_row
from tests.harness.spooling import FakeInsert, drain_abandoned_rows, drain_rows, only_file

pytestmark = pytest.mark.django_db


def test_rows_are_drained_unchanged(hook: Subscription, spool_folder: Path) -> None:
    rows = [
        make_row(hook, os.urandom(70_000), query="\u2028\xe9", processed_at=datetime(2026, 1, 2, tzinfo=UTC)),
        make_row(hook, b""),
        make_row(hook, b"\0" * 100),
    ]
    own_spool = Spool()
    own_spool.append(rows[:2])
    own_spool.append(rows[2:])
    assert not own_spool.is_empty
    assert drain_rows(own_spool) == rows
    assert own_spool.is_empty
    assert drain_rows(own_spool) == []


def test_space_is_reserved_and_only_the_owner_can_read_the_file(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    own_spool.prepare()
    own_spool.prepare()
    stat = only_file(spool_folder).stat()
    assert stat.st_size >= spool_file.RESERVED_BYTES
    assert stat.st_blocks * 512 >= spool_file.RESERVED_BYTES
    assert (stat.st_mode & 0o777, spool_folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_drained_file_is_reused_without_its_old_records(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    own_spool.append([make_row(hook, b"x" * 5000) for _ in range(10)])
    drain_rows(own_spool)
    fresh = make_row(hook)
    own_spool.append([fresh])
    assert status.spool_status().requests == 1
    own_spool.close()
    assert drain_abandoned_rows() == [fresh]
    assert list(spool_folder.iterdir()) == []


def test_rows_after_an_interrupted_drain_stay_in_order(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_ROWS", 3)
    rows = [make_row(hook) for _ in range(10)]
    own_spool = Spool()
    own_spool.append(rows)
    insert = FakeInsert(fails_after=7)
    with pytest.raises(OperationalError):
        own_spool.drain(insert)
    assert insert.rows == rows[:6]
    assert status.spool_status().requests == 4
    late = make_row(hook)
    own_spool.append([late])
    assert drain_rows(own_spool) == [*rows[6:], late]


def test_rows_appended_during_a_drain_are_drained_too(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    first, second = make_row(hook), make_row(hook)
    own_spool.append([first])
    inserted: list[RequestRow] = []
    counts_when_empty: list[int] = []

    def insert(rows: Sequence[RequestRow]) -> dict[UUID, str]:
        if not inserted:
            own_spool.append([second])
        inserted.extend(rows)
        return {}

    assert own_spool.drain(insert, when_empty=lambda: counts_when_empty.append(len(inserted))) == 2
    assert (inserted, counts_when_empty) == ([first, second], [2])


def test_full_file_is_abandoned_and_a_new_one_started(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "MAX_FILE_BYTES", 10_000)
    monkeypatch.setattr(spool_file, "RESERVED_BYTES", 5_000)
    own_spool = Spool()
    rows = [make_row(hook, b"x" * 3000) for _ in range(7)]
    for row in rows:
        own_spool.append([row])
    assert len(list(spool_folder.glob("*.spool"))) == 4
    assert status.spool_status().requests == 7
    assert [*drain_abandoned_rows(), *drain_rows(own_spool)] == rows


def test_append_fails_beyond_the_maximum_size(hook: Subscription, spool_folder: Path, settings: Settings) -> None:
    settings.SPOOL_MAX_BYTES = 20_000_000
    own_spool = Spool()
    own_spool.append([make_row(hook, b"x" * 15_000_000)])
    with pytest.raises(SpoolError, match="SPOOL_MAX_BYTES"):
        own_spool.append([make_row(hook, b"x" * 6_000_000)])
    small = make_row(hook)
    own_spool.append([small])
    assert drain_rows(own_spool)[1:] == [small]


def test_reserved_space_works_while_the_disk_is_full(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_spool = Spool()
    own_spool.prepare()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_space)
    rows = [make_row(hook, b"x" * 1_000_000) for _ in range(15)]
    for row in rows:
        own_spool.append([row])
    with pytest.raises(SpoolError, match="No space left"):
        own_spool.append([make_row(hook, b"x" * 2_000_000)])
    assert drain_abandoned_rows() == rows


@pytest.mark.parametrize("number", spool_file.CANNOT_RESERVE)
def test_file_system_without_reservation_works(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "Operation not supported")

    monkeypatch.setattr("os.posix_fallocate", fail)
    row = make_row(hook, b"x" * 1000)
    own_spool = Spool()
    own_spool.append([row])
    own_spool.close()
    assert drain_abandoned_rows() == [row]


def test_files_that_another_process_deletes_are_skipped(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_spool = Spool()
    own_spool.append([make_row(hook)])
    original = folder.list_files
    for name in ("z.spool", "z.new"):
        (spool_folder / name).write_bytes(b"")

    def list_and_delete(suffix: str = folder.SUFFIX) -> list[os.DirEntry[str]]:
        files = original(suffix)
        (spool_folder / f"z{suffix}").unlink(missing_ok=True)
        return files

    for module in (recovery, spool_file):
        monkeypatch.setattr(module, "list_files", list_and_delete)
    assert drain_abandoned_rows() == []
    (spool_folder / "z.spool").write_bytes(b"")
    own_spool.append([make_row(hook)])
    assert len(drain_rows(own_spool)) == 2


def test_new_file_is_started_after_a_failed_write(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_spool = Spool()
    first, lost, last = (make_row(hook) for _ in range(3))
    own_spool.append([first])

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(SpoolError, match="Input/output error"):
            own_spool.append([lost])
    own_spool.append([last])
    assert drain_abandoned_rows()[:1] == [first]
    assert drain_rows(own_spool) == [last]


def test_damage_in_the_file_of_a_running_process_is_detected(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own_spool = Spool()
    own_spool.append(rows)
    with only_file(spool_folder).open("r+b") as file:
        file.seek(HEADER_BYTES + 100)
        file.write(b"?")
    assert drain_rows(own_spool) == []
    assert drain_abandoned_rows() == rows[1:]


def other_file(own_spool: Spool) -> Path:
    """Return the spool file that is not this spool's."""
    (path,) = (path for path in folder.spool_folder().glob("*.spool") if path != own_spool._path)
    return path


def test_forked_process_uses_its_own_file(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    own_spool.append([make_row(hook)])
    child = os.fork()
    if child == 0:
        try:
            own_spool.reset()
            own_spool.append([make_row(hook)])
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert own_spool._file is not None
    other = os.open(other_file(own_spool), os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its process has ended
    os.close(other)
    assert len(drain_abandoned_rows()) == 1
    assert len(drain_rows(own_spool)) == 1
