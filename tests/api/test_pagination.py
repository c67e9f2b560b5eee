"""Pagination: cursors, limits and links."""

from __future__ import annotations

import base64

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import WebhookRequest
from providers.rest import pagination
from subscriptions.models import Subscription
from tests.api.conftest import Api
from tests.harness.fake_provider import store_request

pytestmark = pytest.mark.django_db


@pytest.fixture
def ids(hook: Subscription) -> list[str]:
    """Store seven requests, and return their IDs, newest first."""
    return [str(store_request(hook, b"").uid) for _ in range(7)][::-1]


def shown(page: dict[str, object]) -> list[str]:
    results = page["results"]
    assert isinstance(results, list)
    return [item["id"] for item in results]


def test_forward_and_back(api: Api, ids: list[str]) -> None:
    first = api.get("/requests/?limit=3").json
    second = api.get(first["next"]).json
    third = api.get(second["next"]).json
    assert [shown(first), shown(second), shown(third)] == [ids[:3], ids[3:6], ids[6:]]
    assert (first["previous"], third["next"]) == (None, None)
    back = api.get(third["previous"]).json
    assert shown(back) == ids[3:6]
    start = api.get(back["previous"]).json
    assert (shown(start), start["previous"]) == (ids[:3], None)
    assert shown(api.get(start["next"]).json) == ids[3:6]


@pytest.mark.slow
def test_new_rows_do_not_shift_pages(api: Api, ids: list[str], hook: Subscription) -> None:
    first = api.get("/requests/?limit=3").json
    newer = [str(store_request(hook, b"").uid) for _ in range(2)][::-1]
    second = api.get(first["next"]).json
    assert shown(second) == ids[3:6]
    assert shown(api.get(second["previous"]).json) == ids[:3]
    assert shown(api.get(api.get(second["previous"]).json["previous"]).json) == newer


def test_deleted_rows_do_not_skip_others(api: Api, ids: list[str]) -> None:
    first = api.get("/requests/?limit=3").json
    WebhookRequest.objects.filter(uid__in=ids[3:]).delete()
    empty = api.get(first["next"]).json
    assert (shown(empty), empty["next"]) == ([], None)
    assert shown(api.get(empty["previous"]).json) == ids[:3]
    WebhookRequest.objects.filter(uid__in=ids[:2]).delete()
    back = api.get(empty["previous"]).json
    assert shown(back) == ids[2:3]


def test_an_empty_previous_page_links_to_the_next(api: Api, ids: list[str]) -> None:
    last = api.get(api.get("/requests/?limit=6").json["next"]).json
    WebhookRequest.objects.filter(uid__in=ids[:6]).delete()
    empty = api.get(last["previous"]).json
    assert (shown(empty), empty["previous"]) == ([], None)
    assert shown(api.get(empty["next"]).json) == ids[6:]


def test_links_are_absolute_and_keep_the_filters(api: Api, ids: list[str], hook: Subscription) -> None:
    response = api.get(f"/requests/?limit=2&subscription={hook.uid}")
    url = response.json["next"]
    assert url.startswith("http://testserver/api/v1/requests/?")
    assert f"subscription={hook.uid}" in url
    assert "limit=2" in url
    assert response.headers["Link"] == f'<{url}>; rel="next"'


def test_an_empty_list_has_no_links(api: Api) -> None:
    response = api.get("/requests/")
    assert response.json == {"next": None, "previous": None, "results": []}
    assert "Link" not in response.headers


@pytest.mark.parametrize("limit", ["0", "251", "-1", "x", "", "1.5", "9999999999", "%D9%A1"])
def test_limits_out_of_range_return_400(api: Api, limit: str) -> None:
    assert api.get(f"/requests/?limit={limit}").fields() == {"limit": "invalid"}


@pytest.mark.parametrize("limit", ["1", "250"])
def test_limits_in_range_are_accepted(api: Api, ids: list[str], limit: str) -> None:
    assert len(api.get(f"/requests/?limit={limit}").json["results"]) == min(int(limit), 7)


def test_the_limit_is_50_by_default(api: Api, hook: Subscription) -> None:
    for _ in range(51):
        store_request(hook, b"")
    page = api.get("/requests/").json
    assert len(page["results"]) == 50
    assert len(api.get(page["next"]).json["results"]) == 1


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!",
        "%00",
        "bm",
        encoded("ln"),
        encoded("ln-1"),
        encoded("fn1"),
        encoded("ln" + "9" * 19),
        encoded("ln1 "),
    ],
)
def test_broken_cursors_return_400(api: Api, cursor: str) -> None:
    assert api.get(f"/requests/?cursor={cursor}").fields() == {"cursor": "invalid"}


def test_two_cursors_return_400(api: Api) -> None:
    cursor = encoded("ln1")
    assert api.get(f"/requests/?cursor={cursor}&cursor={cursor}").status == 400


def test_queries_neither_count_nor_use_offset(api: Api, ids: list[str]) -> None:
    url = api.get("/requests/?limit=3").json["next"]
    with CaptureQueriesContext(connection) as queries:
        api.get(url)
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"] or "OFFSET" in query["sql"]]


def test_a_page_with_large_bodies_ends_before_its_limit(
    api: Api, ids: list[str], hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    heavy = [str(store_request(hook, b"x" * 60).uid) for _ in range(3)][::-1]
    monkeypatch.setattr(pagination, "PAGE_WEIGHT", 100)
    first = api.get("/requests/").json
    second = api.get(first["next"]).json
    assert shown(first) == heavy[:1]
    assert shown(second) == heavy[1:2]
    third = api.get(second["next"]).json
    assert shown(third) == [heavy[2], *ids]
    assert third["next"] is None
    assert shown(api.get(third["previous"]).json) == heavy[1:2]
