"""Duplicates: stored once, counted once per request, and updated in bulk."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize
from providers.db.ids import new_id
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, fresh, run_concurrently, store_request
from tests.harness.receiving import row_of_request

pytestmark = pytest.mark.django_db


def test_a_duplicate_event_is_counted_and_not_stored_again(hook: Subscription) -> None:
    for _ in range(3):
        normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    event = Event.objects.get()
    first, _, last = WebhookRequest.objects.order_by("id").values_list("received_at", flat=True)
    assert (event.duplicates, event.received_at, event.last_duplicate_at) == (2, first, last)
    outcomes = WebhookRequest.objects.order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == ["processed", "duplicate", "duplicate"]


def test_a_request_with_some_duplicates_adds_the_new_events(hook: Subscription) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "made"}))
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.PROCESSED
    assert list(Event.objects.order_by("id").values_list("dedup_key", "duplicates")) == [("1", 1), ("2", 0)]


def test_duplicates_within_a_batch_are_counted_as_if_processed_one_by_one(hook: Subscription) -> None:
    other = Subscription.objects.create(account=hook.account, secrets=[SECRET], due_at=None)
    now = timezone.now() - timedelta(seconds=9)
    bodies = [[1, 2], [2, 3], [1], [2, 4], [5]]
    for seconds, ids in enumerate(bodies):
        for subscription in (hook, other):
            body = body_of(*({"id": number, "type": "made"} for number in ids))
            # The third body was received before the others and is processed after them.
            store_request(subscription, body, received_at=now + timedelta(seconds=-5 if seconds == 2 else seconds))
    assert normalize.normalize_pending() == 10
    for subscription in (hook, other):
        rows = subscription.events.order_by("id").values_list("dedup_key", "duplicates", "last_duplicate_at")
        assert list(rows) == [
            ("1", 1, now - timedelta(seconds=5)),
            ("2", 2, now + timedelta(seconds=3)),
            ("3", 0, None),
            ("4", 0, None),
            ("5", 0, None),
        ]
        requests = subscription.webhook_requests.order_by("id").values_list("outcome", "repeated_keys")
        assert list(requests) == [
            ("processed", []),
            ("processed", ["2"]),
            ("duplicate", ["1"]),
            ("processed", ["2"]),
            ("processed", []),
        ]


def test_the_same_row_twice_in_a_batch_counts_once(hook: Subscription) -> None:
    """If the database hangs, a row can be both stored and spooled."""
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    again = row_of_request(store_request(hook, body_of({"id": 1, "type": "made"})))
    assert normalize.normalize_rows([again, again]) == 1
    assert Event.objects.get().duplicates == 1


def test_last_duplicate_at_never_moves_back(hook: Subscription) -> None:
    now = timezone.now()
    for minutes in (0, 2, 1):
        store_request(hook, body_of({"id": 1, "type": "made"}), received_at=now + timedelta(minutes=minutes))
        normalize.normalize_pending()
    event = Event.objects.get()
    assert (event.duplicates, event.last_duplicate_at) == (2, now + timedelta(minutes=2))


def test_many_duplicates_take_no_more_queries_than_one(hook: Subscription) -> None:
    def queries_for(ids: range) -> int:
        for number in ids:
            store_request(hook, body_of({"id": number, "type": "made"}))
        with CaptureQueriesContext(connection) as queries:
            assert normalize.normalize_pending() == len(ids)
        return len(queries)

    queries_for(range(40))
    single = queries_for(range(1))
    assert queries_for(range(40)) == single
    assert Event.objects.filter(duplicates=1).count() == 39


def test_deduplication_keys_are_compared_as_text(hook: Subscription) -> None:
    keys = ["7", "007", "7.0", "null", "true", "%s", "{given}", '"', "\\", "\u00e9\U0001f600", " "]
    for _ in range(2):
        store_request(hook, body_of(*({"id": key, "type": "made"} for key in keys)))
        normalize.normalize_pending()
    assert dict(Event.objects.values_list("dedup_key", "duplicates")) == dict.fromkeys(keys, 1)


def test_the_same_event_twice_in_one_request_is_no_duplicate(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 1, "type": "made"}))
    normalize.normalize_request(request.pk)
    assert Event.objects.get().duplicates == 0
    assert fresh(request).outcome == Outcome.PROCESSED


def test_each_subscription_stores_its_own_event(hook: Subscription) -> None:
    other = Subscription.objects.create(account=hook.account, secrets=[SECRET], due_at=None)
    for subscription in (hook, other):
        normalize.normalize_request(store_request(subscription, body_of({"id": 1, "type": "made"})).pk)
    assert Event.objects.count() == 2


def test_the_database_rejects_a_second_event_with_the_same_key(hook: Subscription) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    event = Event.objects.get()
    event.pk, event.position, event.uid = None, 99, new_id()
    with pytest.raises(IntegrityError), transaction.atomic():
        event.save(force_insert=True)


@pytest.mark.django_db(transaction=True)
def test_the_same_events_in_two_concurrent_requests_are_stored_once(hook: Subscription, fake: FakeProvider) -> None:
    barrier = threading.Barrier(2)
    fake.before_parse = lambda request: (barrier.wait(10), None)[1]
    elements = [{"id": number, "type": "made"} for number in range(60)]
    requests = [store_request(hook, body_of(*elements)), store_request(hook, body_of(*reversed(elements)))]
    assert run_concurrently(*[lambda pk=request.pk: normalize.normalize_request(pk) for request in requests]) == [
        True,
        True,
    ]
    assert list(Event.objects.values_list("duplicates", flat=True)) == [1] * 60
    assert sorted(fresh(request).outcome for request in requests) == ["duplicate", "processed"]
