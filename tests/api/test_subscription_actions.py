"""/subscriptions/{id}/ reconcile, enable, disable, renew, test, secret, plan and operations."""

from __future__ import annotations

import time
from typing import Any

import pytest

from providers.models import HistoryEntry, ProviderAccount
from subscriptions.api import subscriptions as views
from subscriptions.lifecycle import desired_state, receiver_probe
from subscriptions.models import Subscription
from subscriptions.planning.step_selection import plan_version
from subscriptions.planning.steps import Plan
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fake_provider import FakeProvider
from tests.harness.fixtures import CONFIG, Control, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

ACTIONS = ["reconcile", "enable", "disable", "renew", "test", "secret"]


@pytest.fixture
def manual_path(account: ProviderAccount) -> str:
    return f"/subscriptions/{desired_state.subscribe(account, config=CONFIG, by='staff:ann', managed='manual').uid}/"


@pytest.mark.parametrize("action", ACTIONS)
def test_access_to_actions(
    with_scopes: Issue, anonymous: Api, api: Api, path: str, action: str, control: Control
) -> None:
    scope = "secrets:read" if action == "secret" else "subscriptions:write"
    others = {"subscriptions:read", "accounts:write", "events:write", "secrets:read", "subscriptions:write"} - {scope}
    calls = len(control.calls())
    check_access(
        f"{path}{action}/",
        "POST",
        anonymous=anonymous,
        wrong=with_scopes(*others),
        scope=scope,
        wrong_method="GET",
        api=api,
    )
    assert len(control.calls()) == calls
    assert api.post(f"/subscriptions/{UNKNOWN_ID}/{action}/").status == 404
    assert api.post(f"{path}{action}/", {"force": True}).fields() == {"force": "unknown"}


@pytest.mark.parametrize("endpoint", ["plan", "operations"])
def test_access_to_reads(with_scopes: Issue, anonymous: Api, api: Api, path: str, endpoint: str) -> None:
    check_access(
        f"{path}{endpoint}/",
        "GET",
        anonymous=anonymous,
        wrong=with_scopes("accounts:write"),
        scope="subscriptions:read",
        wrong_method="POST",
        api=api,
    )
    assert api.get(f"/subscriptions/{UNKNOWN_ID}/{endpoint}/").status == 404


# -- Reconcile -------------------------------------------------------------------------------------------------------


def test_reconcile_repairs_drift_that_only_details_show(api: Api, path: str, control: Control) -> None:
    remote_id = api.get(path).json["remote_id"]
    control.post(f"remote/{remote_id}", config={"paths": ["/Shared/Elsewhere"]})
    response = api.post(f"{path}reconcile/")
    assert (response.status, response.json["state"]) == (200, "active")
    assert control.remotes()[0]["path"] == "/Shared/Finance"
    assert api.get(f"{path}operations/").json["results"][0]["actor"] == "api:ci"


def test_reconcile_reports_a_failure_in_the_body(api: Api, path: str, control: Control) -> None:
    control.post("faults", status=500, times=9)
    response = api.post(f"{path}reconcile/")
    assert (response.status, response.json["state"], response.json["last_error"]["code"]) == (
        200,
        "failing",
        "unavailable",
    )


@pytest.mark.slow
def test_reconcile_waits_for_the_claim(
    api: Api, active: Subscription, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SECONDS", 1.0)
    assert active.claim("another worker", 60)
    started = time.monotonic()
    assert api.post(f"{path}reconcile/").status == 200
    assert 0.9 < time.monotonic() - started < 20


# -- Enable, disable -------------------------------------------------------------------------------------------------


def test_disables_and_enables(api: Api, path: str, control: Control) -> None:
    disabled = api.post(f"{path}disable/")
    assert (disabled.status, disabled.json["enabled"], disabled.json["state"]) == (200, False, "disabled")
    assert control.remotes()[0]["status"] == "disabled"
    enabled = api.post(f"{path}enable/")
    assert (enabled.status, enabled.json["enabled"], enabled.json["state"]) == (200, True, "active")
    assert control.remotes()[0]["status"] == "enabled"
    assert enabled.headers["ETag"] == api.get(path).headers["ETag"] != disabled.headers["ETag"]
    assert [entry.actor for entry in HistoryEntry.objects.all()[:2]] == ["api:ci", "api:ci"]


@pytest.mark.parametrize("action", ["enable", "disable", "renew"])
def test_a_manual_subscription_is_not_enabled_disabled_or_renewed(api: Api, manual_path: str, action: str) -> None:
    response = api.post(f"{manual_path}{action}/")
    assert (response.status, response.json["code"]) == (409, "not_supported")


# -- Renew -----------------------------------------------------------------------------------------------------------


def test_renews(api: Api, path: str, control: Control) -> None:
    control.post("clock", advance_seconds=20)
    api.post(f"{path}reconcile/")
    before = api.get(path).json
    response = api.post(f"{path}renew/")
    assert (response.status, response.json["state"]) == (200, "active")
    assert response.json["expires_at"] > before["expires_at"]
    assert api.get(f"{path}operations/").json["results"][0]["action"] in ("renew", "delete")  # or replaced


def test_a_subscription_without_expiry_is_not_renewed(api: Api, hook: Subscription, fake: FakeProvider) -> None:
    response = api.post(f"/subscriptions/{hook.uid}/renew/")
    assert (response.status, response.json["code"]) == (409, "not_supported")
    assert "do not expire" in response.json["detail"]


# -- Test, secret ----------------------------------------------------------------------------------------------------


def test_test_checks_our_own_receiver(api: Api, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    response = api.post(f"{path}test/")
    assert (response.status, set(response.json), response.json["ok"]) == (200, {"ok", "detail"}, True)
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: "It answered 500.")
    response = api.post(f"{path}test/")
    assert (response.status, response.json["ok"]) == (200, False)
    assert "500" in response.json["detail"]
    assert HistoryEntry.objects.latest("id").action == "tested"


def test_revealing_the_secret_is_logged(with_scopes: Issue, active: Subscription, path: str) -> None:
    response = with_scopes("secrets:read").post(f"{path}secret/")
    assert response.status == 200
    assert response.json == {"kind": "header", "header": "Authorization", "value": active.secrets[0]}
    assert response.headers["Cache-Control"] == "no-store"
    entry = HistoryEntry.objects.latest("id")
    assert (entry.actor, entry.action, entry.subject_id) == ("api:limited", "secret revealed", str(active.uid))


def test_stored_settings_that_no_longer_fit_are_a_conflict(api: Api, active: Subscription, path: str) -> None:
    ProviderAccount.objects.update(settings={})
    response = api.post(f"{path}secret/")
    assert (response.status, response.json["code"]) == (409, "conflict")
    assert "domain" in response.json["detail"]


# -- Plan ------------------------------------------------------------------------------------------------------------


def test_plan_is_empty_when_in_sync(api: Api, path: str) -> None:
    response = api.get(f"{path}plan/")
    assert response.status == 200
    assert response.json == {"steps": [], "waiting": None, "accepts": [], "version": plan_version(Plan())}


def test_plan_shows_steps_and_changes_nothing(api: Api, path: str, control: Control) -> None:
    remote_id = api.get(path).json["remote_id"]
    control.post(f"remote/{remote_id}", config={"paths": ["/Shared/Elsewhere"]})
    calls = len(control.calls("PUT")) + len(control.calls("POST"))
    (step,) = api.get(f"{path}plan/").json["steps"]
    assert set(step) == {"action", "reason", "remote_id", "changes"}
    assert (step["action"], step["remote_id"]) == ("update", remote_id)
    assert step["changes"] == [{"field": "paths", "from": ["/Shared/Elsewhere"], "to": ["/Shared/Finance"]}]
    assert len(control.calls("PUT")) + len(control.calls("POST")) == calls


def test_plan_of_a_subscription_that_was_deleted_at_the_provider(api: Api, path: str, control: Control) -> None:
    control.post(f"remote/{api.get(path).json['remote_id']}", deleted=True)
    plan = api.get(f"{path}plan/").json
    assert (plan["steps"], "before anything is registered again" in plan["waiting"]) == ([], True)
    api.post(f"{path}reconcile/")
    with later():
        (step,) = api.get(f"{path}plan/").json["steps"]
    assert (step["action"], step["remote_id"]) == ("register", None)


def test_plan_without_the_provider_is_502_or_503(api: Api, path: str, control: Control) -> None:
    control.post("faults", status=500, times=1)
    assert (api.get(f"{path}plan/").status) == 502
    control.post("faults", status=429, times=1)
    response = api.get(f"{path}plan/")
    assert response.status == 503
    assert int(response.headers["Retry-After"]) > 0


# -- Operations ------------------------------------------------------------------------------------------------------


def test_operations_newest_first_and_masked(api: Api, active: Subscription, path: str) -> None:
    api.post(f"{path}disable/")
    response = api.get(f"{path}operations/")
    assert response.status == 200
    last, first = response.json["results"]
    assert set(first) == {
        "id",
        "subscription",
        "action",
        "reason",
        "actor",
        "status",
        "request",
        "response",
        "error",
        "started_at",
        "finished_at",
    }
    assert (last["action"], last["actor"], last["status"]) == ("disable", "api:ci", "succeeded")
    assert (first["action"], first["subscription"]) == ("register", str(active.uid))
    assert (first["request"]["method"], first["response"]["status"]) == ("POST", 201)
    assert first["request"]["body"]["authHeader"] == "***"
    assert active.secrets[0] not in str(response.json)
    assert first["started_at"] <= first["finished_at"]


def test_operations_page_and_take_no_filters(api: Api, path: str) -> None:
    api.post(f"{path}disable/")
    first = api.get(f"{path}operations/?limit=1").json
    second = api.get(first["next"]).json
    assert [item["action"] for item in first["results"] + second["results"]] == ["disable", "register"]
    assert second["next"] is None
    assert api.get(f"{path}operations/?status=failed").fields() == {"status": "unknown"}


def test_odd_provider_responses_are_shown(api: Api, active: Subscription, path: str) -> None:
    odd: dict[str, Any] = {"status": 500, "body": {"half": "\ud83d", "huge": 10**30}}
    active.operations.update(response=odd)
    shown = api.get(f"{path}operations/").json["results"][0]["response"]
    assert shown == {"status": 500, "body": {"half": "\ufffd", "huge": 10**30}}
