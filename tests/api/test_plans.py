"""Planning and reconciling over the API: chosen steps, one account, and all accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from providers.models import ProviderAccount
from subscriptions.api import all_accounts as all_accounts_views
from subscriptions.api import subscriptions as subscription_views
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Subscription
from subscriptions.planning.step_selection import Choice
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.reconciler import reconcile
from tests.api.conftest import UNKNOWN_ID, Api, Issue, check_access
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def drifted(active: Subscription, control: Control) -> Subscription:
    """Return a subscription with two pending steps: its config was changed, and the provider disabled it."""
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    control.post(f"remote/{active.remote_id}", status="disabled")
    return active


def named(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"action": step["action"], "remote_id": step["remote_id"]} for step in steps]


# -- Chosen steps ----------------------------------------------------------------------------------------------------


def test_only_the_chosen_step_is_applied(api: Api, path: str, drifted: Subscription, control: Control) -> None:
    plan = api.get(f"{path}plan/").json
    assert [step["action"] for step in plan["steps"]] == ["update", "enable"]
    (change,) = plan["steps"][0]["changes"]
    assert change == {"field": "paths", "from": ["/Shared/Finance"], "to": ["/Shared/New"]}
    body = {"steps": named(plan["steps"][1:]), "version": plan["version"]}
    assert api.post(f"{path}reconcile/", body).status == 200
    (remote,) = control.remotes()
    assert (remote["status"], remote["path"]) == ("enabled", "/Shared/Finance")
    operation = api.get(f"{path}operations/").json["results"][0]
    assert (operation["action"], operation["actor"]) == ("enable", "api:ci")
    rest = api.get(f"{path}plan/").json
    assert [step["action"] for step in rest["steps"]] == ["update"]
    assert rest["version"] != plan["version"]


@pytest.mark.slow
def test_a_changed_plan_is_a_conflict_and_applies_nothing(
    api: Api, path: str, drifted: Subscription, control: Control
) -> None:
    plan = api.get(f"{path}plan/").json
    writes = [call for call in control.calls() if call["method"] != "GET"]
    desired_state.change(drifted, by="staff:bob", config={**CONFIG, "paths": ["/Shared/Newer"]})
    response = api.post(f"{path}reconcile/", {"steps": named(plan["steps"]), "version": plan["version"]})
    assert (response.status, response.json["code"]) == (409, "plan_changed")
    control.post(f"remote/{drifted.remote_id}", status="enabled")
    response = api.post(f"{path}reconcile/", {"steps": named(plan["steps"])})
    assert (response.status, response.json["code"]) == (409, "plan_changed")
    assert "enable" in response.json["detail"]
    assert [call for call in control.calls() if call["method"] != "GET"] == writes


@pytest.mark.slow
def test_a_step_without_its_required_step_is_a_conflict(api: Api, path: str, active: Subscription) -> None:
    Subscription.objects.filter(pk=active.pk).update(remote_id=None)
    plan = api.get(f"{path}plan/").json
    assert [step["action"] for step in plan["steps"]] == ["adopt"]
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    steps = named(api.get(f"{path}plan/").json["steps"])
    assert [step["action"] for step in steps] == ["adopt", "update"]
    response = api.post(f"{path}reconcile/", {"steps": steps[1:]})
    assert (response.status, response.json["code"]) == (409, "incomplete_choice")
    assert api.post(f"{path}reconcile/", {"steps": steps}).json["state"] == "active"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"steps": []}, {"steps": "empty"}),
        ({"steps": [{"action": "explode"}]}, {"steps.0.action": "invalid_choice"}),
        ({"steps": [{"action": "enable", "remote_id": 7}]}, {"steps.0.remote_id": "invalid"}),
        ({"steps": [{"action": "enable", "force": True}]}, {"steps.0.force": "unknown"}),
        ({"steps": "enable"}, {"steps": "not_a_list"}),
        ({"version": "x"}, {"steps": "required"}),
        ({"plan": []}, {"plan": "unknown"}),
    ],
)
def test_invalid_choices_are_refused(api: Api, path: str, body: dict[str, Any], fields: dict[str, str]) -> None:
    response = api.post(f"{path}reconcile/", body)
    assert (response.status, response.fields()) == (400, fields)


@pytest.mark.slow
def test_nothing_is_applied_while_another_process_holds_the_claim(
    api: Api, path: str, drifted: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_views, "SECONDS", 0.3)
    assert drifted.claim("another worker")
    response = api.post(f"{path}reconcile/", {"steps": [{"action": "enable", "remote_id": drifted.remote_id}]})
    assert (response.status, response.json["code"]) == (409, "conflict")
    assert drifted.operations.count() == 1


# -- One account -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_plans_an_account_with_one_list_call(
    api: Api, account_path: str, drifted: Subscription, account: ProviderAccount, control: Control
) -> None:
    for name in ("B", "C"):
        reconcile(desired_state.subscribe(account, config=CONFIG, by="staff:ann", name=name))
    assert api.get(f"{account_path}plan/").json["count"] == 3  # the first time, details are read
    for row in Subscription.objects.all():
        reconcile(row, details=True, choice=Choice([]))  # syncs without applying a step
    before = len(control.calls())
    data = api.get(f"{account_path}plan/").json
    assert len(control.calls()) == before + 1
    assert (data["account"], data["name"], data["count"], data["trouble"]) == (str(account.uid), "Spare", 3, None)
    (only,) = data["plans"]
    assert (only["subscription"], only["name"], only["waiting"]) == (str(drifted.uid), "Finance", None)
    assert [step["action"] for step in only["steps"]] == ["update", "enable"]
    assert only["version"] == api.get(f"/subscriptions/{drifted.uid}/plan/").json["version"]


@pytest.mark.slow
def test_reconciles_an_account(api: Api, account_path: str, drifted: Subscription, control: Control) -> None:
    data = api.post(f"{account_path}reconcile/").json
    (finished,) = data["done"]
    assert (finished["subscription"], finished["state"], data["left"], data["count"]) == (
        str(drifted.uid),
        "active",
        0,
        1,
    )
    assert control.remotes()[0]["status"] == "enabled"
    assert api.get(f"{account_path}plan/").json["plans"] == []
    assert api.post(f"{account_path}reconcile/").json["done"] == []
    assert set(drifted.operations.values_list("actor", flat=True)) == {"staff:ann", "api:ci"}


@pytest.mark.slow
def test_work_without_time_is_left_to_the_worker(
    drifted: Subscription, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    Subscription.objects.update(due_at=None)
    assert drifted.claim("another worker")
    result = on_demand.apply_account(account, by="staff:ann")
    assert (list(result.done), result.left) == ([], 1)
    drifted.refresh_from_db()
    assert drifted.due_at is not None
    assert drifted.due_at <= timezone.now()


def test_a_failing_provider_is_502(api: Api, account_path: str, active: Subscription, control: Control) -> None:
    control.post("faults", status=500, times=2)
    assert api.get(f"{account_path}plan/").json["code"] == "provider_error"
    assert api.post(f"{account_path}reconcile/").status == 502


def test_an_account_without_subscriptions_makes_no_call(api: Api, account_path: str, control: Control) -> None:
    data = api.get(f"{account_path}plan/").json
    assert (data["count"], data["plans"]) == (0, [])
    assert control.calls() == []


# -- All accounts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(account: ProviderAccount) -> ProviderAccount:
    """Return another account, whose credentials are refused."""
    other = accounts.add_account(
        provider=account.provider,
        name="Broken",
        settings=account.settings,
        credentials={"access_token": "wrong"},
        by="staff:ann",
    )
    row = desired_state.subscribe(other, config=CONFIG, by="staff:ann")
    Subscription.objects.filter(pk=row.pk).update(register_tried_at=timezone.now())
    return other


def test_plans_all_accounts_and_names_those_that_failed(
    api: Api, drifted: Subscription, broken: ProviderAccount
) -> None:
    by_name = {item["name"]: item for item in api.get("/plan/").json["accounts"]}
    assert set(by_name) == {"Spare", "Broken"}
    assert [step["action"] for step in by_name["Spare"]["plans"][0]["steps"]] == ["update", "enable"]
    assert by_name["Broken"]["trouble"]
    assert by_name["Broken"]["plans"] == []


def test_an_undecryptable_account_does_not_hide_the_others(api: Api, drifted: Subscription) -> None:
    shut = accounts.add_account(
        provider=drifted.account.provider,
        name="Shut",
        settings=drifted.account.settings,
        credentials=drifted.account.credentials,
        by="staff:ann",
    )
    desired_state.subscribe(shut, config=CONFIG, by="staff:ann")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE providers_provideraccount SET credentials = 'x' WHERE id = %s", [shut.pk])
    by_name = {item["name"]: item for item in api.get("/plan/").json["accounts"]}
    assert "ENCRYPTION_KEYS" in by_name["Shut"]["trouble"]
    assert by_name["Spare"]["plans"]


@pytest.mark.slow
def test_reconciles_all_accounts(api: Api, drifted: Subscription, broken: ProviderAccount, control: Control) -> None:
    by_name = {item["name"]: item for item in api.post("/reconcile/").json["accounts"]}
    assert by_name["Spare"]["done"][0]["state"] == "active"
    assert by_name["Broken"]["trouble"]
    assert control.remotes()[0]["status"] == "enabled"


def test_without_time_every_account_is_left_to_the_worker(
    api: Api, drifted: Subscription, monkeypatch: pytest.MonkeyPatch, control: Control
) -> None:
    monkeypatch.setattr(all_accounts_views, "SECONDS", 0.0)
    before = len(control.calls())
    (data,) = api.get("/plan/").json["accounts"]
    assert "no time" in data["trouble"]
    ProviderAccount.objects.update(sync_due_at=timezone.now() + timedelta(hours=1))
    (data,) = api.post("/reconcile/").json["accounts"]
    assert "worker" in data["trouble"]
    assert ProviderAccount.objects.get().sync_due_at <= timezone.now()
    assert len(control.calls()) == before


@pytest.mark.parametrize(("endpoint", "method"), [("plan", "GET"), ("reconcile", "POST")])
@pytest.mark.parametrize("all_accounts", [True, False])
def test_access(
    with_scopes: Issue, anonymous: Api, api: Api, account_path: str, endpoint: str, method: str, *, all_accounts: bool
) -> None:
    scope = "subscriptions:read" if method == "GET" else "subscriptions:write"
    check_access(
        f"/{endpoint}/" if all_accounts else f"{account_path}{endpoint}/",
        method,
        anonymous=anonymous,
        wrong=with_scopes("accounts:write", "events:write"),
        scope=scope,
        wrong_method="DELETE",
        api=api,
    )
    if method == "POST":
        path = f"/{endpoint}/" if all_accounts else f"{account_path}{endpoint}/"
        assert api.post(path, {"force": True}).fields() == {"force": "unknown"}
    assert api.call(method, f"/accounts/{UNKNOWN_ID}/{endpoint}/").status == 404
