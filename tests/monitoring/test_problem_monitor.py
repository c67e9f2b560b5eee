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
    assert not problem_monitor.run_if_overdue(), "this process has just made a pass"


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not condition():  # type: ignore[operator]
        time.sleep(0.01)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[int]:
    """Replace the detection by one that fails at first. Return the process ID of each pass."""
    pids: list[int] = []

    def run_pass() -> None:
        pids.append(os.getpid())
        if len(pids) == 1:
            raise RuntimeError("the database is unavailable")

    settings.WATCH_IN_THREAD = True
    monkeypatch.setattr(problem_monitor, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(problem_monitor, "run_if_overdue", run_pass)
    return pids


@pytest.fixture
def monitor(passes: list[int]) -> Iterator[problem_monitor.ProblemMonitor]:
    """Return a monitor whose threads end with the test."""
    monitor = problem_monitor.ProblemMonitor()
    yield monitor
    monitor.stop()
    for thread in threading.enumerate():
        if thread.name == "problem monitor":
            thread.join(5)


def test_the_thread_survives_errors(
    monitor: problem_monitor.ProblemMonitor, passes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    monitor.start()
    monitor.start()  # starts no second thread
    wait_for(lambda: len(passes) > 3)
    monitor.stop()
    wait_for(lambda: not monitor.running)
    assert not monitor.running
    assert len(passes) > 3
    assert caplog.text.count("the database is unavailable") == 1


def test_a_forked_process_restarts_the_thread_if_the_parent_had_one(monitor: problem_monitor.ProblemMonitor) -> None:
    monitor.after_fork()
    assert not monitor.running
    monitor.start()
    first = monitor._thread
    monitor.after_fork()
    assert monitor.running
    assert monitor._thread is not first


def test_the_settings_can_disable_the_thread(settings: Settings) -> None:
    assert settings.WATCH_IN_THREAD is False
    monitor = problem_monitor.ProblemMonitor()
    monitor.start()
    assert not monitor.running
