"""The feed's order: positions are given after the commit, without gaps, and a reader misses none."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction
from django.utils import timezone

from events import feed, pipeline
from events.models import Event, FeedEnd, WebhookRequest
from subscriptions.models import Subscription
from tests.fake_provider import body_of, fake, hook, keep, together

__all__ = ["fake", "hook"]  # fixtures

pytestmark = pytest.mark.django_db


def add(request: WebhookRequest, *keys: str) -> list[Event]:
    """Committed events without a position."""
    rows = [
        Event(
            account_id=request.account_id,
            subscription_id=request.subscription_id,
            request=request,
            provider="fake",
            type="made",
            action="created",
            received_at=timezone.now(),
            dedup_key=key,
        )
        for key in keys
    ]
    return Event.objects.bulk_create(rows)


def positions() -> list[int | None]:
    return list(Event.objects.order_by("id").values_list("position", flat=True))


def test_positions_follow_the_ids(hook: Subscription) -> None:
    request = keep(hook, b"")
    add(request, "a", "b")
    assert feed.assign_positions() == 2
    add(request, "c")
    assert feed.assign_positions() == 1
    assert feed.assign_positions() == 0
    assert positions() == [1, 2, 3]


def test_more_than_a_batch(hook: Subscription) -> None:
    add(keep(hook, b""), *(str(number) for number in range(2 * feed.BATCH + 5)))
    assert feed.assign_positions() == 2 * feed.BATCH + 5
    assert positions() == list(range(1, 2 * feed.BATCH + 6))


def test_after_gives_the_next_in_order(hook: Subscription) -> None:
    request = keep(hook, b"")
    add(request, "a", "b", "c", "d")
    feed.assign_positions()
    add(request, "without a position")
    assert [event.dedup_key for event in feed.after(1, 2)] == ["b", "c"]
    assert [event.dedup_key for event in feed.after(0, 100)] == ["a", "b", "c", "d"]
    assert list(feed.after(4, 10)) == []


def test_a_position_is_never_given_again(hook: Subscription) -> None:
    request = keep(hook, b"")
    add(request, "a", "b")
    feed.assign_positions()
    Event.objects.all().delete()
    add(request, "c")
    feed.assign_positions()
    assert positions() == [3]


def test_an_idle_look_takes_no_lock(hook: Subscription) -> None:
    assert feed.assign_positions() == 0
    assert FeedEnd.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_many_assigners_and_a_reader_that_misses_none(hook: Subscription) -> None:
    request = keep(hook, b"")
    total = 3 * feed.BATCH
    done = threading.Event()

    def write_and_assign(name: str) -> list[int]:
        for number in range(0, total // 3, 10):
            add(request, *(f"{name}-{number + step}" for step in range(10)))
            feed.assign_positions()
        return []

    def read() -> list[int]:
        seen: list[int] = []
        while True:
            finished = done.is_set()
            found = [event.position or 0 for event in feed.after(seen[-1] if seen else 0, 50)]
            seen += found
            if finished and not found:
                return seen

    def write_all() -> list[int]:
        try:
            together(*[lambda name=name: write_and_assign(name) for name in "abc"])
            feed.assign_positions()
        finally:
            done.set()
        return []

    seen, _ = together(read, write_all)
    assert seen == list(range(1, total + 1))


@pytest.mark.django_db(transaction=True)
def test_an_event_that_commits_late_gets_a_later_position(hook: Subscription) -> None:
    if connection.vendor == "sqlite":
        # One writer at a time: no second transaction can be open, let alone commit out of order.
        assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
        return
    request = keep(hook, b"")
    written, may_commit = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            add(request, "late")
            written.set()
            assert may_commit.wait(10)

    def early() -> None:
        assert written.wait(10)
        add(request, "early")
        feed.assign_positions()
        assert [event.dedup_key for event in feed.after(0, 10)] == ["early"]
        may_commit.set()

    together(late, early)
    feed.assign_positions()
    assert [event.dedup_key for event in feed.after(0, 10)] == ["early", "late"]
    assert positions() == [2, 1]  # the late one has the smaller id


def test_normalising_gives_positions(hook: Subscription) -> None:
    pipeline.normalise(keep(hook, body_of({"id": 1, "type": "made"})).pk)
    assert positions() == [1]
