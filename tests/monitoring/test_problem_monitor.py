"""The web process detects problems when no worker does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from config.monitoring import problem_monitor
from subscriptions.models import Channel, Heartbeat, Problem, ProblemKind
from subscriptions.problems import checks, detector


def test_the_web_process_reports_a_dead_worker(
    db: None, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[object]
) -> None:
    Channel.objects.create(name="Ops", kind="email", recipients=["ops@example.com"])
    for name in ("worker", "scheduler", detector.HEARTBEAT):
        Heartbeat.beat(name)
    assert not problem_monitor.run_if_overdue(), "a worker has just made a pass"
    Heartbeat.objects.update(at=timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)
    assert problem_monitor.run_if_overdue()
    assert set(Problem.objects.values_list("kind", flat=True)) == {
        ProblemKind.SCHEDULER_DOWN,
        ProblemKind.WORKER_DOWN,
    }
    assert len(mailoutbox) == 1
    assert not problem_monitor.run_if_overdue(), "now it was this process"


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not condition():  # type: ignore[operator]
        time.sleep(0.01)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[int]:
    done: list[int] = []

    def look() -> None:
        done.append(os.getpid())
        if len(done) == 1:
            raise RuntimeError("the database is away")

    settings.WATCH_IN_THREAD = True
    monkeypatch.setattr(problem_monitor, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(problem_monitor, "run_if_overdue", look)
    return done


@pytest.fixture
def own(looks: list[int]) -> Iterator[problem_monitor.ProblemMonitor]:
    """Return a monitor whose threads end with the test."""
    own = problem_monitor.ProblemMonitor()
    yield own
    own.stop()
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(5)


def test_the_thread_survives_errors(
    own: problem_monitor.ProblemMonitor, looks: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    own.start()
    own.start()  # not a second one
    wait_for(lambda: len(looks) > 3)
    own.stop()
    wait_for(lambda: not own.running)
    assert not own.running
    assert len(looks) > 3
    assert caplog.text.count("the database is away") == 1


def test_a_forked_process_restarts_the_thread_if_the_parent_had_one(own: problem_monitor.ProblemMonitor) -> None:
    own.after_fork()
    assert not own.running
    own.start()
    first = own._thread
    own.after_fork()
    assert own.running
    assert own._thread is not first


def test_the_settings_can_disable_it(settings: Settings) -> None:
    assert settings.WATCH_IN_THREAD is False
    own = problem_monitor.ProblemMonitor()
    own.start()
    assert not own.running
