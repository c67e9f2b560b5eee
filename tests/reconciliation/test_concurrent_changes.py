"""Changes and failures during a pass: no change is lost, and no row gets stuck."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet
from django.utils import timezone
from pytest_django import Settings

from providers.contract.base import Registration, RemoteSubscription
from providers.contract.errors import Throttled
from providers.contract.session import ProviderSession
from providers.egnyte_connect.provider import EgnyteConnect
from providers.models import ProviderAccount
from subscriptions.lifecycle import accounts, desired_state, public_url, receiver_probe
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation import sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.columns import set_values
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.reconciliation.status import error_columns
from tests.harness.fixtures import CONFIG, Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconcile(subscription, details=True)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def during_update(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Run this function during the next update call to the provider."""
    original = EgnyteConnect.update

    def update(
        self: EgnyteConnect, session: ProviderSession[Any, Any], remote_id: str, registration: Registration[Any]
    ) -> Any:
        happens()
        return original(self, session, remote_id, registration)

    monkeypatch.setattr(EgnyteConnect, "update", update)


@pytest.mark.slow
def test_an_address_confirmed_during_a_pass_is_not_lost(
    active: Subscription, control: Control, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirm() -> None:
        settings.PUBLIC_URL = "https://new.example.test"
        public_url.move_callback_urls(by="staff:ann")

    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    during_update(monkeypatch, confirm)
    reconcile(active)
    monkeypatch.undo()
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: None)
    settings.PUBLIC_URL = "https://new.example.test"
    for _ in range(2):
        reconcile(Subscription.objects.select_related("account").get(pk=active.pk), details=True)
    active.refresh_from_db()
    assert active.state == State.ACTIVE, active.state_reason
    assert [remote["url"] for remote in control.remotes()] == [active.callback_url]
    assert active.callback_url.startswith("https://new.example.test/")


@pytest.mark.slow
def test_a_change_during_a_pass_is_applied_next(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    row = Subscription.objects.select_related("account").get(pk=active.pk)
    during_update(monkeypatch, lambda: desired_state.change(row, by="staff:bob", enabled=False))
    reconcile(active)
    sweep.sweep_inline()
    active.refresh_from_db()
    assert active.state == State.DISABLED
    assert control.remotes()[0]["status"] == "disabled"


def test_deleting_a_manual_subscription_is_immediate(account: ProviderAccount) -> None:
    row = desired_state.subscribe(account, config=CONFIG, by="staff:ann", managed=Managed.MANUAL)
    desired_state.request_deletion(row, by="staff:ann")
    row.refresh_from_db()
    assert row.state == State.DELETED
    assert row.deleted_at is not None


def test_a_plugin_bug_is_recorded_and_retried_later(
    subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> RemoteSubscription:
        raise KeyError("no such thing")

    monkeypatch.setattr(EgnyteConnect, "register", broken)
    sweep.sweep_inline()
    sweep.sweep_inline()
    subscription.refresh_from_db()
    assert subscription.state == State.FAILING
    assert subscription.last_error["code"] == "internal_error"
    assert subscription.operations.count() == 1
    assert subscription.due_at is not None
    assert subscription.due_at > timezone.now() + timedelta(seconds=30)


@pytest.mark.slow
def test_an_undecryptable_secret_affects_only_its_row(
    active: Subscription, account: ProviderAccount, control: Control, settings: Settings
) -> None:
    keys = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = (Fernet.generate_key().decode(),)
    lost = desired_state.subscribe(
        ProviderAccount(pk=account.pk, provider=account.provider), config=CONFIG, by="staff:ann"
    )
    settings.ENCRYPTION_KEYS = keys
    control.post(f"remote/{active.remote_id}", status="disabled")
    Subscription.objects.update(due_at=timezone.now())
    sweep.sweep_inline()
    assert Subscription.objects.values_list("state", flat=True).get(pk=lost.pk) == State.FAILING
    assert "ENCRYPTION_KEYS" in Subscription.objects.values_list("state_reason", flat=True).get(pk=lost.pk)
    assert control.remotes()[0]["status"] == "enabled"
    assert sweep.sweep_inline() == 0, "the undecryptable row is not due again yet"


@pytest.mark.slow
def test_a_url_changed_and_reverted_at_the_provider_leaves_one_registration(
    active: Subscription, control: Control
) -> None:
    first = active.remote_id
    control.post(f"remote/{first}", config={"url": "https://elsewhere.example.test/in"})
    sync_account(active.account)
    active.refresh_from_db()
    assert active.remote_id != first
    control.post(f"remote/{first}", config={"url": active.callback_url})
    for _ in range(2):
        ProviderAccount.objects.update(sync_due_at=timezone.now())
        sweep.sweep_inline()
    ours = [remote for remote in control.remotes() if remote["url"] == active.callback_url]
    assert len(ours) == 1
    assert ours[0]["status"] == "enabled"


def test_throttling_never_delays_past_the_renewal_time(active: Subscription) -> None:
    now = timezone.now()
    active.expires_at, active.granted = now + timedelta(hours=9), timedelta(hours=9)
    set_values(active, error_columns(active, Throttled("The day quota.", retry_after=22 * 3600), now))
    assert active.due_at is not None
    assert active.due_at - now < timedelta(hours=6.5)


def test_throttling_without_retry_after_backs_off(active: Subscription) -> None:
    now = timezone.now()
    active.expires_at, active.failures = None, 20
    set_values(active, error_columns(active, Throttled("Too many."), now))
    assert active.due_at is not None
    assert active.due_at - now > timedelta(minutes=4)


@pytest.mark.slow
def test_a_refused_change_is_not_repeated_at_every_sync(active: Subscription, control: Control) -> None:
    control.post("faults", status=400, times=1)
    desired_state.change(active, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    control.post("faults", times=0)
    reconcile(active)
    count = active.operations.count()
    Subscription.objects.update(
        last_error={"code": "refused", "message": "No.", "field": None}, due_at=timezone.now() + timedelta(hours=1)
    )
    for _ in range(3):
        sync_account(ProviderAccount.objects.get())
    assert active.operations.count() == count


@pytest.mark.slow
def test_an_account_with_much_work_does_not_block_others(
    subscription: Subscription, account: ProviderAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MAX_AT_ONCE", 2)
    other = accounts.add_account(
        provider="egnyte-connect", name="B", settings=account.settings, credentials=account.credentials, by="staff:ann"
    )
    late = desired_state.subscribe(other, config=CONFIG, by="staff:ann")
    for _ in range(3):
        desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    Subscription.objects.exclude(pk=late.pk).update(due_at=timezone.now() - timedelta(hours=1))
    sweep.sweep_inline()
    late.refresh_from_db()
    assert late.state == State.ACTIVE


def test_a_subscription_that_waits_for_confirmation_stays_due(subscription: Subscription, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://wrong.example.test"
    reconcile(subscription)
    subscription.refresh_from_db()
    assert "PUBLIC_URL" in subscription.state_reason
    assert subscription.due_at is not None


def test_a_foreign_webhook_with_a_similar_url_is_not_changed(active: Subscription, control: Control) -> None:
    login = {"Authorization": f"Bearer {active.account.credentials['access_token']}"}
    created = requests.post(
        f"{control.url}/pubapi/v1/webhooks",
        json={"url": "https://other.example.test/hooks/somebody-elses-token", "eventType": ["fs:*"]},
        headers=login,
        timeout=5,
    ).json()
    sync_account(active.account)
    desired_state.request_deletion(active, by="staff:ann")
    sweep.sweep_inline()
    assert [remote["webhookId"] for remote in control.remotes()] == [created["webhookId"]]
