"""Problems of leases: when they open, escalate and resolve."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from subscriptions.models import Managed, Problem, ProblemKind, State, Subscription
from subscriptions.problems import checks, detector, remediation
from tests.problems.conftest import DAY, error, open_problems, set_lease, update


@pytest.mark.parametrize(
    ("left", "failures", "severity"),
    [
        (0.38, 0, None),  # the renewal has just become due
        (0.38, 2, None),  # the first tries do not count
        (0.34, 3, "warning"),
        (0.24, 0, "warning"),  # no worker seems to try
        (0.24, 7, "warning"),
        (0.11, 1, "critical"),
        (0.01, 9, "critical"),
    ],
)
def test_an_expiring_lease_is_first_ignored_then_a_warning_then_critical(
    row: Subscription, left: float, failures: int, severity: str | None
) -> None:
    last_error = error("unavailable") if failures else None
    set_lease(row, left=left, failures=failures, renewal_tries=failures, last_error=last_error)
    expected = [("expiring", severity)] if severity else []
    if failures >= checks.rows.MIN_FAILURES:
        expected.append(("unreachable", "warning"))
    assert open_problems() == expected


def test_an_expiring_lease_escalates_on_one_row(row: Subscription) -> None:
    set_lease(row, left=0.35, renewal_tries=1, last_error=error("unavailable", "No answer."))
    with time_machine.travel(timezone.now(), tick=False) as clock:
        seen: list[str | None] = []
        for _ in range(5):
            update(row, renewal_tries=row.renewal_tries + 1)
            detector.detect({ProblemKind.EXPIRING, ProblemKind.EXPIRED})
            seen.append(next(iter(Problem.objects.active().values_list("severity", flat=True)), None))
            clock.shift(0.9 * DAY)
        assert seen == [None, "warning", "warning", "critical", "critical"]
    assert [item.transition for item in Problem.objects.get(kind="expiring").transitions.order_by("pk")] == [
        "opened",
        "more_severe",
        *(["resolved"] if Problem.objects.filter(kind="expired").exists() else []),
    ]


def test_an_expiring_lease_without_auto_renew_is_a_warning_at_once(row: Subscription) -> None:
    set_lease(row, left=0.35, auto_renew=False)
    assert open_problems() == [("expiring", "warning")]
    problem = Problem.objects.get()
    assert "Auto-renew is off" in problem.message
    assert remediation.action_of(problem) == "Renew it now, or enable auto-renew."
    assert remediation.link_of(problem).endswith(f"?action=renew&pk={row.pk}")


def test_a_renewed_lease_resolves_the_problem(row: Subscription) -> None:
    set_lease(row, left=0.1)
    assert open_problems() == [("expiring", "critical")]
    update(row, expires_at=timezone.now() + 10 * DAY, renew_at=timezone.now() + 6 * DAY)
    assert open_problems() == []


def test_an_ended_lease_is_critical_even_if_its_state_was_not_updated(row: Subscription) -> None:
    set_lease(row, left=-0.1, state_reason="Registered and enabled.")
    assert row.state == State.ACTIVE, "no worker has updated the state"
    assert open_problems() == [("expired", "critical")]
    problem = Problem.objects.get()
    assert problem.first_at == row.expires_at
    assert problem.message.endswith("No events arrive."), "the old state reason is not shown"


def test_a_lease_that_has_just_ended_is_left_to_the_sweep(row: Subscription) -> None:
    update(row, expires_at=timezone.now() - timedelta(seconds=3), renew_at=timezone.now() - DAY)
    assert open_problems() == []
    update(row, state=State.EXPIRED, failures=1)
    assert open_problems() == [("expired", "critical")]


@pytest.mark.parametrize(
    "changes",
    [{"enabled": False}, {"present": False}, {"managed": Managed.MANUAL}, {"remote_id": None}, {"deleted_at": "now"}],
)
def test_a_lease_that_need_not_be_renewed_is_no_problem(row: Subscription, changes: dict[str, Any]) -> None:
    set_lease(row, left=0.05, **{name: timezone.now() if value == "now" else value for name, value in changes.items()})
    assert open_problems() == []
