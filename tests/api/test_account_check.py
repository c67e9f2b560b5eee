"""/accounts/{id}/check/."""

from __future__ import annotations

import pytest

from providers.models import ProviderAccount
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import Control

pytestmark = pytest.mark.django_db


def test_check_returns_the_identity(api: Api, account_path: str) -> None:
    answer = api.post(f"{account_path}check/")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert answer.json["identity"]
    assert answer.json["checked_at"].endswith("Z")
    assert api.get(account_path).json == answer.json


def test_refused_credentials_are_failing_and_say_what_to_do(api: Api, account_path: str) -> None:
    api.patch(account_path, {"credentials": {"access_token": "wrong"}})
    answer = api.post(f"{account_path}check/")
    assert (answer.status, answer.json["status"]) == (200, "failing")
    assert "Enter a new one" in answer.json["status_reason"]
    assert "wrong" not in str(answer.json)


def test_an_unavailable_provider_does_not_make_the_account_fail(api: Api, account_path: str, control: Control) -> None:
    control.post("faults", status=500, times=1)
    answer = api.post(f"{account_path}check/")
    assert (answer.status, answer.json["status"]) == (200, "unchecked")
    assert answer.json["status_reason"]


def test_takes_no_body(api: Api, account: ProviderAccount, account_path: str) -> None:
    assert api.post(f"{account_path}check/", {}).status == 200
    assert api.post(f"{account_path}check/", {"deep": True}).fields() == {"deep": "unknown"}


def test_access(with_scopes: Issue, nobody: Api, api: Api, account_path: str, control: Control) -> None:
    check_access(
        f"{account_path}check/",
        "POST",
        nobody=nobody,
        wrong=with_scopes("accounts:read", "subscriptions:write"),
        scope="accounts:write",
        wrong_method="GET",
        api=api,
    )
    assert control.calls() == []
    assert api.post(f"/accounts/{UNKNOWN_ID}/check/").status == 404
