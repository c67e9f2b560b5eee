"""Recovery of abandoned, damaged and refused records."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from events.receiver.spool import records, recovery, status
from events.receiver.spool.file import Spool
from events.storage.request_row import RequestRow
from subscriptions.models import Subscription
from tests.harness.receiving import make_row
from tests.harness.spooling import FakeInsert, drain_abandoned_rows, only_file

pytestmark = pytest.mark.django_db


def test_file_of_a_running_process_is_not_drained(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    own_spool.append([make_row(hook)])
    assert drain_abandoned_rows() == []
    assert not own_spool.is_empty


def test_incomplete_last_record_does_not_count_as_damage(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own_spool = Spool()
    own_spool.append(rows)
    end = own_spool._end
    own_spool.close()
    with only_file(spool_folder).open("r+b") as file:
        file.seek(end - 500)
        file.write(b"\0" * 500)  # the last record is incomplete
    assert drain_abandoned_rows() == rows[:2]
    assert list(spool_folder.iterdir()) == []


def test_complete_records_of_a_truncated_file_are_drained(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own_spool = Spool()
    own_spool.append(rows)
    end = own_spool._end
    own_spool.close()
    os.truncate(only_file(spool_folder), end - 1)
    assert drain_abandoned_rows() == rows[:2]


def test_damage_in_the_middle_loses_only_the_damaged_record(
    hook: Subscription, spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [make_row(hook, b"x" * 1000) for _ in range(3)]
    own_spool = Spool()
    own_spool.append(rows[:1])
    middle = own_spool._end
    own_spool.append(rows[1:])
    own_spool.close()
    with only_file(spool_folder).open("r+b") as file:
        file.seek(middle + 100)
        file.write(b"?")
    assert drain_abandoned_rows() == [rows[0], rows[2]]
    assert "is damaged" in caplog.text
    (damaged_file,) = spool_folder.iterdir()
    assert (damaged_file.suffix, status.spool_status().damaged) == (".damaged", 1)


def test_body_cannot_be_mistaken_for_a_record(hook: Subscription, spool_folder: Path) -> None:
    forged = records.encode(make_row(hook, b"forged"), os.urandom(8))
    own_spool = Spool()
    own_spool.append([make_row(hook, forged * 3)])
    end = own_spool._end
    own_spool.close()
    with only_file(spool_folder).open("r+b") as file:
        file.seek(end - 1)
        file.write(b"?")
    assert drain_abandoned_rows() == []


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_file_without_a_header_is_deleted(spool_folder: Path, content: bytes) -> None:
    spool_folder.mkdir()
    (spool_folder / "a.spool").write_bytes(content)
    assert drain_abandoned_rows() == []
    assert list(spool_folder.iterdir()) == []


def test_file_with_a_damaged_header_is_renamed_not_deleted(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    own_spool.append([make_row(hook)])
    own_spool.close()
    content = bytearray(only_file(spool_folder).read_bytes())
    content[9] ^= 1
    only_file(spool_folder).write_bytes(content)
    assert drain_abandoned_rows() == []
    (damaged_file,) = spool_folder.iterdir()
    assert (damaged_file.suffix, damaged_file.read_bytes()) == (".damaged", bytes(content))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_undecodable_record_is_preserved_and_others_are_drained(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    original = records.decode

    def decode(payload: bytes) -> RequestRow:
        row = original(payload)
        if row == rows[index]:
            raise KeyError("an unknown column")
        return row

    other, own_spool = Spool(), Spool()
    other.append(rows)
    other.close()
    own_spool.append([make_row(hook)])
    with monkeypatch.context() as patch:
        patch.setattr(records, "decode", decode)
        assert status.spool_status().requests == 4
        insert = FakeInsert(fails_after=1)
        with contextlib.suppress(OperationalError):
            recovery.drain_abandoned_files(insert)  # the database becomes unavailable again
        assert {row.uid for row in [*insert.rows, *drain_abandoned_rows()]} == {
            row.uid for row in rows if row is not rows[index]
        }
        assert (status.spool_status().damaged, status.spool_status().requests) == (1, 1)
    (damaged_file,) = spool_folder.glob("*.damaged")
    damaged_file.rename(damaged_file.with_suffix(".spool"))
    assert drain_abandoned_rows() == rows[index:]


def test_file_that_cannot_be_opened_or_written_does_not_block_others(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [make_row(hook) for _ in range(3)]
    paths: list[str] = []
    for row in rows:
        own_spool = Spool()
        own_spool.append([row])
        paths.append(str(own_spool._path))
        own_spool.close()
    original = os.open

    def deny(path: Any, *flags: Any, **more: Any) -> int:
        if path == paths[0]:
            raise PermissionError(13, "Permission denied")
        return original(path, *flags, **more)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    insert = FakeInsert(refuses=rows[1:2])
    with monkeypatch.context() as patch:
        patch.setattr("os.open", deny)
        patch.setattr(recovery, "store_refused", lambda rows, reasons: no_space() if reasons else None)
        assert recovery.drain_abandoned_files(insert) == 1
        assert status.spool_status().error == "The spool cannot be read: Permission denied."
    assert insert.rows == rows[1:]
    assert "cannot be opened: Permission denied" in caplog.text
    assert "cannot be drained: No space left" in caplog.text
    assert drain_abandoned_rows() == rows[:2]


def test_only_an_old_unfinished_file_is_deleted(spool_folder: Path) -> None:
    spool_folder.mkdir()
    unfinished = spool_folder / "a.new"
    unfinished.write_bytes(b"")
    drain_abandoned_rows()
    assert unfinished.exists()
    os.utime(unfinished, (time.time() - 100, time.time() - 100))
    drain_abandoned_rows()
    assert not unfinished.exists()


def test_refused_record_is_set_aside_and_can_be_retried(hook: Subscription, spool_folder: Path) -> None:
    rows = [make_row(hook) for _ in range(3)]
    own_spool = Spool()
    own_spool.append(rows)
    own_spool.drain(FakeInsert(refuses=rows[1:2]))
    assert own_spool.is_empty
    (refused,) = (spool_folder / "refused").glob("*.spool")
    assert refused.with_suffix(".txt").read_text() == "DataError\n"
    assert status.spool_status().refused == 1
    refused.rename(spool_folder / refused.name)
    assert drain_abandoned_rows() == [rows[1]]
