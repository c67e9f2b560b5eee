"""Two people, or two tabs, edit the same row: nothing is overwritten silently."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client
from django.urls import reverse

from providers.models import ProviderAccount
from subscriptions.models import Channel, Subscription
from tests.admin.test_silence import FORM_DATA, page_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

SEEN = re.compile(r'name="seen" value="([^"]*)"')


def seen_on(page: str) -> str:
    found = SEEN.search(page)
    assert found, "the form has no version"
    return html.unescape(found[1])


@pytest.mark.slow
def test_the_second_tab_shows_both_values_and_overwrites_only_when_saved_again(
    superuser: Client, subscription: Subscription
) -> None:
    edit = page_of("edit", subscription)
    first = second = seen_on(superuser.get(edit).content.decode())
    saved = {**FORM_DATA, "name": "From A", "config.paths.lines": "/Shared/A"}
    assert superuser.post(edit, {**saved, "seen": first}).status_code == 302
    entered = {**FORM_DATA, "name": "From B", "config.paths.lines": "/Shared/B"}
    shown = superuser.post(edit, {**entered, "seen": second})
    assert shown.status_code == 200
    page = html.unescape(shown.content.decode())
    assert "Other values were saved since you opened this form" in page
    conflicts = shown.context["form"].conflicts
    assert [(item.stored, item.entered) for item in conflicts] == [("From A", "From B"), ("/Shared/A", "/Shared/B")]
    assert all(f"{value}</span>" in page for value in ("From A", "From B", "/Shared/A", "/Shared/B"))
    subscription.refresh_from_db()
    assert subscription.name == "From A"
    assert superuser.post(edit, {**entered, "seen": seen_on(page)}).status_code == 302
    subscription.refresh_from_db()
    assert (subscription.name, subscription.config["paths"]) == ("From B", ["/Shared/B"])


@pytest.mark.slow
def test_the_same_values_and_other_fields_are_no_conflict(superuser: Client, subscription: Subscription) -> None:
    edit = page_of("edit", subscription)
    seen = seen_on(superuser.get(edit).content.decode())
    superuser.post(edit, {**FORM_DATA, "name": "New", "seen": seen})
    assert superuser.post(edit, {**FORM_DATA, "name": "New", "seen": seen}).status_code == 302
    for unusable in ("", "no json", "[]", "3"):
        assert superuser.post(edit, {**FORM_DATA, "name": "New", "seen": unusable}).status_code == 302, unusable


def test_a_channel_that_was_changed_meanwhile_is_not_overwritten(superuser: Client, db: None) -> None:
    channel = Channel.objects.create(name="Ops", kind="email", recipients=["a@example.com"])
    edit = reverse("admin:subscriptions_channel_edit", args=[channel.pk])
    data = {
        "recipients": "a@example.com",
        "min_severity": "warning",
        "every": "5",
        "remind_every": "0",
        "enabled": "on",
        "seen": seen_on(superuser.get(edit).content.decode()),
    }
    assert superuser.post(edit, {**data, "name": "From A"}).status_code == 302
    assert superuser.post(edit, {**data, "name": "From B"}).status_code == 200
    channel.refresh_from_db()
    assert channel.name == "From A"


def test_an_account_that_was_changed_meanwhile_is_not_overwritten(superuser: Client, account: ProviderAccount) -> None:
    edit = reverse("admin:providers_provideraccount_edit", args=[account.pk])
    seen = seen_on(superuser.get(edit).content.decode())
    settings = {f"settings.{name}": value for name, value in account.settings.items() if value is not None}
    ProviderAccount.objects.filter(pk=account.pk).update(name="From A")
    shown = superuser.post(edit, {**settings, "name": "From B", "retention_days": "365", "seen": seen})
    assert [item.stored for item in shown.context["form"].conflicts] == ["From A"]
    account.refresh_from_db()
    assert account.name == "From A"
