"""The life cycle of SideDrawer subscriptions: reconciled against the sandbox over HTTP.

We request the leases, there is no status call, and the paths are unconfirmed.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from providers.accounts import session
from providers.contract.errors import InvalidInput
from providers.models import AccountStatus, ProviderAccount
from providers.sandbox.server import Sandbox
from providers.sandbox.tenant import LoginName
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.lifecycle.demo import ensure_demo
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import Control, later

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

SLUG = "sidedrawer"
OTHER_PATHS = {"collection_path": "/api/v2/hooks", "item_path": "/api/v2/hooks/{id}"}


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return Control(sandbox.url, SLUG)


@pytest.fixture(params=["access token", "client login"])
def account(request: pytest.FixtureRequest, db: None, sandbox: Sandbox) -> ProviderAccount:
    login = sandbox.logins(SLUG)[request.param == "client login"]
    return accounts.add_account(
        provider=SLUG, name="Tenant", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )


@pytest.fixture
def config(account: ProviderAccount) -> dict[str, object]:
    return {
        "resource": f"tenant/{account.settings['tenant_id']}/sidedrawer/d1/record",
        "modification_type": "any",
        "brand_code": "mybrand",
    }


@pytest.fixture
def subscription(account: ProviderAccount, config: dict[str, object]) -> Subscription:
    return desired_state.subscribe(account, config=config, by="staff:ann", name="Folders")


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconciled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def reconciled(subscription: Subscription) -> Subscription:
    """Reconcile the subscription and return the refreshed row."""
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def actions(subscription: Subscription) -> list[str]:
    """Return the actions of the operations, oldest first."""
    return list(subscription.operations.order_by("id").values_list("action", flat=True))


def seconds_left(subscription: Subscription) -> float:
    assert subscription.expires_at is not None
    return (subscription.expires_at - timezone.now()).total_seconds()


def test_a_registered_subscription_has_the_granted_lease(active: Subscription, control: Control) -> None:
    (remote,) = control.remotes()
    assert active.remote_id == remote["id"]
    assert remote["notificationUrl"] == active.callback_url
    assert remote["integrityKey"] == active.secrets[0]
    assert 80 <= seconds_left(active) <= 91  # thirty days were requested
    assert active.renew_at is not None
    assert active.renew_at < (active.expires_at or active.renew_at)


def test_the_operation_shows_the_registration_without_secrets(active: Subscription) -> None:
    operation = active.operations.get()
    assert operation.request["method"] == "POST"
    assert operation.request["url"].endswith("/api/v1/webhooks")  # not the login that may precede it
    assert operation.request["body"]["integrityKey"] == "***"
    assert operation.response["body"]["integrityKey"] == "***"
    assert operation.response["body"]["id"] == active.remote_id
    assert active.secrets[0] not in f"{operation.request} {operation.response}"


def test_an_active_subscription_makes_no_changing_call(active: Subscription, control: Control) -> None:
    def changing() -> int:
        return sum(call["method"] != "GET" and "developer-login" not in call["path"] for call in control.calls())

    before = changing()
    reconciled(active)
    reconciled(active)
    assert changing() == before


def test_a_lease_is_renewed_in_place(active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert actions(active) == ["register", "renew"]
    assert active.renews_in_place is True
    assert seconds_left(active) > 80
    operation = active.operations.first()
    assert operation is not None
    assert operation.request["method"] == "PUT"


def test_an_expired_lease_is_replaced(active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=200)
    reconciled(active)
    assert active.state == State.ACTIVE, active.state_reason
    assert actions(active) == ["register", "replace", "delete"]
    assert [remote["id"] for remote in control.remotes()] == [active.remote_id]


@pytest.mark.parametrize("options", [{"update_extends": False}, {"allow_update": False}], ids=str)
def test_a_renewal_without_effect_leads_to_a_replacement(
    active: Subscription, control: Control, options: dict[str, object]
) -> None:
    control.post("options", **options)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert actions(active) == ["register", "renew", "replace", "delete"]
    assert active.state == State.ACTIVE, active.state_reason
    assert active.last_error is None
    assert [remote["id"] for remote in control.remotes()] == [active.remote_id]
    # One answer may be stale. The renewal is not attempted a third time.
    tries = 1 if "update_extends" in options else 0
    for number in range(2):
        done = len(actions(active))
        control.post("clock", advance_seconds=60)
        reconciled(active)
        assert actions(active)[done:] == [*(["renew"] if number < tries else []), "replace", "delete"]


def test_a_refused_renewal_is_recorded(active: Subscription, control: Control) -> None:
    control.post("options", allow_update=False)
    desired_state.request_renewal(active, by="staff:ann")
    reconciled(active)
    renewal = active.operations.get(action="renew")
    assert renewal.status == "failed"
    assert "update_verb" in (renewal.error or "")
    assert active.state == State.ACTIVE


def test_a_webhook_deleted_at_the_provider_is_registered_again(active: Subscription, control: Control) -> None:
    old = active.remote_id
    control.post(f"remote/{old}", deleted=True)
    reconciled(active)  # its absence is doubted first
    with later():
        reconciled(active)
    assert active.state == State.ACTIVE
    assert active.remote_id != old
    assert len(control.remotes()) == 1


@pytest.mark.parametrize(
    ("options", "done"),
    [
        ({}, ["update"]),
        ({"update_enables": False}, ["update", "replace", "delete"]),
        ({"allow_update": False}, ["update", "replace", "delete"]),
    ],
    ids=str,
)
def test_a_webhook_disabled_by_the_provider_is_enabled_again(
    active: Subscription, control: Control, options: dict[str, object], done: list[str]
) -> None:
    control.post("options", **options)
    control.post(f"remote/{active.remote_id}", status="inactive")
    reconciled(active)
    assert active.state == State.ACTIVE, active.state_reason
    assert actions(active)[1:] == done
    assert [remote["enabled"] for remote in control.remotes()] == [True]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modificationType": "Delete"}, "modification_type"),
        ({"brandCode": "another"}, "brand_code"),
        ({"maxRetries": 0}, "max_retries"),
        ({"integrityKey": "somebody-elses-key"}, "secret"),
    ],
)
@pytest.mark.parametrize("allow_update", [True, False])
def test_drift_is_reverted(
    active: Subscription, control: Control, changes: dict[str, object], field: str, allow_update: bool
) -> None:
    before = control.remotes()[0]
    control.post("options", allow_update=allow_update)
    control.post(f"remote/{active.remote_id}", config=changes)
    assert [change.field for change in preview(active).steps[0].changes] == [field]
    reconciled(active)
    assert active.state == State.ACTIVE, active.state_reason
    (remote,) = control.remotes()
    assert {name: remote[name] for name in changes} == {name: before[name] for name in changes}


def test_the_case_of_returned_values_is_not_drift(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"modificationType": "Any"})
    assert preview(active).steps == ()


def test_a_shortened_expiry_is_renewed(active: Subscription, control: Control) -> None:
    soon = (timezone.now() + timedelta(seconds=20)).isoformat()
    control.post(f"remote/{active.remote_id}", config={"expirationDateTime": soon})
    reconciled(active)
    assert actions(active) == ["register", "renew"]
    assert seconds_left(active) > 80


def test_disabling_deletes_and_enabling_registers_again(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    assert reconciled(active).state == State.DISABLED
    assert control.remotes() == []
    desired_state.change(active, by="staff:ann", enabled=True)
    assert reconciled(active).state == State.ACTIVE
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    assert reconciled(active).state == State.DELETED
    assert control.remotes() == []


def test_the_webhook_of_an_interrupted_registration_is_adopted(subscription: Subscription, control: Control) -> None:
    control.post("faults", drop=True, times=1)
    reconciled(subscription)
    assert subscription.operations.get().status == "unknown"
    reconciled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    assert actions(subscription) == ["register", "adopt"]
    assert len(control.remotes()) == 1


# -- Unconfirmed paths -----------------------------------------------------------------------------------------------


def test_missing_paths_leave_the_account_unchecked_and_name_the_settings(
    account: ProviderAccount, control: Control
) -> None:
    control.post("options", paths_missing=True)
    session.check(account)
    assert account.status == AccountStatus.UNCHECKED
    for text in ("/api/v1/webhooks", "not confirmed", "collection_path", "item_path", "manual"):
        assert text in account.status_reason
    control.post("options", paths_missing=False)
    session.check(account)
    assert (account.status, account.status_reason) == (AccountStatus.OK, "")


def test_missing_paths_are_shown_at_the_subscription(subscription: Subscription, control: Control) -> None:
    control.post("options", paths_missing=True)
    reconciled(subscription)
    assert subscription.state == State.FAILING
    assert "collection_path" in subscription.state_reason
    assert subscription.account.status == AccountStatus.UNCHECKED
    control.post("options", paths_missing=False)
    assert reconciled(subscription).state == State.ACTIVE
    assert subscription.last_error is None
    assert len(control.remotes()) == 1


def test_a_missing_item_path_causes_no_second_registration(active: Subscription, control: Control) -> None:
    control.post("options", item_path_missing=True)
    for _ in range(3):
        reconciled(active)
    assert actions(active) == ["register"]
    assert active.state == State.ACTIVE
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    reconciled(active)
    assert active.state == State.DELETING
    assert "item_path" in active.state_reason
    control.post("options", item_path_missing=False)
    assert reconciled(active).state == State.DELETED


def test_a_changed_path_setting_is_applied_immediately(subscription: Subscription, control: Control) -> None:
    right = subscription.account.settings
    accounts.change_account(subscription.account, by="staff:ann", settings={**right, **OTHER_PATHS})
    subscription.refresh_from_db()
    reconciled(subscription)
    assert subscription.state == State.FAILING
    account = ProviderAccount.objects.get()
    accounts.change_account(account, by="staff:ann", settings=right)
    subscription = Subscription.objects.get()
    assert subscription.due_at is not None
    assert subscription.due_at <= timezone.now()
    assert reconciled(subscription).state == State.ACTIVE


# -- Special cases -----------------------------------------------------------------------------------------------------


def test_a_socket_subscription_has_a_warning(
    account: ProviderAccount, config: dict[str, object], control: Control
) -> None:
    socket = {**config, "connection_type": "SOCKET", "notification_messages": "folder-changed"}
    subscription = reconciled(desired_state.subscribe(account, config=socket, by="staff:ann"))
    assert subscription.state == State.ACTIVE
    assert "not over HTTP" in subscription.state_reason
    assert "It is renewed before" in subscription.state_reason
    assert control.post("emit") == {"deliveries": []}


def test_an_unclear_resource_has_a_warning(account: ProviderAccount, config: dict[str, object]) -> None:
    uncertain = {**config, "resource": "subscription/s1/license", "modification_type": "create"}
    subscription = reconciled(desired_state.subscribe(account, config=uncertain, by="staff:ann"))
    assert "create may be refused" in subscription.state_reason


def test_a_manual_subscription_makes_no_call(
    account: ProviderAccount, config: dict[str, object], control: Control
) -> None:
    subscription = desired_state.subscribe(account, config=config, by="staff:ann", managed=Managed.MANUAL)
    assert reconciled(subscription).state == State.MANUAL
    assert subscription.secrets
    assert control.calls() == []


def test_an_account_can_change_the_kind_of_credentials(sandbox: Sandbox, control: Control) -> None:
    login = sandbox.logins(SLUG)[1]
    account = accounts.add_account(
        provider=SLUG, name="Tenant", settings=login["settings"], credentials={"access_token": "old"}, by="staff:ann"
    )
    session.check(account)
    assert account.status == AccountStatus.FAILING
    accounts.change_account(account, by="staff:ann", credentials=login["credentials"])
    session.check(account)
    assert account.status == AccountStatus.OK, account.status_reason


def test_a_refused_token_is_obtained_again(sandbox: Sandbox, control: Control) -> None:
    login = sandbox.logins(SLUG)[1]
    account = accounts.add_account(
        provider=SLUG, name="Tenant", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )
    session.check(account)
    control.post("clock", advance_seconds=3600)
    session.check(account)
    session.check(account)
    assert account.status == AccountStatus.OK
    assert [call["status"] for call in control.calls()] == [201, 200, 401, 201, 200, 200]


@pytest.mark.slow
def test_the_demo_is_subscribed_to_every_event_type(control: Control) -> None:
    ensure_demo()
    demo = ProviderAccount.objects.get(provider=SLUG)
    for row in demo.subscriptions.all():
        assert reconciled(row).state == State.ACTIVE, row.state_reason
    names = {item.name for item in demo.plugin.event_types}
    # No receiver runs at the callback URLs in this test.
    control.post("options", login=LoginName.DEMO, retry_delays=[], failures_until_disabled=1000)
    for name in names:
        control.post("emit", event_type=name, login=LoginName.DEMO)
    sent = [delivery["event_types"] for delivery in control.state()["deliveries"]]
    assert {name for types in sent for name in types} == names
    ensure_demo()
    assert sync_account(demo)
    assert demo.subscriptions.count() == 9


def test_a_fixed_expiry_requires_auto_renew_to_be_off(account: ProviderAccount, config: dict[str, object]) -> None:
    fixed = {**config, "expires_at": (timezone.now() + timedelta(days=30)).isoformat()}
    with pytest.raises(InvalidInput, match="switch auto-renew off"):
        desired_state.subscribe(account, config=fixed, by="staff:ann")
    row = desired_state.subscribe(account, config=fixed, auto_renew=False, by="staff:ann")
    with pytest.raises(InvalidInput, match="switch auto-renew off"):
        desired_state.change(row, by="staff:ann", auto_renew=True)
    desired_state.change(row, by="staff:ann", config=config, auto_renew=True)
    assert row.config["expires_at"] is None


def test_a_fixed_expiry_ends_without_a_renewal(
    account: ProviderAccount, config: dict[str, object], control: Control
) -> None:
    control.post("options", lease_seconds=1000.0)
    moment = (timezone.now() + timedelta(seconds=600)).replace(microsecond=0)
    row = desired_state.subscribe(
        account, config={**config, "expires_at": moment.isoformat()}, auto_renew=False, by="staff:ann"
    )
    reconciled(row)
    assert (row.state, row.expires_at) == (State.ACTIVE, moment)
    control.post("clock", advance_seconds=590)
    reconciled(row)
    assert len(control.remotes()) == 1
    later = {**config, "expires_at": (moment + timedelta(seconds=60)).isoformat()}
    desired_state.change(row, by="staff:ann", config=later)
    reconciled(row)
    assert actions(row) == ["register", "update"]
