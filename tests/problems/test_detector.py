"""The pass that keeps problems true: opening, refreshing, resolving, coming back, and doing so twice at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from providers.models import HistoryEntry
from subscriptions.models import Heartbeat, Problem, ProblemKind, ProblemState, ProblemTransition, Severity, Transition
from subscriptions.problems import detector, registry
from subscriptions.problems.registry import INSTALLATION, Cause, NotKnownYet, Source
from tests.harness.fake_provider import run_concurrently

CLONE, SILENT = ProblemKind.CLONE, ProblemKind.SILENT


class Facts:
    """What a source of the tests says."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self.error: Exception | None = None

    def find(self, now: datetime) -> Iterator[Cause]:
        if self.error:
            raise self.error
        yield from self.causes

    def say(self, *, kind: ProblemKind = CLONE, **changes: object) -> None:
        values: dict[str, object] = {"severity": Severity.WARNING, "message": "It is a copy.", **changes}
        self.causes = [Cause(kind=kind, subject=INSTALLATION, **values)]  # type: ignore[arg-type]

    def nothing(self) -> None:
        self.causes = []


@pytest.fixture
def facts(db: None, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The only source there is, for two kinds."""
    said = Facts()
    monkeypatch.setattr(registry, "_sources", {"tests": Source(said.find, frozenset({CLONE, SILENT}))})
    return said


def turns() -> list[str]:
    return list(ProblemTransition.objects.order_by("pk").values_list("transition", flat=True))


def test_a_cause_opens_a_problem_and_its_end_resolves_it(facts: Facts) -> None:
    facts.say(count=3, sample={"host": "x"})
    assert detector.detect().opened == 1
    row = Problem.objects.get()
    assert (row.kind, row.severity, row.state, row.count) == ("clone", "warning", "open", 3)
    assert (row.message, row.sample, row.subject_name) == ("It is a copy.", {"host": "x"}, "This installation")
    facts.nothing()
    assert detector.detect().resolved == 1
    row.refresh_from_db()
    assert (row.state, row.resolved_by) == ("resolved", "clock")
    assert row.resolved_at is not None
    assert turns() == ["opened", "resolved"]


def test_what_holds_is_one_row_that_says_the_latest(facts: Facts) -> None:
    facts.say(count=1)
    detector.detect()
    first = Problem.objects.get()
    facts.say(count=2, message="It is a copy of hooks.example.com.")
    assert detector.detect().refreshed == 1
    row = Problem.objects.get()
    assert (row.count, row.message) == (2, "It is a copy of hooks.example.com.")
    assert row.first_at == first.first_at
    assert row.last_at > first.last_at
    assert turns() == ["opened"]


def test_last_seen_is_written_once_in_a_while_for_what_is_as_it_was(facts: Facts) -> None:
    facts.say()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        detector.detect()
        seen = Problem.objects.get().last_at
        clock.shift(10)
        detector.detect()
        assert Problem.objects.get().last_at == seen
        clock.shift(25)
        detector.detect()
        assert Problem.objects.get().last_at == seen + timedelta(seconds=35)


def test_it_returns_on_the_same_row_and_is_counted(facts: Facts) -> None:
    for _ in range(3):
        facts.say()
        detector.detect()
        facts.nothing()
        detector.detect()
    facts.say()
    detector.detect()
    row = Problem.objects.get()
    assert (row.state, row.reopened, row.resolved_at, row.resolved_by) == ("open", 3, None, "")
    assert row.opened_at > row.first_at
    assert turns() == ["opened", "resolved", *["reopened", "resolved"] * 2, "reopened"]


def test_the_story_of_one_that_flaps_stays_short(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "MAX_TRANSITIONS", 6)
    monkeypatch.setattr(detector, "TRIM_EVERY", 5)
    for _ in range(6):
        facts.say()
        detector.detect()
        facts.nothing()
        detector.detect()
    assert turns() == ["resolved", "reopened"] * 3 + ["resolved"]
    assert Problem.objects.get().reopened == 5


def test_graver_is_a_change_and_milder_is_not(facts: Facts) -> None:
    facts.say()
    detector.detect()
    opened = Problem.objects.get().changed_at
    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    row = Problem.objects.get()
    assert row.severity == "critical"
    assert row.changed_at > opened
    graver = row.changed_at
    facts.say()
    detector.detect()
    row.refresh_from_db()
    assert (row.severity, row.changed_at) == ("warning", graver)
    assert turns() == ["opened", "more_severe"]


def test_causes_are_told_apart_by_kind_and_name(facts: Facts) -> None:
    facts.say()
    copy = facts.causes[0]
    facts.say(name="other")
    facts.causes += [copy]
    facts.causes += [Cause(kind=SILENT, subject=INSTALLATION, severity=Severity.INFO, message="Quiet.")]
    detector.detect()
    assert Problem.objects.count() == 3
    facts.nothing()
    assert detector.detect({CLONE}).resolved == 2, "the other kind was not looked at"
    assert Problem.objects.active().get().kind == SILENT


def test_of_two_sources_that_say_the_same_the_graver_counts(facts: Facts) -> None:
    facts.say(severity=Severity.CRITICAL)
    grave = facts.causes[0]
    facts.say()
    facts.causes = [*facts.causes, grave, *facts.causes]
    detector.detect()
    assert Problem.objects.get().severity == "critical"


@pytest.mark.parametrize("error", [ValueError("a bug"), NotKnownYet()])
def test_a_source_that_fails_solves_nothing(facts: Facts, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    facts.say()
    detector.detect()
    facts.error = error
    assert detector.detect().unknown == {CLONE, SILENT}
    assert Problem.objects.get().state == "open"
    assert ("a bug" in caplog.text) == isinstance(error, ValueError)


# -- People ----------------------------------------------------------------------------------------------------------


def test_acknowledged_it_stays_so_while_it_holds(facts: Facts) -> None:
    facts.say()
    detector.detect()
    row = Problem.objects.get()
    detector.acknowledge(row, by="staff:ann")
    detector.acknowledge(row, by="staff:bob")  # says nothing new
    assert (row.state, row.acknowledged_by) == ("acknowledged", "staff:ann")
    facts.say(severity=Severity.CRITICAL, count=9)
    detector.detect()
    row.refresh_from_db()
    assert (row.state, row.count, row.severity) == ("acknowledged", 9, "critical")
    assert [(entry.actor, entry.action) for entry in HistoryEntry.objects.all()] == [("staff:ann", "acknowledged")]
    facts.nothing()
    detector.detect()
    facts.say()
    detector.detect()
    row.refresh_from_db()
    assert (row.state, row.acknowledged_by, row.acknowledged_at) == ("open", "", None)


def test_what_is_over_cannot_be_acknowledged(facts: Facts) -> None:
    facts.say()
    detector.detect()
    facts.nothing()
    detector.detect()
    with pytest.raises(detector.NotActive):
        detector.acknowledge(Problem.objects.get(), by="staff:ann")


def test_resolved_by_a_person_it_returns_after_a_grace_when_it_still_holds(facts: Facts) -> None:
    facts.say()
    detector.detect()
    row = Problem.objects.get()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        detector.resolve(row, by="staff:ann")
        detector.resolve(row, by="staff:bob")  # says nothing new
        assert (row.state, row.resolved_by) == ("resolved", "staff:ann")
        clock.shift(detector.REOPEN_GRACE - timedelta(seconds=1))
        detector.detect()
        assert Problem.objects.get().state == "resolved"
        clock.shift(2)
        detector.detect()
    assert Problem.objects.get().state == "open"
    assert turns() == ["opened", "resolved", "reopened"]
    assert [(entry.actor, entry.action) for entry in HistoryEntry.objects.all()] == [("staff:ann", "resolved")]


def test_a_clock_that_was_set_back_holds_nothing_for_long(facts: Facts) -> None:
    facts.say()
    detector.detect()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    with time_machine.travel(timezone.now() - timedelta(hours=5), tick=False) as clock:
        clock.shift(30)
        detector.detect()
        assert Problem.objects.get().state == "open"
        facts.nothing()
        detector.detect()
        assert Problem.objects.get().state == "resolved"


def test_resolved_by_a_person_it_is_new_when_it_was_gone_in_between(facts: Facts) -> None:
    facts.say()
    detector.detect()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    facts.nothing()
    detector.detect()
    facts.say()
    detector.detect()
    assert Problem.objects.get().state == "open"


def test_what_happens_in_single_events_stays_resolved_until_the_next(facts: Facts) -> None:
    facts.say(evidence="request 1")
    detector.detect()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    with time_machine.travel(timezone.now() + timedelta(days=3)):
        detector.detect()
        assert Problem.objects.get().state == "resolved"
        facts.say(evidence="request 2")
        detector.detect()
        assert Problem.objects.get().state == "open"


# -- Several at once -------------------------------------------------------------------------------------------------


@pytest.fixture
def shared_facts(transactional_db: None, facts: Facts) -> Facts:
    return facts


def test_many_passes_at_once_open_resolve_and_reopen_once(shared_facts: Facts) -> None:
    facts = shared_facts
    for expected in (["opened"], ["opened", "resolved"], ["opened", "resolved", "reopened"]):
        if expected[-1] == "resolved":
            facts.nothing()
        else:
            facts.say()
        run_concurrently(*[detector.detect] * 6)
        assert turns() == expected
    assert Problem.objects.get().reopened == 1


def test_a_pass_that_looked_earlier_does_not_undo_a_later_one(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One looks, sees nothing and is held up; meanwhile another sees the cause. The first must not resolve it."""
    facts.say()
    detector.detect()

    def held_up(now: datetime) -> Iterator[Cause]:
        monkeypatch.setattr(registry, "_sources", {"tests": Source(facts.find, frozenset({CLONE}))})
        facts.say(count=2)
        detector.detect({CLONE})
        return iter(())

    monkeypatch.setattr(registry, "_sources", {"slow": Source(held_up, frozenset({CLONE}))})
    detector.detect({CLONE})
    assert Problem.objects.get().state == "open"


def test_a_pass_that_looked_earlier_does_not_reopen_what_a_later_one_resolved(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.say()
    detector.detect()
    old = list(facts.causes)

    def held_up(now: datetime) -> Iterator[Cause]:
        monkeypatch.setattr(registry, "_sources", {"tests": Source(facts.find, frozenset({CLONE}))})
        facts.nothing()
        detector.detect({CLONE})
        return iter(old)

    monkeypatch.setattr(registry, "_sources", {"slow": Source(held_up, frozenset({CLONE}))})
    detector.detect({CLONE})
    assert Problem.objects.get().state == ProblemState.RESOLVED
    assert turns() == [Transition.OPENED, Transition.RESOLVED]


def test_processes_take_turns(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(detector, "detect", lambda: done.append(1))
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(3):
            detector.detect_if_due()
        assert len(done) == 1
        clock.shift(detector.PASS_INTERVAL)
        detector.detect_if_due()
        assert len(done) == 2
        clock.shift(-3600)  # the clock is set back
        detector.detect_if_due()
        assert len(done) == 3
    assert Heartbeat.objects.get(name="problems")
