"""The pages of requests and events, and reprocessing a request."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from events.admin import outcome_text
from events.models import Event, Outcome, WebhookRequest, WebhookRequestQuerySet
from events.processing import pending_request
from events.processing.normalize import normalize_request
from events.processing.pending_request import PendingRequest
from providers.models import HistoryEntry, ProviderAccount
from subscriptions.models import Subscription
from tests.admin.conftest import VIEWS, log_in_staff
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, store_request


def page_of(name: str, row: WebhookRequest) -> str:
    return reverse(f"admin:events_webhookrequest_{name}", args=[row.pk])


def open_page(client: Client, row: WebhookRequest) -> str:
    response = client.get(page_of("change", row))
    assert response.status_code == 200
    return response.content.decode()


def test_the_request_page_shows_everything_except_secrets(viewer: Client, received: WebhookRequest) -> None:
    page = open_page(viewer, received)
    assert "Its events were parsed and stored." in page
    assert "The request comes from the provider." in page
    assert "X-Secret" in page
    assert SECRET not in page
    assert '<span class="hk-json-text">/Shared/Plan.docx</span>' in page
    assert f"/admin/events/event/{Event.objects.get().pk}/change/" in page


@pytest.mark.parametrize("note", [r"cut \ud83d", r"\ude00\ud83d", r"\uDBFF\u0000"])
def test_pages_of_half_characters_are_valid_utf_8(superuser: Client, hook: Subscription, note: str) -> None:
    body = '{"events": [{"id": 1, "type": "made", "note": "HALF", "HALF": 2}]}'.replace("HALF", note).encode()
    row = store_request(hook, body)
    assert normalize_request(row.pk)
    event_page = superuser.get(reverse("admin:events_event_change", args=[Event.objects.get().pk]))
    assert event_page.status_code == 200
    for page in (open_page(superuser, row), event_page.content.decode()):
        assert page.count("\ufffd") >= 2


def test_both_places_of_a_move_are_shown_and_found(superuser: Client, hook: Subscription) -> None:
    element = {"id": 1, "type": "made", "path": "/Legal/a.txt", "from": "/Finance/<b>.txt"}
    row = store_request(hook, body_of(element, {"id": 2, "type": "made", "path": "/Other/c.txt"}))
    assert normalize_request(row.pk)
    event = Event.objects.get(dedup_key="1")
    page = superuser.get(reverse("admin:events_event_change", args=[event.pk])).content.decode()
    assert "Previous resource" in page
    assert page.count("/Finance/&lt;b&gt;.txt") >= 2  # the fact and the payload
    for query in ("/legal/", "finance/<"):
        found = superuser.get(reverse("admin:events_event_changelist"), {"q": query}).content.decode()
        assert 'title="/Legal/a.txt"' in found
        assert 'title="/Finance/&lt;b&gt;.txt"' in found
        assert "/Other/c.txt" not in found


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_explained(viewer: Client, received: WebhookRequest, outcome: Outcome) -> None:
    WebhookRequest.objects.update(outcome=outcome)
    page = open_page(viewer, received)
    assert f'data-state="{outcome}"' in page
    assert outcome_text.OUTCOMES[outcome] in page


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain text",
        b"\xff\xfe\x00binary",
        b"<script>alert(1)</script>",
        b'{"deep": ' + b"[" * 90 + b"]" * 90 + b"}",
        b"[" * 5000,
        json.dumps(list(range(5000))).encode(),
        b'{"long": "' + b"x" * 300_000 + b'"}',
        "ä\u0000".encode(),
    ],
    ids=["empty", "text", "binary", "script", "deep", "bottomless", "wide", "long", "nul"],
)
def test_any_body_can_be_shown(superuser: Client, hook: Subscription, body: bytes) -> None:
    row = store_request(hook, body)
    page = open_page(superuser, row)
    assert "<script>alert" not in page
    assert len(page) < 1_500_000
    download = superuser.get(page_of("body", row))
    assert download.content == body
    assert download["Content-Type"] == "application/octet-stream"
    assert download["Content-Disposition"].startswith("attachment")


def test_a_quarantined_request_is_reprocessed_after_a_fix(
    superuser: Client, hook: Subscription, fake: FakeProvider
) -> None:
    row = store_request(hook, body_of({"id": 1}))
    normalize_request(row.pk)
    assert "Reprocess" in open_page(superuser, row)
    first_attempt = superuser.post(page_of("reprocess", row), follow=True).content.decode()
    assert "Still quarantined" in first_attempt
    fake.fixed = True
    second_attempt = superuser.post(page_of("reprocess", row), follow=True).content.decode()
    assert "Reprocessed. New outcome: processed." in second_attempt
    assert Event.objects.count() == 1
    entry = HistoryEntry.objects.latest("pk")
    assert (entry.action, entry.actor, entry.subject_id) == ("reprocessed", "staff:ann", str(row.uid))


def test_a_rejected_request_is_released_with_the_right_secret(superuser: Client, hook: Subscription) -> None:
    row = store_request(hook, body_of({"id": 1, "type": "made"}), headers=(("Authorization", "new-secret"),))
    assert "Verify again and release" in open_page(superuser, row)
    assert "new-secret" not in open_page(superuser, row)
    first_attempt = superuser.post(page_of("reprocess", row), follow=True).content.decode()
    assert "Still rejected" in first_attempt
    Subscription.objects.filter(pk=hook.pk).update(secrets=["new-secret"])
    second_attempt = superuser.post(page_of("reprocess", row), follow=True).content.decode()
    assert "Released. New outcome: processed." in second_attempt
    assert Event.objects.count() == 1


def test_reprocessing_requires_the_permission_and_post(
    viewer: Client, superuser: Client, received: WebhookRequest
) -> None:
    assert viewer.post(page_of("reprocess", received)).status_code == 403
    assert superuser.get(page_of("reprocess", received)).status_code == 405
    changer = log_in_staff("chris", *VIEWS, "events.change_webhookrequest")
    assert changer.post(page_of("reprocess", received)).status_code == 302


def test_a_truncated_request_cannot_be_reprocessed(superuser: Client, received: WebhookRequest) -> None:
    WebhookRequest.objects.update(outcome=Outcome.TRUNCATED)
    assert "Reprocess" not in open_page(superuser, received)
    assert superuser.post(page_of("reprocess", received)).status_code == 403


def test_a_request_deleted_during_reprocessing_returns_404(
    superuser: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = store_request(hook, b"")
    original = pending_request.load_requests

    def delete_first(rows: WebhookRequestQuerySet) -> list[PendingRequest]:
        WebhookRequest.objects.filter(pk=row.pk).delete()
        return original(rows)

    monkeypatch.setattr(pending_request, "load_requests", delete_first)
    assert superuser.post(page_of("reprocess", row)).status_code == 404


def test_the_body_download_requires_the_permission(unprivileged: Client, received: WebhookRequest) -> None:
    assert unprivileged.get(page_of("body", received)).status_code == 403


def test_newer_and_older_requests_are_of_the_same_subscription(viewer: Client, hook: Subscription) -> None:
    first, second = store_request(hook, b"1"), store_request(hook, b"2")
    other = Subscription.objects.create(account=hook.account, secrets=[SECRET])
    store_request(other, b"3")
    context = viewer.get(page_of("change", first)).context
    assert (context["newer"], context["older"]) == (page_of("change", second), None)
    context = viewer.get(page_of("change", second)).context
    assert (context["newer"], context["older"]) == (None, page_of("change", first))


def test_the_event_page_shows_normalized_and_original_data(viewer: Client, received: WebhookRequest) -> None:
    event = Event.objects.get()
    page = viewer.get(reverse("admin:events_event_change", args=[event.pk])).content.decode()
    for text in ("Created", "/Shared/Plan.docx", "emma", str(event.uid), page_of("change", received)):
        assert text in page


def test_the_request_page_shows_how_long_it_is_stored(viewer: Client, received: WebhookRequest) -> None:
    page = reverse("admin:events_webhookrequest_change", args=[received.pk])
    assert "kept indefinitely" in viewer.get(page).content.decode()
    ProviderAccount.objects.update(retention_days=7)
    assert "in 6 d 23 h" in viewer.get(page).content.decode()
    WebhookRequest.objects.update(outcome=Outcome.QUARANTINED)
    quarantined = viewer.get(page).content.decode()
    assert "in 13 d 23 h" in quarantined
    assert "if released" in quarantined
    WebhookRequest.objects.update(outcome=Outcome.RECEIVED)
    assert "at least until it is processed" in viewer.get(page).content.decode()


def test_unreadable_headers_are_reported(superuser: Client, hook: Subscription) -> None:
    request = store_request(
        hook, b"a=1", headers=(("X-Secret", SECRET), ("Content-Type", "application/x-www-form-urlencoded"))
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE events_webhookrequest SET headers = 'no JSON' WHERE id = %s", [request.pk])
    page = superuser.get(reverse("admin:events_webhookrequest_change", args=[request.pk])).content.decode()
    assert "The stored headers cannot be decrypted." in page
