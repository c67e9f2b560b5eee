"""/accounts/{id}/check/."""

from __future__ import annotations

import pytest

from providers.models import ProviderAccount
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import Control

pytestmark = pytest.mark.django_db


def test_check_returns_the_identity(api: Api, account_path: str) -> None:
    response = api.post(f"{account_path}check/")
    assert (response.status, response.json["status"]) == (200, "ok")
    assert response.json["identity"]
    assert response.json["checked_at"].endswith("Z")
    assert api.get(account_path).json == response.json


def test_refused_credentials_are_failing_with_an_instruction(api: Api, account_path: str) -> None:
    api.patch(account_path, {"credentials": {"access_token": "wrong"}})
    response = api.post(f"{account_path}check/")
    assert (response.status, response.json["status"]) == (200, "failing")
    assert "Enter a new one" in response.json["status_reason"]
    assert "wrong" not in str(response.json)


def test_an_unavailable_provider_does_not_make_the_account_fail(api: Api, account_path: str, control: Control) -> None:
    control.post("faults", status=500, times=1)
    response = api.post(f"{account_path}check/")
    assert (response.status, response.json["status"]) == (200, "unchecked")
    assert response.json["status_reason"]


def test_a_body_is_refused(api: Api, account: ProviderAccount, account_path: str) -> None:
    assert api.post(f"{account_path}check/", {}).status == 200
    assert api.post(f"{account_path}check/", {"deep": True}).fields() == {"deep": "unknown"}


def test_access(with_scopes: Issue, anonymous: Api, api: Api, account_path: str, control: Control) -> None:
    check_access(
        f"{account_path}check/",
        "POST",
        anonymous=anonymous,
        wrong=with_scopes("accounts:read", "subscriptions:write"),
        scope="accounts:write",
        wrong_method="GET",
        api=api,
    )
    assert control.calls() == []
    assert api.post(f"/accounts/{UNKNOWN_ID}/check/").status == 404
