"""Normalizing: the events of a request are stored all or none, in order, in batches and under concurrency."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection, transaction

from events.models import Event, Outcome, WebhookRequest
from events.processing import event_insert, normalize, parse_request
from events.processing.parse_request import ParsedRequest
from events.processing.pending_request import PendingRequest
from providers.models import ProviderAccount
from subscriptions.models import Subscription
from tests.harness.fake_provider import FakeProvider, body_of, fresh, run_concurrently, store_request
from tests.harness.processes import run_python
from tests.harness.receiving import row_of_request

pytestmark = pytest.mark.django_db


def test_the_events_of_a_request_are_stored_in_order(hook: Subscription) -> None:
    element = {
        "type": "made",
        "id": "e1",
        "z": 1,
        "a": 2,
        "path": "/S/f.txt",
        "by": "ann",
        "at": "2026-01-02T03:04:05Z",
    }
    request = store_request(hook, body_of(element, {"id": "e2", "type": "unheard:of"}))
    assert normalize.normalize_request(request.pk) is True
    first, second = Event.objects.order_by("id")
    assert list(first.data) == list(element)  # key order
    assert (first.type, first.action, first.resource, first.actor) == ("made", "created", "/S/f.txt", "ann")
    assert (first.provider, first.account_id, first.request_id) == ("fake", hook.account_id, request.pk)
    assert first.occurred_at is not None
    assert first.occurred_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert first.received_at == request.received_at
    assert (second.type, second.action) == ("unheard:of", "other")
    assert [first.position, second.position] == [1, 2]
    request = fresh(request)
    assert (request.outcome, request.reason) == (Outcome.PROCESSED, "")
    assert request.processed_at is not None
    assert normalize.normalize_request(request.pk) is False


def test_an_empty_request_is_a_ping(hook: Subscription) -> None:
    request = store_request(hook, b"")
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.PING


def test_rows_that_the_database_rejects_are_quarantined_and_block_no_others(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = event_insert.insert

    def refuse(events: Any) -> None:
        if any(event.type == "poison" for event in events):
            raise DataError("value too long")
        original(events)

    monkeypatch.setattr(event_insert, "insert", refuse)
    bad, good = (store_request(hook, body_of({"id": kind, "type": kind})) for kind in ("poison", "made"))
    assert normalize.normalize_pending() == 2
    assert (fresh(bad).outcome, fresh(good).outcome) == (Outcome.QUARANTINED, Outcome.PROCESSED)
    assert "value too long" in fresh(bad).reason
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.django_db(transaction=True)
def test_a_database_lock_delays_only_its_request(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    original = normalize._write
    bad, good = (store_request(hook, body_of({"id": kind, "type": kind})) for kind in ("first", "second"))
    with monkeypatch.context() as patch:

        def locked(request: Any, parsed: ParsedRequest) -> bool:
            if request.pk == bad.pk:
                raise OperationalError("deadlock detected")
            return original(request, parsed)

        patch.setattr(normalize, "_write", locked)
        patch.setattr(normalize, "_normalize_together", lambda requests, progress: locked(bad, ParsedRequest()))
        assert normalize.normalize_pending() == 1
    assert (fresh(bad).outcome, fresh(good).outcome) == (Outcome.RECEIVED, Outcome.PROCESSED)
    assert normalize.normalize_pending() == 1
    assert fresh(bad).outcome == Outcome.PROCESSED


@pytest.mark.django_db(transaction=True)
def test_the_events_of_a_request_are_stored_all_or_none(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    request = store_request(hook, body_of(*({"id": n, "type": "made"} for n in range(150))))
    with monkeypatch.context() as patch:
        patch.setattr(normalize, "_record_accepted", lambda request: (_ for _ in ()).throw(OperationalError("gone")))
        assert normalize.normalize_pending() == 0
    assert Event.objects.count() == 0
    assert fresh(request).outcome == Outcome.RECEIVED
    assert normalize.normalize_pending() == 1
    assert Event.objects.count() == 150


def test_normalize_pending_processes_several_batches(hook: Subscription) -> None:
    for number in range(7):
        store_request(hook, body_of({"id": number, "type": "made"}))
    assert normalize.normalize_pending(batch=3) == 7
    assert Event.objects.count() == 7


def test_a_batch_gives_the_same_results_as_single_requests(
    hook: Subscription, django_assert_max_num_queries: Any
) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(40)]
    again = store_request(hook, body_of({"id": 3, "type": "made"}, {"id": 99, "type": "made"}))
    only_again = store_request(hook, body_of({"id": 3, "type": "made"}, {"id": 3, "type": "made"}))
    ping, broken, half = (
        store_request(hook, b""),
        store_request(hook, b"{"),
        store_request(hook, body_of({"id": 7}, {"id": 77, "type": "made"})),
    )
    with django_assert_max_num_queries(45):
        assert normalize.normalize_pending() == 45
    assert {fresh(request).outcome for request in requests} == {"processed"}
    outcomes = [fresh(request).outcome for request in (again, only_again, ping, broken, half)]
    assert outcomes == ["processed", "duplicate", "ping", "quarantined", "quarantined"]
    assert fresh(half).reason.startswith("1 of 2 elements cannot be parsed.")
    assert Event.objects.count() == 42
    assert Event.objects.get(provider_event_id="3").duplicates == 2
    hook.refresh_from_db()
    assert hook.accepted_at == requests[0].received_at


@pytest.mark.django_db(transaction=True)
def test_a_request_locked_by_another_process_is_skipped(hook: Subscription) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    sizes = [(request.pk, request.size) for request in requests]
    if connection.vendor == "sqlite":
        # SQLite has one writer at a time, so no other process can hold a row lock.
        assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
        return
    held, may_end = threading.Event(), threading.Event()

    def other() -> int:
        with transaction.atomic():
            WebhookRequest.objects.select_for_update().get(pk=requests[1].pk)
            held.set()
            assert may_end.wait(20)
        return 0

    def this() -> int:
        assert held.wait(10)
        try:
            return normalize.normalize_batch(sizes)
        finally:
            may_end.set()

    assert run_concurrently(this, other) == [2, 0]
    assert [fresh(request).outcome for request in requests] == ["processed", "received", "processed"]
    assert normalize.normalize_pending() == 1


def test_a_request_processed_by_another_worker_is_not_changed(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    original = parse_request.parse

    def parse(request: PendingRequest) -> ParsedRequest:
        WebhookRequest.objects.filter(pk=requests[1].pk).update(outcome=Outcome.PING)
        return original(request)

    monkeypatch.setattr(parse_request, "parse", parse)
    assert normalize.normalize_batch([(request.pk, request.size) for request in requests]) == 2
    assert [fresh(request).outcome for request in requests] == ["processed", "ping", "processed"]


def test_large_batches_are_loaded_in_portions() -> None:
    sizes = [(1, 10), (2, normalize.BATCH_BYTES), (3, 5), (4, 5)]
    assert list(normalize._portions(sizes)) == [[1], [2], [3, 4]]
    many = [(n, 1) for n in range(2 * normalize.BATCH_SIZE + 50)]
    assert [len(keys) for keys in normalize._portions(many)] == [normalize.BATCH_SIZE, normalize.BATCH_SIZE, 50]


@pytest.mark.django_db(transaction=True)
def test_two_concurrent_workers_store_events_once(hook: Subscription, fake: FakeProvider) -> None:
    barrier = threading.Barrier(2)
    fake.before_parse = lambda request: (barrier.wait(10), None)[1]
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "made"}))
    assert sorted(run_concurrently(*[lambda: normalize.normalize_request(request.pk)] * 2)) == [False, True]
    assert list(Event.objects.values_list("duplicates", flat=True)) == [0, 0]
    assert fresh(request).outcome == Outcome.PROCESSED


KILLED_BEFORE_COMMIT = """
import os
from events.processing import normalize
from events.models import Event
def kill(request):
    assert Event.objects.count() == 1
    os.kill(os.getpid(), 9)
normalize._record_accepted = kill
normalize.normalize_request(int(os.environ['REQUEST']))
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_kill_before_the_commit_leaves_the_request_pending(transactional_db: None) -> None:
    # Another process does not have the fake provider.
    account = ProviderAccount.objects.create(provider="egnyte-connect", name="E", settings={"domain": "acme"})
    subscription = Subscription.objects.create(account=account, due_at=None)
    body = b'[{"eventId": "e1", "eventType": "fs:add_file", "data": {}}]'
    request = store_request(subscription, body, headers=(("X", subscription.secrets[0]),))
    killed = run_python(KILLED_BEFORE_COMMIT, REQUEST=str(request.pk))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (fresh(request).outcome, Event.objects.count()) == (Outcome.RECEIVED, 0)
    assert normalize.normalize_pending() == 1
    assert (fresh(request).outcome, Event.objects.get().provider_event_id) == (Outcome.PROCESSED, "e1")


def test_rows_just_stored_are_normalized_without_loading_them(hook: Subscription) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    rows = [row_of_request(request) for request in requests]
    done, deleted, pending = requests
    assert normalize.normalize_request(done.pk)
    deleted.delete()
    assert normalize.normalize_rows(rows) == 1
    assert normalize.normalize_rows(rows) == 0
    assert fresh(pending).outcome == Outcome.PROCESSED
    events = Event.objects.order_by("position").values_list("request_id", "provider_event_id", "received_at")
    assert list(events) == [(done.pk, "0", done.received_at), (pending.pk, "2", pending.received_at)]


def test_a_failing_row_affects_no_others(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = store_request(hook, body_of({"id": 1, "type": "made"})), store_request(hook, b"")
    rows = [row_of_request(good), row_of_request(bad)._replace(headers="no JSON")]
    assert normalize.normalize_rows(rows) == 2
    assert (fresh(good).outcome, fresh(bad).outcome) == (Outcome.PROCESSED, Outcome.QUARANTINED)
