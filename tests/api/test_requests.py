"""`/requests/`: the list, single requests, reprocessing, and secret headers."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize, pending_request, reprocess
from events.processing.bulk_reprocess import reprocess_many
from providers.models import HistoryEntry, ProviderAccount
from providers.times import iso_time
from subscriptions.models import Subscription
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, store_request

pytestmark = pytest.mark.django_db


def test_returns_a_request_as_it_was_sent(api: Api, hook: Subscription) -> None:
    body = b'\xff\x00{"a": 1}'
    request = store_request(hook, body, headers=(("X-Secret", SECRET), ("X-Other", "\xe9"), ("X-Other", "2")))
    response = api.get(f"/requests/{request.uid}/")
    assert response.status == 200
    assert response.json == {
        "id": str(request.uid),
        "subscription": str(hook.uid),
        "method": "POST",
        "received_at": iso_time(request.received_at),
        "remote_addr": "192.0.2.1",
        "headers": [["X-Secret", "***"], ["X-Other", "\xe9"], ["X-Other", "2"]],
        "query": "",
        "body_base64": base64.b64encode(body).decode(),
        "size": len(body),
        "verification": "verified",
        "outcome": "received",
        "reason": "",
        "events": [],
    }


def test_a_request_lists_its_events(api: Api, hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2, "type": "made"}))
    again = store_request(hook, body_of({"id": 1, "type": "made"}))
    normalize.normalize_pending()
    shown = api.get(f"/requests/{request.uid}/").json
    assert shown["outcome"] == "processed"
    assert shown["events"] == [str(event.uid) for event in Event.objects.order_by("id")]
    shown = api.get(f"/requests/{again.uid}/").json
    assert (shown["outcome"], shown["events"]) == ("duplicate", [])


def test_the_list_takes_few_queries(api: Api, hook: Subscription) -> None:
    for number in range(5):
        store_request(hook, body_of({"id": number, "type": "made"}))
    normalize.normalize_pending()
    api.get("/providers/")  # records the use of the token
    with CaptureQueriesContext(connection) as queries:
        results = api.get("/requests/").json["results"]
    assert [json.loads(base64.b64decode(item["body_base64"]))["events"][0]["id"] for item in results] == [4, 3, 2, 1, 0]
    assert all(len(item["events"]) == 1 for item in results)
    assert len(queries) == 4  # the token, the page, the bodies, the events
    assert not any("sealed_headers" in query["sql"] for query in queries)


def test_filters(api: Api, hook: Subscription) -> None:
    other_account = ProviderAccount.objects.create(provider="fake", name="Other")
    other = Subscription.objects.create(account=other_account, secrets=[SECRET], due_at=None)
    now = timezone.now()
    old = store_request(hook, b"", received_at=now - timedelta(hours=2))
    rejected = store_request(hook, b"{}", headers=(), received_at=now - timedelta(hours=1))
    elsewhere = store_request(other, b"", received_at=now)

    def matching(query: str) -> list[str]:
        return [item["id"] for item in api.get(f"/requests/?{query}").json["results"]]

    assert matching(f"account={hook.account.uid}") == [str(rejected.uid), str(old.uid)]
    assert matching(f"subscription={other.uid}") == [str(elsewhere.uid)]
    assert matching(f"subscription={other.uid}&subscription={hook.uid}&account={hook.account.uid}") == [
        str(rejected.uid),
        str(old.uid),
    ]
    assert matching(f"subscription={UNKNOWN_ID}") == []
    assert matching("outcome=rejected") == [str(rejected.uid)]
    assert matching("outcome=rejected&outcome=received") == [str(elsewhere.uid), str(rejected.uid), str(old.uid)]
    start, end = iso_time(old.received_at), iso_time(elsewhere.received_at)
    assert matching(f"since={start}&until={end}") == [str(rejected.uid), str(old.uid)]


@pytest.mark.parametrize(
    "query", ["color=red", "outcome=bad", "since=yesterday", "until=2026-01-01", "account=1", "method=POST"]
)
def test_rejects_unknown_filters_and_invalid_values(api: Api, query: str) -> None:
    response = api.get(f"/requests/?{query}")
    assert (response.status, list(response.fields())) == (400, [query.partition("=")[0]])


def test_authentication_scope_and_methods(with_scopes: Issue, anonymous: Api, api: Api, hook: Subscription) -> None:
    request = store_request(hook, b"")
    wrong = with_scopes("subscriptions:write", "secrets:read")
    for method, path, scope, other in (
        ("GET", "/requests/", "events:read", "POST"),
        ("GET", f"/requests/{request.uid}/", "events:read", "DELETE"),
        ("POST", f"/requests/{request.uid}/reprocess/", "events:write", "GET"),
        ("POST", f"/requests/{request.uid}/headers/", "events:read", "GET"),
    ):
        check_access(path, method, anonymous=anonymous, wrong=wrong, scope=scope, wrong_method=other, api=api)
    assert with_scopes("events:write").post(f"/requests/{request.uid}/headers/").status == 403


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("POST", "reprocess/"), ("POST", "headers/")])
@pytest.mark.parametrize("uid", [UNKNOWN_ID, "x"])
def test_unknown_and_malformed_ids_are_404(api: Api, method: str, end: str, uid: str) -> None:
    assert api.call(method, f"/requests/{uid}/{end}").status == 404


# -- Reprocess -------------------------------------------------------------------------------------------------------


def test_reprocess_adds_events_that_could_not_be_parsed(api: Api, hook: Subscription, fake: FakeProvider) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}, {"id": 2}))
    normalize.normalize_pending()
    path = f"/requests/{request.uid}/"
    assert api.get(path).json["outcome"] == "quarantined"
    fake.fixed = True
    response = api.post(f"{path}reprocess/")
    assert (response.status, response.json["outcome"], len(response.json["events"])) == (200, "processed", 2)
    again = api.post(f"{path}reprocess/")
    assert again.json == response.json == api.get(path).json


def test_reprocess_releases_a_request_with_a_new_secret(api: Api, hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}), headers=(("Authorization", "Bearer new"),))
    path = f"/requests/{request.uid}/reprocess/"
    response = api.post(path)
    assert (response.status, response.json["outcome"]) == (200, "rejected")
    Subscription.objects.filter(pk=hook.pk).update(secrets=["Bearer new", SECRET])
    response = api.post(path)
    assert (response.json["outcome"], response.json["verification"]) == ("processed", "verified")
    assert Event.objects.count() == 1


def test_reprocess_accepts_no_body(api: Api, hook: Subscription) -> None:
    request = store_request(hook, b"")
    assert api.post(f"/requests/{request.uid}/reprocess/", {"force": True}).fields() == {"force": "unknown"}


def test_reprocess_with_invalid_account_settings_leaves_the_request_rejected(api: Api, hook: Subscription) -> None:
    request = store_request(hook, b"{}", headers=())
    ProviderAccount.objects.update(settings={"color": "red"})
    response = api.post(f"/requests/{request.uid}/reprocess/")
    assert (response.status, response.json["outcome"]) == (200, "rejected")
    assert "color" in response.json["reason"]


def test_all_requests_of_a_subscription_are_reprocessed(api: Api, hook: Subscription, fake: FakeProvider) -> None:
    for number in range(3):
        store_request(hook, body_of({"id": number}))
    normalize.normalize_pending()
    fake.fixed = True
    response = api.post(f"/requests/reprocess/?subscription={hook.uid}&outcome=quarantined")
    assert (response.status, response.json) == (200, {"reprocessed": 3, "outcomes": {"processed": 3}, "after": None})
    assert api.post("/requests/reprocess/").fields() == {"subscription": "invalid"}
    assert api.post("/requests/reprocess/?color=red").fields() == {"color": "unknown"}
    assert api.post("/requests/reprocess/?outcome=ping", {"after": str(uuid4())}).fields() == {"after": "invalid"}


def test_many_requests_are_reprocessed_in_several_calls(
    api: Api, hook: Subscription, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    monkeypatch.setattr("events.api.requests.reprocess_many", partial(reprocess_many, max_requests=2))
    path = f"/requests/reprocess/?subscription={hook.uid}"
    first = api.post(path).json
    assert (first["reprocessed"], first["after"]) == (2, str(requests[1].uid))
    assert api.post(path, {"after": first["after"]}).json["reprocessed"] == 1


def test_a_deleted_request_as_after_does_not_start_from_the_beginning(
    api: Api, hook: Subscription, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    for request in long_ago:
        request.uid = UUID(int=request.uid.int - (24 * 3600 * 1000 << 80))  # an ID of that time
        request.save(update_fields=["uid"])
    requests = [store_request(hook, body_of({"id": number, "type": "made"})) for number in range(3)]
    monkeypatch.setattr("events.api.requests.reprocess_many", partial(reprocess_many, max_requests=4))
    path = f"/requests/reprocess/?subscription={hook.uid}"
    first = api.post(path).json
    assert (first["reprocessed"], first["after"]) == (4, str(requests[0].uid))
    Event.objects.filter(request=requests[0]).delete()
    requests[0].delete()
    response = api.post(path, {"after": first["after"]})
    assert (response.status, response.json["reprocessed"], response.json["after"]) == (200, 2, None)


@pytest.mark.parametrize(
    ("module", "step"),
    [(reprocess, "_without_secrets"), (pending_request, "load_requests"), (normalize, "_normalize_one")],
)
def test_a_request_deleted_during_reprocessing_returns_404(
    api: Api, hook: Subscription, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
) -> None:
    request = store_request(hook, b"")
    original = getattr(module, step)

    def delete_first(*args: Any) -> Any:
        WebhookRequest.objects.filter(pk=request.pk).delete()
        return original(*args)

    monkeypatch.setattr(module, step, delete_first)
    assert api.post(f"/requests/{request.uid}/reprocess/").status == 404


# -- Secret header values --------------------------------------------------------------------------------------------


def test_secret_headers_need_a_scope_and_are_logged(with_scopes: Issue, hook: Subscription) -> None:
    request = store_request(hook, b"{}", headers=(("Host", "x"), ("Authorization", "Bearer wrong")))
    assert request.outcome == Outcome.REJECTED
    few = with_scopes("events:read", "secrets:read")
    path = f"/requests/{request.uid}/"
    assert few.get(path).json["headers"] == [["Host", "x"], ["Authorization", "***"]]
    response = few.post(f"{path}headers/")
    assert response.json == {"headers": [["Host", "x"], ["Authorization", "Bearer wrong"]]}
    entry = HistoryEntry.objects.latest("id")
    assert (entry.actor, entry.action, entry.subject_id) == ("api:limited", "headers revealed", str(request.uid))


def test_the_secret_of_an_accepted_request_is_not_stored(api: Api, hook: Subscription) -> None:
    request = store_request(hook, b"{}")
    response: dict[str, Any] = api.post(f"/requests/{request.uid}/headers/").json
    assert response == {"headers": [["X-Secret", "***"]]}


def test_unreadable_headers_do_not_affect_other_requests(api: Api, hook: Subscription, with_scopes: Issue) -> None:
    good, bad = (store_request(hook, b"{}", headers=(("Authorization", "wrong"),)) for _ in range(2))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE events_webhookrequest SET headers = 'no JSON' WHERE id = %s", [bad.pk])
    shown = api.get("/requests/").json["results"]
    assert [(item["id"], item["headers"]) for item in shown] == [
        (str(bad.uid), []),
        (str(good.uid), [["Authorization", "***"]]),
    ]
    assert api.get(f"/requests/{bad.uid}/").json["headers"] == []
    assert api.post(f"/requests/{bad.uid}/reprocess/").json["outcome"] == "rejected"
    reader = with_scopes("events:read", "secrets:read")
    assert reader.post(f"/requests/{bad.uid}/headers/").status == 409
    assert reader.post(f"/requests/{good.uid}/headers/").json["headers"] == [["Authorization", "wrong"]]
