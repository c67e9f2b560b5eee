"""Purging deletes exactly the expired rows, in small transactions that can be interrupted anywhere."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.models.query import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event, FeedEnd, Outcome, Purge, WebhookRequest
from events.processing import feed_position, normalize, reprocess
from events.retention import purge
from events.retention.purge import kept_until, purge_due
from providers.models import ProviderAccount
from subscriptions.models import Operation, Subscription
from tests.harness.fake_provider import FakeProvider, body_of, clock_at, run_concurrently, store_request

pytestmark = pytest.mark.django_db

NOW = timezone.now()
DAYS = 30


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "MIN_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(purge, "PAUSE_FACTOR", 0)


@pytest.fixture
def account(hook: Subscription) -> ProviderAccount:
    ProviderAccount.objects.filter(pk=hook.account_id).update(retention_days=DAYS)
    hook.account.refresh_from_db()
    return hook.account


def received(
    monkeypatch: pytest.MonkeyPatch,
    hook: Subscription,
    *,
    days_ago: float,
    body: bytes | None = None,
    normalized: bool = True,
) -> WebhookRequest:
    """Store a request of that day, normalized on that day."""
    moment = NOW - timedelta(days=days_ago)
    with clock_at(monkeypatch, moment):
        request = store_request(hook, body_of({"id": f"{days_ago}", "type": "made"}) if body is None else body)
        if normalized:
            normalize.normalize_request(request.pk)
    request.refresh_from_db()
    return request


def stored() -> tuple[list[float], int]:
    """Return the ages in days of the stored requests, oldest first, and the number of events."""
    times = WebhookRequest.objects.order_by("pk").values_list("received_at", flat=True)
    return [round((NOW - moment).total_seconds() / 86400, 1) for moment in times], Event.objects.count()


def make_due() -> None:
    Purge.objects.update(due_at=NOW - timedelta(days=1))


def test_expired_requests_are_deleted_with_their_events(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    for days in (90, 31, 30.1, 29.9, 0):
        received(monkeypatch, hook, days_ago=days)
    assert purge_due() == 6
    assert stored() == ([29.9, 0.0], 2)
    row = Purge.objects.get()
    assert (row.account, row.purged_requests, row.purged_events) == (account, 3, 3)
    assert row.purged_at is not None
    assert row.kept_since == NOW - timedelta(days=29.9)
    assert row.due_at > timezone.now()
    assert purge_due() == 0


def test_nothing_is_deleted_without_a_retention_period(monkeypatch: pytest.MonkeyPatch, hook: Subscription) -> None:
    received(monkeypatch, hook, days_ago=3000)
    assert purge_due() == 0
    assert stored() == ([3000.0], 1)
    row = Purge.objects.get()
    assert (row.kept_since, row.purged_at) == (NOW - timedelta(days=3000), None)


def test_each_account_has_its_own_retention_period_even_if_it_is_deleted(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    other = Subscription.objects.create(
        account=ProviderAccount.objects.create(provider="fake", name="Other", retention_days=7),
        secrets=hook.secrets,
        due_at=None,
    )
    received(monkeypatch, hook, days_ago=31)
    for row in (hook, other):
        received(monkeypatch, row, days_ago=8)
    ProviderAccount.objects.filter(pk=other.account_id).update(deleted_at=NOW)
    assert purge_due() == 4
    assert list(WebhookRequest.objects.values_list("account", flat=True)) == [account.pk]


def test_pending_and_quarantined_requests_are_kept(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount, fake: FakeProvider
) -> None:
    pending = received(monkeypatch, hook, days_ago=100, normalized=False)
    broken = body_of({"id": "a", "type": "made"}, {"id": "b"})
    expired = received(monkeypatch, hook, days_ago=61, body=broken)
    quarantined = received(monkeypatch, hook, days_ago=59, body=broken.replace(b'"a"', b'"c"').replace(b'"b"', b'"d"'))
    assert {expired.outcome, quarantined.outcome} == {Outcome.QUARANTINED}
    assert kept_until(pending) is None
    assert kept_until(quarantined) == quarantined.received_at + timedelta(days=60)
    assert purge_due() == 2  # the request after twice the period, and its one parsed event
    assert set(WebhookRequest.objects.all()) == {pending, quarantined}

    # Once released, its events are stored for a whole period.
    fake.fixed = True
    released = reprocess.reprocess_request(quarantined)
    assert released.outcome == Outcome.PROCESSED
    until = kept_until(released)
    assert until is not None
    assert until - timezone.now() > timedelta(days=29.9)
    make_due()
    assert purge_due() == 0
    assert Event.objects.filter(request=released).count() == 2


def test_requests_that_only_an_allow_list_refused_are_kept_like_quarantine(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    old, young = (received(monkeypatch, hook, days_ago=days, normalized=False) for days in (61, 59))
    WebhookRequest.objects.update(outcome=Outcome.REJECTED, processed_at=NOW - timedelta(days=59))
    for request in (old, young):
        request.refresh_from_db()
        assert kept_until(request) == request.received_at + timedelta(days=60)
    assert purge_due() == 1
    assert WebhookRequest.objects.get() == young


@pytest.mark.parametrize(("retention", "kept_days"), [(7, 7), (365, 30), (None, 30)])
def test_the_end_of_an_unauthenticated_request_is_shown(
    hook: Subscription, account: ProviderAccount, retention: int | None, kept_days: int
) -> None:
    ProviderAccount.objects.update(retention_days=retention)
    request = WebhookRequest.objects.get(pk=store_request(hook, b"{}", headers=()).pk)
    assert kept_until(request) == request.received_at + timedelta(days=kept_days)


def test_rejected_requests_pings_and_duplicates_expire_as_well(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    received(monkeypatch, hook, days_ago=40, body=b"")
    same = body_of({"id": "same", "type": "made"})
    received(monkeypatch, hook, days_ago=39, body=same)
    received(monkeypatch, hook, days_ago=38, body=same)
    with clock_at(monkeypatch, NOW - timedelta(days=37)):
        store_request(hook, same, headers=())
    assert set(WebhookRequest.objects.values_list("outcome", flat=True)) == {
        Outcome.PING,
        Outcome.PROCESSED,
        Outcome.DUPLICATE,
        Outcome.REJECTED,
    }
    assert purge_due() == 5
    assert stored() == ([], 0)


def test_a_duplicate_of_a_purged_event_is_stored_as_new(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    same = body_of({"id": "same", "type": "made"})
    received(monkeypatch, hook, days_ago=40, body=same)
    position = Event.objects.get().position
    assert position is not None
    purge_due()
    assert received(monkeypatch, hook, days_ago=0, body=same).outcome == Outcome.PROCESSED
    assert Event.objects.get().position == position + 1


def test_a_reader_that_lags_behind_continues_after_a_purge(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    for days in (50, 40, 2, 1):
        received(monkeypatch, hook, days_ago=days)
    behind = Event.objects.order_by("position").values_list("position", flat=True)[0]
    purge_due()
    assert [event.position for event in feed_position.events_after(behind, 10)] == [behind + 2, behind + 3]
    ProviderAccount.objects.update(retention_days=1)
    Event.objects.update(received_at=NOW - timedelta(days=9))
    WebhookRequest.objects.update(received_at=NOW - timedelta(days=9), processed_at=NOW - timedelta(days=9))
    make_due()
    purge_due()
    assert list(feed_position.events_after(behind, 10)) == []
    assert FeedEnd.objects.get().position == behind + 3
    received(monkeypatch, hook, days_ago=0.5)
    assert [event.position for event in feed_position.events_after(behind, 10)] == [behind + 4]


@pytest.mark.slow
def test_transactions_are_small_and_bodies_are_not_loaded(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    elements = [{"id": f"many-{number}", "type": "made"} for number in range(170)]
    received(monkeypatch, hook, days_ago=50, body=body_of(*elements))
    for number in range(90):
        received(monkeypatch, hook, days_ago=45 - number / 100)
    sizes: list[int] = []
    original = QuerySet.delete

    def counting_delete(rows: QuerySet[Event]) -> tuple[int, dict[str, int]]:
        result = original(rows)
        sizes.append(result[0])
        return result

    monkeypatch.setattr(QuerySet, "delete", counting_delete)
    with CaptureQueriesContext(connection) as queries:
        assert purge_due() == 91 + 170 + 90
    assert max(sizes) <= 50
    assert sum(sizes) == 351
    assert not [query for query in queries.captured_queries if '"body"' in query["sql"]]
    assert stored() == ([], 0)


@pytest.mark.parametrize("statement", range(1, 9))
def test_the_next_run_completes_a_run_killed_at_any_statement(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount, statement: int
) -> None:
    monkeypatch.setattr(purge, "MAX_EVENTS", 3)
    monkeypatch.setattr(purge, "MAX_REQUESTS", 2)
    received(
        monkeypatch, hook, days_ago=50, body=body_of(*({"id": f"m{number}", "type": "made"} for number in range(5)))
    )
    received(monkeypatch, hook, days_ago=45)
    received(monkeypatch, hook, days_ago=3)
    count = 0
    original = QuerySet.delete

    def delete_or_die(rows: QuerySet[Event]) -> tuple[int, dict[str, int]]:
        nonlocal count
        count += 1
        if count == (statement + 1) // 2:
            if statement % 2:
                raise KeyboardInterrupt
            original(rows)
            raise KeyboardInterrupt
        return original(rows)

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "delete", delete_or_die)
        with contextlib.suppress(KeyboardInterrupt):
            purge_due()
    orphans = Event.objects.exclude(request__in=WebhookRequest.objects.values("pk"))
    assert not orphans.exists()
    purge_row = Purge.objects.get()
    totals = (
        purge_row.purged_requests + WebhookRequest.objects.count(),
        purge_row.purged_events + Event.objects.count(),
    )
    assert totals == (3, 7)  # exactly the deleted rows were counted
    make_due()
    Purge.objects.update(claimed_until=None)  # the claim of the killed process expires
    purge_due()
    assert stored() == ([3.0], 1)
    purge_row.refresh_from_db()
    assert (purge_row.purged_requests, purge_row.purged_events) == (2, 6)


def test_a_run_stops_after_its_time_limit_and_is_due_at_once(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    monkeypatch.setattr(purge, "MAX_RUN_SECONDS", 0.0)
    monkeypatch.setattr(purge, "MAX_REQUESTS", 2)
    for number in range(5):
        received(monkeypatch, hook, days_ago=50 - number)
    for remaining in (3, 1, 0):
        purge_due()
        assert WebhookRequest.objects.count() == remaining
    assert purge_due() == 0


def test_a_run_stops_when_it_loses_its_claim(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    monkeypatch.setattr(purge, "MAX_REQUESTS", 1)
    for number in range(3):
        received(monkeypatch, hook, days_ago=50 - number)
    purge_due()  # creates the row
    for number in range(3):
        received(monkeypatch, hook, days_ago=40 - number)
    make_due()
    row = Purge.objects.get()
    assert row.claim("another worker", 60)
    assert purge_due() == 0
    assert WebhookRequest.objects.count() == 3
    monkeypatch.setattr(Purge, "keep_claim", lambda *_: False)
    Purge.objects.update(claimed_until=None)
    assert purge.purge(row, timezone.now()).more
    assert WebhookRequest.objects.count() == 2


def test_a_request_reprocessed_meanwhile_is_kept(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    request = received(monkeypatch, hook, days_ago=50)
    purge_row = Purge.objects.create(account=account)
    age = timedelta(days=DAYS)
    keys = next(iter(purge._expired_batches(account.pk, age, timezone.now())))
    reprocess.reprocess_request(request)
    assert purge._delete_batch(purge_row, keys, age, timezone.now(), purge.PurgeResult())
    assert stored() == ([50.0], 1)


def test_a_request_from_the_future_does_not_stop_the_purge(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    received(monkeypatch, hook, days_ago=-400)
    received(monkeypatch, hook, days_ago=50)
    purge_due()
    assert stored()[0] == [-400.0]


def test_queries_use_indexes(monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("EXPLAIN differs on PostgreSQL, which scans small tables anyway")
    received(monkeypatch, hook, days_ago=50)
    with CaptureQueriesContext(connection) as queries:
        purge_due()
    for query in queries.captured_queries:
        if "events_webhookrequest" not in query["sql"] and "events_event" not in query["sql"]:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            steps = " ".join(str(row[3]) for row in cursor.fetchall())
        assert "SCAN events" not in steps, query["sql"]
        assert "TEMP B-TREE" not in steps or "events_event" in query["sql"], query["sql"]


def test_operations_are_kept(monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount) -> None:
    with clock_at(monkeypatch, NOW - timedelta(days=500)):
        Operation.objects.create(subscription=hook, action="register", actor="clock", status="succeeded")
    received(monkeypatch, hook, days_ago=500)
    purge_due()
    assert stored() == ([], 0)
    assert Operation.objects.count() == 1


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_concurrent_purges_delete_everything_once(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    for number in range(60):
        received(monkeypatch, hook, days_ago=50 - number / 100)
    received(monkeypatch, hook, days_ago=1)
    counts = run_concurrently(purge_due, purge_due)
    assert sum(counts) == 120
    # Even without a claim, which may have expired.
    for number in range(60):
        received(monkeypatch, hook, days_ago=40 - number / 100)
    for name in ("claim", "keep_claim"):
        monkeypatch.setattr(Purge, name, lambda *_: True)
    make_due()
    assert sum(run_concurrently(purge_due, purge_due)) == 120
    row = Purge.objects.get()
    assert (row.purged_requests, row.purged_events) == (120, 120)
    assert stored() == ([1.0], 1)


def test_an_old_request_from_the_spool_is_kept_for_a_whole_period(
    monkeypatch: pytest.MonkeyPatch, hook: Subscription, account: ProviderAccount
) -> None:
    received(monkeypatch, hook, days_ago=20)
    late: datetime = NOW - timedelta(days=31)
    request = store_request(hook, body_of({"id": "late", "type": "made"}), received_at=late)
    normalize.normalize_request(request.pk)
    assert purge_due() == 0  # its events are new, and consumers need time to read them
    assert Event.objects.count() == 2
