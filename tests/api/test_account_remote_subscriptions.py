"""/accounts/{id}/remote-subscriptions/ and /accounts/{id}/import/."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from providers.models import HistoryEntry, ProviderAccount
from subscriptions.models import Subscription
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import Control

pytestmark = pytest.mark.django_db


@pytest.fixture
def foreign(account: ProviderAccount) -> str:
    """Return the ID of a webhook that was registered at the provider by someone else."""
    response = requests.post(
        f"{account.settings['base_url']}/pubapi/v1/webhooks",
        json={"url": "https://elsewhere.example/in", "eventType": ["fs:add_file"], "authHeader": "x"},
        headers={"Authorization": f"Bearer {account.credentials['access_token']}"},
        timeout=5,
    )
    assert response.status_code == 201, response.text
    return str(response.json()["webhookId"])


def by_id(response: dict[str, Any]) -> dict[str, Any]:
    return {item["remote_id"]: item for item in response["results"]}


# -- Inventory -------------------------------------------------------------------------------------------------------


def test_each_remote_is_listed_with_its_owner(api: Api, active: Subscription, account_path: str, foreign: str) -> None:
    response = api.get(f"{account_path}remote-subscriptions/")
    assert response.status == 200
    assert (response.json["next"], response.json["previous"]) == (None, None)
    remotes = by_id(response.json)
    assert set(remotes) == {active.remote_id, foreign}
    ours, theirs = remotes[str(active.remote_id)], remotes[foreign]
    assert (ours["kind"], ours["subscription"], ours["url"]) == ("managed", str(active.uid), active.callback_url)
    assert ours["expires_at"].endswith("Z")
    assert ours["status"] == "enabled"
    assert (theirs["kind"], theirs["subscription"], theirs["url"]) == ("foreign", None, "https://elsewhere.example/in")
    assert theirs["config"]["event_types"] == ["fs:add_file"]


@pytest.mark.slow
def test_pages(api: Api, active: Subscription, account_path: str, foreign: str) -> None:
    first = api.get(f"{account_path}remote-subscriptions/?limit=1").json
    second = api.get(first["next"]).json
    assert {first["results"][0]["remote_id"], second["results"][0]["remote_id"]} == {active.remote_id, foreign}
    assert second["next"] is None
    assert api.get(second["previous"]).json["results"] == first["results"]


def test_a_failing_provider_is_502(api: Api, account_path: str, control: Control) -> None:
    control.post("faults", status=500, times=1)
    response = api.get(f"{account_path}remote-subscriptions/")
    assert (response.status, response.json["code"], response.json["provider_code"]) == (
        502,
        "provider_error",
        "unavailable",
    )


def test_refused_credentials_are_502_too(api: Api, account_path: str) -> None:
    api.patch(account_path, {"credentials": {"access_token": "wrong"}})
    response = api.get(f"{account_path}remote-subscriptions/")
    assert (response.status, response.json["provider_code"]) == (502, "authentication_failed")


def test_refused_credentials_stay_502_while_calls_are_paused(api: Api, account_path: str, control: Control) -> None:
    api.patch(account_path, {"credentials": {"access_token": "wrong"}})
    api.post(f"{account_path}check/")
    calls = len(control.calls())
    response = api.get(f"{account_path}remote-subscriptions/")
    assert (response.status, response.json["code"]) == (502, "provider_error")
    assert response.json["provider_code"] == "authentication_failed"
    assert int(response.headers["Retry-After"]) > 0
    assert len(control.calls()) == calls, "the provider is not called during the pause"


def test_a_throttling_provider_is_503_with_retry_after(api: Api, account_path: str, control: Control) -> None:
    control.post("faults", status=429, times=1)
    response = api.get(f"{account_path}remote-subscriptions/")
    assert (response.status, response.json["code"]) == (503, "provider_throttled")
    assert int(response.headers["Retry-After"]) > 0


def test_access(with_scopes: Issue, anonymous: Api, api: Api, account_path: str) -> None:
    check_access(
        f"{account_path}remote-subscriptions/",
        "GET",
        anonymous=anonymous,
        wrong=with_scopes("subscriptions:write"),
        scope="accounts:read",
        wrong_method="POST",
        api=api,
    )
    assert api.get(f"/accounts/{UNKNOWN_ID}/remote-subscriptions/").status == 404
    assert api.get(f"{account_path}remote-subscriptions/?kind=foreign").fields() == {"kind": "unknown"}


# -- Import ----------------------------------------------------------------------------------------------------------


def test_imports_without_changes_at_the_provider(api: Api, account_path: str, foreign: str, control: Control) -> None:
    response = api.post(f"{account_path}import/", {"remote_id": foreign, "name": "Old one"})
    assert response.status == 201
    data = response.json
    assert (data["name"], data["managed"], data["state"], data["remote_id"]) == ("Old one", "manual", "manual", foreign)
    assert data["config"]["event_types"] == ["fs:add_file"]
    assert response.headers["ETag"]
    assert control.remotes()[0]["url"] == "https://elsewhere.example/in"
    assert {call["method"] for call in control.calls()} == {"GET", "POST"}  # the fixture sent the POST
    assert HistoryEntry.objects.latest("id").actor == "api:ci"


def test_an_imported_remote_is_listed_as_managed_with_its_subscription(
    api: Api, account_path: str, foreign: str
) -> None:
    imported = api.post(f"{account_path}import/", {"remote_id": foreign}).json
    (data,) = api.get(f"{account_path}remote-subscriptions/").json["results"]
    assert (data["kind"], data["subscription"], data["url"]) == (
        "managed",
        imported["id"],
        "https://elsewhere.example/in",
    )
    api.delete(f"/subscriptions/{imported['id']}/")
    (data,) = api.get(f"{account_path}remote-subscriptions/").json["results"]
    assert (data["kind"], data["subscription"]) == ("foreign", None)


def test_takes_over_a_remote(api: Api, account_path: str, foreign: str, control: Control) -> None:
    data = api.post(f"{account_path}import/", {"remote_id": foreign, "take_over": True}).json
    assert (data["managed"], data["state"], data["remote_id"]) == ("api", "active", foreign)
    (remote,) = control.remotes()
    assert remote["url"] == data["callback_url"]


@pytest.mark.slow
def test_importing_a_managed_remote_is_a_conflict(
    api: Api, active: Subscription, account_path: str, foreign: str
) -> None:
    response = api.post(f"{account_path}import/", {"remote_id": active.remote_id})
    assert (response.status, response.json["code"]) == (409, "conflict")
    assert api.post(f"{account_path}import/", {"remote_id": foreign}).status == 201
    assert api.post(f"{account_path}import/", {"remote_id": foreign}).status == 409


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"remote_id": "required"}),
        ({"remote_id": "nothing"}, {"remote_id": "not_found"}),
        ({"remote_id": 7}, {"remote_id": "invalid"}),
        ({"remote_id": "a", "take_over": "yes"}, {"take_over": "invalid"}),
        ({"remote_id": "a", "config": {}}, {"config": "unknown"}),
    ],
)
def test_invalid_imports_are_refused(api: Api, account_path: str, body: dict[str, Any], fields: dict[str, str]) -> None:
    response = api.post(f"{account_path}import/", body)
    assert (response.status, response.fields()) == (400, fields)
    assert not Subscription.objects.exists()


def test_a_failing_provider_is_502_on_import(api: Api, account_path: str, control: Control, foreign: str) -> None:
    control.post("faults", status=500, times=1)
    assert api.post(f"{account_path}import/", {"remote_id": foreign}).status == 502
    assert not Subscription.objects.exists()


def test_access_to_import(with_scopes: Issue, anonymous: Api, api: Api, account_path: str) -> None:
    for have, miss in (("accounts:write", "subscriptions:write"), ("subscriptions:write", "accounts:read")):
        check_access(
            f"{account_path}import/",
            "POST",
            anonymous=anonymous,
            wrong=with_scopes(have),
            scope=miss,
            wrong_method="GET",
            api=api,
            body={"remote_id": "a"},
        )
    assert api.post(f"/accounts/{UNKNOWN_ID}/import/", {"remote_id": "a"}).status == 404
