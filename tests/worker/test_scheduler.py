"""Periodic tasks run without a broker, despite failing or hanging tasks and clock steps."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from celery import Celery

from config.celery import SCHEDULE, app
from config.environment import BASE_DIR
from config.worker.scheduler import LocalScheduler

Job = Callable[[], None]


def named(job: Job) -> Job:
    """Wrap a job in a named function, because Celery accepts no lambda."""

    def run() -> None:
        job()

    return run


@contextmanager
def scheduled(jobs: dict[str, Job], *, every: float = 0.1) -> Iterator[LocalScheduler]:
    """Run the jobs periodically, in an app whose broker does not exist."""
    broken = Celery("test", broker="redis://127.0.0.1:1/0", set_as_current=False)
    for name, job in jobs.items():
        broken.task(name=name, shared=False)(named(job))
    broken.conf.beat_schedule = {name: {"task": name, "schedule": every} for name in jobs}
    scheduler = LocalScheduler(broken)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


def wait_until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


@pytest.mark.slow
def test_entries_run_periodically_without_a_broker() -> None:
    runs: list[float] = []
    with scheduled({"job": lambda: runs.append(time.monotonic())}):
        wait_until(lambda: len(runs) >= 8)
    # The first run may start late, and the second right after it; later runs keep the interval.
    assert runs[7] - runs[0] >= 0.59


def test_a_failing_entry_is_logged_and_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[None] = []

    def fail() -> None:
        runs.append(None)
        raise ValueError("no such thing")

    with caplog.at_level(logging.ERROR, "config.worker.scheduler"), scheduled({"job": fail}):
        wait_until(lambda: len(runs) >= 3)
    # The same reason is not repeated each time.
    assert [record.getMessage() for record in caplog.records] == [
        "Periodic task job failed and runs again in 0.1 s: no such thing"
    ]
    assert caplog.records[0].exc_info


@pytest.mark.slow
def test_a_long_run_does_not_overlap_the_next_one() -> None:
    running, highest, runs = 0, 0, 0

    def slow() -> None:
        nonlocal running, highest, runs
        runs += 1
        running += 1
        highest = max(highest, running)
        time.sleep(0.3)
        running -= 1

    with scheduled({"job": slow}, every=0.05):
        wait_until(lambda: runs >= 3)
    assert highest == 1


def test_a_hanging_entry_does_not_stop_the_others() -> None:
    runs: list[None] = []
    release = threading.Event()

    def hang() -> None:
        release.wait(120)

    with scheduled({"hangs": hang, "runs": lambda: runs.append(None)}):
        try:
            wait_until(lambda: len(runs) >= 3)
        finally:
            release.set()


@pytest.mark.slow
@pytest.mark.parametrize("year", [2001, 2090])
def test_a_clock_step_delays_nothing(year: int) -> None:
    runs: list[None] = []
    with scheduled({"job": lambda: runs.append(None)}):
        wait_until(lambda: len(runs) >= 2)
        with time_machine.travel(datetime(year, 1, 1, tzinfo=UTC)):
            before, started = len(runs), time.monotonic()
            wait_until(lambda: len(runs) >= before + 5)
            ran, elapsed = len(runs) - before, time.monotonic() - started
    assert ran <= elapsed / 0.1 + 2  # nor does it run too often


def test_every_entry_of_the_schedule_is_a_task() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in SCHEDULE.values()} <= set(app.tasks)


@pytest.mark.e2e
def test_a_worker_without_a_broker_runs_the_schedule(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'x.sqlite3'}",
        "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
        "DEMO": "0",
    }

    def manage(*command: str) -> str:
        run = [sys.executable, "manage.py", *command]
        return subprocess.run(run, cwd=BASE_DIR, env=env, check=True, capture_output=True, text=True).stdout

    manage("migrate", "--verbosity", "0")
    command = "-m celery --app config.celery --quiet worker --without-gossip --without-mingle --without-heartbeat"
    log = (tmp_path / "log").open("w")
    worker = subprocess.Popen([sys.executable, *command.split()], cwd=BASE_DIR, env=env, stdout=log, stderr=log)
    try:
        ask = "from subscriptions.models import Heartbeat; print(Heartbeat.objects.filter(name='scheduler').count())"
        wait_until(lambda: manage("shell", "--no-imports", "--command", ask).strip() == "1", seconds=120)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        log.close()
