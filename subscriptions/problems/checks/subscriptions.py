"""Checks of single subscriptions: their state at the provider, their callback URL, and secret rotations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from providers.dashboard.formatting import sentences
from providers.times import readable_time
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import ProblemKind, Severity, State, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.steps import Wait
from subscriptions.problems.checks.rows import undeleted_subscriptions
from subscriptions.problems.registry import Cause, about_subscription, source

CRITICAL_SUSPENSIONS = 3  # suspensions in a row from which the problem is critical

REPORT_ONLY_ACTION = (
    "Compare the fields. Then correct them at the provider, or change the subscription to the provider's values."
)


@source(ProblemKind.SUSPENDED, ProblemKind.MISSING, ProblemKind.DRIFTED)
def states(now: datetime) -> Iterator[Cause]:
    """Find subscriptions whose registration at the provider is suspended, missing or changed."""
    for row in undeleted_subscriptions().filter(state__in=(State.SUSPENDED, State.MISSING, State.DRIFTED)):
        yield _state_cause(row)


def _state_cause(row: Subscription) -> Cause:
    persistent = row.suspended_count >= CRITICAL_SUSPENSIONS or row.gave_up_at is not None
    severity = {
        State.MISSING: Severity.CRITICAL,
        State.SUSPENDED: Severity.CRITICAL if persistent else Severity.WARNING,
    }.get(State(row.state), Severity.WARNING)
    counts = {State.SUSPENDED: row.suspended_count, State.DRIFTED: len(row.drift)}
    report_only = row.state == State.DRIFTED and row.drift_policy == DriftPolicy.REPORT
    return Cause(
        kind=ProblemKind(row.state),
        subject=about_subscription(row),
        severity=severity,
        message=row.state_reason,
        count=counts.get(State(row.state), row.failures),
        since=row.missing_since if row.state == State.MISSING else None,
        sample=row.drift if row.state == State.DRIFTED else row.last_error,
        action=REPORT_ONLY_ACTION if report_only else "",
    )


@source(ProblemKind.CLONE)
def tokens_elsewhere(now: datetime) -> Iterator[Cause]:
    """Find subscriptions whose token is registered at the provider with a URL of another installation."""
    rows = undeleted_subscriptions().filter(waiting_for=Wait.ELSEWHERE).order_by("pk")
    for row in rows.only("uid", "name", "account__uid", "account__name", "waiting", "waiting_for"):
        yield Cause(
            kind=ProblemKind.CLONE,
            subject=about_subscription(row),
            severity=Severity.CRITICAL,
            message=row.waiting,
            action="Find out which installation uses that address. If one does, delete the subscription here. "
            "Otherwise delete it at the provider; it is then registered again.",
        )


@source(ProblemKind.ROTATION)
def rotations(now: datetime) -> Iterator[Cause]:
    """Find secret rotations that take too long. The old secrets are still accepted: there is no timeout for them."""
    rows = undeleted_subscriptions().filter(secret_rotation.overdue(now), present=True)
    for row in rows.only(
        *("uid", "name", "account__uid", "account__name", "account__provider"), *secret_rotation.PROGRESS_FIELDS
    ):
        yield Cause(
            kind=ProblemKind.ROTATION,
            subject=about_subscription(row),
            severity=Severity.WARNING,
            message=sentences(
                f"Rotation was requested at {readable_time(row.rotation_asked_at)}.", secret_rotation.progress_text(row)
            ),
            since=row.rotation_asked_at,
        )
