"""The lifecycle of an Egnyte MSP subscription: no status call, no expiry, and few webhooks allowed."""

from __future__ import annotations

import pytest
from django.utils import timezone

from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state, receiver_probe
from subscriptions.models import State, Subscription
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import Control, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

SLUG = "egnyte-msp"
CONFIG = {"event_types": ["USER_ADDED", "RESELLER_MRR_CHANGED"]}


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    msp = Control(sandbox.url, SLUG)
    msp.post("options", calls_per_second=None)
    return msp


@pytest.fixture
def account(db: None, sandbox: Sandbox, control: Control) -> ProviderAccount:
    login = sandbox.logins(SLUG)[0]
    return accounts.add_account(
        provider=SLUG,
        name="Spare",
        settings={**login["settings"], "calls_per_second": 100},
        credentials=login["credentials"],
        by="staff:ann",
    )


@pytest.fixture
def subscription(account: ProviderAccount) -> Subscription:
    return desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Partners")


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    settled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def settled(subscription: Subscription) -> Subscription:
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def actions(subscription: Subscription) -> list[str]:
    return list(subscription.operations.order_by("id").values_list("action", flat=True))


def test_a_registered_subscription_is_active_without_expiry(active: Subscription, control: Control) -> None:
    (remote,) = control.remotes()
    assert (active.remote_id, active.remote_status) == (remote["webhook_id"], "enabled")
    assert (remote["webhook_url"], remote["auth_header"]) == (active.callback_url, "X-Hook-Key")
    assert remote["auth_header_value"] == active.secrets[0]
    assert (active.expires_at, active.renew_at, active.due_at) == (None, None, None)
    assert "does not expire" in active.state_reason
    calls = len(control.calls("POST"))
    settled(active)
    assert len(control.calls("POST")) == calls
    assert actions(active) == ["register"]


@pytest.mark.slow
def test_operations_and_the_row_do_not_contain_the_secret(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"event_types": ["USER_ADDED"]})
    settled(active)
    for operation in active.operations.all():
        assert operation.request["body"]["auth_header_value"] == "***"
        assert active.secrets[0] not in str((operation.request, operation.response, operation.error))
    assert active.secrets[0] not in str((active.remote_config, active.drift, active.state_reason))


def test_a_disabled_webhook_is_enabled_by_an_update(active: Subscription, control: Control) -> None:
    old = active.remote_id
    control.post(f"remote/{old}", status="disabled")
    settled(active)
    assert (active.state, active.remote_id, active.update_enables) == (State.ACTIVE, old, True)
    assert actions(active) == ["register", "update"]
    assert control.remotes()[0]["status"] == "enabled"


@pytest.mark.slow
def test_a_disabled_webhook_is_replaced_if_an_update_does_not_enable_it(active: Subscription, control: Control) -> None:
    control.post("options", update_enables=False)
    old = active.remote_id
    control.post(f"remote/{old}", status="disabled")
    settled(active)
    assert actions(active) == ["register", "update", "replace", "delete"]
    assert (active.state, active.update_enables) == (State.ACTIVE, False)
    assert active.remote_id != old
    (remote,) = control.remotes()
    assert (remote["webhook_id"], remote["status"]) == (active.remote_id, "enabled")
    assert remote["webhook_url"] == active.callback_url

    # The update that did not help is not tried again, and the second suspension is followed by a pause.
    control.post(f"remote/{active.remote_id}", status="disabled")
    assert settled(active).state == State.SUSPENDED
    Subscription.objects.filter(pk=active.pk).update(enable_not_before=timezone.now())
    assert settled(active).state == State.ACTIVE
    assert actions(active)[4:] == ["replace", "delete"]


def test_the_old_webhook_is_deleted_first_if_there_is_no_room_for_two(active: Subscription, control: Control) -> None:
    control.post("options", update_enables=False, max_webhooks=1)
    control.post(f"remote/{active.remote_id}", status="disabled")
    settled(active)
    assert list(active.operations.order_by("id").values_list("action", "status"))[1:] == [
        ("update", "succeeded"),
        ("replace", "failed"),
        ("delete", "succeeded"),
        ("register", "succeeded"),
    ]
    assert active.state == State.ACTIVE, active.state_reason
    assert "events may be missed" in active.operations.get(action="delete").reason
    assert "Max webhook limit exceeded." in str(active.operations.get(action="replace").error)
    assert len(control.remotes()) == 1


def test_a_webhook_stays_suspended_while_our_receiver_does_not_answer(
    active: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_probe, "find_receiver_error", lambda url: "Our own receiver answered 500.")
    control.post(f"remote/{active.remote_id}", status="disabled")
    settled(active)
    assert active.state == State.SUSPENDED
    assert "answered 500" in active.state_reason
    assert control.remotes()[0]["status"] == "disabled"


def test_a_webhook_deleted_at_the_provider_is_registered_again(active: Subscription, control: Control) -> None:
    old = active.remote_id
    control.post(f"remote/{old}", deleted=True)
    settled(active)  # its absence is doubted first
    with later():
        settled(active)
    assert active.state == State.ACTIVE
    assert active.remote_id != old
    assert [remote["webhook_id"] for remote in control.remotes()] == [active.remote_id]
    assert actions(active) == ["register", "register"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "field"),
    [
        ({"event_types": ["RESELLER_INVOICE_PAID"]}, "event_types"),
        ({"auth_header_value": "somebody-elses"}, "secret"),
        ({"auth_header": "X-Somebody-Elses"}, "secret"),
    ],
)
def test_drift_is_reverted(active: Subscription, control: Control, drift: dict[str, object], field: str) -> None:
    before = control.remotes()[0]
    control.post(f"remote/{active.remote_id}", config=drift)
    (step,) = preview(active).steps
    assert (step.action, [change.field for change in step.changes]) == ("update", [field])
    assert "somebody" not in str(step)
    settled(active)
    assert active.state == State.ACTIVE
    after = control.remotes()[0]
    assert sorted(after.pop("event_types")) == sorted(before.pop("event_types"))
    assert after == before


@pytest.mark.slow
def test_a_changed_config_is_sent_as_a_whole(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="api:ci", config={"event_types": ["RESELLER_INVOICE_PAID"]})
    settled(active)
    assert control.remotes()[0]["event_types"] == ["RESELLER_INVOICE_PAID"]
    assert actions(active) == ["register", "update"]


def test_a_changed_header_name_is_sent_to_the_provider(active: Subscription, control: Control) -> None:
    account = active.account
    accounts.change_account(account, by="staff:ann", settings={**account.settings, "auth_header_name": "X-Partner"})
    active.refresh_from_db()
    settled(active)
    assert control.remotes()[0]["auth_header"] == "X-Partner"
    assert active.state == State.ACTIVE


@pytest.mark.slow
def test_disabling_deletes_and_enabling_registers_again(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    assert settled(active).state == State.DISABLED
    assert control.remotes() == []
    assert settled(active).state == State.DISABLED
    desired_state.change(active, by="staff:ann", enabled=True)
    assert settled(active).state == State.ACTIVE
    assert [remote["webhook_id"] for remote in control.remotes()] == [active.remote_id]
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    assert settled(active).state == State.DELETED
    assert control.remotes() == []
    assert actions(active) == ["register", "delete", "register", "delete"]


def test_the_webhook_of_an_interrupted_registration_is_adopted(subscription: Subscription, control: Control) -> None:
    control.post("faults", drop=True, times=1)
    settled(subscription)
    settled(subscription)
    assert actions(subscription) == ["register", "adopt"]
    assert subscription.state == State.ACTIVE
    assert len(control.remotes()) == 1


def test_a_reached_limit_is_failing_with_the_providers_message_until_there_is_room(
    account: ProviderAccount, control: Control
) -> None:
    control.post("options", max_webhooks=0)
    subscription = settled(desired_state.subscribe(account, config=CONFIG, by="staff:ann"))
    assert subscription.state == State.FAILING
    assert subscription.last_error["code"] == "limit_reached"
    assert "Max webhook limit exceeded." in subscription.state_reason
    control.post("options", max_webhooks=2)
    assert settled(subscription).state == State.ACTIVE


def test_a_sync_checks_the_account_and_repairs_subscriptions(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", status="disabled")
    assert sync_account(active.account)
    account = ProviderAccount.objects.get()
    assert (account.status, account.identity["domain"]) == ("ok", "leeit")
    active.refresh_from_db()
    assert active.state == State.ACTIVE
    assert control.remotes()[0]["status"] == "enabled"
