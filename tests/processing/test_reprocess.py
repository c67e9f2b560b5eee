"""Reprocessing one request: after a fix, with another secret, repeatedly and concurrently."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from events.models import Event, Outcome
from events.processing import normalize, reprocess
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import InboundRequest
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, fresh, run_concurrently, store_request

pytestmark = pytest.mark.django_db


def parsing_fails(request: InboundRequest) -> None:
    raise KeyError("a bug")


def test_reprocessing_adds_missing_events_and_is_idempotent(hook: Subscription, fake: FakeProvider) -> None:
    normalize.normalize_request(store_request(hook, body_of({"id": 1, "type": "made"})).pk)
    fake.before_parse = parsing_fails
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


def test_failed_reprocessing_does_not_delete_events(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}))
    normalize.normalize_request(request.pk)

    def unreadable(request: InboundRequest) -> None:
        raise UnreadableRequest("The format is no longer supported.")

    fake.before_parse = unreadable
    assert reprocess.reprocess_request(request).outcome == Outcome.QUARANTINED
    assert Event.objects.count() == 1


def test_a_rejected_request_is_released_once_its_secret_is_accepted(hook: Subscription) -> None:
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


def test_a_lost_encryption_key_keeps_a_request_rejected(hook: Subscription, settings: Settings) -> None:
    rejected_one = store_request(hook, b"", headers=(("Authorization", "sealed"),))
    waiting = store_request(hook, b"", headers=(("X-Secret", SECRET), ("Cookie", "sealed")))
    settings.ENCRYPTION_KEYS = ("b3RoZXItb25seS1vdGhlci1vbmx5LW90aGVyLW9ubHk=",)
    assert normalize.normalize_pending() == 1
    reprocessed = reprocess.reprocess_request(rejected_one)
    assert (reprocessed.outcome, "ENCRYPTION_KEYS" in reprocessed.reason) == (Outcome.REJECTED, True)
    assert reprocess.reprocess_request(waiting).outcome == Outcome.PING


@pytest.mark.django_db(transaction=True)
def test_concurrent_reprocessing_stores_events_once(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2}))
    normalize.normalize_request(request.pk)
    fake.fixed = True
    run_concurrently(*[lambda: reprocess.reprocess_request(request)] * 2)
    assert fresh(request).outcome == Outcome.PROCESSED
    assert list(Event.objects.order_by("id").values_list("duplicates", flat=True)) == [0, 0]
