"""The life cycle of Files.com subscriptions: reconciled against the sandbox over HTTP.

Files.com has no leases and no status, so the steps are register, update, replace and delete.
"""

from __future__ import annotations

import pytest
import requests
from django.utils import timezone
from pytest_django import Settings

from providers.conflict import NotSupported
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, actions, desired_state, secrets
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import State, Subscription
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.remote import adoption
from tests.harness.fixtures import Control, later
from tests.harness.stub_server import StubServer

SLUG = "files-com"
BEHAVIORS = "/api/rest/v1/behaviors"
CONFIG = {"path": "Clients/Acme", "triggers": ["create", "move"], "method": "POST", "encoding": "JSON"}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return Control(sandbox.url, SLUG)


@pytest.fixture
def account(db: None, sandbox: Sandbox) -> ProviderAccount:
    login = sandbox.logins(SLUG)[0]
    return accounts.add_account(
        provider=SLUG,
        name="Spare",
        settings={**login["settings"], "calls_per_second": 1000},
        credentials=login["credentials"],
        by="staff:ann",
    )


@pytest.fixture
def active(account: ProviderAccount) -> Subscription:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Acme")
    reconciled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def reconciled(subscription: Subscription) -> Subscription:
    """Reconcile the subscription and return the refreshed row."""
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def operations(subscription: Subscription) -> list[tuple[str, str]]:
    """Return action and status of the operations, oldest first."""
    return list(subscription.operations.order_by("id").values_list("action", "status"))


def register_foreign(account: ProviderAccount, url: str = "https://elsewhere.example.test/in", **value: object) -> str:
    """Register a webhook of someone else and return its ID."""
    response = requests.post(
        f"{account.settings['base_url']}{BEHAVIORS}",
        json={"path": "inbox", "behavior": "webhook", "recursive": True, "value": {"urls": [url], **value}},
        headers={"X-FilesAPI-Key": account.credentials["api_key"]},
        timeout=5,
    )
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_a_registered_subscription_is_active_without_expiry(active: Subscription, control: Control) -> None:
    (remote,) = control.remotes()
    assert active.remote_id == str(remote["id"])
    assert (active.expires_at, active.renew_at, active.due_at) == (None, None, None)
    assert "does not expire" in active.state_reason
    assert remote["value"]["urls"] == [active.callback_url]
    assert remote["value"]["headers"] == {"Authorization": active.secrets[0]}
    assert operations(active) == [("register", "succeeded")]
    operation = active.operations.get()
    assert operation.request["body"]["value"]["headers"]["Authorization"] == "***"
    assert operation.response["status"] == 201
    assert active.secrets[0] not in str((operation.request, operation.response))


def test_an_active_subscription_makes_no_changing_call(active: Subscription, control: Control) -> None:
    for _ in range(3):
        reconciled(active)
        sync_account(ProviderAccount.objects.get())
    changing = [call for call in control.calls() if call["method"] != "GET"]
    assert [call["method"] for call in changing] == ["POST"]


def test_renewing_is_unsupported(active: Subscription) -> None:
    with pytest.raises(NotSupported):
        actions.apply(active, SubscriptionAction.RENEW, by="staff:ann")


def test_a_webhook_deleted_at_the_provider_is_registered_again(active: Subscription, control: Control) -> None:
    old = active.remote_id
    control.post(f"remote/{old}", deleted=True)
    reconciled(active)  # its absence is doubted first
    with later():
        reconciled(active)
    assert active.state == State.ACTIVE
    assert active.remote_id != old
    assert [str(remote["id"]) for remote in control.remotes()] == [active.remote_id]
    assert operations(active) == [("register", "succeeded")] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"triggers": ["read"]}, "triggers"),
        ({"filenames": ["*.exe"]}, "filenames"),
        ({"method": "GET"}, "method"),
        ({"recursive": False}, "recursive"),
        ({"redundant_urls": ["https://x.example.test/in"]}, "redundant_urls"),
        ({"headers": {"Authorization": "Bearer another"}}, "secret"),
        ({"headers": {}}, "secret"),
    ],
    ids=str,
)
def test_drift_is_reverted_in_place(
    active: Subscription, control: Control, change: dict[str, object], field: str
) -> None:
    before = control.remotes()[0]
    control.post(f"remote/{active.remote_id}", config=change)
    assert [item.field for item in preview(active).steps[0].changes] == [field]
    sync_account(ProviderAccount.objects.get())
    active.refresh_from_db()
    assert active.state == State.ACTIVE, active.state_reason
    assert operations(active)[-1] == ("update", "succeeded")
    after = control.remotes()[0]
    keys = ("id", "path", "recursive")
    assert [after[key] for key in keys] == [before[key] for key in keys]
    assert after["value"]["headers"] == before["value"]["headers"]
    assert after["value"]["triggers"] == ["create", "move"]
    assert reconciled(active).drift == []


def test_the_callback_url_is_moved_back_to_the_first_place(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"urls": ["https://x.example.test/in", active.callback_url]})
    reconciled(active)
    assert active.state == State.ACTIVE, active.state_reason
    assert control.remotes()[0]["value"]["urls"] == [active.callback_url]
    assert len(control.remotes()) == 1


def test_a_new_config_is_an_update_but_a_new_path_is_a_replacement(active: Subscription, control: Control) -> None:
    old = active.remote_id
    desired_state.change(active, by="api:ci", config={**CONFIG, "triggers": [], "exclude_filenames": ["*.tmp"]})
    reconciled(active)
    assert (active.remote_id, operations(active)[-1]) == (old, ("update", "succeeded"))
    assert control.remotes()[0]["value"]["triggers"] == []
    desired_state.change(active, by="api:ci", config={**CONFIG, "path": "Clients/Globex"})
    assert [step.action for step in preview(active).steps] == ["replace", "delete"]
    reconciled(active)
    assert operations(active)[-2:] == [("replace", "succeeded"), ("delete", "succeeded")]
    (remote,) = control.remotes()
    assert (str(remote["id"]), remote["path"]) == (active.remote_id, "Clients/Globex")
    assert active.remote_id != old
    assert active.state == State.ACTIVE
    # Paths are case-insensitive at Files.com, so this is the same folder.
    desired_state.change(active, by="api:ci", config={**CONFIG, "path": "clients/globex"})
    reconciled(active)
    assert len(operations(active)) == 4


@pytest.mark.slow
def test_disabling_deletes_and_enabling_registers_again(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    assert reconciled(active).state == State.DISABLED
    assert control.remotes() == []
    assert active.remote_id is None
    assert reconciled(active).state == State.DISABLED
    desired_state.change(active, by="staff:ann", enabled=True)
    assert reconciled(active).state == State.ACTIVE
    assert len(control.remotes()) == 1
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    assert reconciled(active).state == State.DELETED
    assert control.remotes() == []
    assert [action for action, _ in operations(active)] == ["register", "delete", "register", "delete"]


def test_the_webhook_of_an_interrupted_registration_is_adopted(account: ProviderAccount, control: Control) -> None:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    control.post("faults", drop=True)
    reconciled(subscription)
    assert operations(subscription) == [("register", "unknown")]
    reconciled(subscription)
    assert subscription.state == State.ACTIVE
    assert operations(subscription)[1:] == [("adopt", "succeeded")]
    assert [str(remote["id"]) for remote in control.remotes()] == [subscription.remote_id]


def test_a_rotated_secret_is_sent_to_the_provider(active: Subscription, control: Control) -> None:
    old = active.secrets[0]
    Subscription.objects.filter(pk=active.pk).update(secrets=["Bearer hk_new-secret-0123456789", old])
    active.refresh_from_db()
    reconciled(active)
    assert operations(active)[-1] == ("update", "succeeded")
    assert control.remotes()[0]["value"]["headers"] == {"Authorization": "Bearer hk_new-secret-0123456789"}


def test_a_refused_config_is_failing_with_field_and_message(account: ProviderAccount, control: Control) -> None:
    subscription = desired_state.subscribe(account, config={**CONFIG, "triggers": ["sing"]}, by="staff:ann")
    reconciled(subscription)
    assert subscription.state == State.FAILING
    assert (subscription.last_error["code"], subscription.last_error["field"]) == ("refused", "triggers")
    assert "sing is not one of the triggers" in subscription.state_reason


def test_throttling_delays_the_next_attempt(account: ProviderAccount, control: Control) -> None:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    control.post("faults", status=429, retry_after=40)
    reconciled(subscription)
    assert subscription.last_error["code"] == "throttled"
    assert subscription.due_at is not None
    assert 39 < (subscription.due_at - timezone.now()).total_seconds() < 50


def test_the_test_call_sends_a_webhook_and_returns_the_result(active: Subscription, settings: Settings) -> None:
    with StubServer() as receiver:
        settings.PUBLIC_URL = receiver.url
        Subscription.objects.filter(pk=active.pk).update(callback_url=f"{receiver.url}/hooks/{active.token}")
        active.refresh_from_db()
        result = secrets.send_test_webhook(active, by="staff:ann")
        assert (result.ok, "sent a test webhook" in result.detail) == (True, True)
        (call,) = receiver.received
        assert call.header("Authorization") == active.secrets[0]
        assert call.json()["hookkeeper_test"] == "1"


@pytest.mark.slow
def test_foreign_webhooks_are_not_modified_and_can_be_imported(active: Subscription, control: Control) -> None:
    remote_id = register_foreign(
        active.account, headers={"X-Theirs": "1"}, verification_token="theirs", triggers=["read"]
    )
    sync_account(ProviderAccount.objects.get())
    desired_state.request_deletion(active, by="staff:ann")
    reconciled(active)
    assert [str(remote["id"]) for remote in control.remotes()] == [remote_id]
    taken = reconciled(adoption.import_remote(active.account, remote_id, by="staff:ann", take_over=True))
    assert (taken.state, taken.remote_id) == (State.ACTIVE, remote_id), taken.state_reason
    value = control.remotes()[0]["value"]
    assert value["urls"] == [taken.callback_url]
    assert value["headers"] == {"x-theirs": "1", "Authorization": taken.secrets[0]}
    assert (value["verification_token"], value["triggers"]) == ("theirs", ["read"])


def test_a_check_shows_the_owner_of_the_key(active: Subscription) -> None:
    sync_account(active.account)
    account = ProviderAccount.objects.get()
    assert account.status == "ok"
    assert "acme.files.com" in str(account.identity["label"])
    assert account.credentials["api_key"] not in str(account.identity)
