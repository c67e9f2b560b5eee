"""Filters, search and pagination, which all lists share."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from events.models import Event
from events.processing.normalize import normalize_pending
from providers.dashboard import list_page
from subscriptions.models import State, Subscription
from tests.harness.fake_provider import body_of, store_request

REQUESTS = "admin:events_webhookrequest_changelist"
EVENTS = "admin:events_event_changelist"
SUBSCRIPTIONS = "admin:subscriptions_subscription_changelist"


def rows_of(client: Client, name: str, query: str = "") -> list[int]:
    response = client.get(reverse(name) + query)
    assert response.status_code == 200
    return [row.pk for row in response.context["page"].rows]


@pytest.fixture
def seven_requests(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Store seven requests and return their keys, newest first, with pages of three."""
    monkeypatch.setattr(list_page, "PAGE_SIZE", 3)
    return [store_request(hook, body_of({"id": number, "type": "made"})).pk for number in range(7)][::-1]


def test_pages_lead_to_the_oldest_row_and_back(viewer: Client, seven_requests: list[int]) -> None:
    seen: list[int] = []
    query: str | None = ""
    while query is not None:
        page = viewer.get(reverse(REQUESTS) + query).context["page"]
        seen += [row.pk for row in page.rows]
        query = page.older
    assert seen == seven_requests
    back: list[int] = []
    query = page.newer
    while query is not None:
        page = viewer.get(reverse(REQUESTS) + query).context["page"]
        back = [row.pk for row in page.rows] + back
        query = page.newer
    assert back == seven_requests[:6]


def test_a_new_row_does_not_shift_a_page(viewer: Client, hook: Subscription, seven_requests: list[int]) -> None:
    older = viewer.get(reverse(REQUESTS)).context["page"].older
    store_request(hook, body_of({"id": 99, "type": "made"}))
    assert rows_of(viewer, REQUESTS, older) == seven_requests[3:6]


def test_a_filter_is_kept_from_page_to_page(viewer: Client, seven_requests: list[int]) -> None:
    page = viewer.get(reverse(REQUESTS) + "?outcome=received").context["page"]
    assert "outcome=received" in page.older


@pytest.mark.parametrize(
    "query", ["?before=x", "?after=-1", "?before=99999999999999999999999", "?after=", "?p=7", "?o=1"]
)
def test_an_invalid_page_key_shows_the_first_page(viewer: Client, seven_requests: list[int], query: str) -> None:
    assert rows_of(viewer, REQUESTS, query) == seven_requests[:3]


@pytest.mark.parametrize(
    "query",
    ["?outcome=bogus", "?account=x", "?subscription=1e9", "?since=yesterday", "?until=%00x", "?within=9y"],
)
def test_an_invalid_filter_is_reported_and_ignored(viewer: Client, seven_requests: list[int], query: str) -> None:
    response = viewer.get(reverse(REQUESTS) + query)
    assert [row.pk for row in response.context["page"].rows] == seven_requests[:3]
    assert "was ignored" in response.content.decode()


def test_requests_by_outcome_and_subscription(viewer: Client, hook: Subscription) -> None:
    good = store_request(hook, body_of({"id": 1, "type": "made"}))
    bad = store_request(hook, b"{}", headers=())
    other = Subscription.objects.create(account=hook.account, secrets=["other"])
    assert rows_of(viewer, REQUESTS, "?outcome=rejected") == [bad.pk]
    assert rows_of(viewer, REQUESTS, f"?subscription={hook.pk}") == [bad.pk, good.pk]
    assert rows_of(viewer, REQUESTS, f"?subscription={other.pk}") == []
    assert rows_of(viewer, REQUESTS, f"?account={hook.account_id}&outcome=received") == [good.pk]


@pytest.mark.slow
def test_requests_and_events_by_time(viewer: Client, hook: Subscription) -> None:
    now = timezone.now()
    request = store_request(hook, body_of({"id": 1, "type": "made"}), received_at=now)
    normalize_pending()
    event = Event.objects.get()
    for name, key in ((REQUESTS, request.pk), (EVENTS, event.pk)):
        before, after = (now - timedelta(minutes=5)).isoformat(), (now + timedelta(minutes=5)).isoformat()
        bounds = {"since": before.replace("+00:00", ""), "until": after.replace("+00:00", "")}
        assert rows_of(viewer, name, f"?since={bounds['since']}&until={bounds['until']}") == [key]
        assert rows_of(viewer, name, f"?since={bounds['until']}") == []
        assert rows_of(viewer, name, f"?until={bounds['since']}") == []
        assert rows_of(viewer, name, "?within=15m") == [key]


def test_a_request_stored_late_is_found_by_its_receipt_time(viewer: Client, hook: Subscription) -> None:
    received_at = timezone.now() - timedelta(hours=2)
    request = store_request(hook, body_of({"id": 1, "type": "made"}), received_at=received_at)
    until = (received_at + timedelta(minutes=1)).isoformat().replace("+00:00", "")
    since = (received_at - timedelta(minutes=1)).isoformat().replace("+00:00", "")
    assert rows_of(viewer, REQUESTS, f"?since={since}&until={until}") == [request.pk]


def test_events_by_provider_action_and_type(viewer: Client, hook: Subscription) -> None:
    store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "odd"}))
    normalize_pending()
    odd, made = Event.objects.order_by("-pk")
    assert rows_of(viewer, EVENTS, "?provider=fake") == [odd.pk, made.pk]
    assert rows_of(viewer, EVENTS, "?action=created") == [made.pk]
    assert rows_of(viewer, EVENTS, "?type=odd") == [odd.pk]
    assert rows_of(viewer, EVENTS, f"?account={hook.account_id}&type=nothing") == []


@pytest.fixture
def two_subscriptions(hook: Subscription) -> tuple[Subscription, Subscription]:
    other = Subscription.objects.create(
        account=hook.account, name="Legal", secrets=["s"], remote_id="wh-77", state=State.FAILING, due_at=None
    )
    return hook, other


@pytest.mark.slow
def test_subscriptions_by_state_and_search(
    viewer: Client, two_subscriptions: tuple[Subscription, Subscription]
) -> None:
    plain, legal = two_subscriptions
    assert rows_of(viewer, SUBSCRIPTIONS) == [legal.pk, plain.pk]
    assert rows_of(viewer, SUBSCRIPTIONS, "?state=failing") == [legal.pk]
    for text in ("lega", "wh-77", legal.callback_url, legal.token, str(legal.uid)):
        assert rows_of(viewer, SUBSCRIPTIONS, f"?q={text}") == [legal.pk], text
    assert rows_of(viewer, SUBSCRIPTIONS, "?q=nothing%00") == []
    assert rows_of(viewer, SUBSCRIPTIONS, "?provider=fake&account=" + str(plain.account_id)) == [legal.pk, plain.pk]


def test_deleted_subscriptions_are_only_listed_with_the_state_filter(
    viewer: Client, two_subscriptions: tuple[Subscription, Subscription]
) -> None:
    plain, legal = two_subscriptions
    Subscription.objects.filter(pk=legal.pk).update(state=State.DELETED, deleted_at=timezone.now())
    assert rows_of(viewer, SUBSCRIPTIONS) == [plain.pk]
    assert rows_of(viewer, SUBSCRIPTIONS, "?state=deleted") == [legal.pk]


def test_lists_never_load_bodies_or_secrets(viewer: Client, hook: Subscription) -> None:
    store_request(hook, body_of({"id": 1, "type": "made"}))
    request = viewer.get(reverse(REQUESTS)).context["page"].rows[0]
    assert {"body", "headers", "sealed_headers"} <= request.get_deferred_fields()
    row = viewer.get(reverse(SUBSCRIPTIONS)).context["page"].rows[0]
    assert "secrets" in row.get_deferred_fields()


def test_events_by_a_pattern_of_types(viewer: Client, hook: Subscription) -> None:
    for number, kind in enumerate(("fs:add_file", "fs:move", "link:create")):
        store_request(hook, body_of({"id": number, "type": kind}))
    normalize_pending()
    both = [row.pk for row in Event.objects.filter(type__startswith="fs:").order_by("-pk")]
    assert rows_of(viewer, EVENTS, "?type=fs:*") == both
    assert len(rows_of(viewer, EVENTS, "?type=*****")) == 3  # reported and ignored


def test_the_search_covers_the_newest_matching_events(
    viewer: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        store_request(hook, body_of({"id": number, "type": "made", "path": f"/Shared/Plan {number % 2}", "by": "emma"}))
    normalize_pending()
    keys = list(Event.objects.order_by("-pk").values_list("pk", flat=True))
    assert rows_of(viewer, EVENTS, "?q=plan 1") == [keys[0], keys[2]]
    assert rows_of(viewer, EVENTS, "?q=EMMA") == keys
    assert rows_of(viewer, EVENTS, f"?q={Event.objects.get(pk=keys[3]).uid}") == [keys[3]]
    assert rows_of(viewer, EVENTS, "?q=nobody") == []
    monkeypatch.setattr("events.admin.events.MAX_SEARCHED", 2)
    assert rows_of(viewer, EVENTS, "?q=emma") == keys[:2]
    assert "Searched the newest 2 matching events" in viewer.get(reverse(EVENTS) + "?q=emma").content.decode()
