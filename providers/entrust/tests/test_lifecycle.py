"""The lifecycle of a subscription at Entrust, which creates the secret itself and shows it only once.

A webhook whose secret is lost is never kept. Leases are requested in days, which Entrust does not return.
"""

from __future__ import annotations

import time
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import requests
import time_machine
from django.db import OperationalError
from django.utils import timezone

from providers.entrust.tests.registered import CONFIG, WEBHOOKS, check_only_one, operations, reconciled
from providers.models import AccountToken, ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.lifecycle.secrets import reveal
from subscriptions.models import State, Subscription
from subscriptions.reconciliation import apply, sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.remote.adoption import import_remote
from subscriptions.remote.inventory import list_remotes
from tests.harness.fixtures import Control, later
from tests.harness.processes import run_python

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

# -- Registering -----------------------------------------------------------------------------------------------------


def test_the_token_is_stored_with_the_registration(active: Subscription, control: Control) -> None:
    remote = check_only_one(active, control)
    assert remote["name"] == "Identities"
    assert active.expires_at is not None
    assert 80 <= (active.expires_at - timezone.now()).total_seconds() <= 91
    assert active.renew_at is not None
    hint = reveal(active, by="staff:ann")
    assert (hint.kind, hint.header, hint.value) == ("rfc9421", None, remote["token"])


def test_the_operation_records_the_registration_without_secrets(active: Subscription) -> None:
    operation = active.operations.get()
    assert operation.request["url"].endswith(WEBHOOKS)
    assert operation.request["body"]["expiry"] == 90
    assert operation.response["body"]["token"] == "***"
    text = str((operation.request, operation.response))
    token = AccountToken.objects.get().value
    assert not [secret for secret in (active.secrets[0], token, *active.account.credentials.values()) if secret in text]


def test_one_access_token_is_used_until_it_expires(active: Subscription, control: Control) -> None:
    def logins() -> int:
        return len([call for call in control.calls("POST") if call["path"].endswith("/authenticate")])

    reconciled(active)
    sync_account(active.account)
    assert logins() == 1
    control.post("clock", advance_seconds=2000)  # theirs has ended, and so has the lease
    reconciled(active)
    assert logins() == 2
    check_only_one(active, control)


def test_a_reconciled_subscription_makes_no_changing_call(active: Subscription, control: Control) -> None:
    before = len(control.calls())
    reconciled(active)
    reconciled(active)
    assert {call["method"] for call in control.calls()[before:]} == {"GET"}
    assert operations(active) == ["register"]


def test_the_name_is_omitted_for_a_server_that_does_not_know_it(subscription: Subscription, control: Control) -> None:
    control.post("options", knows_name=False)
    reconciled(subscription)
    check_only_one(subscription, control)
    operation = subscription.operations.get()
    assert "name" not in operation.request["body"]
    assert operation.response["status"] == 200


def test_a_missing_permission_is_named_and_granting_it_resolves_the_error(
    subscription: Subscription, control: Control
) -> None:
    control.post("options", permissions=["WEBHOOKS:VIEW"])
    reconciled(subscription)
    assert subscription.state == State.FAILING
    assert "WEBHOOKS:ADD" in subscription.state_reason
    assert subscription.last_error["code"] == "permission_missing"
    every = ["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"]
    control.post("options", permissions=every)
    check_only_one(reconciled(subscription), control)


@pytest.mark.slow
def test_after_a_failed_commit_the_next_pass_leaves_one_webhook(
    subscription: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(apply, "record_success", fail)
        with pytest.raises(OperationalError):
            reconcile(subscription)
    subscription.refresh_from_db()
    (orphan,) = control.remotes()
    assert (subscription.secrets, subscription.remote_id) == ([], None)
    assert sweep.due_subscriptions().filter(pk=subscription.pk).exists()
    with later():
        reconciled(subscription)
    assert check_only_one(subscription, control)["remote_id"] != orphan["remote_id"]
    assert operations(subscription) == ["register unknown", "delete", "register"]


KILLED = """
import os, signal
from providers.entrust import provider
from subscriptions.models import Subscription
from subscriptions.reconciliation.reconciler import reconcile
from django.conf import settings
settings.SANDBOX_URL = {sandbox!r}
original = type(provider).register
def killed(self, *args, **kwargs):
    original(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
type(provider).register = killed
reconcile(Subscription.objects.select_related("account").get(pk={pk}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["first registration", "replacement"])
def test_a_worker_killed_before_the_commit_leaves_one_webhook(
    first: bool, transactional_db: None, account: ProviderAccount, control: Control
) -> None:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    if not first:
        reconciled(subscription)
        control.post("clock", advance_seconds=100)
    code = KILLED.format(sandbox=control.url, pk=subscription.pk)
    ended = run_python(code, SANDBOX_PORT=str(urlsplit(control.url).port))
    assert ended.returncode == -9, ended.stderr
    left = {remote["remote_id"] for remote in control.remotes()}
    assert len(left) == (1 if first else 2)
    with time_machine.travel(timezone.now() + timedelta(seconds=50), tick=True):
        control.post("options", lease_seconds=3600)  # the clock here is ahead of theirs
        assert reconcile(subscription)
        subscription.refresh_from_db()
        assert check_only_one(subscription, control)["remote_id"] not in left


# -- Renewal and repair ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_lease_is_renewed_in_place_and_keeps_the_token(active: Subscription, control: Control) -> None:
    secrets, remote_id = active.secrets, active.remote_id
    control.post("clock", advance_seconds=60)
    time.sleep(1.1)  # the provider counts whole seconds
    reconciled(active)
    assert operations(active) == ["register", "renew"]
    assert active.renews_in_place is True
    assert active.expires_at is not None
    assert (active.expires_at - timezone.now()).total_seconds() > 80
    assert (active.secrets, active.remote_id) == (secrets, remote_id)
    operation = active.operations.get(action="renew")
    assert (operation.request["method"], operation.request["body"]["expiry"]) == ("PUT", 90)
    check_only_one(active, control)


def test_a_webhook_is_replaced_if_an_update_does_not_extend_the_lease(active: Subscription, control: Control) -> None:
    old = active.secrets[0]
    control.post("options", update_extends=False)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert operations(active) == ["register", "renew", "replace", "delete"]
    remote = check_only_one(active, control)
    assert active.secrets == [remote["token"], old]


@pytest.mark.slow
def test_the_old_webhook_is_deleted_first_if_there_is_no_room_for_two(active: Subscription, control: Control) -> None:
    control.post("options", update_extends=False, max_active=1)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert operations(active) == ["register", "renew", "replace failed", "delete", "register"]
    check_only_one(active, control)


def test_an_expired_webhook_is_replaced_and_not_seen_as_suspended(active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=200)
    assert control.remotes()[0]["expired"]
    reconciled(active)
    assert operations(active) == ["register", "replace", "delete"]
    assert active.suspended_count == 0
    check_only_one(active, control)


def test_a_suspended_webhook_is_enabled_again(active: Subscription, control: Control) -> None:
    control.post("options", failures_until_disabled=3)
    control.post("emit", count=3)  # no receiver is running
    assert not control.remotes()[0]["enabled"]
    secrets = active.secrets
    reconciled(active)
    assert operations(active) == ["register", "enable"]
    assert active.suspended_count == 1
    assert active.secrets == secrets
    assert check_only_one(active, control)["failures"] == 0


def test_a_webhook_deleted_at_the_provider_is_registered_again(active: Subscription, control: Control) -> None:
    old = active.secrets[0]
    control.post(f"remote/{active.remote_id}", deleted=True)
    reconciled(active)  # its absence is doubted first
    with later():
        reconciled(active)
    assert operations(active) == ["register", "register"]
    remote = check_only_one(active, control)
    assert active.secrets == [remote["token"], old]


@pytest.mark.slow
def test_drift_is_reverted(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"events": [{"type": "user.deleted", "filter": "[]"}]})
    assert [change.field for change in preview(active).steps[0].changes] == ["events"]
    reconciled(active)
    assert operations(active) == ["register", "update"]
    remote = check_only_one(active, control)
    assert [item["type"] for item in remote["events"]] == ["user.created", "grid.created"]


def test_a_webhook_with_another_url_is_no_longer_ours(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"callback_url": "https://elsewhere.example.test/in"})
    old = active.remote_id
    reconciled(active)
    assert {remote["remote_id"] for remote in control.remotes()} == {old, active.remote_id}
    assert active.remote_id != old
    assert active.state == State.ACTIVE


@pytest.mark.parametrize(("before", "after"), [(90, 30), (0, 30), (90, 0)])
def test_a_changed_expiry_takes_effect_although_it_is_not_shown(
    before: int, after: int, account: ProviderAccount, control: Control
) -> None:
    subscription = desired_state.subscribe(account, config={**CONFIG, "expiry_days": before}, by="staff:ann")
    reconciled(subscription)
    assert (subscription.expires_at is None) == (before == 0)
    desired_state.change(subscription, by="staff:ann", config={**CONFIG, "expiry_days": after})
    (step,) = preview(subscription).steps
    assert [(change.field, change.before, change.after) for change in step.changes] == [("expiry_days", before, after)]
    reconciled(subscription)
    reconciled(subscription)
    assert operations(subscription) == ["register", "update"]
    operation = subscription.operations.get(action="update")
    assert operation.request["body"]["expiry"] == after
    check_only_one(subscription, control)
    assert (subscription.expires_at is None) == (after == 0)
    assert (subscription.renew_at is None) == (after == 0)


def test_a_removed_expiry_is_drift(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"expiry_days": 0})
    reconciled(active)
    assert operations(active) == ["register", "update"]
    assert check_only_one(active, control)["expiryDate"]


def test_renewing_to_no_expiry_ends_renewals(active: Subscription, control: Control) -> None:
    Subscription.objects.filter(pk=active.pk).update(config={**CONFIG, "expiry_days": 0}, remote_config=None)
    control.post("clock", advance_seconds=60)
    reconciled(active)
    assert operations(active) == ["register", "renew"]
    assert (active.expires_at, active.renew_at) == (None, None)
    check_only_one(active, control)


@pytest.mark.slow
def test_a_subscription_is_disabled_enabled_and_deleted(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    assert reconciled(active).state == State.DISABLED
    assert not control.remotes()[0]["enabled"]
    assert control.remotes()[0]["expiryDate"]
    desired_state.change(active, by="staff:ann", enabled=True)
    check_only_one(reconciled(active), control)
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    assert reconciled(active).state == State.DELETED
    assert control.remotes() == []
    assert operations(active) == ["register", "disable", "enable", "delete"]


# -- Unknown secrets -------------------------------------------------------------------------------------------------


def test_a_webhook_with_our_url_but_unknown_token_is_replaced(active: Subscription, control: Control) -> None:
    Subscription.objects.filter(pk=active.pk).update(secrets=[], secret_for=None)  # as from an old backup
    active.refresh_from_db()
    old = active.remote_id
    reconciled(active)
    assert operations(active) == ["register", "replace", "delete"]
    assert check_only_one(active, control)["remote_id"] != old


def test_a_registration_without_an_answer_is_replaced(subscription: Subscription, control: Control) -> None:
    control.post("faults", drop=True, times=1)
    reconciled(subscription)
    (orphan,) = control.remotes()
    assert operations(subscription) == ["register unknown"]
    with later():
        reconciled(subscription)
    assert operations(subscription) == ["register unknown", "delete", "register"]
    assert check_only_one(subscription, control)["remote_id"] != orphan["remote_id"]


def test_an_adopted_foreign_webhook_is_replaced(account: ProviderAccount, control: Control) -> None:
    login = {"Authorization": _access(control, account)}
    body = {"callbackUrl": "https://elsewhere.example.test/in", "events": [{"type": "a.b"}], "name": "Theirs"}
    made = requests.post(f"{control.url}{WEBHOOKS}", json=body, headers=login, timeout=5).json()
    (item,) = list_remotes(account)
    assert (item.kind, item.remote.new_secret) == ("foreign", None)
    subscription = import_remote(account, made["id"], by="staff:ann", take_over=True)
    reconciled(subscription)
    assert operations(subscription) == ["replace", "delete"]
    remote = check_only_one(subscription, control)
    assert remote["remote_id"] != made["id"]
    assert [item["type"] for item in remote["events"]] == ["a.b"]


def _access(control: Control, account: ProviderAccount) -> str:
    credentials = account.credentials
    body = {"applicationId": credentials["application_id"], "sharedSecret": credentials["shared_secret"]}
    answer = requests.post(f"{control.url}/api/web/v1/adminapi/authenticate", json=body, timeout=5)
    return str(answer.json()["authToken"])
