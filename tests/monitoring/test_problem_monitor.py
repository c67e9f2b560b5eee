"""The web process looks for problems itself when no worker does."""

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


def test_a_dead_worker_is_noticed_and_told_by_the_web_process(
    db: None, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[object]
) -> None:
    Channel.objects.create(name="Ops", kind="email", recipients=["ops@example.com"])
    for name in ("worker", "scheduler", detector.BEAT):
        Heartbeat.beat(name)
    assert not problem_monitor.look(), "a worker has just made a pass"
    Heartbeat.objects.update(at=timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(checks, "_started", time.monotonic() - 3600)
    assert problem_monitor.look()
    assert set(Problem.objects.values_list("kind", flat=True)) == {
        ProblemKind.SCHEDULER_DOWN,
        ProblemKind.WORKER_DOWN,
    }
    assert len(mailoutbox) == 1
    assert not problem_monitor.look(), "now it was this process"


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
    monkeypatch.setattr(problem_monitor, "EVERY", 0.01)
    monkeypatch.setattr(problem_monitor, "look", look)
    return done


@pytest.fixture
def own(looks: list[int]) -> Iterator[problem_monitor.Watch]:
    """A watch of whose threads none is left for the next test."""
    own = problem_monitor.Watch()
    yield own
    own.stop()
    for thread in threading.enumerate():
        if thread.name == "watch":
            thread.join(5)


def test_its_thread_goes_on_whatever_happens(
    own: problem_monitor.Watch, looks: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    own.start()
    own.start()  # not a second one
    wait_for(lambda: len(looks) > 3)
    own.stop()
    wait_for(lambda: not own.running)
    assert not own.running
    assert len(looks) > 3
    assert caplog.text.count("the database is away") == 1


def test_a_forked_process_has_a_thread_of_its_own_only_when_the_parent_had(own: problem_monitor.Watch) -> None:
    own.after_fork()
    assert not own.running
    own.start()
    first = own._thread
    own.after_fork()
    assert own.running
    assert own._thread is not first


def test_not_in_tests_unless_asked(settings: Settings) -> None:
    assert settings.WATCH_IN_THREAD is False
    own = problem_monitor.Watch()
    own.start()
    assert not own.running
