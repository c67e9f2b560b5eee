"""The demo accounts that `make run` adds, and how a second start treats them."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from providers.contract.registry import all_providers
from providers.models import ProviderAccount
from providers.sandbox.server import find_simulators
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.lifecycle.demo import ensure_demo
from subscriptions.models import Subscription

pytestmark = pytest.mark.django_db


def test_each_provider_has_an_account_with_a_due_subscription() -> None:
    ensure_demo()
    assert sorted(ProviderAccount.objects.values_list("provider", flat=True)) == sorted(all_providers())
    assert {kind.slug for kind in find_simulators()} == set(all_providers())
    for account in ProviderAccount.objects.all():
        assert account.is_sandbox
        assert account.subscriptions.exists()
    assert not Subscription.objects.filter(due_at=None).exists()


def test_a_second_start_adds_nothing_and_adapts_to_other_ports(settings: Settings) -> None:
    ensure_demo()
    count = Subscription.objects.count()
    settings.SANDBOX_URL, settings.PUBLIC_URL = "http://127.0.0.1:9010", "http://127.0.0.1:9000"
    ensure_demo()
    assert Subscription.objects.count() == count
    for row in Subscription.objects.select_related("account"):
        assert row.account.settings["base_url"] == "http://127.0.0.1:9010"
        assert row.callback_url.startswith("http://127.0.0.1:9000/hooks/")


def test_a_deleted_demo_account_is_not_added_again() -> None:
    ensure_demo()
    account = ProviderAccount.objects.first()
    assert account is not None
    for row in account.subscriptions.all():
        desired_state.request_deletion(row, by="staff:ann")
    accounts.delete_account(account, by="staff:ann")
    count = ProviderAccount.objects.count()
    ensure_demo()
    assert ProviderAccount.objects.count() == count
