"""The open problems on the page of what they are about."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.http import HttpRequest

from subscriptions.models import ACTIVE, Problem, ProblemKind, ProblemQuerySet
from subscriptions.problems import remediation

READ = 50

# What the state's note on a subscription's page says already.
TOLD_BY_STATE = frozenset(
    {
        *(ProblemKind.EXPIRING, ProblemKind.EXPIRED, ProblemKind.SUSPENDED, ProblemKind.MISSING),
        *(ProblemKind.DRIFTED, ProblemKind.FAILING),
    }
)


@dataclass(frozen=True, slots=True)
class OnPage:
    """A problem with its next action. `message` is empty where the page says the same already, `link` where it would
    lead to the page itself."""

    problem: Problem
    message: str
    action: str
    button: str
    link: str


def problems_on_page(
    request: HttpRequest,
    rows: ProblemQuerySet,
    *,
    told: Collection[ProblemKind] = (),
    texts: Collection[str] = (),
) -> list[OnPage]:
    """Those that hold, as far as this person may see them: an account's own before its subscriptions', the gravest
    first. The page itself tells of the kinds in `told`, and shows `texts`."""
    if not request.user.has_perm("subscriptions.view_problem"):
        return []
    found = list(rows.filter(state__in=ACTIVE).most_severe_first().defer("sample")[:READ])
    found.sort(key=lambda problem: problem.subscription_id is not None)
    return [_on_page(problem, request.path, told, texts) for problem in found]


def _on_page(problem: Problem, page: str, told: Collection[ProblemKind], texts: Collection[str]) -> OnPage:
    repeated = problem.kind in told or any(text and text.rstrip(".") in problem.message for text in texts)
    link = remediation.link_of(problem)
    return OnPage(
        problem=problem,
        message="" if repeated else problem.message,
        action=remediation.action_of(problem),
        button=remediation.button_of(problem),
        link="" if link == page else link,
    )


def shows(problems: Collection[OnPage], kind: ProblemKind) -> bool:
    """Whether one of this kind is among them."""
    return any(item.problem.kind == kind for item in problems)
