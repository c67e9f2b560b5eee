"""`/events/`: the list, the feed, single events, and CloudEvents."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from events.models import Event, FeedEnd
from events.processing import normalize
from events.storage import time_range
from providers.models import ProviderAccount
from providers.times import iso_time
from subscriptions.models import Subscription
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fake_provider import SECRET, body_of, store_request

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
Emit = Callable[..., str]


@pytest.fixture
def emit(hook: Subscription) -> Emit:
    """Return a function that receives one event and returns its ID."""

    def emit(*, to: Subscription = hook, received_at: datetime = NOON, **element: Any) -> str:
        element = {"id": Event.objects.count(), "type": "made", **element}
        normalize.normalize_request(store_request(to, body_of(element), received_at=received_at).pk)
        return str(Event.objects.latest("id").uid)

    return emit


def ids(response: Any) -> list[str]:
    assert response.status == 200, response.json
    return [item["id"] for item in response.json["results"]]


# -- One -------------------------------------------------------------------------------------------------------------


def test_returns_an_event(api: Api, hook: Subscription, emit: Emit) -> None:
    element = {"id": "e1", "type": "made", "path": "/S/f.txt", "by": "ann", "at": "2026-01-02T03:04:05.6789+01:00"}
    uid = emit(**element)
    response = api.get(f"/events/{uid}/")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json == {
        "id": uid,
        "account": str(hook.account.uid),
        "subscription": str(hook.uid),
        "request": str(Event.objects.get().request.uid),
        "provider": "fake",
        "type": "made",
        "action": "created",
        "resource_type": None,
        "resource": "/S/f.txt",
        "previous_resource": None,
        "actor": "ann",
        "occurred_at": "2026-01-02T02:04:05.678Z",
        "received_at": "2026-01-02T12:00:00.000Z",
        "provider_event_id": "e1",
        "duplicates": 0,
        "last_duplicate_at": None,
        "data": element,
    }
    assert list(response.json["data"]) == list(element)


@pytest.mark.parametrize(
    "data", [None, 7, "text", [1, None], {"whole": "\U0001f600", "huge": 10**40, "nul": "\x00", "e": 1e300}]
)
def test_data_is_returned_as_it_was_sent(api: Api, emit: Emit, data: object) -> None:
    uid = emit(data=data)
    assert api.get(f"/events/{uid}/").json["data"] == data
    assert api.get("/events/").json["results"][0]["data"] == data
    assert api.get(f"/events/{uid}/", Accept="application/cloudevents+json").json["data"] == data


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"note": "cut \ud83d"}, {"note": "cut \ufffd"}),
        ({"\udc00": ["\ude00\ud83d", "\U0001f600", "\\ud83d"]}, {"\ufffd": ["\ufffd\ufffd", "\U0001f600", "\\ud83d"]}),
        ("\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
    ],
)
def test_every_format_is_strict_json_in_utf_8(api: Api, emit: Emit, data: object, shown: object) -> None:
    uid = emit(data=data)
    for path in (f"/api/v1/events/{uid}/", "/api/v1/events/", "/api/v1/events/?order=feed"):
        for accept in ("application/json", "application/cloudevents+json"):
            content = api.client.get(path, headers={"Authorization": f"Bearer {api.token}", "Accept": accept}).content
            value = orjson.loads(content)  # rejects half of a surrogate pair
            assert (value if "data" in value else value["results"][0])["data"] == shown


def test_a_move_has_two_places(api: Api, emit: Emit) -> None:
    moved = emit(path="/Shared/Legal/a.txt", **{"from": "/Shared/Finance/a_b%.txt"})
    other = emit(path="/Private/x.txt", **{"from": "/Private/y.txt"})
    event = api.get(f"/events/{moved}/").json
    assert (event["resource"], event["previous_resource"]) == ("/Shared/Legal/a.txt", "/Shared/Finance/a_b%.txt")
    cloud_event = api.get(f"/events/{moved}/", Accept="application/cloudevents+json").json
    assert (cloud_event["subject"], cloud_event["previousresource"]) == (event["resource"], event["previous_resource"])
    for query in (
        "resource_prefix=/Shared/Legal/",
        "resource_prefix=/Shared/Finance/",
        "resource_prefix=/Shared/Finance/a_b%25",
        "resource_prefix=/nowhere&resource_prefix=/Shared/F",
        "q=finance",
        "q=LEGAL",
    ):
        assert ids(api.get(f"/events/?{query}")) == [moved], query
    assert ids(api.get("/events/?resource_prefix=/Private")) == [other]
    assert ids(api.get("/events/?resource_prefix=/Shared/Finance/a__")) == []


def test_authentication_scope_and_methods(with_scopes: Issue, anonymous: Api, api: Api, emit: Emit) -> None:
    wrong = with_scopes("subscriptions:write", "secrets:read")
    for path in ("/events/", f"/events/{emit()}/"):
        check_access(path, "GET", anonymous=anonymous, wrong=wrong, scope="events:read", wrong_method="POST", api=api)


@pytest.mark.parametrize("uid", [UNKNOWN_ID, "x", "1"])
def test_unknown_and_malformed_ids_are_404(api: Api, uid: str) -> None:
    assert api.get(f"/events/{uid}/").status == 404


# -- List ------------------------------------------------------------------------------------------------------------


def test_lists_newest_first_with_one_query(api: Api, emit: Emit) -> None:
    emitted = [emit() for _ in range(4)]
    api.get("/providers/")  # records the use of the token
    with CaptureQueriesContext(connection) as queries:
        response = api.get("/events/")
    assert ids(response) == emitted[::-1]
    assert len(queries) == 2  # the token and the page
    assert response.json["results"][0] == api.get(f"/events/{emitted[-1]}/").json


def test_filters(api: Api, hook: Subscription, emit: Emit) -> None:
    account = ProviderAccount.objects.create(provider="fake", name="Other")
    other = Subscription.objects.create(account=account, secrets=[SECRET], due_at=None)
    created = emit(path="/Shared/Finance/a_b%c", by="ann", id="first")
    file = emit(type="fs:add_file", path="/shared/finance/x", by="bob", received_at=NOON + timedelta(hours=1))
    link = emit(type="link:add_link", to=other, received_at=NOON + timedelta(hours=2))

    def matching(query: str) -> list[str]:
        return ids(api.get(f"/events/?{query}"))

    assert matching(f"account={account.uid}") == [link]
    assert matching(f"account={account.uid}&account={hook.account.uid}") == [link, file, created]
    assert matching(f"subscription={hook.uid}") == [file, created]
    assert matching(f"subscription={hook.uid}&account={account.uid}") == []
    assert matching(f"account={UNKNOWN_ID}") == []
    assert matching("provider=fake") == [link, file, created]
    assert matching("provider=egnyte-connect") == []
    assert matching("type=made") == [created]
    assert matching("type=made&type=fs:add_file") == [file, created]
    assert matching("type=fs:*") == [file]
    assert matching("type=FS:*") == []
    assert matching("type=*") == [link, file, created]
    assert matching("type=*:add*") == [link, file]
    assert matching("type=*:add_*k&type=made") == [link, created]
    assert matching("type=f.*") == []
    assert matching("action=created") == [created]
    assert matching("action=created&action=other") == [link, file, created]
    assert matching("resource_prefix=/Shared/") == [created]
    assert matching("resource_prefix=/Shared/Finance/a_b%25c") == [created]
    assert matching("resource_prefix=/Shared/Finance/a__") == []
    assert matching("resource_prefix=/Shared&resource_prefix=/shared/f") == [file, created]
    assert matching("actor=ann") == [created]
    assert matching("actor=an") == []
    assert matching("q=FINANCE") == [file, created]
    assert matching("q=first") == [created]
    assert matching("q=bob&type=made") == []


def test_filters_by_interface(api: Api, emit: Emit) -> None:
    sftp, robot = emit(interface="sftp"), emit(interface="robot", note='"interface":"sftp"')
    web, odd = emit(actionSource="WebUI"), emit(interface='\u00c4 "%_', path="robot")
    for query, expected in {
        "interface=sftp": [sftp],
        "interface=robot": [robot],
        "interface=rob%25": [],
        "interface=WebUI": [web],
        "interface=sftp&interface=WebUI": [web, sftp],
        "interface=%C3%84%20%22%25_": [odd],
    }.items():
        assert ids(api.get(f"/events/?{query}")) == expected, query


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
def test_times_in_the_distant_past_or_future_are_accepted(api: Api, emit: Emit, moment: str) -> None:
    event = emit()
    always, never = ("since", "until") if moment < "2000" else ("until", "since")
    assert ids(api.get(f"/events/?{always}={moment}")) == [event]
    assert ids(api.get(f"/events/?{never}={moment}")) == []
    for name in (always, never):
        assert api.get(f"/requests/?{name}={moment}").status == 200


def test_since_is_inclusive_and_until_exclusive(api: Api, emit: Emit) -> None:
    time_range.record_outage([NOON])  # events of that time are stored only now
    first, second = emit(), emit(received_at=NOON + timedelta(hours=1))
    assert ids(api.get("/events/?since=2026-01-02T12:00:00Z&until=2026-01-02T13:00:00Z")) == [first]
    assert ids(api.get("/events/?since=2026-01-02T13:00:00.000Z")) == [second]
    assert ids(api.get("/events/?since=2026-01-02T14:00:00%2B01:00")) == [second]
    for unencoded in ("+01:00", "+0100", "%2001:00"):
        assert ids(api.get(f"/events/?since=2026-01-02T14:00:00{unencoded}")) == [second]
    assert ids(api.get("/events/?since=2026-01-02+13:00:00.000+00:00")) == [second]
    assert ids(api.get("/events/?until=2026-01-02T12:00:00Z")) == []
    assert ids(api.get("/events/?since=2026-01-02T12:00:00.001Z")) == [second]


@pytest.mark.parametrize(
    "query",
    [
        "color=red",
        "action=eaten",
        "order=oldest",
        "since=2026-01-02T12:00:00",
        "since=2026-01-02+12:00",
        "since=2026-01-02T12:00:00++01:00",
        "since=2026-13-02T12:00:00Z",
        "since=0001-01-01T00:00:00%2B23:00",
        "until=",
        "type=",
        "type=*a*b*c*d*",
        "q=%20",
        "subscription=x",
        "resource_prefix=%00",
        "since=2026-01-02T12:00:00Z&since=2026-01-02T12:00:00Z",
    ],
)
def test_rejects_unknown_filters_and_invalid_values(api: Api, query: str) -> None:
    response = api.get(f"/events/?{query}")
    assert (response.status, list(response.fields())) == (400, [query.partition("=")[0]])


# -- Feed ------------------------------------------------------------------------------------------------------------


def test_the_feed_is_in_commit_order_and_can_be_resumed(api: Api, emit: Emit) -> None:
    empty = api.get("/events/?order=feed")
    assert ids(empty) == []
    emitted = [emit() for _ in range(3)]
    first = api.get(f"{empty.json['next']}&limit=2")
    assert ids(first) == emitted[:2]
    second = api.get(first.json["next"])
    assert ids(second) == emitted[2:]
    third = api.get(second.json["next"])
    assert ids(third) == []
    emitted.append(emit())
    assert ids(api.get(third.json["next"])) == emitted[3:]
    assert ids(api.get(second.json["previous"])) == emitted[:2]


def test_the_feed_is_ordered_by_position(api: Api, emit: Emit) -> None:
    early, late = emit(), emit()
    Event.objects.filter(uid=early).update(position=9)  # it was committed later
    FeedEnd.objects.update(position=9)
    assert ids(api.get("/events/?order=feed")) == [late, early]
    assert ids(api.get("/events/")) == [late, early]
    assert ids(api.get(api.get("/events/?order=feed&limit=1").json["next"])) == [early]


def test_a_filtered_feed_advances_past_filtered_events(api: Api, emit: Emit) -> None:
    for _ in range(3):
        emit(type="fs:x")
    page = api.get("/events/?order=feed&type=made")
    assert ids(page) == []
    with CaptureQueriesContext(connection) as queries:
        api.get(page.json["next"])
    assert any('"position" > 3' in query["sql"] for query in queries)
    matching = emit()
    assert ids(api.get(page.json["next"])) == [matching]


def test_cursors_of_list_and_feed_are_not_interchangeable(api: Api, emit: Emit) -> None:
    emit()
    emit()
    url = api.get("/events/?limit=1").json["next"]
    assert api.get(f"{url}&order=feed").fields() == {"cursor": "invalid"}
    url = api.get("/events/?order=feed").json["next"].replace("order=feed&", "").replace("&order=feed", "")
    assert api.get(url).fields() == {"cursor": "invalid"}


def test_a_feed_that_was_reset_does_not_repeat(api: Api, emit: Emit) -> None:
    emit()
    url = api.get("/events/?order=feed").json["next"]
    FeedEnd.objects.update(position=0)
    Event.objects.all().delete()
    assert api.get(url).json["next"] == url


# -- CloudEvents -----------------------------------------------------------------------------------------------------


def test_an_event_as_cloud_event(api: Api, hook: Subscription, emit: Emit) -> None:
    uid = emit(id="e1", path="/S/f.txt", by="ann", received_at=NOON)
    Event.objects.update(occurred_at=NOON - timedelta(seconds=1))
    response = api.get(f"/events/{uid}/", Accept="application/cloudevents+json")
    assert response.headers["Content-Type"].startswith("application/cloudevents+json")
    data = response.json.pop("data")
    assert data["path"] == "/S/f.txt"
    assert response.json == {
        "specversion": "1.0",
        "id": uid,
        "source": f"urn:uuid:{hook.account.uid}",
        "type": "hookkeeper.fake.made",
        "subject": "/S/f.txt",
        "time": iso_time(NOON - timedelta(seconds=1)),
        "datacontenttype": "application/json",
        "subscription": str(hook.uid),
        "action": "created",
        "actor": "ann",
        "receivedat": iso_time(NOON),
        "providereventid": "e1",
    }


def test_unknown_attributes_are_omitted(api: Api, emit: Emit) -> None:
    event = api.get(f"/events/{emit()}/", Accept="application/cloudevents+json").json
    assert event["time"] == event["receivedat"]
    assert not {"subject", "actor", "resourcetype", "previousresource"} & set(event)


def test_a_page_of_cloud_events(api: Api, emit: Emit) -> None:
    emitted = [emit() for _ in range(2)]
    page = api.get("/events/?limit=1", Accept="application/cloudevents+json")
    assert page.json["results"][0]["specversion"] == "1.0"
    assert ids(page) == emitted[1:]
    batch = api.get("/events/?limit=1", Accept="application/cloudevents-batch+json")
    assert batch.headers["Content-Type"].startswith("application/cloudevents-batch+json")
    assert batch.json == page.json["results"]
    assert batch.headers["Link"] == f'<{page.json["next"]}>; rel="next"'


def test_a_single_event_is_not_a_batch(api: Api, emit: Emit) -> None:
    assert api.get(f"/events/{emit()}/", Accept="application/cloudevents-batch+json").status == 406


def test_errors_are_problem_json_for_cloud_events_too(api: Api) -> None:
    response = api.get("/events/?color=red", Accept="application/cloudevents+json")
    assert json.dumps(response.json)
    assert response.status == 400
