"""Looking after many subscriptions that are well costs the same few queries for each account, however many it has.
`python -m tests.bench.reconcile_pass` is the same with 10,000 of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.utils import timezone

from subscriptions.models import Operation, Problem, State, Subscription
from subscriptions.problems.detector import detect
from subscriptions.reconciliation.sweep import sweep_inline
from tests.harness.many_subscriptions import Cost, ListingProvider, all_looked_at, cost_of

pytestmark = pytest.mark.django_db

FEW, MANY = 3, 60
MOST_QUERIES, MOST_WRITES = 18, 6  # for each account that is looked at, with what a sweep costs


@contextmanager
def provider_with(accounts: int, each: int, *, details: bool) -> Iterator[ListingProvider]:
    provider = ListingProvider(details=details)
    with provider.serving():
        provider.fill(accounts, each)
        yield provider


def full_pass(accounts: int, each: int, *, details: bool) -> Cost:
    """The second one: the first makes the accounts' rows for their limits."""
    with provider_with(accounts, each, details=details) as provider:
        for _ in range(2):
            all_looked_at()
            began = timezone.now()
            cost = cost_of(provider, sweep_inline)
        assert not Operation.objects.exists()
        assert Subscription.objects.filter(deleted_at=None, observed_at__gte=began).count() == accounts * each
        Subscription.objects.update(deleted_at=timezone.now())
        return cost


@pytest.mark.parametrize("details", [True, False])
def test_a_look_costs_the_same_however_many_subscriptions_an_account_has(details: bool) -> None:
    few, many = full_pass(1, FEW, details=details), full_pass(1, MANY, details=details)
    assert (many.queries, many.writes, many.calls) == (few.queries, few.writes, 1)
    assert many.queries <= MOST_QUERIES
    assert many.writes <= MOST_WRITES


def test_many_accounts_cost_as_much_each_as_one() -> None:
    one, four = full_pass(1, FEW, details=True), full_pass(4, FEW, details=True)
    assert four.queries <= 4 * one.queries
    assert four.calls == 4


def test_a_sweep_with_nothing_due_asks_three_things() -> None:
    with provider_with(2, FEW, details=True) as provider:
        cost = cost_of(provider, sweep_inline)
        assert (cost.queries, cost.writes, cost.calls) == (3, 0, 0)


def test_a_pass_over_the_problems_costs_the_same_however_many_there_are() -> None:
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
