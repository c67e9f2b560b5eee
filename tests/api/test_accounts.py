"""/accounts/: list, create, read, change, delete."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events.models import Purge
from providers.models import AccountStatus, HistoryEntry, ProviderAccount
from providers.times import iso_time
from subscriptions.models import Subscription
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import CONFIG, Control

pytestmark = pytest.mark.django_db

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = {
    *("id", "provider", "name", "settings", "status", "status_reason", "identity", "checked_at", "created_at"),
    *("removal_asked_at", "calls_paused_until", "calls_paused_for", "calls_paused_reason"),
    *("retention_days", "kept_since", "purged_at"),
}


def new(**changes: Any) -> dict[str, Any]:
    return {
        "provider": "egnyte-connect",
        "name": "Acme",
        "settings": {"domain": "acme"},
        "credentials": {"access_token": "very-secret-token"},
        **changes,
    }


# -- Create ----------------------------------------------------------------------------------------------------------


def test_creating_an_account_makes_no_call(api: Api, control: Control) -> None:
    response = api.post("/accounts/", new())
    assert response.status == 201
    data = response.json
    assert set(data) == FIELDS
    assert UUID(data["id"]).version == 7
    assert (data["provider"], data["name"], data["settings"]) == ("egnyte-connect", "Acme", {"domain": "acme"})
    assert (data["status"], data["status_reason"], data["identity"], data["checked_at"]) == ("unchecked", "", {}, None)
    assert TIME.fullmatch(data["created_at"])
    assert response.headers["ETag"]
    assert control.calls() == []
    assert ProviderAccount.objects.get().credentials == {"access_token": "very-secret-token"}
    entry = HistoryEntry.objects.get()
    assert (entry.actor, entry.action, entry.subject_id) == ("api:ci", "created", data["id"])


def test_no_response_contains_credentials(api: Api) -> None:
    created = api.post("/accounts/", new())
    path = f"/accounts/{created.json['id']}/"
    for response in (created, api.get(path), api.get("/accounts/"), api.patch(path, {"name": "B"})):
        assert "credentials" not in str(response.json)
        assert "very-secret-token" not in str(response)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"provider": "nobody"}, {"provider": "invalid_choice"}),
        ({"provider": None}, {"provider": "null"}),
        ({"name": ""}, {"name": "blank"}),
        ({"name": 7}, {"name": "invalid"}),
        ({"name": "x" * 201}, {"name": "max_length"}),
        ({"name": "a\x00b"}, {"name": "null_characters_not_allowed"}),
        ({"name": "\ud800"}, {"name": "surrogate_characters_not_allowed"}),
        ({"settings": {}}, {"settings.domain": "required"}),
        ({"settings": []}, {"settings": "not_a_dict"}),
        ({"settings": {"domain": "acme", "calls_per_day": "1000"}}, {"settings.calls_per_day": "invalid"}),
        ({"credentials": {"access_token": "\ud800"}}, {"credentials.access_token": "invalid"}),
        ({"settings": {"domain": "a b", "color": 1}}, {"settings.domain": "invalid", "settings.color": "invalid"}),
        ({"settings": {"domain": "acme", "base_url": "ftp://x"}}, {"settings.base_url": "invalid"}),
        ({"credentials": {}}, {"credentials.access_token": "required"}),
        ({"settings": {}, "credentials": {}}, {"settings.domain": "required", "credentials.access_token": "required"}),
        ({"color": "red"}, {"color": "unknown"}),
        ({"status": "ok", "id": UNKNOWN_ID}, {"status": "unknown", "id": "unknown"}),
    ],
)
def test_invalid_fields_are_named(api: Api, changes: dict[str, Any], fields: dict[str, str]) -> None:
    response = api.post("/accounts/", new(**changes))
    assert (response.status, response.json["code"]) == (400, "invalid")
    assert response.fields() == fields
    assert not ProviderAccount.objects.exists()


def test_an_error_does_not_repeat_the_credentials(api: Api) -> None:
    response = api.post("/accounts/", new(credentials={"access_token": "very secret with blanks"}))
    assert response.fields() == {"credentials.access_token": "invalid"}
    assert "very secret" not in str(response)


def test_access_to_the_list(with_scopes: Issue, anonymous: Api, api: Api) -> None:
    wrong = with_scopes("subscriptions:write", "events:write", "secrets:read")
    for method, scope in (("GET", "accounts:read"), ("POST", "accounts:write")):
        check_access(
            "/accounts/",
            method,
            anonymous=anonymous,
            wrong=wrong,
            scope=scope,
            wrong_method="DELETE",
            api=api,
            body=new(),
        )
    assert not ProviderAccount.objects.exists()


# -- List ------------------------------------------------------------------------------------------------------------


def test_lists_newest_first_with_one_query(api: Api, account: ProviderAccount) -> None:
    ids = [api.post("/accounts/", new(name=f"A{number}")).json["id"] for number in range(3)]
    with CaptureQueriesContext(connection) as queries:
        data = api.get("/accounts/").json
    assert [item["id"] for item in data["results"]] == [*reversed(ids), str(account.uid)]
    assert len(queries) == 2  # the token and the page
    assert not any("COUNT(" in query["sql"].upper() or "OFFSET" in query["sql"].upper() for query in queries)


@pytest.mark.slow
def test_filters(api: Api, account: ProviderAccount) -> None:
    api.post("/accounts/", new(name="Other"))
    ProviderAccount.objects.filter(pk=account.pk).update(status=AccountStatus.OK)

    def names(query: str) -> list[str]:
        return [item["name"] for item in api.get(f"/accounts/?{query}").json["results"]]

    assert names("provider=egnyte-connect") == ["Other", "Spare"]
    assert names("provider=nobody") == []
    assert names("status=ok") == ["Spare"]
    assert names("status=ok&status=unchecked") == ["Other", "Spare"]
    assert names("name=Other") == ["Other"]
    assert names("q=spa") == ["Spare"]
    assert names("q=spa&status=unchecked") == []


@pytest.mark.parametrize("query", ["color=red", "status=bad", "status=", "q=", "q=a&q=b", "page=1", "offset=1"])
def test_unknown_filters_are_refused(api: Api, query: str) -> None:
    response = api.get(f"/accounts/?{query}")
    assert (response.status, list(response.fields())) == (400, [query.partition("=")[0]])


# -- Read ------------------------------------------------------------------------------------------------------------


def test_reads_an_account(api: Api, account: ProviderAccount, account_path: str) -> None:
    response = api.get(account_path)
    assert response.status == 200
    assert set(response.json) == FIELDS
    assert response.json["settings"] == account.settings


def test_access_to_one(with_scopes: Issue, anonymous: Api, api: Api, account_path: str) -> None:
    wrong = with_scopes("subscriptions:write")
    for method, scope in (("GET", "accounts:read"), ("PATCH", "accounts:write"), ("DELETE", "accounts:write")):
        check_access(
            account_path,
            method,
            anonymous=anonymous,
            wrong=wrong,
            scope=scope,
            wrong_method="POST",
            api=api,
            body={"name": "B"},
        )
    assert ProviderAccount.objects.get().name == "Spare"


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("uid", [UNKNOWN_ID, "1", "x", "01890000000070008000000000000000"])
def test_unknown_and_malformed_ids_are_404(api: Api, method: str, uid: str) -> None:
    assert api.call(method, f"/accounts/{uid}/", {} if method == "PATCH" else None).status == 404


# -- Change ----------------------------------------------------------------------------------------------------------


def test_only_the_name_is_changed(api: Api, account: ProviderAccount, account_path: str) -> None:
    ProviderAccount.objects.update(status=AccountStatus.OK)
    response = api.patch(account_path, {"name": " New "})
    assert (response.status, response.json["name"], response.json["status"]) == (200, "New", "ok")
    entry = HistoryEntry.objects.latest("id")
    assert entry.actor == "api:ci"
    assert entry.changes == [{"field": "name", "from": "Spare", "to": "New"}]


def test_settings_are_replaced_and_credentials_merged(api: Api) -> None:
    settings = {"domain": "acme", "calls_per_second": 5, "act_as_email": "ann@example.com"}
    path = f"/accounts/{api.post('/accounts/', new(settings=settings)).json['id']}/"
    response = api.patch(path, {"settings": {"domain": "acme.egnyte.com"}})
    assert response.json["settings"] == {"domain": "acme.egnyte.com"}
    assert ProviderAccount.objects.get().credentials == {"access_token": "very-secret-token"}
    assert api.patch(path, {"credentials": {}}).status == 200
    assert ProviderAccount.objects.get().credentials == {"access_token": "very-secret-token"}
    assert api.patch(path, {"credentials": {"access_token": "newer"}}).json["settings"] == {"domain": "acme.egnyte.com"}
    assert ProviderAccount.objects.get().credentials == {"access_token": "newer"}
    assert "newer" not in str(HistoryEntry.objects.latest("id").changes)


def test_new_credentials_make_the_account_unchecked(api: Api, account: ProviderAccount, account_path: str) -> None:
    ProviderAccount.objects.update(status=AccountStatus.FAILING, status_reason="Refused.")
    response = api.patch(account_path, {"credentials": {"access_token": "newer"}})
    assert (response.json["status"], response.json["status_reason"]) == ("unchecked", "")


def test_the_provider_never_changes(api: Api, account_path: str) -> None:
    assert api.patch(account_path, {"provider": "other"}).fields() == {"provider": "immutable"}
    assert api.patch(account_path, {"provider": "egnyte-connect", "name": "B"}).json["name"] == "B"


def test_an_empty_change_changes_nothing(api: Api, account_path: str) -> None:
    before = HistoryEntry.objects.count()
    assert api.patch(account_path, {}).status == 200
    assert HistoryEntry.objects.count() == before


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"settings": {}}, {"settings.domain": "required"}),
        ({"credentials": {"access_token": ""}}, {"credentials.access_token": "invalid"}),
        ({"credentials": {"color": "x"}}, {"credentials.color": "invalid"}),
        ({"name": None}, {"name": "null"}),
        ({"status": "ok"}, {"status": "unknown"}),
    ],
)
def test_invalid_changes_are_refused(api: Api, account_path: str, body: dict[str, Any], fields: dict[str, str]) -> None:
    response = api.patch(account_path, body)
    assert (response.status, response.fields()) == (400, fields)


# -- Versions --------------------------------------------------------------------------------------------------------


def test_a_stale_etag_changes_nothing(api: Api, account_path: str) -> None:
    first = api.get(account_path).headers["ETag"]
    second = api.patch(account_path, {"name": "B"}, **{"If-Match": first})
    assert second.status == 200
    assert second.headers["ETag"] != first
    for stale in (first, '"x"', f"W/{second.headers['ETag']}", "nonsense"):
        response = api.patch(account_path, {"name": "C"}, **{"If-Match": stale})
        assert (response.status, response.json["code"]) == (412, "precondition_failed")
        assert api.delete(account_path, **{"If-Match": stale}).status == 412
    assert api.get(account_path).json["name"] == "B"
    assert api.patch(account_path, {"name": "C"}, **{"If-Match": f'"x", {second.headers["ETag"]}'}).status == 200
    assert api.patch(account_path, {"name": "D"}, **{"If-Match": "*"}).status == 200


def test_the_etag_covers_the_desired_state_only(api: Api, account_path: str) -> None:
    before = api.get(account_path).headers["ETag"]
    assert api.post(f"{account_path}check/").headers["ETag"] == before
    changed = api.patch(account_path, {"credentials": {"access_token": "newer"}})
    assert changed.headers["ETag"] != before


# -- Delete ----------------------------------------------------------------------------------------------------------


def test_an_unused_account_is_deleted(api: Api, account: ProviderAccount, account_path: str) -> None:
    response = api.delete(account_path)
    assert (response.status, response.json) == (204, None)
    assert api.get(account_path).status == 404
    assert HistoryEntry.objects.latest("id").action == "deleted"


def test_an_account_without_live_subscriptions_is_deleted_and_its_events_stay(
    api: Api, subscription: Subscription, account: ProviderAccount, account_path: str
) -> None:
    assert api.delete(f"/subscriptions/{subscription.uid}/").status == 202
    assert api.get(f"/subscriptions/{subscription.uid}/").json["state"] == "deleted"
    assert api.delete(account_path).status == 204
    assert api.get(account_path).status == 404
    assert account_path not in str(api.get("/accounts/").json)
    deleted_account = ProviderAccount.with_deleted.get(pk=account.pk)
    assert deleted_account.credentials == {}
    assert api.get(f"/subscriptions/{subscription.uid}/").json["account"] == str(account.uid)
    assert api.get(f"/events/?account={account.uid}").status == 200
    refused = api.post("/subscriptions/", {"account": str(account.uid), "config": CONFIG})
    assert (refused.status, refused.json["errors"][0]["field"]) == (400, "account")


def test_an_account_in_use_stays(api: Api, subscription: Subscription, account_path: str) -> None:
    response = api.delete(account_path)
    assert (response.status, response.json["code"]) == (409, "account_in_use")
    assert api.get(account_path).status == 200


# -- Retention ---------------------------------------------------------------------------------------------------------


def test_retention(api: Api) -> None:
    created = api.post("/accounts/", new(retention_days=14)).json
    assert (created["retention_days"], created["kept_since"], created["purged_at"]) == (14, None, None)
    path = f"/accounts/{created['id']}/"
    etag = api.get(path).headers["ETag"]
    changed = api.patch(path, {"retention_days": None})
    assert changed.json["retention_days"] is None
    assert changed.headers["ETag"] != etag
    assert api.patch(path, {"name": "Other"}).json["retention_days"] is None
    assert HistoryEntry.objects.filter(action="changed").earliest("pk").changes == [
        {"field": "retention_days", "from": 14, "to": None}
    ]
    account = ProviderAccount.objects.get()
    since = timezone.now()
    Purge.objects.create(account=account, kept_since=since, purged_at=since)
    data = api.get("/accounts/").json["results"][0]
    assert data["kept_since"] == data["purged_at"] == iso_time(since)


def test_the_plug_in_suggests_the_default_retention(api: Api) -> None:
    assert api.post("/accounts/", new()).json["retention_days"] == 365
    msp = {"provider": "egnyte-msp", "settings": {"domain": "acme"}}
    assert api.post("/accounts/", new(**msp)).json["retention_days"] == 30
    assert api.post("/accounts/", new(**msp, retention_days=None)).json["retention_days"] is None


@pytest.mark.parametrize("value", [0, -1, 3651, 1.5, "30", True, [], {}])
def test_an_invalid_retention_is_refused(api: Api, value: object) -> None:
    response = api.post("/accounts/", new(retention_days=value))
    assert (response.status, set(response.fields())) == (400, {"retention_days"})
    for name in ("kept_since", "purged_at"):
        assert api.post("/accounts/", new(**{name: None})).fields() == {name: "unknown"}
