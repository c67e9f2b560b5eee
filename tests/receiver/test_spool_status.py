"""The status of the spool, and how each machine reports it."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from events.monitoring.problem_checks import HOST_TIMEOUT, receiver_spool
from events.receiver.group_commit import writer
from events.receiver.spool import file as spool_file
from events.receiver.spool import records, recovery, status
from events.receiver.spool.file import Spool
from events.receiver.spool.records import HEADER_BYTES
from events.receiver.spool_drain import Drainer
from subscriptions.models import Problem, ProblemKind, Subscription
from subscriptions.problems import detector
from tests.harness.receiving import make_row
from tests.harness.spooling import FakeInsert, drain_rows

pytestmark = pytest.mark.django_db


def test_status_counts_only_new_records(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    original = os.pread

    def pread(file: int, size: int, offset: int) -> bytes:
        reads.append(offset)
        return original(file, size, offset)

    own_spool = Spool()
    own_spool.append([make_row(hook) for _ in range(300)])
    assert status.spool_status().requests == 300
    monkeypatch.setattr(os, "pread", pread)
    assert status.spool_status().requests == 300
    assert len(reads) < 5
    own_spool.append([make_row(hook)])
    assert status.spool_status().requests == 301
    assert len(reads) < 10


def test_incremental_status_equals_a_full_count(
    hook: Subscription, spool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "BATCH_ROWS", 3)
    monkeypatch.setattr(spool_file, "MAX_FILE_BYTES", 20_000)
    chance = random.Random(1)
    own_spool = Spool()
    seen: set[int] = set()
    for _ in range(60):
        with contextlib.suppress(OperationalError):
            match chance.randrange(5):
                case 0 | 1 | 2:
                    own_spool.append(
                        [make_row(hook, b"x" * chance.randrange(2000)) for _ in range(chance.randrange(1, 9))]
                    )
                case 3:
                    own_spool.drain(FakeInsert(fails_after=chance.randrange(9)))
                case 4:
                    recovery.drain_abandoned_files(FakeInsert(fails_after=chance.randrange(9)))
        incremental = status.spool_status()
        monkeypatch.setattr(status, "_file_counts", {})
        assert status.spool_status() == incremental
        seen.add(incremental.requests)
    assert len(seen) > 20
    own_spool.close()


def test_status_has_number_size_and_age_of_requests(hook: Subscription, spool_folder: Path, settings: Settings) -> None:
    assert status.spool_status() == status.SpoolStatus(0, 0, None, 0, 0, None)
    own_spool = Spool()
    early = datetime(2026, 1, 1, tzinfo=UTC)
    own_spool.append([make_row(hook, received_at=early), make_row(hook)])
    current = status.spool_status()
    assert (current.requests, current.oldest, current.error) == (2, early, None)
    assert current.size == own_spool._end - HEADER_BYTES
    settings.SPOOL_MAX_BYTES = 10
    assert status.spool_status().error == "The spool is full: SPOOL_MAX_BYTES is 10."


def test_each_machine_reports_its_spool_as_a_problem(hook: Subscription, spool_folder: Path) -> None:
    own_spool = Spool()
    drainer = Drainer(writer, own_spool, lambda rows: None)
    drainer.report()
    assert list(receiver_spool(timezone.now())) == []
    own_spool.append([make_row(hook)])
    drainer.report()
    (cause,) = receiver_spool(timezone.now())
    waits = "1 request waits for the database. The oldest was received at 2026-01-02 03:04:05 UTC."
    assert cause.message == f"On {socket.gethostname()}: {waits}"
    assert cause.kind == ProblemKind.SPOOL
    drain_rows(own_spool)
    refused = make_row(hook)
    recovery.store_refused([refused], {refused.uid: "DataError"})
    drainer.report()
    (cause,) = receiver_spool(timezone.now())
    assert cause.message.endswith(": 1 request refused by the database, in the folder refused.")
    (spool_folder / "refused" / f"{refused.uid}.spool").unlink()
    drainer.report()
    assert list(receiver_spool(timezone.now())) == []


def test_problem_of_a_machine_that_never_returns_can_be_resolved(hook: Subscription, spool_folder: Path) -> None:
    Spool().append([make_row(hook)])
    drainer = Drainer(writer, Spool(), lambda rows: None)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        drainer.report()
        detector.detect([ProblemKind.SPOOL])
        assert "Last reported at" not in Problem.objects.get().message
        clock.shift(HOST_TIMEOUT)
        detector.detect([ProblemKind.SPOOL])
        problem = Problem.objects.get()
        assert "Last reported at" in problem.message
        assert "resolve this" in problem.action
        detector.resolve(problem, by="staff:ann")
        clock.shift(timedelta(days=3))
        detector.detect([ProblemKind.SPOOL])
        assert Problem.objects.get().state == "resolved"
        drainer.report()  # the machine has returned
        detector.detect([ProblemKind.SPOOL])
        assert Problem.objects.get().state == "open"
