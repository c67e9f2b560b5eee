"""Observe, plan and apply against the sandbox over HTTP: each kind of repair, and its records."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from providers.accounts.session import open_session
from providers.models import ProviderAccount
from subscriptions.lifecycle import desired_state, public_url, receiver_probe
from subscriptions.models import KnownRemote, State, Subscription
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.observe import observe
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


def reconciled(subscription: Subscription) -> Subscription:
    """Reconcile the row and return it."""
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def operations(subscription: Subscription) -> list[tuple[str, str]]:
    """Return action and status of the operations, oldest first."""
    return list(subscription.operations.order_by("id").values_list("action", "status"))


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconciled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def test_registers_and_becomes_active(active: Subscription, control: Control) -> None:
    (remote,) = control.remotes()
    assert active.remote_id == remote["webhookId"]
    assert active.remote_status == "enabled"
    assert active.expires_at is not None
    assert 80 <= (active.expires_at - timezone.now()).total_seconds() <= 91
    assert active.renew_at is not None
    assert active.renew_at < active.expires_at
    assert operations(active) == [("register", "succeeded")]
    assert "PUT" not in {call["method"] for call in control.calls()}


def test_an_operation_has_actor_request_and_response_with_masked_secrets(active: Subscription) -> None:
    operation = active.operations.get()
    assert operation.actor == "staff:ann"
    assert operation.request["method"] == "POST"
    assert operation.request["body"]["authHeader"] == "***"
    assert operation.request["body"]["url"] == active.callback_url
    assert operation.response["status"] == 201
    assert operation.response["body"]["webhookId"] == active.remote_id
    assert operation.finished_at is not None
    assert operation.finished_at >= operation.started_at
    assert active.secrets[0] not in str((operation.request, operation.response))


def test_no_changing_call_when_in_sync(active: Subscription, control: Control) -> None:
    before = len(control.calls("POST")) + len(control.calls("PUT"))
    reconciled(active)
    reconciled(active)
    assert len(control.calls("POST")) + len(control.calls("PUT")) == before
    assert operations(active) == [("register", "succeeded")]


def test_registers_again_after_deletion_at_the_provider(active: Subscription, control: Control) -> None:
    old = active.remote_id
    control.post(f"remote/{old}", deleted=True)
    reconciled(active)
    assert control.remotes() == []  # its absence is doubted first
    with later():
        reconciled(active)
    assert active.state == State.ACTIVE
    assert active.remote_id != old
    assert [remote["webhookId"] for remote in control.remotes()] == [active.remote_id]
    last = active.operations.first()
    assert last is not None
    assert (last.action, last.actor) == ("register", "clock")
    assert str(old) in last.reason


def test_enables_again_after_a_suspension(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", status="disabled")
    reconciled(active)
    assert active.state == State.ACTIVE
    assert operations(active)[-1] == ("enable", "succeeded")
    assert control.remotes()[0]["status"] == "enabled"


def test_waits_after_the_second_suspension(active: Subscription, control: Control) -> None:
    for _ in range(2):
        control.post(f"remote/{active.remote_id}", status="disabled")
        reconciled(active)
    assert active.state == State.SUSPENDED
    assert "after a pause" in active.state_reason
    assert active.due_at is not None
    assert 15 < (active.due_at - timezone.now()).total_seconds() <= 30
    Subscription.objects.filter(pk=active.pk).update(enable_not_before=timezone.now())
    assert reconciled(active).state == State.ACTIVE


def test_stays_suspended_while_our_receiver_does_not_answer(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: "Our own receiver answered 500.")
    control.post(f"remote/{active.remote_id}", status="disabled")
    reconciled(active)
    assert active.state == State.SUSPENDED
    assert "answered 500" in active.state_reason
    assert control.remotes()[0]["status"] == "disabled"
    assert active.due_at is not None


def test_reverts_a_changed_config(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"paths": ["/Shared/Elsewhere"]})
    changes = preview(active).steps[0].changes
    assert [change.field for change in changes] == ["paths"]
    reconciled(active)
    assert active.state == State.ACTIVE
    assert operations(active)[-1] == ("update", "succeeded")
    assert control.remotes()[0]["path"] == "/Shared/Finance"


def test_a_new_config_is_sent_completely(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="api:ci", config={"event_types": ["comment:*"], "paths": []})
    reconciled(active)
    remote = control.remotes()[0]
    assert remote["eventType"] == ["comment:*"]
    assert not remote.get("path")
    operation = active.operations.first()
    assert operation is not None
    assert (operation.action, operation.actor) == ("update", "api:ci")


@pytest.mark.slow
def test_a_subscription_can_be_disabled_enabled_and_deleted(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    assert reconciled(active).state == State.DISABLED
    assert control.remotes()[0]["status"] == "disabled"
    desired_state.change(active, by="staff:ann", enabled=True)
    assert reconciled(active).state == State.ACTIVE
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    assert reconciled(active).state == State.DELETED
    assert control.remotes() == []
    assert [action for action, _ in operations(active)] == ["register", "disable", "enable", "delete"]


@pytest.mark.slow
def test_renews_in_place_when_due(active: Subscription, control: Control) -> None:
    before = active.expires_at
    control.post("clock", advance_seconds=60)
    time.sleep(1.1)  # the provider counts whole seconds
    reconciled(active)
    assert operations(active)[-1] == ("renew", "succeeded")
    assert active.renews_in_place is True
    assert active.expires_at is not None
    assert before is not None
    assert active.expires_at > before - timedelta(seconds=60)
    assert (active.expires_at - timezone.now()).total_seconds() > 80


def test_replaces_where_an_update_does_not_extend_the_lease(active: Subscription, control: Control) -> None:
    control.post("options", update_extends=False)
    control.post("clock", advance_seconds=60)
    old = active.remote_id
    reconciled(active)
    assert [action for action, _ in operations(active)] == ["register", "renew", "replace", "delete"]
    assert active.renewals_without_effect == 1
    assert active.remote_id != old
    assert [remote["webhookId"] for remote in control.remotes()] == [active.remote_id]
    assert active.state == State.ACTIVE


def test_deletes_first_where_the_provider_has_no_room(active: Subscription, control: Control) -> None:
    control.post("options", update_extends=False, max_webhooks=1)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert operations(active)[1:] == [
        ("renew", "succeeded"),
        ("replace", "failed"),
        ("delete", "succeeded"),
        ("register", "succeeded"),
    ]
    assert active.state == State.ACTIVE
    assert "events may be missed" in active.operations.get(action="delete").reason
    assert len(control.remotes()) == 1


def test_an_ended_lease_is_replaced(active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=200)
    reconciled(active)
    assert active.state == State.ACTIVE
    assert [action for action, _ in operations(active)] == ["register", "replace", "delete"]
    assert len(control.remotes()) == 1


def test_a_requested_renewal_happens_once(active: Subscription, control: Control) -> None:
    desired_state.request_renewal(active, by="staff:ann")
    reconciled(active)
    reconciled(active)
    assert [action for action, _ in operations(active)] == ["register", "renew"]
    assert active.renew_asked_at is None


def test_a_refused_registration_reports_the_providers_message(account: ProviderAccount, control: Control) -> None:
    control.post("options", max_webhooks=0)
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    reconciled(subscription)
    assert subscription.state == State.FAILING
    assert subscription.last_error["code"] == "limit_reached"
    assert subscription.last_error["message"] in subscription.state_reason
    control.post("options", max_webhooks=10)
    assert reconciled(subscription).state == State.ACTIVE
    assert subscription.last_error is None


@pytest.mark.slow
def test_foreign_webhooks_are_never_changed_and_read_once(active: Subscription, control: Control) -> None:
    import requests

    login = {"Authorization": f"Bearer {active.account.credentials['access_token']}"}
    requests.post(
        f"{control.url}/pubapi/v1/webhooks",
        json={"url": "https://elsewhere.example.test/in", "eventType": ["fs:*"]},
        headers=login,
        timeout=5,
    ).raise_for_status()
    foreign = next(remote for remote in control.remotes() if remote["webhookId"] != active.remote_id)
    sync_account(active.account)
    sync_account(ProviderAccount.objects.get())
    asked = [call for call in control.calls("GET") if f"{foreign['webhookId']}/details" in call["path"]]
    assert len(asked) == 1
    assert KnownRemote.objects.get(remote_id=foreign["webhookId"]).subscription is None
    desired_state.request_deletion(active, by="staff:ann")
    reconciled(active)
    assert [remote["webhookId"] for remote in control.remotes()] == [foreign["webhookId"]]


def test_a_sync_checks_the_account_and_repairs_subscriptions(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", status="disabled")
    assert sync_account(active.account)
    account = ProviderAccount.objects.get()
    assert account.status == "ok"
    assert account.identity["domain"]
    active.refresh_from_db()
    assert active.state == State.ACTIVE
    assert control.remotes()[0]["status"] == "enabled"


@pytest.mark.slow
def test_nothing_is_changed_after_a_new_public_url_until_confirmed(
    active: Subscription, control: Control, settings: object
) -> None:
    settings.PUBLIC_URL = "https://clone.example.test"  # type: ignore[attr-defined]
    control.post(f"remote/{active.remote_id}", status="disabled")
    reconciled(active)
    assert control.remotes()[0]["status"] == "disabled"
    assert "PUBLIC_URL" in active.state_reason
    assert public_url.move_callback_urls(by="staff:ann") == 1
    active.refresh_from_db()
    reconciled(active)
    assert active.state == State.ACTIVE, active.state_reason
    assert control.remotes()[0]["url"] == active.callback_url
    assert active.callback_url.startswith("https://clone.example.test/hooks/")


def test_an_observation_older_than_our_own_change_is_ignored(
    account: ProviderAccount, subscription: Subscription, control: Control
) -> None:
    with open_session(account) as session:
        stale = observe(account, session)
    reconcile(subscription)
    subscription.refresh_from_db()
    assert stale.of(subscription) == ()
    reconcile(subscription, observation=stale)
    assert operations(subscription) == [("register", "succeeded")]
    assert len(control.remotes()) == 1


@pytest.mark.slow
def test_a_sync_without_changes_makes_one_write_for_all(
    account: ProviderAccount, control: Control, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rows = [desired_state.subscribe(account, config=CONFIG, by="staff:ann") for _ in range(5)]
    for row in rows:
        reconciled(row)
    sync_account(account)  # checks the account, and reads the details
    calls = len(control.calls())
    with django_assert_max_num_queries(40):  # most of them reserve a slot of the rate limit, one per call
        assert sync_account(ProviderAccount.objects.get())
    assert len(control.calls()) - calls == 6
    assert {row.state for row in Subscription.objects.all()} == {State.ACTIVE}
    for row in rows:
        seen, before = Subscription.objects.get(pk=row.pk), row.observed_at
        assert seen.observed_at is not None
        assert before is not None
        assert seen.observed_at > before
