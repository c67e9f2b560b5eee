"""Parsing: requests that cannot be parsed are quarantined with the reason and affect no others."""

from __future__ import annotations

import pytest
from django.db import connection

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize, reprocess
from providers.contract.parsing import InboundRequest
from subscriptions.models import Subscription
from tests.harness.fake_provider import FakeProvider, body_of, fresh, store_request

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{not json", "The body is not JSON"),
        (b'{"events": "\xff"}', "The body is not UTF-8."),
        (b'{"events": [NaN]}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"events": [{"id": 1, "type": "made", "n": ' + b"1" * 5000 + b"}]}", "The body is not JSON"),
    ],
)
def test_an_unreadable_body_is_quarantined_with_the_reason(hook: Subscription, body: bytes, reason: str) -> None:
    request = store_request(hook, body)
    normalize.normalize_request(request.pk)
    assert fresh(request).outcome == Outcome.QUARANTINED
    assert reason in fresh(request).reason
    assert bytes(fresh(request).body) == body


def test_an_exception_in_a_plug_in_quarantines_the_request(
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


def test_a_request_of_an_unknown_provider_is_quarantined(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}))
    type(hook.account).objects.update(provider="gone")
    normalize.normalize_pending()
    assert fresh(request).outcome == Outcome.QUARANTINED
    assert "There is no provider 'gone'" in fresh(request).reason


def test_an_event_time_without_time_zone_is_quarantined(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made", "at": "2026-01-02T03:04:05"}))
    normalize.normalize_request(request.pk)
    assert "occurred_at has no time zone" in fresh(request).reason


def test_unreadable_elements_are_quarantined_and_the_others_stored(hook: Subscription, fake: FakeProvider) -> None:
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


def test_unstorable_characters_are_replaced(hook: Subscription) -> None:
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
    # A NUL is valid in JSON; half of a surrogate pair is not valid in UTF-8.
    assert (first.data["id"], first.data["path"]) == ("a\x00\ufffd", "/\U0001f600\ufffd")
    assert bytes(fresh(request).body) == body
    assert first.data["n"] == 123456789012345678901234567890
    assert first.dedup_key != second.dedup_key  # they differ only in replaced characters


def test_long_texts_are_cut_and_long_keys_are_hashed(hook: Subscription) -> None:
    long = "x" * 5000
    request = store_request(
        hook, body_of({"id": long + "1", "type": long, "path": long, "by": long}, {"id": long + "2", "type": "t"})
    )
    normalize.normalize_request(request.pk)
    first, second = Event.objects.order_by("id")
    assert (len(first.type), len(first.resource or ""), len(first.actor or "")) == (200, 2000, 255)
    assert first.dedup_key != second.dedup_key
    assert first.data["path"] == long


def test_unreadable_headers_affect_only_their_request(hook: Subscription) -> None:
    bad, good = (store_request(hook, body_of({"id": kind, "type": kind})) for kind in ("first", "second"))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE events_webhookrequest SET headers = 'no JSON' WHERE id = %s", [bad.pk])
    assert normalize.normalize_pending() == 2
    outcomes = dict(WebhookRequest.objects.values_list("pk", "outcome"))
    assert (outcomes[bad.pk], outcomes[good.pk]) == (Outcome.QUARANTINED, Outcome.PROCESSED)
