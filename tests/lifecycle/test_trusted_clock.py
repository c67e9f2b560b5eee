"""A clock that jumps ahead deletes nothing until it has proved itself or a person says that it is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from events.models import Event, WebhookRequest
from events.processing import normalize
from events.retention import purge, rejected
from providers.models import ProviderAccount
from subscriptions.lifecycle import trusted_clock
from subscriptions.models import ClockMark, Problem, Subscription
from subscriptions.problems import detector
from tests.harness.fake_provider import body_of, store_request

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
START = datetime.fromisoformat("2026-03-04T05:06:07+00:00")


@pytest.fixture(autouse=True)
def _database_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the database have the same clock; on PostgreSQL its own would not travel."""
    monkeypatch.setattr(trusted_clock, "_database_time", lambda: None)
    monkeypatch.setattr(purge, "MIN_PAUSE_SECONDS", 0.0)


def run_on(traveller: time_machine.Traveller, length: timedelta, step: timedelta = timedelta(hours=6)) -> None:
    """Let time pass while the clock is checked regularly."""
    end = timezone.now() + length
    while timezone.now() < end:
        traveller.shift(step)
        trusted_clock.check()


@pytest.fixture
def stored(hook: Subscription) -> None:
    """Store a processed and a rejected request, with 30 days of retention, while the clock is right."""
    ProviderAccount.objects.update(retention_days=30)
    with time_machine.travel(START, tick=False):
        trusted_clock.check()
        normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
        store_request(hook, b"{}", headers=())


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("delete", [purge.purge_due, rejected.delete_aged])
def test_a_clock_400_days_ahead_deletes_nothing(delete: Callable[[], int]) -> None:
    for minutes in (0, 1, 600):  # and as long as it stays there
        with time_machine.travel(START + 400 * DAY + timedelta(minutes=minutes), tick=False):
            assert delete() == 0
    assert (WebhookRequest.objects.count(), Event.objects.count()) == (2, 1)
    with time_machine.travel(START + timedelta(hours=1), tick=False):  # the clock was corrected
        assert trusted_clock.check() is None
        assert ClockMark.objects.get().suspected_at is None


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("delete", [purge.purge_due, rejected.delete_aged])
def test_a_clock_that_jumps_during_a_run_deletes_nothing(
    delete: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(START + timedelta(hours=1), tick=False) as traveller:
        check = trusted_clock.check

        def check_then_jump() -> trusted_clock.ClockDoubt | None:
            doubt = check()
            traveller.shift(400 * DAY)
            return doubt

        monkeypatch.setattr(trusted_clock, "check", check_then_jump)
        assert delete() == 0
    assert WebhookRequest.objects.count() == 2


@pytest.mark.usefixtures("stored")
def test_what_was_old_before_is_deleted_once_the_clock_has_run_on_for_a_week() -> None:
    with time_machine.travel(START + 400 * DAY, tick=False) as traveller:
        assert purge.purge_due() == 0
        run_on(traveller, timedelta(days=6.5))
        assert purge.purge_due() == 0
        run_on(traveller, DAY)
        assert purge.purge_due() > 0


@pytest.mark.parametrize(("jump", "hold"), [(2 * DAY, 2 * DAY), (5 * DAY, 5 * DAY), (400 * DAY, 7 * DAY)])
def test_the_clock_is_trusted_again_after_as_long_as_the_jump(db: None, jump: timedelta, hold: timedelta) -> None:
    with time_machine.travel(START, tick=False) as traveller:
        assert trusted_clock.check() is None
        traveller.shift(jump)
        doubt = trusted_clock.check()
        assert doubt is not None
        assert doubt.jump == jump
        run_on(traveller, hold - timedelta(hours=7))
        assert trusted_clock.check() is not None
        run_on(traveller, timedelta(hours=8))
        assert trusted_clock.check() is None


def test_another_jump_starts_the_wait_anew(db: None) -> None:
    with time_machine.travel(START, tick=False) as traveller:
        trusted_clock.check()
        for _ in range(3):
            traveller.shift(100 * DAY)
            assert trusted_clock.check() is not None, "the wait cannot be jumped over"


@pytest.mark.parametrize("step", [timedelta(minutes=1), timedelta(hours=20), -400 * DAY])
def test_usual_steps_are_trusted(db: None, step: timedelta) -> None:
    with time_machine.travel(START, tick=False) as traveller:
        trusted_clock.check()
        traveller.shift(step)
        assert trusted_clock.check() is None
        assert ClockMark.objects.get().at == timezone.now()


def test_the_database_must_agree(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted_clock.check()
    for ahead in (timedelta(days=400), -timedelta(hours=1)):
        monkeypatch.setattr(trusted_clock, "_database_time", lambda ahead=ahead: timezone.now() - ahead)
        doubt = trusted_clock.check()
        assert doubt is not None
        assert "clock of the database" in doubt.message
    assert (purge.purge_due(), rejected.delete_aged()) == (0, 0)
    monkeypatch.setattr(trusted_clock, "_database_time", lambda: timezone.now() - timedelta(minutes=1))
    assert trusted_clock.check() is None


def test_the_jump_is_a_problem_that_a_person_can_answer(db: None) -> None:
    kinds = {"clock"}
    with time_machine.travel(START, tick=False) as traveller:
        trusted_clock.check()
        traveller.shift(3 * DAY)
        detector.detect(kinds)  # type: ignore[arg-type]
        assert Problem.objects.get().severity == "info", "it was probably off over the weekend"
        traveller.shift(400 * DAY)
        detector.detect(kinds)  # type: ignore[arg-type]
        problem = Problem.objects.get()
        assert (problem.severity, problem.state) == ("warning", "open")
        assert "403 days after 2026-03-04" in problem.message
        detector.resolve(problem, by="staff:ann")
        assert trusted_clock.check() is None
        detector.detect(kinds)  # type: ignore[arg-type]
        problem.refresh_from_db()
        assert problem.state == "resolved"
