"""The timeline on the pages of accounts and subscriptions, and on its own."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from providers.models import ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.models import Operation, Subscription

pytestmark = pytest.mark.django_db


def timeline_of(row: Subscription | ProviderAccount) -> str:
    model = "subscriptions_subscription" if isinstance(row, Subscription) else "providers_provideraccount"
    return reverse(f"admin:{model}_timeline", args=[row.pk])


def test_the_latest_entries_are_on_the_page_and_all_on_the_timeline(viewer: Client, subscription: Subscription) -> None:
    operation = Operation.objects.create(
        subscription=subscription, action="register", actor="clock", status="failed", reason="New.", error="Too many."
    )
    desired_state.change(subscription, by="staff:ann", name="Finance 2")
    for row in (subscription, subscription.account):
        page = viewer.get(timeline_of(row).replace("timeline/", "change/")).content.decode()
        assert f'href="{timeline_of(row)}"' in page
        assert "New. Too many." in page
    page = viewer.get(timeline_of(subscription)).content.decode()
    assert reverse("admin:subscriptions_operation_change", args=[operation.pk]) in page
    assert page.index("changed") < page.index("New. Too many.") < page.index("created")
    account_timeline = viewer.get(timeline_of(subscription.account)).content.decode()
    assert reverse("admin:subscriptions_subscription_change", args=[subscription.pk]) in account_timeline


@pytest.mark.slow
def test_the_timeline_is_filtered_and_paged(viewer: Client, subscription: Subscription) -> None:
    for number in range(60):
        desired_state.change(subscription, by="staff:ann", name=f"Name {number}")
    url = timeline_of(subscription)
    first = viewer.get(url)
    assert len(first.context["part"].entries) == 50
    assert first.context["part"].newer is None
    second = viewer.get(url + first.context["part"].older)
    assert len(second.context["part"].entries) == 11
    assert second.context["part"].older is None
    back = viewer.get(url + second.context["part"].newer)
    assert [entry.key for entry in back.context["part"].entries] == [
        entry.key for entry in first.context["part"].entries
    ]
    assert back.context["part"].newer is None
    newest = first.context["part"].entries[0].key
    assert len(viewer.get(f"{url}?after={newest}").context["part"].entries) == 50
    oldest = second.context["part"].entries[-1].key
    assert "No more entries." in viewer.get(f"{url}?before={oldest}").content.decode()
    assert "No entries of this kind." in viewer.get(f"{url}?kind=operation").content.decode()
    for query in ("?kind=bogus", "?before=bogus", "?after=", "?kind=%00"):
        assert len(viewer.get(url + query).context["part"].entries) == 50


def test_the_timeline_needs_the_permission_of_its_subject(unprivileged: Client, subscription: Subscription) -> None:
    for row in (subscription, subscription.account):
        assert unprivileged.get(timeline_of(row)).status_code == 403
    assert unprivileged.get(timeline_of(subscription).replace(f"/{subscription.pk}/", "/999/")).status_code == 404


def test_an_empty_timeline(viewer: Client, subscription: Subscription) -> None:
    unused_account = ProviderAccount.objects.create(provider="egnyte-connect", name="Bare")
    assert "No activity yet." in viewer.get(timeline_of(unused_account)).content.decode()
