"""Every kind of problem has advice, a button and a page."""

from __future__ import annotations

import pytest

from subscriptions.models import Problem, ProblemKind, Subscription
from subscriptions.problems import remediation


@pytest.mark.parametrize("kind", list(ProblemKind))
def test_every_kind_has_advice_and_a_page(row: Subscription, kind: ProblemKind) -> None:
    problem = Problem(kind=kind, account_id=row.account_id, subscription_id=row.pk)
    assert remediation.action_of(problem).endswith(".")
    assert remediation.button_of(problem)
    assert remediation.link_of(problem).startswith("/admin/")
