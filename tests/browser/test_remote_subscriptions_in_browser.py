"""In a browser: adopt a remote subscription, delete an orphan, ignore a third; then delete the account."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from providers.models import ProviderAccount
from subscriptions.models import Subscription
from subscriptions.reconciliation import sweep
from tests.browser.conftest import add_account, log_in
from tests.harness.fixtures import Control, register_without_us

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_adopt_delete_an_orphan_ignore_and_delete_the_account(strict_page: Page, site: str) -> None:
    page = strict_page
    log_in(page, site)
    add_account(page)
    control = Control(settings.SANDBOX_URL or "", "egnyte-connect")
    control.post("options", calls_per_second=None)
    account = ProviderAccount.objects.get()
    for url in ("https://old.example/in", "https://other.example/in", f"{site}/hooks/this-token-is-no-longer-in-use"):
        register_without_us(account, url)

    page.get_by_role("link", name="Remote subscriptions").click()
    orphans, foreign = page.locator("section", has_text="Orphans"), page.locator("section", has_text="Foreign")
    expect(orphans.get_by_role("row")).to_have_count(2)  # and the heading
    expect(foreign.get_by_role("link", name="Delete")).to_have_count(0)

    # Delete the orphan, after confirmation.
    orphans.get_by_role("link", name="Delete").click()
    expect(page.get_by_text("deleted permanently")).to_be_visible()
    page.get_by_role("button", name="Delete at the provider").click()
    expect(page.get_by_text("was deleted at Egnyte Connect")).to_be_visible()
    assert len(control.remotes()) == 2

    # Ignore one, which is folded away.
    foreign.get_by_role("row", name=re.compile("other.example")).get_by_role("button", name="Ignore").click()
    expect(foreign.get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("Hidden from the groups above.")).to_be_visible()
    expect(page.get_by_text("https://other.example/in")).to_be_hidden()

    # Adopt the other, after the effect was shown.
    foreign.get_by_role("link", name="Import").click()
    expect(page.get_by_text("The URL that it calls now receives no more events.")).to_be_visible()
    page.get_by_label("Name").fill("Old one")
    page.get_by_role("button", name="Import and adopt").click()
    expect(page.locator(".hk-title [data-state=active]")).to_be_visible()
    assert {remote["url"] for remote in control.remotes()} == {
        Subscription.objects.get().callback_url,
        "https://other.example/in",
    }

    # Delete the account with its subscription; foreign remote subscriptions stay.
    page.get_by_role("link", name="Acme").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete subscriptions and account").click()
    expect(page.get_by_role("button", name="Keep the account")).to_be_visible()
    for _ in range(2):
        sweep.sweep_inline()
    assert not ProviderAccount.objects.exists()
    assert [remote["url"] for remote in control.remotes()] == ["https://other.example/in"]
