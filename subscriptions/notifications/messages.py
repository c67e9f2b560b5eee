"""What a message to people says: grouped, the gravest first, each with its next action and where that is done."""

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

SHOWN = 20  # of each group; more are only counted
MOST_WORDS = 400  # of a problem's message


class News(Enum):
    """What there is to tell of a problem, in the order of a message."""

    NEW = "new"
    BACK = "came back"
    GRAVER = "became graver"
    STILL = "still open"
    OVER = "over"
    PASSED = "came and went"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell."""

    news: News
    problem: Problem

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return Severity(self.problem.severity)


TEST_SUBJECT = "A test message"


def test_text() -> str:
    """What the test button sends."""
    return f"This is a test from Hookkeeper at {settings.PUBLIC_URL}. Problems will be told here."


def subject_of(notices: Sequence[Notice]) -> str:
    """One line: `1 critical: Expired: Finance` or `3 new problems, 2 over`."""
    fresh = [item for item in notices if item.news in (News.NEW, News.BACK, News.GRAVER)]
    critical = [item for item in fresh if item.severity is Severity.CRITICAL]
    if len(critical) == 1 == len(fresh):
        return f"Critical: {critical[0].problem}"[:200]
    if len(notices) == 1:
        return f"{_capital(notices[0].news.value)}: {notices[0].problem}"[:200]
    parts = [f"{count} {news.value}" for news in News if (count := sum(item.news is news for item in notices))]
    alarm = f" ({len(critical)} critical)" if critical else ""
    return f"Problems: {', '.join(parts)}{alarm}"


def text_of(notices: Sequence[Notice]) -> str:
    """The whole message, as plain text."""
    groups = [_group(news, [item for item in notices if item.news is news]) for news in News]
    where = f"{settings.PUBLIC_URL}{reverse('admin:subscriptions_problem_changelist')}"
    return "\n\n".join([*filter(None, groups), f"All problems: {where}"])


def _group(news: News, notices: Sequence[Notice]) -> str:
    if not notices:
        return ""
    ordered = sorted(notices, key=_weight)
    lines = [_line(item) for item in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        lines.append(f"... and {len(ordered) - SHOWN} more")
    return "\n".join([f"{_capital(news.value)}:", *lines])


def _weight(notice: Notice) -> tuple[int, int, int]:
    """The gravest first; of those what may be the cause of others."""
    breadth = NARROW_TO_BROAD.index(SubjectType(notice.problem.subject_type))
    return (-notice.severity.rank, -breadth, notice.problem.pk)


def _line(notice: Notice) -> str:
    row = notice.problem
    if row.state == ProblemState.RESOLVED:
        lasted = (row.resolved_at - row.opened_at).total_seconds() if row.resolved_at else 0
        by = "" if row.resolved_by in (SCHEDULER, "") else f", resolved by {row.resolved_by.partition(':')[2]}"
        return f"- {row}{_account(row)}: after {formatting.duration(lasted)}{by}"
    since = f" since {readable_time(row.opened_at)}" if notice.news is News.STILL else ""
    head = f"- {notice.severity.label}: {row}{_account(row)}{since}"
    message = row.message if len(row.message) <= MOST_WORDS else f"{row.message[:MOST_WORDS]}..."
    link = f"{settings.PUBLIC_URL}{reverse('admin:subscriptions_problem_change', args=[row.pk])}"
    return "\n".join([head, f"  {message}", f"  Next: {remediation.action_of(row)}", f"  {link}"])


def _account(row: Problem) -> str:
    return f" ({row.account.name})" if row.subscription_id and row.account else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
