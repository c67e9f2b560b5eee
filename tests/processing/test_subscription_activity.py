"""The columns that requests change on their subscription: `accepted_at`, `last_event_at` and `due_at`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from events.processing import normalize
from subscriptions.models import Managed, Subscription
from tests.harness.fake_provider import body_of, store_request

pytestmark = pytest.mark.django_db


def test_last_event_at_never_moves_back(hook: Subscription) -> None:
    now = timezone.now()
    for age in (10, 5, 20):
        store_request(hook, body_of({"id": age, "type": "made"}), received_at=now - timedelta(seconds=age))
    normalize.normalize_pending()
    hook.refresh_from_db()
    assert hook.last_event_at == now - timedelta(seconds=5)
    assert hook.accepted_at == now - timedelta(seconds=10)  # of the request that was normalized first
    store_request(hook, b"")
    normalize.normalize_pending()
    hook.refresh_from_db()
    assert hook.last_event_at == now - timedelta(seconds=5)  # a ping carries no event


def test_last_event_at_of_several_subscriptions(hook: Subscription) -> None:
    now = timezone.now()
    others = [
        Subscription.objects.create(account=hook.account, secrets=hook.secrets, due_at=None, last_event_at=at)
        for at in (None, now - timedelta(seconds=7), now)
    ]
    for number, subscription in enumerate([hook, *others]):
        for age in (8, 4):
            received_at = now - timedelta(seconds=age + number)
            store_request(subscription, body_of({"id": age, "type": "made"}), received_at=received_at)
    normalize.normalize_pending()
    times = Subscription.objects.order_by("pk").values_list("last_event_at", flat=True)
    assert [(now - at).total_seconds() for at in times if at] == [4, 5, 6, 0]


def test_last_event_at_is_written_once_per_batch(hook: Subscription, django_assert_max_num_queries: Any) -> None:
    hook.accepted_at = timezone.now()
    hook.save()
    for number in range(5):
        store_request(hook, body_of({"id": number, "type": "made"}))
    with django_assert_max_num_queries(200) as captured:
        normalize.normalize_pending()
    written = [query for query in captured.captured_queries if 'UPDATE "subscriptions_subscription"' in query["sql"]]
    assert len(written) == 1


@pytest.mark.parametrize("managed", [Managed.MANUAL, Managed.API])
def test_the_first_accepted_request_makes_a_manual_subscription_due(hook: Subscription, managed: str) -> None:
    Subscription.objects.update(managed=managed)
    store_request(hook, b"{}", headers=())  # rejected
    normalize.normalize_pending()
    hook.refresh_from_db()
    assert (hook.accepted_at, hook.due_at) == (None, None)
    request = store_request(hook, b"")
    normalize.normalize_pending()
    hook.refresh_from_db()
    assert hook.accepted_at == request.received_at
    assert (hook.due_at is not None) == (managed == Managed.MANUAL)
