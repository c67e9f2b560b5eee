"""The feed's order: positions become visible in their order, and a reader misses none."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from events.models import Event, FeedEnd
from events.processing import feed_position, normalize
from subscriptions.models import Subscription
from tests.harness.fake_provider import body_of, keep, together

pytestmark = pytest.mark.django_db


def receive(hook: Subscription, *ids: str) -> None:
    """One request with these events, and its events."""
    assert normalize.normalize_request(
        store_request(hook, body_of(*({"id": number, "type": "made"} for number in ids))).pk
    )


def positions() -> dict[str, int]:
    return {event.provider_event_id or "": event.position for event in Event.objects.order_by("position")}


def test_positions_follow_the_events(hook: Subscription) -> None:
    receive(hook, "a", "b")
    receive(hook, "c")
    assert positions() == {"a": 1, "b": 2, "c": 3}


def test_those_of_many_requests_that_are_read_together(hook: Subscription) -> None:
    for number in range(6):
        store_request(hook, body_of({"id": f"{number}a", "type": "made"}, {"id": f"{number}b", "type": "made"}))
    normalize.normalize_pending()
    assert positions() == {
        f"{number}{part}": 2 * number + nth for number in range(6) for nth, part in enumerate("ab", 1)
    }


def test_what_is_there_already_keeps_its_place(hook: Subscription) -> None:
    receive(hook, "a", "b")
    receive(hook, "b", "c", "a", "d")
    found = positions()
    assert list(found) == ["a", "b", "c", "d"]
    assert (found["a"], found["b"]) == (1, 2)
    assert FeedEnd.objects.get().position >= found["d"]


def test_after_gives_the_next_in_order(hook: Subscription) -> None:
    receive(hook, "a", "b", "c", "d")
    assert [event.provider_event_id for event in feed_position.events_after(1, 2)] == ["b", "c"]
    assert [event.provider_event_id for event in feed_position.events_after(0, 100)] == ["a", "b", "c", "d"]
    assert list(feed_position.events_after(4, 10)) == []


def test_a_position_is_never_given_again(hook: Subscription) -> None:
    receive(hook, "a", "b")
    Event.objects.all().delete()
    receive(hook, "c")
    assert positions() == {"c": 3}


def test_what_was_taken_back_leaves_no_trace(hook: Subscription) -> None:
    with transaction.atomic():
        assert feed_position.allocate(5) == 1
        transaction.set_rollback(True)
    assert feed_position.allocate(1) == 1


@pytest.mark.django_db(transaction=True)
def test_many_writers_and_a_reader_that_misses_none(hook: Subscription) -> None:
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
            found = [event.position for event in feed_position.events_after(seen[-1] if seen else 0, 50)]
            seen += found
            if finished and not found:
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
def test_nobody_gets_a_position_before_the_one_who_took_some_has_ended(hook: Subscription) -> None:
    FeedEnd.objects.create(pk=1)
    taken, may_end = threading.Event(), threading.Event()
    ended: list[str] = []

    def first() -> None:
        with transaction.atomic():
            assert feed_position.allocate(2) == 1
            taken.set()
            assert may_end.wait(10)
            ended.append("first")

    def second() -> None:
        assert taken.wait(10)
        threading.Timer(0.3, may_end.set).start()
        with transaction.atomic():
            assert feed_position.allocate(1) == 3
            ended.append("second")

    run_concurrently(first, second)
    assert ended == ["first", "second"]
    connection.close()
