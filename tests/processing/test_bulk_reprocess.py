"""Reprocessing many requests: by filter, in portions, and by the command."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from events.models import Event, WebhookRequest
from events.processing import normalize, reprocess
from events.processing.bulk_reprocess import reprocess_many
from providers.models import HistoryEntry
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, fresh, store_request

pytestmark = pytest.mark.django_db


def test_a_selection_is_reprocessed_in_portions(hook: Subscription, fake: FakeProvider) -> None:
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


def test_a_request_deleted_meanwhile_is_skipped(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [store_request(hook, b"") for _ in range(3)]
    original = reprocess.reprocess_request

    def reprocess_or_delete(request: WebhookRequest) -> WebhookRequest:
        WebhookRequest.objects.filter(pk=rows[1].pk).delete()
        return original(request)

    monkeypatch.setattr(reprocess, "reprocess_request", reprocess_or_delete)
    result = reprocess_many(WebhookRequest.objects.all(), by="staff:ann")
    assert (dict(result.outcomes), result.last) == ({"ping": 2}, None)


@pytest.mark.parametrize("column", ["headers", "sealed_headers"])
@pytest.mark.parametrize("text", ["no JSON", "[[1], 2]", ""])
def test_unreadable_headers_of_a_rejected_request_affect_no_others(hook: Subscription, column: str, text: str) -> None:
    rows = [store_request(hook, b"", headers=(("Authorization", "later"), ("A", str(number)))) for number in range(3)]
    Subscription.objects.filter(pk=hook.pk).update(secrets=["later"])
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE events_webhookrequest SET {column} = %s WHERE id = %s", [text, rows[1].pk])
    result = reprocess_many(WebhookRequest.objects.all(), by="staff:ann")
    assert dict(result.outcomes) == {"ping": 2, "rejected": 1}
    bad = WebhookRequest.objects.defer("headers", "sealed_headers").get(pk=rows[1].pk)
    assert bad.reason.startswith("The request could not be verified again") or text == ""


def test_the_command_reprocesses_the_selected_requests(hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1}))
    normalize.normalize_pending()
    fake.fixed = True
    output = io.StringIO()
    with pytest.raises(CommandError, match="Select requests"):
        call_command("reprocess")
    with pytest.raises(CommandError, match="not an ID"):
        call_command("reprocess", subscription="x")
    call_command("reprocess", subscription=str(hook.uid), outcome=["quarantined"], stdout=output)
    assert output.getvalue() == "1 processed\n1 reprocessed\n"
    assert fresh(request).outcome == "processed"
