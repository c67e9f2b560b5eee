"""Accounts: adding, changing, checking and deleting them in the dashboard."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from events.models import WebhookRequest
from events.retention import purge
from providers.models import AccountStatus, HistoryEntry, ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import desired_state
from subscriptions.models import Subscription
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.reconciler import reconcile
from tests.admin.conftest import log_in_staff
from tests.harness.fixtures import CONFIG, Control

ADD = "/admin/providers/provideraccount/add/"


def page_of(name: str, account: ProviderAccount) -> str:
    return reverse(f"admin:providers_provideraccount_{name}", args=[account.pk])


@pytest.fixture
def form_data(sandbox: Sandbox) -> dict[str, Any]:
    """Return the form fields for the spare login."""
    login = sandbox.logins("egnyte-connect")[0]
    return {
        "name": "Acme",
        **{f"settings.{name}": value for name, value in login["settings"].items()},
        **{f"credentials.{name}": value for name, value in login["credentials"].items()},
        "settings.auth_header_style": "value",
        "settings.auth_header_name": "Authorization",
        "settings.calls_per_second": "100",
        "settings.calls_per_day": "0",
    }


def test_adding_starts_with_the_choice_of_the_provider(superuser: Client) -> None:
    page = superuser.get(ADD).content.decode()
    assert "?provider=egnyte-connect" in page
    assert superuser.get(ADD + "?provider=bogus").content.decode().count("?provider=egnyte-connect") == 1


def test_the_form_comes_from_the_schema(superuser: Client) -> None:
    page = superuser.get(ADD + "?provider=egnyte-connect").content.decode()
    assert 'name="settings.domain"' in page
    assert 'placeholder="acme"' in page
    assert "The name before .egnyte.com" in page
    assert "unconfirmed" in page
    assert 'type="password" name="credentials.access_token"' in page


def test_adding_checks_the_credentials_and_shows_the_identity(
    superuser: Client, control: Control, form_data: dict[str, Any]
) -> None:
    response = superuser.post(ADD + "?provider=egnyte-connect", form_data, follow=True)
    account = ProviderAccount.objects.get()
    assert account.status == AccountStatus.OK
    assert account.settings["calls_per_second"] == 100
    assert account.settings["only_header"] is False
    page = response.content.decode()
    assert "accepts the credentials" in page
    assert account.identity["username"] in page
    assert form_data["credentials.access_token"] not in page
    assert HistoryEntry.objects.get(action="created").actor == "staff:ann"


@pytest.mark.slow
def test_bad_input_is_shown_at_its_field_and_nothing_is_saved(superuser: Client, form_data: dict[str, Any]) -> None:
    form_data |= {
        "settings.domain": "not a domain!",
        "settings.calls_per_second": "many",
        "credentials.access_token": "",
    }
    response = superuser.post(ADD + "?provider=egnyte-connect", form_data)
    errors = response.context["form"].errors
    assert set(errors) == {"settings.domain", "settings.calls_per_second", "credentials.access_token"}
    assert errors["credentials.access_token"] == ["This field is required."]
    page = response.content.decode()
    assert "not a domain!" in page
    assert '<details class="hk-aside" open>' in page
    assert not ProviderAccount.objects.exists()


def test_rejected_credentials_are_saved_and_reported(
    superuser: Client, control: Control, form_data: dict[str, Any]
) -> None:
    page = superuser.post(
        ADD + "?provider=egnyte-connect", {**form_data, "credentials.access_token": "wrong"}, follow=True
    )
    assert ProviderAccount.objects.get().status == AccountStatus.FAILING
    assert "rejected the credentials" in page.content.decode()


@pytest.mark.slow
def test_an_empty_credential_field_keeps_the_stored_value(
    superuser: Client, account: ProviderAccount, form_data: dict[str, Any]
) -> None:
    before = dict(account.credentials)
    page = superuser.get(page_of("edit", account)).content.decode()
    assert "Stored. Leave empty to keep it." in page
    assert before["access_token"] not in page
    superuser.post(page_of("edit", account), {**form_data, "name": "Renamed", "credentials.access_token": ""})
    account.refresh_from_db()
    assert account.name == "Renamed"
    assert account.credentials == before


def test_a_new_credential_replaces_the_stored_one(
    superuser: Client, account: ProviderAccount, form_data: dict[str, Any]
) -> None:
    superuser.post(page_of("edit", account), {**form_data, "credentials.access_token": "other"})
    account.refresh_from_db()
    assert account.credentials == {"access_token": "other"}
    assert account.status == AccountStatus.FAILING
    entry = HistoryEntry.objects.filter(action="changed").latest("pk")
    assert {"field": "credentials.access_token", "from": "***", "to": "***"} in entry.changes


def test_check_reports_an_unavailable_provider(superuser: Client, account: ProviderAccount, control: Control) -> None:
    control.post("faults", status=503, times=10)
    page = superuser.post(page_of("check", account), follow=True).content.decode()
    assert "could not be checked" in page
    account.refresh_from_db()
    assert account.status == AccountStatus.UNCHECKED


def test_an_account_with_subscriptions_is_not_deleted_alone(superuser: Client, subscription: Subscription) -> None:
    account = subscription.account
    page = superuser.get(page_of("delete", account)).content.decode()
    assert "Delete subscriptions and account" in page
    assert "Finance" in page
    page = superuser.post(page_of("delete", account), follow=True).content.decode()
    assert "still has 1 subscription" in page
    assert ProviderAccount.objects.filter(pk=account.pk).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("receiver_answers")
def test_deleting_an_account_with_its_subscriptions_deletes_them_first(
    superuser: Client, subscription: Subscription, control: Control
) -> None:
    reconcile(subscription)
    page = superuser.post(page_of("delete", subscription.account), {"remove_subscriptions": "1"}, follow=True)
    assert "Keep the account" in page.content.decode()
    assert "(requested" in superuser.get(page_of("delete", subscription.account)).content.decode()
    for _ in range(2):
        sweep.sweep_inline()
    assert control.remotes() == []
    assert not ProviderAccount.objects.exists()


@pytest.mark.slow
def test_the_deletion_of_an_account_can_be_stopped(
    superuser: Client, viewer: Client, subscription: Subscription
) -> None:
    account = subscription.account
    Subscription.objects.update(register_tried_at=subscription.created_at)
    superuser.post(page_of("delete", account), {"remove_subscriptions": "1"})
    assert viewer.post(page_of("keep", account)).status_code == 403
    page = superuser.post(page_of("keep", account), follow=True).content.decode()
    assert "The account is kept." in page
    assert "Keep the account" not in page
    assert "is not being deleted" in superuser.post(page_of("keep", account), follow=True).content.decode()
    assert superuser.get(page_of("keep", account)).status_code == 405


def test_deleting_with_subscriptions_needs_the_permission_for_them(subscription: Subscription) -> None:
    rights = ("view", "delete")
    deleter = log_in_staff("del", *(f"providers.{right}_provideraccount" for right in rights))
    assert (
        "You do not have permission to delete subscriptions."
        in deleter.get(page_of("delete", subscription.account)).content.decode()
    )
    response = deleter.post(page_of("delete", subscription.account), {"remove_subscriptions": "1"})
    assert response.status_code == 403
    assert ProviderAccount.objects.get().removal_asked_at is None


def test_an_unused_account_is_deleted_after_confirmation(superuser: Client, account: ProviderAccount) -> None:
    assert "Delete account" in superuser.get(page_of("delete", account)).content.decode()
    superuser.post(page_of("delete", account))
    assert not ProviderAccount.objects.exists()
    assert HistoryEntry.objects.latest("pk").action == "deleted"


def test_the_page_of_an_account_shows_its_subscriptions(superuser: Client, subscription: Subscription) -> None:
    desired_state.subscribe(subscription.account, config=CONFIG, by="staff:ann", name="Legal")
    page = superuser.get(page_of("change", subscription.account)).content.decode()
    assert "Finance" in page
    assert "Legal" in page
    assert "stored, never shown" in page


@pytest.mark.parametrize("page", ["edit", "check", "delete"])
def test_viewers_cannot_change_accounts(viewer: Client, account: ProviderAccount, page: str) -> None:
    assert viewer.post(page_of(page, account), {"name": "x"}).status_code == 403
    assert viewer.post(ADD + "?provider=egnyte-connect").status_code == 403


def test_each_permission_allows_only_its_own_pages(db: None, account: ProviderAccount) -> None:
    changer = log_in_staff("chris", "providers.view_provideraccount", "providers.change_provideraccount")
    assert changer.get(page_of("edit", account)).status_code == 200
    assert changer.get(page_of("delete", account)).status_code == 403
    assert changer.get(ADD).status_code == 403


def test_check_requires_post(superuser: Client, account: ProviderAccount) -> None:
    assert superuser.get(page_of("check", account)).status_code == 405


@pytest.mark.slow
def test_the_form_has_the_retention(superuser: Client, control: Control, form_data: dict[str, Any]) -> None:
    page = superuser.get(ADD + "?provider=egnyte-connect").content.decode()
    assert 'name="retention_days" id="id_retention_days" value="365"' in page
    assert "Keep them no longer" not in page
    page = superuser.get(ADD + "?provider=egnyte-msp").content.decode()
    assert 'name="retention_days" id="id_retention_days" value="30"' in page
    assert "names and email addresses" in page
    for wrong in ("0", "-1", "many", "9999"):
        form = superuser.post(ADD + "?provider=egnyte-connect", {**form_data, "retention_days": wrong}).context["form"]
        assert set(form.errors) == {"retention_days"}
    page = superuser.post(
        ADD + "?provider=egnyte-connect", {**form_data, "retention_days": "90"}, follow=True
    ).content.decode()
    account = ProviderAccount.objects.get()
    assert account.retention_days == 90
    assert "90 days" in page
    assert "nothing received yet" in page
    superuser.post(page_of("edit", account), {**form_data, "retention_days": "", "credentials.access_token": ""})
    account.refresh_from_db()
    assert account.retention_days is None
    entry = HistoryEntry.objects.filter(action="changed").latest("pk")
    assert entry.changes == [{"field": "retention_days", "from": 90, "to": None}]


@pytest.mark.slow
def test_the_page_shows_retention_and_purged_rows(viewer: Client, received: WebhookRequest) -> None:
    account = received.account
    page = viewer.get(page_of("change", account)).content.decode()
    assert "indefinitely" in page
    assert "Last purge" not in page
    account.retention_days = 1
    account.save()
    old = timezone.now() - timedelta(days=2)
    WebhookRequest.objects.update(received_at=old, processed_at=old)
    purge.purge_due()
    page = viewer.get(page_of("change", account)).content.decode()
    assert "1 request, 1 event" in " ".join(page.split())
    assert "twice as long" in page
