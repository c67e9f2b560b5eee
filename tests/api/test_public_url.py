"""/address/ and /address/confirm/."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from providers.models import HistoryEntry
from subscriptions.models import Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.api.conftest import Api, Issue, check_access
from tests.harness.fixtures import Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

NEW = "https://new.example.test"


def test_an_unchanged_public_url_is_confirmed(api: Api, active: Subscription, settings: Settings) -> None:
    data = api.get("/address/").json
    assert data == {"public_url": settings.PUBLIC_URL, "confirmed": True, "elsewhere": []}
    assert api.post("/address/confirm/", {"public_url": settings.PUBLIC_URL}).json["moved"] == 0
    assert not HistoryEntry.objects.filter(action="address confirmed").exists()


def test_a_copy_is_detected_and_changes_nothing_until_it_is_confirmed(
    api: Api, active: Subscription, settings: Settings, control: Control
) -> None:
    former, settings.PUBLIC_URL = settings.PUBLIC_URL, NEW
    data = api.get("/address/").json
    assert data["confirmed"] is False
    assert data["elsewhere"] == [{"address": former, "subscriptions": 1}]
    before = control.remotes()
    reconcile(active, details=True)
    assert control.remotes() == before
    assert "PUBLIC_URL" in api.get(f"/subscriptions/{active.uid}/plan/").json["waiting"]

    confirmed = api.post("/address/confirm/", {"public_url": f"{NEW}/"})
    assert confirmed.status == 200
    assert confirmed.json == {"public_url": NEW, "confirmed": True, "elsewhere": [], "moved": 1}
    active.refresh_from_db()
    reconcile(active)
    assert control.remotes()[0]["url"] == f"{NEW}/hooks/{active.token}"
    entry = HistoryEntry.objects.get(action="address confirmed")
    assert entry.actor == "api:ci"
    assert {"field": "public_url", "from": former, "to": NEW} in entry.changes


def test_confirming_another_address_is_refused(api: Api, active: Subscription, settings: Settings) -> None:
    settings.PUBLIC_URL = NEW
    response = api.post("/address/confirm/", {"public_url": "https://old.example.test"})
    assert (response.status, response.fields()) == (400, {"public_url": "other_address"})
    assert api.get("/address/").json["confirmed"] is False


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"public_url": "required"}),
        ({"public_url": 7}, {"public_url": "invalid"}),
        ({"public_url": NEW, "force": True}, {"force": "unknown"}),
    ],
)
def test_invalid_confirmations_are_refused(api: Api, body: dict[str, Any], fields: dict[str, str]) -> None:
    response = api.post("/address/confirm/", body)
    assert (response.status, response.fields()) == (400, fields)


def test_access(with_scopes: Issue, anonymous: Api, api: Api) -> None:
    for path, method, scope in (
        ("/address/", "GET", "subscriptions:read"),
        ("/address/confirm/", "POST", "subscriptions:write"),
    ):
        check_access(
            path,
            method,
            anonymous=anonymous,
            wrong=with_scopes("accounts:write", "events:write"),
            scope=scope,
            wrong_method="PATCH",
            api=api,
        )
