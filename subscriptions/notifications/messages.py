"""The texts of notifications: problems grouped by what happened, the most severe first, each with its next action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from django.conf import settings
from django.urls import reverse

from providers.audit.actors import SCHEDULER
from providers.dashboard import formatting
from providers.times import readable_time
from subscriptions.models import NARROW_TO_BROAD, Problem, ProblemState, Severity, SubjectType
from subscriptions.problems import remediation

MAX_SHOWN = 20  # problems listed per group; the others are only counted
MAX_MESSAGE_LENGTH = 400  # characters of a problem's message


class NoticeKind(Enum):
    """What happened to a problem, in the order in which a message lists it. The values are texts."""

    NEW = "new"
    REOPENED = "reopened"
    MORE_SEVERE = "more severe"
    REMINDER = "still open"
    RESOLVED = "resolved"
    PASSED = "opened and resolved"  # since the last message


URGENT_KINDS = (NoticeKind.NEW, NoticeKind.REOPENED, NoticeKind.MORE_SEVERE)


@dataclass(frozen=True, slots=True)
class Notice:
    """One problem in a message, and why it is there."""

    kind: NoticeKind
    problem: Problem

    @property
    def severity(self) -> Severity:
        """Return the severity of the problem."""
        return Severity(self.problem.severity)


TEST_SUBJECT = "Hookkeeper: test message"


def test_text() -> str:
    """Return the text of a test message."""
    return f"This is a test message from Hookkeeper at {settings.PUBLIC_URL}. Problems will be reported here."


def subject_line(notices: Sequence[Notice]) -> str:
    """Return the subject, such as `Critical: Expired: Finance` or `Problems: 3 new, 2 resolved (1 critical)`."""
    fresh = [item for item in notices if item.kind in URGENT_KINDS]
    critical = [item for item in fresh if item.severity is Severity.CRITICAL]
    if len(critical) == 1 == len(fresh):
        return f"Critical: {critical[0].problem}"[:200]
    if len(notices) == 1:
        return f"{_capital(notices[0].kind.value)}: {notices[0].problem}"[:200]
    parts = [f"{count} {kind.value}" for kind in NoticeKind if (count := sum(item.kind is kind for item in notices))]
    suffix = f" ({len(critical)} critical)" if critical else ""
    return f"Problems: {', '.join(parts)}{suffix}"


def body_text(notices: Sequence[Notice]) -> str:
    """Return the whole message as plain text."""
    groups = [_group(kind, [item for item in notices if item.kind is kind]) for kind in NoticeKind]
    link = f"{settings.PUBLIC_URL}{reverse('admin:subscriptions_problem_changelist')}"
    return "\n\n".join([*filter(None, groups), f"All problems: {link}"])


def _group(kind: NoticeKind, notices: Sequence[Notice]) -> str:
    if not notices:
        return ""
    ordered = sorted(notices, key=_sort_key)
    lines = [_line(item) for item in ordered[:MAX_SHOWN]]
    if len(ordered) > MAX_SHOWN:
        lines.append(f"... and {len(ordered) - MAX_SHOWN} more")
    return "\n".join([f"{_capital(kind.value)}:", *lines])


def _sort_key(notice: Notice) -> tuple[int, int, int]:
    """Sort the most severe first, and among these the broadest, which may cause the others."""
    breadth = NARROW_TO_BROAD.index(SubjectType(notice.problem.subject_type))
    return (-notice.severity.rank, -breadth, notice.problem.pk)


def _line(notice: Notice) -> str:
    row = notice.problem
    if row.state == ProblemState.RESOLVED:
        lasted = (row.resolved_at - row.opened_at).total_seconds() if row.resolved_at else 0
        by = "" if row.resolved_by in (SCHEDULER, "") else f", resolved by {row.resolved_by.partition(':')[2]}"
        return f"- {row}{_account(row)}: after {formatting.duration(lasted)}{by}"
    since = f" since {readable_time(row.opened_at)}" if notice.kind is NoticeKind.REMINDER else ""
    head = f"- {notice.severity.label}: {row}{_account(row)}{since}"
    message = row.message if len(row.message) <= MAX_MESSAGE_LENGTH else f"{row.message[:MAX_MESSAGE_LENGTH]}..."
    link = f"{settings.PUBLIC_URL}{reverse('admin:subscriptions_problem_change', args=[row.pk])}"
    return "\n".join([head, f"  {message}", f"  Next: {remediation.action_of(row)}", f"  {link}"])


def _account(row: Problem) -> str:
    return f" ({row.account.name})" if row.subscription_id and row.account else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
