"""The bulk reprocess pages: selected requests, those of a filter, and all of a subscription."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from events.admin import reprocess, reprocess_selection
from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize
from events.processing.bulk_reprocess import reprocess_many
from providers.models import HistoryEntry
from subscriptions.models import Subscription
from tests.admin.conftest import log_in_staff
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, store_request

pytestmark = pytest.mark.django_db

PAGE = "/admin/events/webhookrequest/reprocess/"
LIST = "/admin/events/webhookrequest/"


@pytest.fixture
def waiting(hook: Subscription, fake: FakeProvider) -> list[WebhookRequest]:
    """Store four quarantined requests that can be parsed by now."""
    rows = [store_request(hook, body_of({"id": number})) for number in range(4)]
    normalize.normalize_pending()
    fake.fixed = True
    return rows


def fields_of(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's form, without the CSRF token."""
    fields = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page))
    fields.pop("csrfmiddlewaretoken", None)
    return fields


def outcomes() -> list[str]:
    return list(WebhookRequest.objects.order_by("pk").values_list("outcome", flat=True))


def test_reprocesses_all_requests_of_a_filter(
    superuser: Client, hook: Subscription, waiting: list[WebhookRequest]
) -> None:
    other = store_request(hook, body_of({"id": 9}), headers=(("X-Secret", "wrong"),))
    list_page = superuser.get(
        LIST, {"outcome": "quarantined", "before": str(other.pk)}
    ).content.decode()  # the second page
    assert f'href="{PAGE}?outcome=quarantined"' in list_page
    assert "Reprocess matching requests" not in superuser.get(LIST).content.decode()
    page = superuser.get(PAGE, {"outcome": "quarantined"}).content.decode()
    assert "4 requests" in page
    assert "Its events are added if it can be parsed now" in page
    assert outcomes()[:4] == ["quarantined"] * 4  # the preview changes nothing
    response = superuser.post(PAGE, fields_of(page), follow=True)
    assert response.redirect_chain == [(f"{LIST}?outcome=quarantined", 302)]
    assert "4 requests reprocessed: 4 processed." in response.content.decode()
    assert outcomes() == ["processed"] * 4 + ["rejected"]
    assert WebhookRequest.objects.get(pk=other.pk).outcome == Outcome.REJECTED
    entry = HistoryEntry.objects.get(action="reprocessed")
    assert (entry.actor, entry.subject_name) == ("staff:ann", "4 requests: outcome Quarantined")


def test_reprocesses_selected_requests(superuser: Client, waiting: list[WebhookRequest]) -> None:
    assert f'name="pk" value="{waiting[0].pk}"' in superuser.get(LIST).content.decode()
    page = superuser.get(PAGE, {"pk": [row.pk for row in waiting[1:3]]}).content.decode()
    assert "The selected requests" in page
    assert "2 requests" in page
    superuser.post(PAGE, {"pk": [row.pk for row in waiting[1:3]]})
    assert outcomes() == ["quarantined", "processed", "processed", "quarantined"]
    assert HistoryEntry.objects.get(action="reprocessed").subject_name == "2 requests: selected one by one"


@pytest.mark.slow
def test_reprocesses_a_subscription_with_rejected_and_truncated_requests(
    superuser: Client, hook: Subscription, waiting: list[WebhookRequest]
) -> None:
    store_request(hook, body_of({"id": 9, "type": "made"}), headers=(("X-Secret", "later"),))
    cut = store_request(hook, b"x")
    WebhookRequest.objects.filter(pk=cut.pk).update(outcome=Outcome.TRUNCATED)
    Subscription.objects.filter(pk=hook.pk).update(secrets=["later", SECRET])
    list_page = superuser.get(reverse("admin:subscriptions_subscription_change", args=[hook.pk])).content.decode()
    assert f'href="{PAGE}?subscription={hook.pk}"' in list_page
    page = superuser.get(PAGE, {"subscription": hook.pk}).content.decode()
    assert "6 requests" in page
    assert "Verified again. Released" in page
    assert "Skipped: only the beginning" in page
    superuser.post(PAGE, fields_of(page))
    assert outcomes() == ["processed"] * 5 + ["truncated"]
    assert Event.objects.count() == 5
    superuser.post(PAGE, fields_of(page))  # repeating it changes nothing
    assert Event.objects.filter(duplicates=0).count() == 5


@pytest.mark.slow
def test_each_portion_continues_after_the_previous_one(
    superuser: Client, hook: Subscription, waiting: list[WebhookRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    three = partial(reprocess_many, max_requests=3)
    monkeypatch.setattr(reprocess, "reprocess_many", three)
    first = superuser.get(PAGE, {"subscription": hook.pk}).content.decode()
    late = store_request(hook, body_of({"id": 77}))  # arrived after the preview, so it is not selected
    response = superuser.post(PAGE, fields_of(first))
    progress = superuser.get(response["Location"]).content.decode()
    assert "3 requests reprocessed so far." in progress
    assert "data-auto-continue" in progress
    assert outcomes() == ["processed"] * 3 + ["quarantined", "received"]
    # A link from elsewhere, or the same URL opened later, continues only on request.
    session = superuser.session
    del session["reprocessing"]
    session.save()
    later = superuser.get(response["Location"]).content.decode()
    assert "data-auto-continue" not in later
    result = superuser.post(PAGE, fields_of(later), follow=True).content.decode()
    assert "4 requests reprocessed: 4 processed." in result
    assert WebhookRequest.objects.get(pk=late.pk).outcome == Outcome.RECEIVED
    notes = HistoryEntry.objects.filter(action="reprocessed").order_by("pk")
    assert [entry.subject_name.split(":")[0] for entry in notes] == ["3 requests", "1 requests"]


def test_large_selections_are_counted_up_to_a_limit(
    superuser: Client, hook: Subscription, waiting: list[WebhookRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reprocess_selection, "MAX_COUNTED", 3)
    assert "more than 3 requests; the newest 3" in superuser.get(PAGE, {"subscription": hook.pk}).content.decode()


def test_a_relative_time_span_is_fixed_when_the_preview_is_shown(
    superuser: Client, waiting: list[WebhookRequest]
) -> None:
    fields = fields_of(superuser.get(PAGE, {"within": "1h"}).content.decode())
    assert "within" not in fields
    assert fields["since"] <= (timezone.now() - timedelta(minutes=59)).replace(tzinfo=None).isoformat()
    superuser.post(PAGE, fields)
    assert outcomes() == ["processed"] * 4


@pytest.mark.parametrize("query", [{"outcome": "nonsense"}, {"pk": "x"}, {"within": "9y"}, {"since": "soon"}])
def test_invalid_filter_values_return_404(
    superuser: Client, waiting: list[WebhookRequest], query: dict[str, str]
) -> None:
    assert superuser.get(PAGE, query).status_code == 404
    assert superuser.post(PAGE, query).status_code == 404
    assert outcomes() == ["quarantined"] * 4


def test_without_a_filter_nothing_is_reprocessed(superuser: Client, waiting: list[WebhookRequest]) -> None:
    response = superuser.post(PAGE, follow=True)
    assert "Select requests or a filter first." in response.content.decode()
    assert outcomes() == ["quarantined"] * 4


def test_a_selection_without_matches(superuser: Client, hook: Subscription) -> None:
    page = superuser.get(PAGE, {"outcome": "truncated"}).content.decode()
    assert "No requests match the filter." in page
    result = superuser.post(PAGE, {"outcome": "truncated"}, follow=True).content.decode()
    assert "There was nothing to reprocess." in result
    assert not HistoryEntry.objects.filter(action="reprocessed").exists()


@pytest.mark.slow
def test_view_permission_does_not_allow_reprocessing(
    viewer: Client, hook: Subscription, waiting: list[WebhookRequest]
) -> None:
    assert viewer.get(PAGE, {"subscription": hook.pk}).status_code == 403
    assert viewer.post(PAGE, {"subscription": hook.pk}).status_code == 403
    assert 'name="pk"' not in viewer.get(LIST, {"outcome": "quarantined"}).content.decode()
    assert PAGE not in viewer.get(LIST, {"outcome": "quarantined"}).content.decode()
    page = viewer.get(reverse("admin:subscriptions_subscription_change", args=[hook.pk])).content.decode()
    assert PAGE not in page
    assert outcomes() == ["quarantined"] * 4


def test_the_permission_to_change_requests_allows_reprocessing(
    hook: Subscription, waiting: list[WebhookRequest]
) -> None:
    client = log_in_staff("rae", "events.view_webhookrequest", "events.change_webhookrequest")
    client.post(PAGE, {"subscription": hook.pk})
    assert outcomes() == ["processed"] * 4
