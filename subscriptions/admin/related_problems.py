"""The open problems of an account or subscription, for its page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.http import HttpRequest

from subscriptions.models import ACTIVE, Problem, ProblemKind, ProblemQuerySet
from subscriptions.problems import detector, remediation

MAX_PROBLEMS = 50

# Kinds of which the state note at the top of a subscription's page already gives the message.
SHOWN_BY_STATE = frozenset(
    {
        *(ProblemKind.EXPIRING, ProblemKind.EXPIRED, ProblemKind.SUSPENDED, ProblemKind.MISSING),
        *(ProblemKind.DRIFTED, ProblemKind.FAILING),
    }
)


@dataclass(frozen=True, slots=True)
class RelatedProblem:
    """A problem with its next action.

    `message` is empty if the page already shows it, and `link` is empty if it would lead to the page itself.
    """

    problem: Problem
    message: str
    action: str
    button: str
    link: str


def related_problems(
    request: HttpRequest,
    rows: ProblemQuerySet,
    *,
    shown_kinds: Collection[ProblemKind] = (),
    shown_texts: Collection[str] = (),
) -> list[RelatedProblem]:
    """Return the open and acknowledged problems that the user may see.

    An account's own problems come before those of its subscriptions, the most severe first. `shown_kinds` and
    `shown_texts` are what the page shows elsewhere, so that it is not repeated.
    """
    if not request.user.has_perm("subscriptions.view_problem"):
        return []
    problems = list(rows.filter(state__in=ACTIVE).most_severe_first().defer("sample")[:MAX_PROBLEMS])
    problems.sort(key=lambda problem: problem.subscription_id is not None)
    return [_related(problem, request.path, shown_kinds, shown_texts) for problem in problems]


def _related(
    problem: Problem, page: str, shown_kinds: Collection[ProblemKind], shown_texts: Collection[str]
) -> RelatedProblem:
    repeated = problem.kind in shown_kinds or any(text and text.rstrip(".") in problem.message for text in shown_texts)
    link = remediation.link_of(problem)
    return RelatedProblem(
        problem=problem,
        message="" if repeated else problem.message,
        action=remediation.action_of(problem),
        button=remediation.button_of(problem),
        link="" if link == page else link,
    )


def refresh_problems() -> None:
    """Detect problems now, so that the page after a repair does not show what it has repaired."""
    detector.detect()


def includes_kind(problems: Collection[RelatedProblem], kind: ProblemKind) -> bool:
    """Return whether one of the problems is of this kind."""
    return any(item.problem.kind == kind for item in problems)
