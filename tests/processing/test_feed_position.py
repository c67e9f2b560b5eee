"""Feed positions become visible in order, so that a reader misses none."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from events.models import Event, FeedEnd
from events.processing import feed_position, normalize
from subscriptions.models import Subscription
from tests.harness.fake_provider import body_of, run_concurrently, store_request

pytestmark = pytest.mark.django_db


def receive(hook: Subscription, *ids: str) -> None:
    """Store and normalize a request with these events."""
    assert normalize.normalize_request(
        store_request(hook, body_of(*({"id": number, "type": "made"} for number in ids))).pk
    )


def positions() -> dict[str, int]:
    return {event.provider_event_id or "": event.position for event in Event.objects.order_by("position")}


def test_positions_follow_the_events(hook: Subscription) -> None:
    receive(hook, "a", "b")
    receive(hook, "c")
    assert positions() == {"a": 1, "b": 2, "c": 3}


def test_positions_follow_the_requests_of_a_batch(hook: Subscription) -> None:
    for number in range(6):
        store_request(hook, body_of({"id": f"{number}a", "type": "made"}, {"id": f"{number}b", "type": "made"}))
    normalize.normalize_pending()
    assert positions() == {
        f"{number}{part}": 2 * number + nth for number in range(6) for nth, part in enumerate("ab", 1)
    }


def test_existing_events_keep_their_position(hook: Subscription) -> None:
    receive(hook, "a", "b")
    receive(hook, "b", "c", "a", "d")
    after = positions()
    assert list(after) == ["a", "b", "c", "d"]
    assert (after["a"], after["b"]) == (1, 2)
    assert FeedEnd.objects.get().position >= after["d"]


def test_events_after_returns_the_next_events_in_order(hook: Subscription) -> None:
    receive(hook, "a", "b", "c", "d")
    assert [event.provider_event_id for event in feed_position.events_after(1, 2)] == ["b", "c"]
    assert [event.provider_event_id for event in feed_position.events_after(0, 100)] == ["a", "b", "c", "d"]
    assert list(feed_position.events_after(4, 10)) == []


def test_a_position_is_never_reused(hook: Subscription) -> None:
    receive(hook, "a", "b")
    Event.objects.all().delete()
    receive(hook, "c")
    assert positions() == {"c": 3}


def test_a_rollback_releases_the_positions(hook: Subscription) -> None:
    with transaction.atomic():
        assert feed_position.allocate(5) == 1
        transaction.set_rollback(True)
    assert feed_position.allocate(1) == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_reader_misses_no_event_of_concurrent_writers(hook: Subscription) -> None:
    rounds, each = 15, 4
    done = threading.Event()

    def write(name: str) -> list[int]:
        for number in range(rounds):
            receive(hook, *(f"{name}-{number}-{step}" for step in range(each)))
        return []

    def read() -> list[int]:
        seen: list[int] = []
        while True:
            finished = done.is_set()
            batch = [event.position for event in feed_position.events_after(seen[-1] if seen else 0, 50)]
            seen += batch
            if finished and not batch:
                return seen

    def write_all() -> list[int]:
        try:
            run_concurrently(*[lambda name=name: write(name) for name in "abc"])
        finally:
            done.set()
        return []

    seen, _ = run_concurrently(read, write_all)
    assert seen == list(range(1, 3 * rounds * each + 1))


@pytest.mark.django_db(transaction=True)
def test_allocating_waits_for_the_transaction_that_allocated_before(hook: Subscription) -> None:
    FeedEnd.objects.create(pk=1)
    allocated, may_end = threading.Event(), threading.Event()
    ended: list[str] = []

    def first() -> None:
        with transaction.atomic():
            assert feed_position.allocate(2) == 1
            allocated.set()
            assert may_end.wait(10)
            ended.append("first")

    def second() -> None:
        assert allocated.wait(10)
        threading.Timer(0.3, may_end.set).start()
        with transaction.atomic():
            assert feed_position.allocate(1) == 3
            ended.append("second")

    run_concurrently(first, second)
    assert ended == ["first", "second"]
    connection.close()
