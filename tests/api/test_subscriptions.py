"""/subscriptions/: list, create, read, change, delete."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from providers.models import HistoryEntry, ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import CONFIG, Control, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

FIELDS = {
    "id",
    "account",
    "provider",
    "name",
    "config",
    "enabled",
    "auto_renew",
    "drift_policy",
    "drift",
    "renewed_at",
    "renewal_failing_since",
    "managed",
    "state",
    "state_reason",
    "callback_url",
    "remote_id",
    "granted_seconds",
    "remote_status",
    "expires_at",
    "renew_at",
    "last_reconciled_at",
    "last_event_at",
    "secret_rotation",
    *("quiet_after", "quiet_hours", "quiet_suggestion", "silent_since", "silence_reason", "allowed_networks"),
    "last_error",
    "created_at",
}


def new(account: ProviderAccount, /, **changes: Any) -> dict[str, Any]:
    return {"account": str(account.uid), "name": "Legal", "config": CONFIG, **changes}


# -- Create ----------------------------------------------------------------------------------------------------------


def test_creates_and_registers(api: Api, account: ProviderAccount, control: Control) -> None:
    response = api.post("/subscriptions/", new(account))
    assert response.status == 201
    data = response.json
    assert set(data) == FIELDS
    assert UUID(data["id"]).version == 7
    assert (data["account"], data["provider"], data["config"]) == (str(account.uid), "egnyte-connect", CONFIG)
    assert (data["enabled"], data["auto_renew"], data["managed"]) == (True, True, "api")
    assert (data["state"], data["last_error"]) == ("active", None)
    (remote,) = control.remotes()
    assert (remote["webhookId"], remote["url"]) == (data["remote_id"], data["callback_url"])
    assert data["created_at"] < data["renew_at"] < data["expires_at"]
    assert 85 <= data["granted_seconds"] <= 91
    assert api.get(f"/subscriptions/{data['id']}/").headers["ETag"] == response.headers["ETag"]
    assert HistoryEntry.objects.latest("id").actor == "api:ci"
    assert Subscription.objects.get().operations.get().actor == "api:ci"


def test_a_refusal_by_the_provider_is_still_201(api: Api, account: ProviderAccount, control: Control) -> None:
    control.post("faults", status=400, times=1)
    response = api.post("/subscriptions/", new(account))
    assert (response.status, response.json["state"]) == (201, "failing")
    assert response.json["last_error"]["code"] == "refused"
    assert set(response.json["last_error"]) == {"code", "message", "field"}
    assert response.json["remote_id"] is None


def test_an_unavailable_provider_is_still_201(api: Api, account: ProviderAccount, control: Control) -> None:
    control.post("faults", drop=True, times=1)
    response = api.post("/subscriptions/", new(account))
    assert (response.status, response.json["last_error"]["code"]) == (201, "unavailable")


def test_a_manual_subscription_makes_no_call(api: Api, account: ProviderAccount, control: Control) -> None:
    data = api.post("/subscriptions/", new(account, managed="manual", auto_renew=False)).json
    assert (data["managed"], data["state"], data["auto_renew"]) == ("manual", "manual", False)
    assert data["callback_url"]
    assert control.calls() == []


def test_a_disabled_subscription_is_not_registered(api: Api, account: ProviderAccount, control: Control) -> None:
    data = api.post("/subscriptions/", new(account, enabled=False)).json
    assert (data["enabled"], data["state"]) == (False, "disabled")
    assert control.remotes() == []


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"account": UNKNOWN_ID}, {"account": "not_found"}),
        ({"account": "x"}, {"account": "invalid"}),
        ({"account": None}, {"account": "null"}),
        ({"config": {}}, {"config.event_types": "required"}),
        ({"config": {"event_types": ["FS"]}}, {"config.event_types.0": "invalid"}),
        ({"config": {"event_types": ["fs:*"], "paths": ["/a", "/b", "/c,d"]}}, {"config.paths.2": "invalid"}),
        ({"config": {"event_types": ["fs:*"], "secret": "x"}}, {"config.secret": "invalid"}),
        ({"config": "x"}, {"config": "not_a_dict"}),
        ({"enabled": "yes"}, {"enabled": "invalid"}),
        ({"enabled": 1, "auto_renew": None}, {"enabled": "invalid", "auto_renew": "null"}),
        ({"managed": "both"}, {"managed": "invalid_choice"}),
        ({"state": "active"}, {"state": "unknown"}),
        ({"callback_url": "https://x", "color": 1}, {"callback_url": "unknown", "color": "unknown"}),
    ],
)
def test_invalid_fields_are_named(
    api: Api, account: ProviderAccount, control: Control, changes: dict[str, Any], fields: dict[str, str]
) -> None:
    response = api.post("/subscriptions/", new(account, **changes))
    assert (response.status, response.json["code"], response.fields()) == (400, "invalid", fields)
    assert not Subscription.objects.exists()
    assert control.calls() == []


def test_account_and_config_are_required(api: Api) -> None:
    assert api.post("/subscriptions/", {}).fields() == {"account": "required", "config": "required"}


def test_access_to_the_list(with_scopes: Issue, anonymous: Api, api: Api, account: ProviderAccount) -> None:
    wrong = with_scopes("accounts:write", "events:write", "secrets:read")
    for method, scope in (("GET", "subscriptions:read"), ("POST", "subscriptions:write")):
        check_access(
            "/subscriptions/",
            method,
            anonymous=anonymous,
            wrong=wrong,
            scope=scope,
            wrong_method="PATCH",
            api=api,
            body=new(account),
        )
    assert not Subscription.objects.exists()


# -- List ------------------------------------------------------------------------------------------------------------


def test_lists_newest_first_with_one_query(api: Api, account: ProviderAccount) -> None:
    rows = [desired_state.subscribe(account, config=CONFIG, by="staff:ann", name=str(number)) for number in range(4)]
    api.get("/providers/")  # records the use of the token
    with CaptureQueriesContext(connection) as queries:
        data = api.get("/subscriptions/").json
    assert [item["id"] for item in data["results"]] == [str(row.uid) for row in reversed(rows)]
    assert all(set(item) == FIELDS for item in data["results"])
    assert len(queries) == 2  # the token and the page
    assert "secrets" not in queries[1]["sql"]
    assert "credentials" not in queries[1]["sql"]


def test_filters(api: Api, account: ProviderAccount, active: Subscription) -> None:
    other = accounts.add_account(
        provider="egnyte-connect", name="B", settings={"domain": "b"}, credentials={"access_token": "t"}, by="staff:ann"
    )
    disabled = desired_state.subscribe(
        other, config=CONFIG, by="staff:ann", name="Off", enabled=False, managed="manual"
    )
    Subscription.objects.filter(pk=disabled.pk).update(state=State.MANUAL)

    def names(query: str) -> list[str]:
        return [item["name"] for item in api.get(f"/subscriptions/?{query}").json["results"]]

    assert names(f"account={other.uid}") == ["Off"]
    assert names(f"account={other.uid}&account={account.uid}") == ["Off", "Finance"]
    assert names(f"account={UNKNOWN_ID}") == []
    assert names("provider=egnyte-connect") == ["Off", "Finance"]
    assert names("provider=nobody") == []
    assert names("state=active") == ["Finance"]
    assert names("state=active&state=manual") == ["Off", "Finance"]
    assert names("enabled=false") == ["Off"]
    assert names("enabled=true") == ["Finance"]
    assert names("managed=manual") == ["Off"]
    assert names("name=Finance") == ["Finance"]
    assert names("expires_before=2999-01-01T00:00:00Z") == ["Finance"]
    assert names("expires_before=2026-01-01T00:00:00Z") == []
    assert names("renews_before=2999-01-01T00:00:00Z&state=active") == ["Finance"]
    assert names("renews_before=2026-01-01T00:00:00Z") == []
    assert names("q=fin") == ["Finance"]
    assert names(f"q={active.remote_id}") == ["Finance"]
    assert names(f"q={active.token}") == ["Finance"]


@pytest.mark.parametrize(
    "query",
    ["color=red", "state=bad", "enabled=1", "account=x", "account=", "id=x", "name=%00", "enabled=true&enabled=true"],
)
def test_unknown_filters_are_refused(api: Api, query: str) -> None:
    response = api.get(f"/subscriptions/?{query}")
    assert (response.status, list(response.fields())) == (400, [query.partition("=")[0]])


# -- Read ------------------------------------------------------------------------------------------------------------


def test_reads_a_subscription(api: Api, active: Subscription, path: str) -> None:
    response = api.get(path)
    assert (response.status, response.json["remote_id"], response.json["remote_status"]) == (
        200,
        active.remote_id,
        "enabled",
    )
    assert active.secrets[0] not in str(response)


def test_access_to_one(with_scopes: Issue, anonymous: Api, api: Api, path: str) -> None:
    wrong = with_scopes("accounts:write", "secrets:read")
    read, write = "subscriptions:read", "subscriptions:write"
    for method, scope in (("GET", read), ("PATCH", write), ("DELETE", write)):
        check_access(
            path,
            method,
            anonymous=anonymous,
            wrong=wrong,
            scope=scope,
            wrong_method="POST",
            api=api,
            body={"enabled": False},
        )
    assert api.get(path).json["state"] == "active"


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("uid", [UNKNOWN_ID, "1", "x"])
def test_unknown_and_malformed_ids_are_404(api: Api, method: str, uid: str) -> None:
    assert api.call(method, f"/subscriptions/{uid}/", {} if method == "PATCH" else None).status == 404


# -- Change ----------------------------------------------------------------------------------------------------------


def test_changes_reach_the_provider(api: Api, path: str, control: Control) -> None:
    response = api.patch(path, {"config": {"event_types": ["comment:*"]}, "name": "Comments"})
    assert (response.status, response.json["state"], response.json["name"]) == (200, "active", "Comments")
    assert response.json["config"] == {"event_types": ["comment:*"], "paths": []}
    (remote,) = control.remotes()
    assert remote["eventType"] == ["comment:*"]
    assert not remote.get("path")
    entry = HistoryEntry.objects.latest("id")
    assert entry.actor == "api:ci"
    assert {change["field"] for change in entry.changes} == {"name", "config.event_types", "config.paths"}


def test_a_refused_change_is_still_200(api: Api, path: str, control: Control) -> None:
    control.post("faults", status=400, times=9)
    response = api.patch(path, {"config": {"event_types": ["link:*"]}})
    assert (response.status, response.json["last_error"]["code"]) == (200, "refused")
    assert response.json["config"]["event_types"] == ["link:*"]


def test_account_provider_and_managed_never_change(api: Api, account: ProviderAccount, path: str) -> None:
    response = api.patch(path, {"account": UNKNOWN_ID, "managed": "manual", "provider": "other"})
    assert response.status == 400
    assert response.fields() == {"account": "immutable", "managed": "immutable", "provider": "immutable"}
    same = {"account": str(account.uid), "managed": "api", "provider": "egnyte-connect", "auto_renew": False}
    response = api.patch(path, same)
    assert (response.status, response.json["auto_renew"]) == (200, False)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"config": {"paths": ["/a"]}}, {"config.event_types": "required"}),
        ({"config": None}, {"config": "null"}),
        ({"enabled": "no"}, {"enabled": "invalid"}),
        ({"state": "active"}, {"state": "unknown"}),
        ({"id": UNKNOWN_ID}, {"id": "unknown"}),
    ],
)
def test_invalid_changes_are_refused(api: Api, path: str, body: dict[str, Any], fields: dict[str, str]) -> None:
    before = api.get(path)
    response = api.patch(path, body)
    assert (response.status, response.fields()) == (400, fields)
    assert api.get(path).json == before.json


def test_an_empty_change_is_not_logged(api: Api, path: str) -> None:
    before = HistoryEntry.objects.count()
    assert api.patch(path, {}).status == 200
    assert HistoryEntry.objects.count() == before


# -- Versions --------------------------------------------------------------------------------------------------------


def test_a_stale_etag_changes_nothing(api: Api, path: str, control: Control) -> None:
    first = api.get(path).headers["ETag"]
    second = api.patch(path, {"auto_renew": False}, **{"If-Match": first})
    assert second.status == 200
    assert second.headers["ETag"] != first
    calls = len(control.calls())
    for response in (
        api.patch(path, {"enabled": False}, **{"If-Match": first}),
        api.delete(path, **{"If-Match": first}),
        api.post(f"{path}disable/", **{"If-Match": first}),
        api.post(f"{path}renew/", **{"If-Match": first}),
    ):
        assert (response.status, response.json["code"]) == (412, "precondition_failed")
    assert len(control.calls()) == calls
    assert api.patch(path, {"enabled": False}, **{"If-Match": second.headers["ETag"]}).status == 200


def test_the_etag_covers_the_desired_state_only(api: Api, path: str, control: Control) -> None:
    before = api.get(path)
    control.post(f"remote/{before.json['remote_id']}", deleted=True)
    api.post(f"{path}reconcile/")  # its absence is doubted first
    with later():
        after = api.post(f"{path}reconcile/")
    assert after.json["remote_id"] != before.json["remote_id"]
    assert after.headers["ETag"] == before.headers["ETag"]
    # The actual state changed, so the same ETag must not produce a 304.
    assert api.get(path, **{"If-None-Match": before.headers["ETag"]}).status == 200


# -- Delete ----------------------------------------------------------------------------------------------------------


def test_deletes_here_and_at_the_provider(api: Api, path: str, control: Control) -> None:
    response = api.delete(path)
    assert (response.status, response.json["state"]) == (202, "deleted")
    assert control.remotes() == []
    assert api.get(path).json["state"] == "deleted"
    assert api.get("/subscriptions/").json["results"] == []
    assert [item["state"] for item in api.get("/subscriptions/?state=deleted").json["results"]] == ["deleted"]
    assert HistoryEntry.objects.latest("id").action == "deleted"


def test_with_an_unavailable_provider_it_stays_deleting(api: Api, path: str, control: Control) -> None:
    control.post("faults", status=500, times=9)
    response = api.delete(path)
    assert (response.status, response.json["state"]) == (202, "deleting")
    assert response.json["last_error"]["code"] == "unavailable"
    assert [item["state"] for item in api.get("/subscriptions/").json["results"]] == ["deleting"]


def test_a_subscription_never_registered_is_deleted_without_a_call(
    api: Api, account: ProviderAccount, account_path: str, control: Control
) -> None:
    api.patch(account_path, {"credentials": {"access_token": "wrong"}})
    data = api.post("/subscriptions/", new(account)).json
    assert (data["state"], data["last_error"]["code"]) == ("failing", "authentication_failed")
    before = len(control.calls())
    assert api.delete(f"/subscriptions/{data['id']}/").json["state"] == "deleted"
    assert len(control.calls()) == before
    assert api.delete(account_path).status == 204


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"garbage": True}])
def test_a_registration_without_a_response_is_searched_before_deletion(
    api: Api, account: ProviderAccount, control: Control, fault: dict[str, Any]
) -> None:
    control.post("faults", times=1, **fault)
    data = api.post("/subscriptions/", new(account)).json
    assert Subscription.objects.get(uid=data["id"]).register_tried_at
    assert api.delete(f"/subscriptions/{data['id']}/").json["state"] == "deleted"
    assert control.remotes() == []


def test_deleting_twice_is_idempotent(api: Api, path: str) -> None:
    first = api.delete(path)
    before = HistoryEntry.objects.count()
    assert api.delete(path).json["state"] == first.json["state"]
    assert HistoryEntry.objects.count() == before


@pytest.mark.slow
def test_a_deleted_subscription_cannot_be_changed(api: Api, path: str) -> None:
    api.delete(path)
    answers = [api.patch(path, {"name": "B"})]
    answers += [api.post(f"{path}{action}/") for action in ("enable", "disable", "renew", "reconcile", "test")]
    assert {(response.status, response.json["code"]) for response in answers} == {(409, "conflict")}
    assert api.get(f"{path}plan/").json["steps"] == []
    assert api.get(f"{path}operations/").status == 200
