"""Remote subscriptions in the dashboard: the list, importing, deleting an orphan, ignoring."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from providers.models import HistoryEntry, ProviderAccount
from subscriptions.admin import remote_pages
from subscriptions.models import RemoteNote, State, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.admin.conftest import log_in_staff
from tests.harness.fixtures import Control, RegisterRemote

pytestmark = pytest.mark.usefixtures("receiver_answers")


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def page_of(name: str, account: ProviderAccount) -> str:
    return reverse(f"admin:providers_provideraccount_{name}", args=[account.pk])


def test_lists_remote_subscriptions_by_kind(
    superuser: Client, account: ProviderAccount, active: Subscription, orphan: str, foreign: str
) -> None:
    page = superuser.get(page_of("discover", account)).content.decode()
    for text in ("Orphans", "Foreign", "Managed", orphan, foreign, "https://elsewhere.example/in", "Finance"):
        assert text in page
    assert page.count(">Import<") == 2
    assert page.count(">Delete<") == 1
    assert page.index(orphan) < page.index(foreign) < page.index(str(active.remote_id))


def test_reports_a_failed_call_and_an_empty_list(superuser: Client, account: ProviderAccount, control: Control) -> None:
    assert "No remote subscriptions." in superuser.get(page_of("discover", account)).content.decode()
    control.post("faults", status=500, times=1)
    assert "could not be fetched" in superuser.get(page_of("discover", account)).content.decode()


def test_the_import_page_shows_the_effect(
    superuser: Client, account: ProviderAccount, foreign: str, control: Control
) -> None:
    page = superuser.get(page_of("import", account), {"remote_id": foreign}).content.decode()
    assert "Nothing changes at Egnyte Connect" in page
    assert "The URL that it calls now receives no more events." in page
    assert "https://elsewhere.example/in" in page
    assert "/hooks/…" in page
    assert control.calls("PUT") == []
    assert not Subscription.objects.exists()


def test_a_read_only_import_changes_nothing_at_the_provider(
    superuser: Client, account: ProviderAccount, foreign: str, control: Control
) -> None:
    response = superuser.post(page_of("import", account), {"remote_id": foreign, "name": "Old one"}, follow=True)
    row = Subscription.objects.get()
    assert (row.name, row.state, row.remote_id) == ("Old one", State.MANUAL, foreign)
    assert response.redirect_chain[-1][0] == reverse("admin:subscriptions_subscription_change", args=[row.pk])
    assert control.remotes()[0]["url"] == "https://elsewhere.example/in"


def test_an_import_can_take_over(superuser: Client, account: ProviderAccount, foreign: str, control: Control) -> None:
    superuser.post(page_of("import", account), {"remote_id": foreign, "take_over": "1"})
    row = Subscription.objects.get()
    assert row.state == State.ACTIVE
    assert control.remotes()[0]["url"] == row.callback_url
    assert HistoryEntry.objects.get(action="imported").actor == "staff:ann"


def test_an_orphan_is_deleted_after_confirmation(
    superuser: Client, account: ProviderAccount, orphan: str, control: Control
) -> None:
    page = superuser.get(page_of("remove_orphan", account), {"remote_id": orphan}).content.decode()
    assert "deleted permanently at Egnyte Connect" in page
    assert len(control.remotes()) == 1
    response = superuser.post(page_of("remove_orphan", account), {"remote_id": orphan}, follow=True)
    assert "was deleted at Egnyte Connect" in response.content.decode()
    assert control.remotes() == []
    assert HistoryEntry.objects.latest("pk").action == "orphan deleted"


def test_foreign_and_managed_remotes_are_never_deleted(
    superuser: Client, account: ProviderAccount, active: Subscription, foreign: str, control: Control
) -> None:
    for remote_id in (foreign, str(active.remote_id), "nothing"):
        response = superuser.get(page_of("remove_orphan", account), {"remote_id": remote_id})
        assert response.status_code == 302
        superuser.post(page_of("remove_orphan", account), {"remote_id": remote_id})
    assert len(control.remotes()) == 2
    assert control.calls("DELETE") == []


def test_a_foreign_remote_can_be_ignored_and_shown_again(
    superuser: Client, account: ProviderAccount, foreign: str
) -> None:
    superuser.get(page_of("discover", account))
    page = superuser.post(page_of("ignore", account), {"remote_id": foreign}, follow=True).content.decode()
    assert "Ignored" in page
    assert "Foreign" not in page
    page = superuser.post(page_of("ignore", account), {"remote_id": foreign, "undo": "1"}, follow=True).content.decode()
    assert "Foreign" in page
    assert superuser.post(page_of("ignore", account), {"remote_id": "nothing"}, follow=True).status_code == 200
    assert not RemoteNote.objects.exclude(ignored_at=None).exists()


def test_a_long_list_is_cut_and_counts_the_omitted_remotes(
    superuser: Client, account: ProviderAccount, register_remote: RegisterRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_pages, "MAX_PER_GROUP", 1)
    for number in range(3):
        register_remote(f"https://elsewhere.example/{number}")
    assert "2 more are not shown" in superuser.get(page_of("discover", account)).content.decode()


def test_each_permission_allows_only_its_own_pages(
    viewer: Client, unprivileged: Client, account: ProviderAccount, orphan: str, control: Control
) -> None:
    page = viewer.get(page_of("discover", account)).content.decode()
    assert orphan in page
    for button in (">Import<", ">Delete<", ">Ignore<"):
        assert button not in page
    assert unprivileged.get(page_of("discover", account)).status_code == 403
    for name in ("import", "remove_orphan", "ignore"):
        assert viewer.post(page_of(name, account), {"remote_id": orphan}).status_code == 403
    views = ("providers.view_provideraccount", "subscriptions.view_subscription")
    adder = log_in_staff("ada", *views, "subscriptions.add_subscription")
    page = adder.get(page_of("discover", account)).content.decode()
    assert ">Import<" in page
    assert ">Delete<" not in page
    assert adder.get(page_of("ignore", account)).status_code == 405
    assert len(control.remotes()) == 1
