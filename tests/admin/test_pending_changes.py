"""Pending changes in the dashboard: of one subscription, of an account, and of all."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from providers.models import ProviderAccount
from subscriptions.admin import pending_changes
from subscriptions.lifecycle import desired_state
from subscriptions.models import State, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.admin.conftest import log_in_staff
from tests.harness.fixtures import CONFIG, Control

pytestmark = pytest.mark.usefixtures("receiver_answers")

PLAN, APPLY = "/admin/subscriptions/subscription/plan/", "/admin/subscriptions/subscription/plan/apply/"


@pytest.fixture
def drifted(subscription: Subscription, control: Control) -> Subscription:
    """Return a subscription changed here and disabled at the provider, whose plan has two steps."""
    reconcile(subscription, details=True)
    desired_state.change(subscription, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    control.post(f"remote/{subscription.remote_id}", status="disabled")
    subscription.refresh_from_db()
    return subscription


def page_of(row: Subscription) -> str:
    return reverse("admin:subscriptions_subscription_change", args=[row.pk])


def fields_of(page: str) -> dict[str, list[str]]:
    """Return the form data of the page with all steps selected."""
    fields: dict[str, list[str]] = {"step": [], "version": []}
    for name, value in re.findall(r'name="(step|version)" value="([^"]+)"', page):
        fields[name].append(unescape(value))
    return fields


def test_no_call_is_made_before_a_refresh(superuser: Client, drifted: Subscription, control: Control) -> None:
    before = len(control.calls())
    page = superuser.get(PLAN).content.decode()
    assert "No plan yet." in page
    assert len(control.calls()) == before


@pytest.mark.parametrize("all_accounts", [True, False])
def test_shows_each_step_field_by_field(
    superuser: Client, drifted: Subscription, account: ProviderAccount, *, all_accounts: bool
) -> None:
    page = superuser.get(f"{PLAN}?look=now{'' if all_accounts else f'&account={account.pk}'}").content.decode()
    assert "It differs from the desired state." in page
    assert "/Shared/Finance" in page
    assert "/Shared/New" in page
    assert "2 steps; 1 subscription checked" in page


@pytest.mark.slow
def test_applies_only_the_selected_steps(
    superuser: Client, drifted: Subscription, account: ProviderAccount, control: Control
) -> None:
    form_data = fields_of(superuser.get(PLAN, {"look": "now"}).content.decode())
    assert [step.split(":")[1] for step in form_data["step"]] == ["update", "enable"]
    response = superuser.post(APPLY, {**form_data, "step": form_data["step"][1:], "account": account.pk}, follow=True)
    assert "Applied the selected steps of 1 subscription." in response.content.decode()
    (remote,) = control.remotes()
    assert (remote["status"], remote["path"]) == ("enabled", "/Shared/Finance")
    assert drifted.operations.latest("id").actor == "staff:ann"


@pytest.mark.slow
@pytest.mark.parametrize("all_accounts", [True, False])
def test_applies_all_steps(
    superuser: Client, drifted: Subscription, account: ProviderAccount, *, all_accounts: bool
) -> None:
    response = superuser.post(APPLY, {"all": "1", **({} if all_accounts else {"account": account.pk})}, follow=True)
    assert "Applied the changes of 1 subscription." in response.content.decode()
    drifted.refresh_from_db()
    assert drifted.state == State.ACTIVE
    assert "No changes needed." in superuser.post(APPLY, {"all": "1"}, follow=True).content.decode()


@pytest.mark.slow
def test_a_changed_plan_is_shown_again_and_not_applied(
    superuser: Client, drifted: Subscription, control: Control
) -> None:
    form_data = fields_of(superuser.get(f"{page_of(drifted)}?plan=now").content.decode())
    assert len(form_data["step"]) == 2
    desired_state.change(drifted, by="staff:bob", config={**CONFIG, "paths": ["/Shared/Newer"]})
    response = superuser.post(APPLY, {**form_data, "back": "subscription"}, follow=True)
    page = response.content.decode()
    assert "The plan has changed" in page
    assert "/Shared/Newer" in page
    assert control.remotes()[0]["status"] == "disabled"
    assert drifted.operations.count() == 1
    superuser.post(APPLY, {**fields_of(page), "back": "subscription"})
    drifted.refresh_from_db()
    assert drifted.state == State.ACTIVE


def test_unreachable_accounts_are_listed(superuser: Client, drifted: Subscription, control: Control) -> None:
    control.post("faults", status=500, times=1)
    page = superuser.get(PLAN, {"look": "now"}).content.decode()
    assert "Not reached:" in page
    assert "Refresh only this account" in page
    assert "No changes needed" not in page


def test_a_limited_page_counts_the_omitted_subscriptions(
    superuser: Client, drifted: Subscription, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_changes, "MAX_SHOWN", 1)
    desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Second")
    page = superuser.get(PLAN, {"look": "now"}).content.decode()
    assert "1 more subscription with pending changes is not shown" in page


@pytest.mark.slow
def test_no_pending_changes(superuser: Client, drifted: Subscription, account: ProviderAccount) -> None:
    superuser.post(APPLY, {"all": "1"})
    page = superuser.get(f"{PLAN}?look=now&account={account.pk}").content.decode()
    assert "No changes needed." in page
    assert "1 subscription checked" in page


def test_no_selection_and_invalid_input(superuser: Client, drifted: Subscription) -> None:
    assert "No step was selected" in superuser.post(APPLY, {"version": "1:x"}, follow=True).content.decode()
    for form_data in ({"step": "x"}, {"step": "1:explode:2"}, {"account": "x"}, {"account": "999"}):
        assert superuser.post(APPLY, form_data).status_code == 404
    assert superuser.get(APPLY).status_code == 405
    assert superuser.get(PLAN, {"account": "x"}).status_code == 404


@pytest.mark.slow
def test_viewers_see_plans_without_buttons(viewer: Client, unprivileged: Client, drifted: Subscription) -> None:
    page = viewer.get(PLAN, {"look": "now"}).content.decode()
    assert "It differs from the desired state." in page
    assert 'name="step"' not in page
    assert "Apply selected" not in page
    assert viewer.post(APPLY, {"all": "1"}).status_code == 403
    assert unprivileged.get(PLAN).status_code == 403
    changer = log_in_staff("chris", "subscriptions.view_subscription", "subscriptions.change_subscription")
    assert "Apply selected steps" in changer.get(PLAN, {"look": "now"}).content.decode()
