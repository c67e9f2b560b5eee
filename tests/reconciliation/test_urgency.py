"""The order of due work: a lease that is about to end comes before everything else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from providers.models import ProviderAccount
from subscriptions.models import Subscription
from subscriptions.reconciliation import sweep
from tests.harness.fixtures import CONFIG

pytestmark = pytest.mark.django_db


def registered(account: ProviderAccount, name: str, *, ends_in: float, due_for: float) -> Subscription:
    """Return a subscription whose lease ends in so many seconds, and which has been due for so many."""
    now = timezone.now()
    return Subscription.objects.create(
        account=account,
        name=name,
        config=CONFIG,
        remote_id=name,
        expires_at=now + timedelta(seconds=ends_in),
        granted=timedelta(hours=1),
        renew_at=now - timedelta(seconds=due_for),
        due_at=now - timedelta(seconds=due_for),
    )


def backlog(account: ProviderAccount, count: int) -> list[Subscription]:
    """Create registrations that have been due for an hour."""
    due_at = timezone.now() - timedelta(hours=1)
    return [
        Subscription.objects.create(account=account, name=f"new {number}", config=CONFIG, due_at=due_at)
        for number in range(count)
    ]


def names(rows: list[Subscription]) -> list[str]:
    return [row.name for row in rows]


def test_renewals_come_first_by_the_end_of_their_lease(account: ProviderAccount) -> None:
    backlog(account, 3)
    registered(account, "later", ends_in=600, due_for=30)
    registered(account, "soon", ends_in=60, due_for=1)
    registered(account, "over", ends_in=-60, due_for=1)
    assert names(list(sweep.due_subscriptions()[:4])) == ["over", "soon", "later", "new 0"]


def test_a_disabled_or_deleted_subscription_has_no_lease_at_stake(account: ProviderAccount) -> None:
    backlog(account, 1)
    for field in ("enabled", "present"):
        row = registered(account, field, ends_in=60, due_for=1)
        Subscription.objects.filter(pk=row.pk).update(**{field: False})
    assert names(list(sweep.due_subscriptions()[:1])) == ["new 0"]


def test_a_renewal_that_becomes_due_meanwhile_does_not_wait_for_the_backlog(
    account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = backlog(account, 3 * sweep.BATCH_SIZE)
    order: list[int] = []

    def reconcile(row: Subscription) -> None:
        order.append(row.pk)
        Subscription.objects.filter(pk=row.pk).update(due_at=None)
        if len(order) == 1:
            registered(account, "urgent", ends_in=60, due_for=1)

    monkeypatch.setattr(sweep, "reconcile", reconcile)
    sweep.process_account(account.pk)
    urgent = Subscription.objects.get(name="urgent").pk
    assert order.index(urgent) == sweep.BATCH_SIZE
    assert sorted(order) == sorted([*(row.pk for row in rows), urgent])


def test_what_stays_due_is_done_once_in_a_sweep(account: ProviderAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = backlog(account, sweep.BATCH_SIZE + 3)
    order: list[int] = []
    monkeypatch.setattr(sweep, "reconcile", lambda row: order.append(row.pk))
    sweep.process_account(account.pk)
    assert sorted(order) == [row.pk for row in rows]


def test_accounts_with_the_earliest_end_of_a_lease_come_first(account: ProviderAccount) -> None:
    other = ProviderAccount.objects.create(provider=account.provider, name="Other", settings=account.settings)
    backlog(account, 2)
    registered(other, "urgent", ends_in=60, due_for=1)
    order = sweep.accounts_with_work()
    assert order.index(other.pk) < order.index(account.pk)
