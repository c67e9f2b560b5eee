"""The cost of syncing healthy subscriptions: a few queries per account, independent of its subscriptions.

`python -m tests.bench.reconcile_pass` measures the same with 10,000 of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.utils import timezone

from subscriptions.models import Operation, Problem, State, Subscription
from subscriptions.problems.detector import detect
from subscriptions.reconciliation.sweep import sweep_inline
from tests.harness.many_subscriptions import Cost, ListingProvider, cost_of, make_all_due

pytestmark = pytest.mark.django_db

FEW, MANY = 3, 60
MAX_QUERIES, MAX_WRITES = 18, 6  # per synced account, including the sweep


@contextmanager
def provider_with(accounts: int, each: int, *, details: bool) -> Iterator[ListingProvider]:
    provider = ListingProvider(details=details)
    with provider.serving():
        provider.fill(accounts, each)
        yield provider


def full_pass(accounts: int, each: int, *, details: bool) -> Cost:
    """Return the cost of a second pass; the first one creates the rows of the accounts' limits."""
    with provider_with(accounts, each, details=details) as provider:
        for _ in range(2):
            make_all_due()
            started = timezone.now()
            cost = cost_of(provider, sweep_inline)
        assert not Operation.objects.exists()
        assert Subscription.objects.filter(deleted_at=None, observed_at__gte=started).count() == accounts * each
        Subscription.objects.update(deleted_at=timezone.now())
        return cost


@pytest.mark.slow
@pytest.mark.parametrize("details", [True, False])
def test_the_cost_of_a_sync_does_not_depend_on_the_number_of_subscriptions(details: bool) -> None:
    few, many = full_pass(1, FEW, details=details), full_pass(1, MANY, details=details)
    assert (many.queries, many.writes, many.calls) == (few.queries, few.writes, 1)
    assert many.queries <= MAX_QUERIES
    assert many.writes <= MAX_WRITES


def test_the_cost_grows_linearly_with_accounts() -> None:
    one, four = full_pass(1, FEW, details=True), full_pass(4, FEW, details=True)
    assert four.queries <= 4 * one.queries
    assert four.calls == 4


def test_a_sweep_with_nothing_due_makes_three_queries() -> None:
    with provider_with(2, FEW, details=True) as provider:
        cost = cost_of(provider, sweep_inline)
        assert (cost.queries, cost.writes, cost.calls) == (3, 0, 0)


def test_the_cost_of_problem_detection_does_not_depend_on_the_number_of_problems() -> None:
    costs: list[int] = []
    for count in (FEW, MANY):
        with provider_with(1, count, details=True) as provider:
            Subscription.objects.update(state=State.MISSING, missing_since=timezone.now())
            detect()
            cost = cost_of(provider, detect)
            assert cost.writes == 0
            costs.append(cost.queries)
            Subscription.objects.update(deleted_at=timezone.now())
    assert Problem.objects.count() >= MANY
    assert costs[0] == costs[1]
