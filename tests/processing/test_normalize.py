"""Store, normalise, reprocess: nothing accepted is lost, nothing comes twice, and one bad request stops nobody."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from events import tasks
from events.models import Event, Outcome, WebhookRequest
from events.processing import event_insert, normalize, parse_request, poller, reprocess
from events.processing.bulk_reprocess import reprocess_many
from events.processing.inline_normalizer import (
    FULL_BATCH_SHARE,
    FULL_BATCH_SHARE_SQLITE,
    LARGE_BATCH,
    LARGE_BATCH_SECONDS,
    SHARE,
    YIELD_EVERY,
    InlineNormalizer,
)
from events.processing.parse_request import ParsedRequest
from events.processing.pending_request import PendingRequest
from events.receiver.group_commit import writer
from events.retention import rejected
from events.storage.columns import column_key, column_text
from events.storage.time_range import first_id_at
from providers.contract.capabilities import Proof
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import InboundRequest
from providers.db.ids import new_id
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.models import Managed, Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, clock_at, run_concurrently, store_request
from tests.harness.processes import run_python
from tests.harness.receiving import make_row, row_of_request

pytestmark = pytest.mark.django_db


def fresh(request: WebhookRequest) -> WebhookRequest:
    return WebhookRequest.objects.get(pk=request.pk)


def reading_fails(request: InboundRequest) -> None:
    raise KeyError("a bug")


# -- Storing ---------------------------------------------------------------------------------------------------------


def test_stores_the_exact_bytes_and_the_marker_instead_of_the_proof(hook: Subscription) -> None:
    body = b'\xef\xbb\xbf{"a" :1,\r\n"b":"\xff"}\x00'
    request = fresh(store_request(hook, body, headers=(("X-Secret", SECRET), ("X-Other", "v\xe9"))))
    assert bytes(request.body) == body
    assert request.headers == [["X-Secret", "***"], ["X-Other", "v\xe9"]]
    assert request.sealed_headers == {}
    assert (request.outcome, request.verification) == (Outcome.RECEIVED, "verified")
    assert request.account_id == hook.account_id
    assert request.uid.version == 7


def test_a_rejected_request_keeps_sensitive_values_encrypted_only(hook: Subscription) -> None:
    request = store_request(hook, b"{}", headers=(("Host", "x"), ("Authorization", "Bearer wrong-one")))
    with connection.cursor() as cursor:
        cursor.execute("SELECT headers, sealed_headers FROM events_webhookrequest WHERE id = %s", [request.pk])
        headers, sealed = cursor.fetchone()
    assert json.loads(headers) == [["Host", "x"], ["Authorization", "***"]]
    assert "wrong-one" not in sealed
    assert fresh(request).sealed_headers == {"1": "Bearer wrong-one"}
    assert fresh(request).inbound(unsealed=True).headers[1] == ("Authorization", "Bearer wrong-one")
    assert (request.outcome, request.reason) == (Outcome.REJECTED, "No header carries the secret.")


def test_an_accepted_request_keeps_other_sensitive_headers_encrypted(hook: Subscription) -> None:
    request = fresh(store_request(hook, b"", headers=(("X-Secret", SECRET), ("Cookie", "session=1"))))
    assert request.headers == [["X-Secret", "***"], ["Cookie", "***"]]
    assert request.sealed_headers == {"1": "session=1"}


@pytest.mark.django_db(transaction=True)
def test_storing_commits_by_itself_or_refuses(hook: Subscription) -> None:
    store_request(hook, b"{}")
    seen = run_concurrently(lambda: WebhookRequest.objects.count())
    assert seen == [1]
    with transaction.atomic(), pytest.raises(RuntimeError):
        store_request(hook, b"{}")


def test_rejected_requests_are_capped_by_count(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    kept = keep(hook, body_of({"id": 1, "type": "made"}))
    uids = [keep(hook, b"{}", headers=()).uid for _ in range(rejected.MAX_REQUESTS + rejected.TRIM_AFTER_REQUESTS + 1)]
    left = WebhookRequest.objects.filter(outcome=Outcome.REJECTED).order_by("id").values_list("uid", flat=True)
    assert rejected.MAX_REQUESTS <= len(left) <= rejected.MAX_REQUESTS + rejected.TRIM_AFTER_REQUESTS
    assert list(left) == uids[-len(left) :]  # the newest
    assert fresh(kept)
    rejected.delete_old(hook.pk)
    assert WebhookRequest.objects.filter(outcome=Outcome.REJECTED).count() == rejected.MAX_REQUESTS


def test_rejected_requests_are_capped_by_bytes(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    big = b"x" * (3 * 1024 * 1024)
    for _ in range(5):
        store_request(hook, big, headers=())
    assert WebhookRequest.objects.count() == 3  # a fourth would make 12 MB


def test_rejected_requests_are_capped_by_the_size_of_their_headers_too(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    monkeypatch.setattr(rejected, "MAX_BYTES", 1024 * 1024)
    monkeypatch.setattr(rejected, "TRIM_AFTER_BYTES", 100 * 1024)
    large = ("x" * 30_000,) * 2
    for _ in range(30):
        store_request(hook, b"", headers=(("X-Plain", large[0]), ("Authorization", large[1])))
    assert WebhookRequest.objects.count() <= 1024 * 1024 // 60_000


def test_a_forked_process_does_not_wait_for_a_lock_that_its_parent_held(hook: Subscription) -> None:
    with rejected.growth._lock:
        child = os.fork()
        if not child:
            signal.alarm(10)
            rejected.growth.add(hook.pk, 1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def test_trimming_looks_once_in_a_while_only(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    monkeypatch.setattr(rejected, "delete_old", looks.append)
    for _ in range(1 + 2 * rejected.TRIM_AFTER_REQUESTS):
        keep(hook, b"{}", headers=())
    assert len(looks) == 3


def test_a_failing_trim_does_not_fail_the_request(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subscription_id: int) -> int:
        raise OperationalError("locked")

    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    monkeypatch.setattr(rejected, "delete_old", fail)
    assert store_request(hook, b"{}", headers=()).outcome == Outcome.REJECTED


def test_rejected_requests_are_forgotten_after_a_month(hook: Subscription) -> None:
    def came(days: int, **how: Any) -> WebhookRequest:
        at = timezone.now() - timedelta(days=days)
        request = store_request(hook, b"{}", received_at=at, **how)
        request.uid = UUID(int=first_id_at(at).int + request.pk)  # as it was given then
        request.save(update_fields=["uid"])
        return request

    month = [came(31, headers=()) for _ in range(3)]
    accepted, young = came(31), came(29, headers=())
    assert tasks.forget_rejected() == len(month)
    assert set(WebhookRequest.objects.all()) == {accepted, young}


@pytest.mark.django_db(transaction=True)
def test_what_is_released_while_old_ones_are_deleted_stays(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "MAX_REQUESTS", 1)
    old = [keep(hook, b"{}", headers=()) for _ in range(4)]
    released, wanted = threading.Event(), WebhookRequest.objects.filter(pk=old[1].pk)

    def release() -> None:
        with transaction.atomic():
            wanted.update(outcome=Outcome.RECEIVED)
            released.set()
            time.sleep(0.5)  # the other one is at it

    def trim() -> int:
        released.wait(10)
        return rejected.delete_old(hook.pk)

    assert run_concurrently(trim, release)[0] == 2
    assert set(WebhookRequest.objects.values_list("pk", flat=True)) == {old[1].pk, old[3].pk}


# -- Normalising -----------------------------------------------------------------------------------------------------


def test_makes_events_of_a_batch_in_its_order(hook: Subscription) -> None:
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


def test_a_repeated_event_is_counted_and_not_stored_again(hook: Subscription) -> None:
    for _ in range(3):
        normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    event = Event.objects.get()
    first, _, last = WebhookRequest.objects.order_by("id").values_list("received_at", flat=True)
    assert (event.duplicates, event.received_at, event.last_duplicate_at) == (2, first, last)
    outcomes = WebhookRequest.objects.order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == ["processed", "duplicate", "duplicate"]


def test_a_half_repeated_batch_is_completed(hook: Subscription) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "made"}))
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.PROCESSED
    assert list(Event.objects.order_by("id").values_list("dedup_key", "duplicates")) == [("1", 1), ("2", 0)]


def test_repeats_in_one_batch_are_counted_as_one_by_one(hook: Subscription) -> None:
    other = Subscription.objects.create(account=hook.account, secrets=[SECRET], due_at=None)
    now = timezone.now() - timedelta(seconds=9)
    bodies = [[1, 2], [2, 3], [1], [2, 4], [5]]
    for seconds, ids in enumerate(bodies):
        for subscription in (hook, other):
            body = body_of(*({"id": number, "type": "made"} for number in ids))
            # The third came before the others, and is read after them.
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


def test_a_request_that_is_handed_on_twice_at_once_counts_once(hook: Subscription) -> None:
    """As when a database hangs: its row was stored, and went to the spool as well."""
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    again = row_of_request(store_request(hook, body_of({"id": 1, "type": "made"})))
    assert normalize.normalize_rows([again, again]) == 1
    assert Event.objects.get().duplicates == 1


def test_an_earlier_repeat_does_not_set_the_last_time_back(hook: Subscription) -> None:
    now = timezone.now()
    for minutes in (0, 2, 1):
        store_request(hook, body_of({"id": 1, "type": "made"}), received_at=now + timedelta(minutes=minutes))
        normalize.normalize_pending()
    event = Event.objects.get()
    assert (event.duplicates, event.last_duplicate_at) == (2, now + timedelta(minutes=2))


def test_repeats_take_no_more_queries_than_one(hook: Subscription) -> None:
    def repeated(ids: range) -> int:
        for number in ids:
            store_request(hook, body_of({"id": number, "type": "made"}))
        with CaptureQueriesContext(connection) as queries:
            assert normalize.normalize_pending() == len(ids)
        return len(queries)

    repeated(range(40))
    alone = repeated(range(1))
    assert repeated(range(40)) == alone
    assert Event.objects.filter(duplicates=1).count() == 39


def test_a_key_that_looks_like_something_else_is_counted_as_it_is(hook: Subscription) -> None:
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


def test_overlapping_subscriptions_each_get_their_event(hook: Subscription) -> None:
    other = Subscription.objects.create(account=hook.account, secrets=[SECRET], due_at=None)
    for subscription in (hook, other):
        normalize.normalize_request(store_request(subscription, body_of({"id": 1, "type": "made"})).pk)
    assert Event.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{not json", "The body is not JSON"),
        (b'{"events": "\xff"}', "The body is not UTF-8."),
        (b'{"events": [NaN]}', "NaN is no JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"events": [{"id": 1, "type": "made", "n": ' + b"1" * 5000 + b"}]}", "The body is not JSON"),
    ],
)
def test_what_cannot_be_read_is_quarantined_with_the_reason(hook: Subscription, body: bytes, reason: str) -> None:
    request = store_request(hook, body)
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.QUARANTINED
    assert reason in fresh(request).reason
    assert bytes(fresh(request).body) == body


def test_a_bug_in_a_plug_in_costs_no_request(
    hook: Subscription, fake: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: InboundRequest) -> None:
        if request.body != b"":
            raise KeyError("a bug\x00\ud800")

    fake.before_parse = fail
    bad, good = store_request(hook, body_of({"id": 1, "type": "made"})), store_request(hook, b"")
    assert normalize.normalize_pending() == 2
    assert fresh(bad).outcome == Outcome.QUARANTINED
    assert "KeyError" in fresh(bad).reason
    assert fresh(good).outcome == Outcome.PING
    assert any(record.exc_info for record in caplog.records)


def test_a_vanished_plug_in_is_a_reason_like_any_other(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}))
    type(hook.account).objects.update(provider="gone")
    normalize.normalize_pending()
    assert fresh(request).outcome == Outcome.QUARANTINED
    assert "There is no provider 'gone'" in fresh(request).reason


def test_a_time_without_zone_is_a_bug_of_the_plug_in(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made", "at": "2026-01-02T03:04:05"}))
    normalize.normalize_request(request.pk)
    assert "occurred_at has no time zone" in fresh(request).reason


def test_unreadable_elements_wait_and_the_others_appear(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2}, {"id": 3, "type": "made"}))
    normalize.normalize_request(request.pk)
    assert list(Event.objects.order_by("id").values_list("dedup_key", flat=True)) == ["1", "3"]
    assert fresh(request).outcome == Outcome.QUARANTINED
    assert fresh(request).reason == "1 of 3 elements cannot be parsed. Element 1: It has no type."

    fake.fixed = True
    assert reprocess.reprocess_request(request).outcome == Outcome.PROCESSED
    assert fresh(request).reason == ""
    assert list(Event.objects.order_by("id").values_list("dedup_key", "duplicates")) == [("1", 0), ("3", 0), ("2", 0)]
    assert list(Event.objects.order_by("position").values_list("dedup_key", flat=True)) == ["1", "3", "2"]


def test_what_text_columns_refuse_is_replaced_there_and_kept_in_data(hook: Subscription) -> None:
    body = (
        b'{"events": [{"id": "a\\u0000\\ud800", "type": "t\\u0000\\udfff", "by": "\\u0000",'
        b' "path": "/\\ud83d\\ude00\\ud83d", "n": 123456789012345678901234567890},'
        b' {"id": "a\\u0000\\ud801", "type": "made"}]}'
    )
    request = store_request(hook, body)
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.PROCESSED, fresh(request).reason
    first, second = Event.objects.order_by("id")
    assert (first.type, first.actor, first.resource) == ("t\ufffd\ufffd", "\ufffd", "/\U0001f600\ufffd")
    assert first.data["id"] == "a\x00\ud800"
    assert first.data["n"] == 123456789012345678901234567890
    assert first.dedup_key != second.dedup_key  # differing only in what was replaced


def test_long_texts_are_cut_and_long_keys_are_not(hook: Subscription) -> None:
    long = "x" * 5000
    request = store_request(
        hook, body_of({"id": long + "1", "type": long, "path": long, "by": long}, {"id": long + "2", "type": "t"})
    )
    normalize.normalize_request(request.pk)
    first, second = Event.objects.order_by("id")
    assert (len(first.type), len(first.resource or ""), len(first.actor or "")) == (200, 2000, 255)
    assert first.dedup_key != second.dedup_key
    assert first.data["path"] == long


def test_columns() -> None:
    assert column_text("a\x00\ud800b" + "c" * 9, 5) == "a\ufffd\ufffdbc"
    assert column_key("short", 5) == "short"
    assert column_key("longer", 5).startswith("sha256:")


def test_headers_that_cannot_be_read_concern_one_request(hook: Subscription) -> None:
    bad, good = (store_request(hook, body_of({"id": kind, "type": kind})) for kind in ("first", "second"))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE events_webhookrequest SET headers = 'no JSON' WHERE id = %s", [bad.pk])
    assert normalize.normalize_pending() == 2
    outcomes = dict(WebhookRequest.objects.values_list("pk", "outcome"))
    assert (outcomes[bad.pk], outcomes[good.pk]) == (Outcome.QUARANTINED, Outcome.PROCESSED)


@pytest.mark.parametrize("column", ["headers", "sealed_headers"])
@pytest.mark.parametrize("text", ["no JSON", "[[1], 2]", ""])
def test_what_cannot_be_read_of_a_rejected_one_is_a_reason_and_concerns_no_other(
    hook: Subscription, column: str, text: str
) -> None:
    rows = [store_request(hook, b"", headers=(("Authorization", "later"), ("A", str(number)))) for number in range(3)]
    Subscription.objects.filter(pk=hook.pk).update(secrets=["later"])
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE events_webhookrequest SET {column} = %s WHERE id = %s", [text, rows[1].pk])
    result = reprocess_many(WebhookRequest.objects.all(), by="staff:ann")
    assert dict(result.outcomes) == {"ping": 2, "rejected": 1}
    bad = WebhookRequest.objects.defer("headers", "sealed_headers").get(pk=rows[1].pk)
    assert bad.reason.startswith("The request could not be verified again") or text == ""


def test_refused_rows_are_quarantined_and_stop_nobody(
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
def test_a_lock_leaves_the_request_for_later_and_the_others_go_on(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = normalize._write
    bad, good = (store_request(hook, body_of({"id": kind, "type": kind})) for kind in ("first", "second"))
    with monkeypatch.context() as patch:

        def locked(request: Any, reading: ParsedRequest) -> bool:
            if request.pk == bad.pk:
                raise OperationalError("deadlock detected")
            return original(request, reading)

        patch.setattr(normalize, "_write", locked)
        patch.setattr(normalize, "_normalize_together", lambda requests, progress: locked(bad, ParsedRequest()))
        assert normalize.normalize_pending() == 1
    assert (fresh(bad).outcome, fresh(good).outcome) == (Outcome.RECEIVED, Outcome.PROCESSED)
    assert normalize.normalize_pending() == 1
    assert fresh(bad).outcome == Outcome.PROCESSED


@pytest.mark.django_db(transaction=True)
def test_the_events_of_a_request_appear_all_or_none(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    request = store_request(hook, body_of(*({"id": n, "type": "made"} for n in range(150))))
    with monkeypatch.context() as patch:
        patch.setattr(normalize, "_record_accepted", lambda request: (_ for _ in ()).throw(OperationalError("gone")))
        assert normalize.normalize_pending() == 0
    assert Event.objects.count() == 0
    assert fresh(request).outcome == Outcome.RECEIVED
    assert normalize.normalize_pending() == 1
    assert Event.objects.count() == 150


def test_pending_goes_through_more_than_a_batch(hook: Subscription) -> None:
    for number in range(7):
        store_request(hook, body_of({"id": number, "type": "made"}))
    assert normalize.normalize_pending(batch=3) == 7
    assert Event.objects.count() == 7


def test_many_are_settled_in_one_transaction_as_they_would_be_alone(
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
def test_what_another_process_is_settling_holds_up_no_other(hook: Subscription) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    sizes = [(request.pk, request.size) for request in requests]
    if connection.vendor == "sqlite":
        # Nobody else can be settling one: there is one writer at a time.
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


def test_what_another_process_settled_meanwhile_is_left_alone(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    original = parse_request.parse

    def read(request: PendingRequest) -> ParsedRequest:
        WebhookRequest.objects.filter(pk=requests[1].pk).update(outcome=Outcome.PING)
        return original(request)

    monkeypatch.setattr(parse_request, "parse", read)
    assert normalize.normalize_batch([(request.pk, request.size) for request in requests]) == 2
    assert [fresh(request).outcome for request in requests] == ["processed", "ping", "processed"]


def test_a_large_batch_is_read_in_portions() -> None:
    sizes = [(1, 10), (2, normalize.BATCH_BYTES), (3, 5), (4, 5)]
    assert list(normalize._portions(sizes)) == [[1], [2], [3, 4]]
    many = [(n, 1) for n in range(2 * normalize.BATCH_SIZE + 50)]
    assert [len(keys) for keys in normalize._portions(many)] == [normalize.BATCH_SIZE, normalize.BATCH_SIZE, 50]


def test_the_worker_leaves_the_youngest_to_the_web_process(hook: Subscription) -> None:
    old = store_request(hook, b"", received_at=timezone.now() - poller.MIN_AGE - timedelta(seconds=1))
    young = store_request(hook, b"")
    assert tasks.normalize_pending() == 1
    assert (fresh(old).outcome, fresh(young).outcome) == (Outcome.PING, Outcome.RECEIVED)


def test_a_clock_set_back_keeps_no_request_waiting(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    request = store_request(hook, b"")
    with clock_at(monkeypatch, timezone.now() - timedelta(hours=1)):
        assert tasks.normalize_pending() == 1
    assert fresh(request).outcome == Outcome.PING


# -- Concurrency -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_processors_make_the_events_of_one_request_once(hook: Subscription, fake: FakeProvider) -> None:
    barrier = threading.Barrier(2)
    fake.before_parse = lambda request: (barrier.wait(10), None)[1]
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "made"}))
    assert sorted(run_concurrently(*[lambda: normalize.normalize_request(request.pk)] * 2)) == [False, True]
    assert list(Event.objects.values_list("duplicates", flat=True)) == [0, 0]
    assert fresh(request).outcome == Outcome.PROCESSED


@pytest.mark.django_db(transaction=True)
def test_the_same_events_in_two_requests_at_once(hook: Subscription, fake: FakeProvider) -> None:
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


KILLED_IN_THE_MIDDLE = """
import os
from events.processing import normalize
from events.models import Event
def kill(request):
    assert Event.objects.count() == 1
    os.kill(os.getpid(), 9)
normalize._record_accepted = kill
normalize.normalize_request(int(os.environ['REQUEST']))
"""


@pytest.mark.django_db(transaction=True)
def test_a_kill_before_the_commit_leaves_the_request_to_be_normalised(transactional_db: None) -> None:
    # Another process cannot know the fake.
    account = ProviderAccount.objects.create(provider="egnyte-connect", name="E", settings={"domain": "acme"})
    subscription = Subscription.objects.create(account=account, due_at=None)
    body = b'[{"eventId": "e1", "eventType": "fs:add_file", "data": {}}]'
    request = store_request(subscription, body, headers=(("X", subscription.secrets[0]),))
    killed = run_python(KILLED_IN_THE_MIDDLE, REQUEST=str(request.pk))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (fresh(request).outcome, Event.objects.count()) == (Outcome.RECEIVED, 0)
    assert normalize.normalize_pending() == 1
    assert (fresh(request).outcome, Event.objects.get().provider_event_id) == (Outcome.PROCESSED, "e1")


# -- What was stored just now, and need not be read again ------------------------------------------------------------


def test_stored_rows_become_events_as_if_they_were_read_from_the_database(hook: Subscription) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    rows = [row_of_request(request) for request in requests]
    settled, gone, left = requests
    assert normalize.normalize_request(settled.pk)
    gone.delete()
    assert normalize.normalize_rows(rows) == 1
    assert normalize.normalize_rows(rows) == 0
    assert fresh(left).outcome == Outcome.PROCESSED
    found = Event.objects.order_by("position").values_list("request_id", "provider_event_id", "received_at")
    assert list(found) == [(settled.pk, "0", settled.received_at), (left.pk, "2", left.received_at)]


def test_a_stored_row_that_fails_harms_no_other(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = store_request(hook, body_of({"id": 1, "type": "made"})), store_request(hook, b"")
    rows = [row_of_request(good), row_of_request(bad)._replace(headers="no JSON")]
    assert normalize.normalize_rows(rows) == 2
    assert (fresh(good).outcome, fresh(bad).outcome) == (Outcome.PROCESSED, Outcome.QUARANTINED)


# -- The thread of the web process -----------------------------------------------------------------------------------


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class WatchedConnection:
    """The connection of the thread that uses it; tells when it was given back."""

    given_back: threading.Event

    def close(self) -> None:
        connection.close()
        self.given_back.set()


@pytest.fixture
def running(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[InlineNormalizer, threading.Event]]:
    """A inline_normalizer of its own, and the event that its connection was given back."""
    settings.NORMALIZE_IN_THREAD = True
    monkeypatch.setattr(writer, "_on_rows_stored", lambda rows: None)  # the process's own inline_normalizer sleeps on
    monkeypatch.setattr("events.processing.inline_normalizer.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("events.processing.inline_normalizer.IDLE_SECONDS", 0.1)
    watched = WatchedConnection(threading.Event())
    monkeypatch.setattr("events.processing.inline_normalizer.connection", watched)
    yield InlineNormalizer(), watched.given_back
    assert watched.given_back.wait(10)


@pytest.mark.django_db(transaction=True)
def test_the_thread_normalises_at_once(hook: Subscription, running: tuple[InlineNormalizer, threading.Event]) -> None:
    inline_normalizer, _ = running
    for number in range(5):
        inline_normalizer.enqueue_rows([row_of_request(store_request(hook, body_of({"id": number, "type": "made"})))])
    until(lambda: Event.objects.count() == 5)


@pytest.mark.django_db(transaction=True)
def test_the_thread_gives_its_connection_back_when_idle(
    hook: Subscription, running: tuple[InlineNormalizer, threading.Event]
) -> None:
    inline_normalizer, given_back = running
    for number in range(2):
        given_back.clear()
        request = store_request(hook, body_of({"id": number, "type": "made"}))
        inline_normalizer.enqueue_rows([row_of_request(request)])
        assert given_back.wait(10)
        assert fresh(request).outcome == Outcome.PROCESSED


@pytest.mark.django_db(transaction=True)
def test_the_thread_survives_a_failure(
    hook: Subscription, running: tuple[InlineNormalizer, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    inline_normalizer, given_back = running
    failed = threading.Event()

    def fail(rows: Any, **_: Any) -> int:
        failed.set()
        raise RuntimeError("a bug")

    lost, later = store_request(hook, b""), store_request(hook, b"")
    with monkeypatch.context() as patch:
        patch.setattr(normalize, "normalize_rows", fail)
        inline_normalizer.enqueue_rows([row_of_request(lost)])
        assert failed.wait(10)
    inline_normalizer.enqueue_rows([row_of_request(later)])
    until(lambda: fresh(later).outcome == Outcome.PING)
    assert fresh(lost).outcome == Outcome.RECEIVED  # left to the worker
    assert normalize.normalize_pending() == 1
    given_back.clear()


def test_the_thread_is_not_started_where_it_is_not_wanted(hook: Subscription) -> None:
    inline_normalizer = InlineNormalizer()
    inline_normalizer.enqueue_rows([row_of_request(store_request(hook, b""))])
    assert inline_normalizer._thread is None


@pytest.fixture
def stopped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> InlineNormalizer:
    """One whose thread does not start."""
    settings.NORMALIZE_IN_THREAD = True
    inline_normalizer = InlineNormalizer()
    monkeypatch.setattr(inline_normalizer, "_start", lambda: None)
    return inline_normalizer


def test_what_does_not_fit_into_memory_is_left_to_the_worker(
    hook: Subscription, stopped: InlineNormalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.processing.inline_normalizer.MAX_QUEUED_BYTES", 100)
    rows = [make_row(hook, b"x" * size) for size in (500, 1)]
    stopped.enqueue_rows(rows)
    assert stopped._next_batch() == (rows[:1], [])  # a large one alone may wait
    monkeypatch.setattr("events.processing.inline_normalizer.MAX_QUEUED_ROWS", 3)
    rows = [make_row(hook) for _ in range(4)]
    stopped.enqueue_rows(rows)
    assert stopped._next_batch() == (rows[:3], [])
    monkeypatch.setattr("events.processing.inline_normalizer.MAX_QUEUED_JOBS", 1)
    for chore in (list, dict):
        stopped.enqueue_job(chore)
    assert stopped._next_batch() == ([], [list])


def test_a_batch_is_bounded_by_rows_and_bytes(
    hook: Subscription, stopped: InlineNormalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "BATCH_SIZE", 2)
    monkeypatch.setattr(normalize, "BATCH_BYTES", 50)
    rows = [make_row(hook, b"x" * size) for size in (1, 1, 1, 60, 1)]
    stopped.enqueue_rows(rows)
    assert [stopped._next_batch()[0] for _ in range(3)] == [rows[:2], rows[2:4], rows[4:]]
    assert stopped._bytes == 0


# -- What the subscription learns ------------------------------------------------------------------------------------


def test_last_event_moves_on_and_never_back(hook: Subscription) -> None:
    now = timezone.now()
    for age in (10, 5, 20):
        store_request(hook, body_of({"id": age, "type": "made"}), received_at=now - timedelta(seconds=age))
    normalize.normalize_pending()
    hook.refresh_from_db()
    assert hook.last_event_at == now - timedelta(seconds=5)
    assert hook.accepted_at == now - timedelta(seconds=10)  # of the first that was normalised
    store_request(hook, b"")
    normalize.normalize_pending()
    hook.refresh_from_db()
    assert hook.last_event_at == now - timedelta(seconds=5)  # a ping is no event


def test_last_event_of_several_subscriptions(hook: Subscription) -> None:
    now = timezone.now()
    others = [
        Subscription.objects.create(account=hook.account, secrets=hook.secrets, due_at=None, last_event_at=at)
        for at in (None, now - timedelta(seconds=7), now)
    ]
    for number, subscription in enumerate([hook, *others]):
        for age in (8, 4):
            came = now - timedelta(seconds=age + number)
            store_request(subscription, body_of({"id": age, "type": "made"}), received_at=came)
    normalize.normalize_pending()
    found = Subscription.objects.order_by("pk").values_list("last_event_at", flat=True)
    assert [(now - at).total_seconds() for at in found if at] == [4, 5, 6, 0]


FULL = FULL_BATCH_SHARE_SQLITE if connection.vendor == "sqlite" else FULL_BATCH_SHARE


@pytest.mark.parametrize(
    ("count", "share"),
    [
        (LARGE_BATCH, min(SHARE, 5 * FULL)),
        (normalize.BATCH_SIZE * 2 // 3, min(SHARE, 1.5 * FULL)),
        (normalize.BATCH_SIZE, FULL),
    ],
)
def test_the_normaliser_leaves_time_to_others_when_there_is_much_to_do(count: int, share: float) -> None:
    rest = InlineNormalizer()._pause_after
    assert rest(LARGE_BATCH - 1, 0.5, 0.5) == 0
    assert rest(count, 0.01, 0.001) == pytest.approx(LARGE_BATCH_SECONDS - 0.01)
    assert rest(count, 0.5, 0.4) == pytest.approx(0.4 / share - 0.5, rel=0.01)
    assert rest(count, 5, 0.01) == 0  # it waited for the database for longer


def test_the_normaliser_lets_others_compute_between_a_few_requests(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr("events.storage.thread_priority.yield_to_other_threads", lambda: order.append("others"))
    original = parse_request.parse

    def read(request: Any) -> Any:
        order.append("read")
        return original(request)

    monkeypatch.setattr(parse_request, "parse", read)
    rows = [
        row_of_request(store_request(hook, body_of({"id": number, "type": "made"})))
        for number in range(2 * YIELD_EVERY)
    ]
    assert normalize.normalize_rows(rows, progress=InlineNormalizer()._step) == 2 * YIELD_EVERY
    stretch = ["read"] * YIELD_EVERY
    assert order == [*stretch[1:], "others", *stretch, "others", "read"]


def test_last_event_is_written_once_a_batch(hook: Subscription, django_assert_max_num_queries: Any) -> None:
    hook.accepted_at = timezone.now()
    hook.save()
    for number in range(5):
        store_request(hook, body_of({"id": number, "type": "made"}))
    with django_assert_max_num_queries(200) as captured:
        normalize.normalize_pending()
    written = [query for query in captured.captured_queries if 'UPDATE "subscriptions_subscription"' in query["sql"]]
    assert len(written) == 1


@pytest.mark.parametrize("managed", [Managed.MANUAL, Managed.API])
def test_the_first_accepted_request_makes_a_manual_one_due(hook: Subscription, managed: str) -> None:
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


# -- Reprocessing ----------------------------------------------------------------------------------------------------


def test_reprocessing_completes_after_a_fix_and_is_idempotent(hook: Subscription, fake: FakeProvider) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    fake.before_parse = reading_fails
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "made"}))
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.QUARANTINED
    fake.before_parse = lambda request: None
    for _ in range(3):
        assert reprocess.reprocess_request(request).outcome == Outcome.PROCESSED
        assert list(Event.objects.order_by("id").values_list("dedup_key", "duplicates")) == [("1", 1), ("2", 0)]


def test_reprocessing_a_duplicate_counts_it_once(hook: Subscription) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    request = store_request(hook, body_of({"id": 1, "type": "made"}))
    normalize.normalize_request(request.pk)
    assert reprocess.reprocess_request(request).outcome == Outcome.DUPLICATE
    assert Event.objects.get().duplicates == 1


def test_reprocessing_after_a_worse_change_keeps_the_events(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}))
    normalize.normalize_request(request.pk)

    def unreadable(request: InboundRequest) -> None:
        raise UnreadableRequest("No longer understood.")

    fake.before_parse = unreadable
    assert reprocess.reprocess_request(request).outcome == Outcome.QUARANTINED
    assert Event.objects.count() == 1


def test_a_rejected_request_is_released_when_its_secret_is_accepted(hook: Subscription) -> None:
    body = body_of({"id": 1, "type": "made"})
    request = store_request(hook, body, headers=(("Authorization", "another-secret"),))
    assert reprocess.reprocess_request(request).outcome == Outcome.REJECTED
    assert Event.objects.count() == 0
    hook.secrets = ["another-secret", SECRET]
    hook.save()
    released = reprocess.reprocess_request(request)
    assert (released.outcome, released.verification, released.reason) == (Outcome.PROCESSED, "verified", "")
    assert (released.headers, released.sealed_headers) == ([["Authorization", "***"]], {})
    assert Event.objects.count() == 1
    hook.refresh_from_db()
    assert hook.accepted_at == hook.last_event_at == request.received_at


def test_a_lost_encryption_key_is_a_reason_and_no_crash(hook: Subscription, settings: Settings) -> None:
    rejected_one = store_request(hook, b"", headers=(("Authorization", "sealed"),))
    waiting = store_request(hook, b"", headers=(("X-Secret", SECRET), ("Cookie", "sealed")))
    settings.ENCRYPTION_KEYS = ("b3RoZXItb25seS1vdGhlci1vbmx5LW90aGVyLW9ubHk=",)
    assert normalize.normalize_pending() == 1
    reprocessed = reprocess.reprocess_request(rejected_one)
    assert (reprocessed.outcome, "ENCRYPTION_KEYS" in reprocessed.reason) == (Outcome.REJECTED, True)
    assert reprocess.reprocess_request(waiting).outcome == Outcome.PING


@pytest.mark.django_db(transaction=True)
def test_reprocessing_twice_at_once(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2}))
    normalize.normalize_request(request.pk)
    fake.fixed = True
    run_concurrently(*[lambda: reprocess.reprocess_request(request)] * 2)
    assert fresh(request).outcome == Outcome.PROCESSED
    assert list(Event.objects.order_by("id").values_list("duplicates", flat=True)) == [0, 0]


def test_a_url_only_request_is_accepted_without_proof(hook: Subscription, fake: FakeProvider) -> None:
    fake.declare(proof=Proof.URL)
    request = store_request(hook, b"", headers=())
    assert (request.outcome, request.verification) == (Outcome.RECEIVED, "not_verifiable")


def test_the_database_itself_refuses_a_second_event_with_the_same_key(hook: Subscription) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    event = Event.objects.get()
    event.pk, event.position, event.uid = None, 99, new_id()
    with pytest.raises(IntegrityError), transaction.atomic():
        event.save(force_insert=True)


# -- Reprocessing many -------------------------------------------------------------------------------------------------


def test_a_filter_of_requests_is_read_again_and_nothing_is_counted_twice(
    hook: Subscription, fake: FakeProvider
) -> None:
    good = store_request(hook, body_of({"id": 1, "type": "made"}))
    waiting = [store_request(hook, body_of({"id": number})) for number in range(2, 5)]
    refused = store_request(hook, body_of({"id": 9, "type": "made"}), headers=(("X-Secret", "later"),))
    normalize.normalize_pending()
    fake.fixed = True
    Subscription.objects.filter(pk=hook.pk).update(secrets=["later", SECRET])
    rows = WebhookRequest.objects.filter(subscription=hook)
    first = reprocess_many(rows, by="staff:ann", max_requests=2)
    assert (first.count, first.last) == (2, waiting[0])
    rest = reprocess_many(rows, by="staff:ann", after=first.last.pk if first.last else 0)
    assert (rest.count, rest.last, dict(rest.outcomes)) == (3, None, {"processed": 3})
    assert (fresh(good).outcome, fresh(refused).outcome) == ("processed", "processed")
    assert sorted(Event.objects.values_list("provider_event_id", "duplicates")) == [(n, 0) for n in "12349"]
    notes = HistoryEntry.objects.filter(action="reprocessed").order_by("id")
    assert list(notes.values_list("actor", "subject_name")) == [
        ("staff:ann", "2 requests"),
        ("staff:ann", "3 requests"),
    ]


def test_what_is_thrown_away_meanwhile_does_not_end_the_reading(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [store_request(hook, b"") for _ in range(3)]
    original = reprocess.reprocess_request

    def reprocess_or_delete(request: WebhookRequest) -> WebhookRequest:
        WebhookRequest.objects.filter(pk=rows[1].pk).delete()
        return original(request)

    monkeypatch.setattr(reprocess, "reprocess_request", reprocess_or_delete)
    result = reprocess_many(WebhookRequest.objects.all(), by="staff:ann")
    assert (dict(result.outcomes), result.last) == ({"ping": 2}, None)


def test_the_command_reads_again_what_it_is_told_to(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1}))
    normalize.normalize_pending()
    fake.fixed = True
    said = io.StringIO()
    with pytest.raises(CommandError, match="Select requests"):
        call_command("reprocess")
    with pytest.raises(CommandError, match="not an ID"):
        call_command("reprocess", subscription="x")
    call_command("reprocess", subscription=str(hook.uid), outcome=["quarantined"], stdout=said)
    assert said.getvalue() == "1 processed\n1 reprocessed\n"
    assert fresh(request).outcome == "processed"
