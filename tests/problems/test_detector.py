"""Problem detection: opening, updating, resolving and reopening problems, including by concurrent passes."""

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
from tests.harness.fake_check import FakeCheck
from tests.harness.fake_provider import run_concurrently

CLONE, SILENT = ProblemKind.CLONE, ProblemKind.SILENT


def transitions() -> list[str]:
    return list(ProblemTransition.objects.order_by("pk").values_list("transition", flat=True))


@pytest.mark.slow
def test_a_cause_opens_a_problem_and_its_end_resolves_it(fake_check: FakeCheck) -> None:
    fake_check.report(count=3, sample={"host": "x"})
    assert detector.detect().opened == 1
    row = Problem.objects.get()
    assert (row.kind, row.severity, row.state, row.count) == ("clone", "warning", "open", 3)
    assert (row.message, row.sample, row.subject_name) == ("It is a copy.", {"host": "x"}, "This installation")
    fake_check.clear()
    assert detector.detect().resolved == 1
    row.refresh_from_db()
    assert (row.state, row.resolved_by) == ("resolved", "clock")
    assert row.resolved_at is not None
    assert transitions() == ["opened", "resolved"]


def test_a_repeated_cause_updates_one_row(fake_check: FakeCheck) -> None:
    fake_check.report(count=1)
    detector.detect()
    first = Problem.objects.get()
    fake_check.report(count=2, message="It is a copy of hooks.example.com.")
    assert detector.detect().refreshed == 1
    row = Problem.objects.get()
    assert (row.count, row.message) == (2, "It is a copy of hooks.example.com.")
    assert row.first_at == first.first_at
    assert row.last_at > first.last_at
    assert transitions() == ["opened"]


def test_last_at_of_an_unchanged_problem_is_written_at_intervals(fake_check: FakeCheck) -> None:
    fake_check.report()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        detector.detect()
        seen = Problem.objects.get().last_at
        clock.shift(10)
        detector.detect()
        assert Problem.objects.get().last_at == seen
        clock.shift(25)
        detector.detect()
        assert Problem.objects.get().last_at == seen + timedelta(seconds=35)


def test_a_returning_cause_reopens_the_same_row_and_counts(fake_check: FakeCheck) -> None:
    for _ in range(3):
        fake_check.report()
        detector.detect()
        fake_check.clear()
        detector.detect()
    fake_check.report()
    detector.detect()
    row = Problem.objects.get()
    assert (row.state, row.reopened, row.resolved_at, row.resolved_by) == ("open", 3, None, "")
    assert row.opened_at > row.first_at
    assert transitions() == ["opened", "resolved", *["reopened", "resolved"] * 2, "reopened"]


def test_transitions_of_a_flapping_problem_are_trimmed(fake_check: FakeCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "MAX_TRANSITIONS", 6)
    monkeypatch.setattr(detector, "TRIM_EVERY", 5)
    for _ in range(6):
        fake_check.report()
        detector.detect()
        fake_check.clear()
        detector.detect()
    assert transitions() == ["resolved", "reopened"] * 3 + ["resolved"]
    assert Problem.objects.get().reopened == 5


def test_only_a_higher_severity_is_a_transition(fake_check: FakeCheck) -> None:
    fake_check.report()
    detector.detect()
    opened = Problem.objects.get().changed_at
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    row = Problem.objects.get()
    assert row.severity == "critical"
    assert row.changed_at > opened
    raised_at = row.changed_at
    fake_check.report()
    detector.detect()
    row.refresh_from_db()
    assert (row.severity, row.changed_at) == ("warning", raised_at)
    assert transitions() == ["opened", "more_severe"]


def test_causes_differ_by_kind_and_name(fake_check: FakeCheck) -> None:
    fake_check.report()
    copy = fake_check.causes[0]
    fake_check.report(name="other")
    fake_check.causes += [copy]
    fake_check.causes += [Cause(kind=SILENT, subject=INSTALLATION, severity=Severity.INFO, message="Quiet.")]
    detector.detect()
    assert Problem.objects.count() == 3
    fake_check.clear()
    assert detector.detect({CLONE}).resolved == 2, "the other kind was not checked"
    assert Problem.objects.active().get().kind == SILENT


def test_the_more_severe_of_two_equal_causes_counts(fake_check: FakeCheck) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    critical = fake_check.causes[0]
    fake_check.report()
    fake_check.causes = [*fake_check.causes, critical, *fake_check.causes]
    detector.detect()
    assert Problem.objects.get().severity == "critical"


@pytest.mark.parametrize("error", [ValueError("a bug"), NotKnownYet()])
def test_a_failing_check_resolves_nothing(
    fake_check: FakeCheck, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    fake_check.report()
    detector.detect()
    fake_check.error = error
    assert detector.detect().unknown == {CLONE, SILENT}
    assert Problem.objects.get().state == "open"
    assert ("a bug" in caplog.text) == isinstance(error, ValueError)


# -- People ----------------------------------------------------------------------------------------------------------


def test_an_acknowledged_problem_stays_acknowledged_while_its_cause_lasts(fake_check: FakeCheck) -> None:
    fake_check.report()
    detector.detect()
    row = Problem.objects.get()
    detector.acknowledge(row, by="staff:ann")
    detector.acknowledge(row, by="staff:bob")  # has no effect
    assert (row.state, row.acknowledged_by) == ("acknowledged", "staff:ann")
    fake_check.report(severity=Severity.CRITICAL, count=9)
    detector.detect()
    row.refresh_from_db()
    assert (row.state, row.count, row.severity) == ("acknowledged", 9, "critical")
    assert [(entry.actor, entry.action) for entry in HistoryEntry.objects.all()] == [("staff:ann", "acknowledged")]
    fake_check.clear()
    detector.detect()
    fake_check.report()
    detector.detect()
    row.refresh_from_db()
    assert (row.state, row.acknowledged_by, row.acknowledged_at) == ("open", "", None)


def test_a_resolved_problem_cannot_be_acknowledged(fake_check: FakeCheck) -> None:
    fake_check.report()
    detector.detect()
    fake_check.clear()
    detector.detect()
    with pytest.raises(detector.NotActive):
        detector.acknowledge(Problem.objects.get(), by="staff:ann")


def test_a_manually_resolved_problem_reopens_after_the_grace_period(fake_check: FakeCheck) -> None:
    fake_check.report()
    detector.detect()
    row = Problem.objects.get()
    with time_machine.travel(timezone.now(), tick=False) as clock:
        detector.resolve(row, by="staff:ann")
        detector.resolve(row, by="staff:bob")  # has no effect
        assert (row.state, row.resolved_by) == ("resolved", "staff:ann")
        clock.shift(detector.REOPEN_GRACE - timedelta(seconds=1))
        detector.detect()
        assert Problem.objects.get().state == "resolved"
        clock.shift(2)
        detector.detect()
    assert Problem.objects.get().state == "open"
    assert transitions() == ["opened", "resolved", "reopened"]
    assert [(entry.actor, entry.action) for entry in HistoryEntry.objects.all()] == [("staff:ann", "resolved")]


def test_a_clock_set_back_does_not_prolong_the_grace_period(fake_check: FakeCheck) -> None:
    fake_check.report()
    detector.detect()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    with time_machine.travel(timezone.now() - timedelta(hours=5), tick=False) as clock:
        clock.shift(30)
        detector.detect()
        assert Problem.objects.get().state == "open"
        fake_check.clear()
        detector.detect()
        assert Problem.objects.get().state == "resolved"


def test_a_manually_resolved_problem_reopens_at_once_if_its_cause_ended_in_between(fake_check: FakeCheck) -> None:
    fake_check.report()
    detector.detect()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    fake_check.clear()
    detector.detect()
    fake_check.report()
    detector.detect()
    assert Problem.objects.get().state == "open"


def test_a_problem_with_evidence_stays_resolved_until_the_next_occurrence(fake_check: FakeCheck) -> None:
    fake_check.report(evidence="request 1")
    detector.detect()
    detector.resolve(Problem.objects.get(), by="staff:ann")
    with time_machine.travel(timezone.now() + timedelta(days=3)):
        detector.detect()
        assert Problem.objects.get().state == "resolved"
        fake_check.report(evidence="request 2")
        detector.detect()
        assert Problem.objects.get().state == "open"


# -- Concurrent passes -------------------------------------------------------------------------------------------------


def test_concurrent_passes_open_resolve_and_reopen_once(committed_fake_check: FakeCheck) -> None:
    fake_check = committed_fake_check
    for expected in (["opened"], ["opened", "resolved"], ["opened", "resolved", "reopened"]):
        if expected[-1] == "resolved":
            fake_check.clear()
        else:
            fake_check.report()
        run_concurrently(*[detector.detect] * 6)
        assert transitions() == expected
    assert Problem.objects.get().reopened == 1


def test_an_older_pass_does_not_resolve_a_problem_that_a_newer_pass_found(
    fake_check: FakeCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow pass finds nothing; meanwhile another finds the cause. The slow pass must not resolve the problem."""
    fake_check.report()
    detector.detect()

    def slow_check(now: datetime) -> Iterator[Cause]:
        monkeypatch.setattr(registry, "_sources", {"tests": Source(fake_check.find, frozenset({CLONE}))})
        fake_check.report(count=2)
        detector.detect({CLONE})
        return iter(())

    monkeypatch.setattr(registry, "_sources", {"slow": Source(slow_check, frozenset({CLONE}))})
    detector.detect({CLONE})
    assert Problem.objects.get().state == "open"


def test_an_older_pass_does_not_reopen_a_problem_that_a_newer_pass_resolved(
    fake_check: FakeCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_check.report()
    detector.detect()
    old = list(fake_check.causes)

    def slow_check(now: datetime) -> Iterator[Cause]:
        monkeypatch.setattr(registry, "_sources", {"tests": Source(fake_check.find, frozenset({CLONE}))})
        fake_check.clear()
        detector.detect({CLONE})
        return iter(old)

    monkeypatch.setattr(registry, "_sources", {"slow": Source(slow_check, frozenset({CLONE}))})
    detector.detect({CLONE})
    assert Problem.objects.get().state == ProblemState.RESOLVED
    assert transitions() == [Transition.OPENED, Transition.RESOLVED]


def test_one_process_runs_a_pass_per_interval(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    monkeypatch.setattr(detector, "detect", lambda: passes.append(1))
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(3):
            detector.detect_if_due()
        assert len(passes) == 1
        clock.shift(detector.PASS_INTERVAL)
        detector.detect_if_due()
        assert len(passes) == 2
        clock.shift(-3600)  # the clock is set back
        detector.detect_if_due()
        assert len(passes) == 3
    assert Heartbeat.objects.get(name="problems")
