"""A person finds what is registered at the provider: takes one over, removes an orphan, ignores a third; then lets the
account go with its subscriptions."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from providers.models import ProviderAccount
from subscriptions.models import Subscription
from subscriptions.reconciliation import sweep
from tests.browser.test_admin_in_browser import add_account, log_in, quiet
from tests.harness.fixtures import Control, register_without_us

__all__ = ["quiet"]  # a fixture

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_takes_one_over_removes_an_orphan_and_lets_the_account_go(quiet: Page, site: str) -> None:
    page = quiet
    log_in(page, site)
    add_account(page)
    control = Control(settings.SANDBOX_URL or "", "egnyte-connect")
    control.post("options", calls_per_second=None)
    account = ProviderAccount.objects.get()
    for url in ("https://old.example/in", "https://other.example/in", f"{site}/hooks/nobody-knows-this-token-any-more"):
        register_without_us(account, url)

    page.get_by_role("link", name="At the provider").click()
    orphans, foreign = page.locator("section", has_text="Orphans"), page.locator("section", has_text="Foreign")
    expect(orphans.get_by_role("row")).to_have_count(2)  # and the heading
    expect(foreign.get_by_role("link", name="Remove")).to_have_count(0)

    # The orphan goes, after asking.
    orphans.get_by_role("link", name="Remove").click()
    expect(page.get_by_text("for good")).to_be_visible()
    page.get_by_role("button", name="Remove it at the provider").click()
    expect(page.get_by_text("was removed at Egnyte Connect")).to_be_visible()
    assert len(control.remotes()) == 2

    # One is ignored, and is folded away.
    foreign.get_by_role("row", name=re.compile("other.example")).get_by_role("button", name="Ignore").click()
    expect(foreign.get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("Nobody needs to see these again.")).to_be_visible()
    expect(page.get_by_text("https://other.example/in")).to_be_hidden()

    # The other is taken over, after it was said what that changes.
    foreign.get_by_role("link", name="Import").click()
    expect(page.get_by_text("Whoever it calls now gets no more events.")).to_be_visible()
    page.get_by_label("Name").fill("Old one")
    page.get_by_role("button", name="Take it over").click()
    expect(page.locator(".hk-title [data-state=active]")).to_be_visible()
    assert {remote["url"] for remote in control.remotes()} == {
        Subscription.objects.get().callback_url,
        "https://other.example/in",
    }

    # The account goes with its subscription; what is foreign stays.
    page.get_by_role("link", name="Acme").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Remove the subscriptions, then the account").click()
    expect(page.get_by_role("button", name="Keep the account")).to_be_visible()
    for _ in range(2):
        sweep.sweep_inline()
    assert not ProviderAccount.objects.exists()
    assert [remote["url"] for remote in control.remotes()] == ["https://other.example/in"]
