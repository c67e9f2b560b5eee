"""Problems of this installation: its public URL and its processes."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from subscriptions.models import Heartbeat, Problem, Subscription
from subscriptions.planning.steps import Wait
from subscriptions.problems import checks
from tests.problems.conftest import open_problems, update


def test_an_unconfirmed_public_url_is_one_problem_of_the_installation(row: Subscription) -> None:
    others = [Subscription.objects.create(account=row.account, due_at=None) for _ in range(2)]
    for one in (row, *others):
        update(
            one, waiting="PUBLIC_URL has changed.", waiting_for=Wait.ADDRESS, callback_url="https://old.example/hooks/x"
        )
    assert open_problems() == [("clone", "critical")]
    problem = Problem.objects.get()
    assert "3 subscriptions were registered with another address, such as https://old.example." in problem.message
    assert (problem.count, problem.subject_type) == (3, "installation")
    Subscription.objects.update(waiting="", waiting_for="")
    assert open_problems() == []


@pytest.fixture
def after_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)


def set_heartbeat(name: str, since: datetime | None) -> None:
    if since is None:
        Heartbeat.objects.filter(name=name).delete()
    else:
        Heartbeat.objects.filter(name=name).update(at=since)


@pytest.mark.parametrize("never", [True, False])
def test_a_scheduler_or_worker_without_heartbeat_is_down(row: Subscription, after_startup: None, never: bool) -> None:
    since = None if never else timezone.now() - timedelta(minutes=5)
    set_heartbeat("worker", since)
    assert open_problems() == [("worker_down", "warning")]
    assert "message broker" in Problem.objects.get().message
    set_heartbeat("scheduler", since)
    assert open_problems() == [("scheduler_down", "critical"), ("worker_down", "critical")]
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")
    assert open_problems() == []


@pytest.mark.slow
def test_heartbeat_problems_do_not_change_just_after_a_start(
    row: Subscription, after_startup: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_heartbeat("worker", timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(checks.installation, "_started", time.monotonic())
    assert open_problems() == []
    monkeypatch.setattr(checks.installation, "_started", time.monotonic() - 3600)
    assert open_problems() == [("worker_down", "warning")]
    monkeypatch.setattr(checks.installation, "_started", time.monotonic())  # another process starts
    assert open_problems() == [("worker_down", "warning")]
