"""A whole life at a provider that makes the secret itself and shows it once: nothing is ever kept whose secret we lack.

Entrust is the one in the sandbox; beside that, its leases are asked for in days that it never shows again.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import time_machine
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize
from providers.contract.errors import Unavailable
from providers.entrust.provider import Entrust
from providers.models import AccountToken, ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state, public_url
from subscriptions.lifecycle.secrets import reveal, send_test_webhook
from subscriptions.models import State, Subscription
from subscriptions.reconciliation import apply, sweep
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.remote.adoption import import_remote
from subscriptions.remote.inventory import list_remotes
from tests.harness.fixtures import Control
from tests.harness.processes import run_python

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

CONFIG: dict[str, Any] = {"events": [{"type": "user.created"}, {"type": "grid.created"}], "expiry_days": 90}
WEBHOOKS = "/api/web/v1/webhooks"


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return Control(sandbox.url, "entrust")


@pytest.fixture
def account(db: None, sandbox: Sandbox) -> ProviderAccount:
    login = sandbox.logins("entrust")[0]
    return accounts.add_account(
        provider="entrust", name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )


@pytest.fixture
def subscription(account: ProviderAccount) -> Subscription:
    return desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Identities")


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    settled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def settled(subscription: Subscription) -> Subscription:
    """Reconcile the subscription and return it."""
    assert reconcile(subscription, details=True)
    subscription.refresh_from_db()
    return subscription


def operations(subscription: Subscription) -> list[str]:
    """Return the operations, oldest first, with the status of those that did not succeed."""
    rows = subscription.operations.order_by("id").values_list("action", "status")
    return [action if status == "succeeded" else f"{action} {status}" for action, status in rows]


def check_only_one(subscription: Subscription, control: Control) -> dict[str, Any]:
    """Return the only remaining webhook, after checking that it is enabled, ours, and signs with our token."""
    (remote,) = control.remotes()
    assert (remote["remote_id"], remote["url"]) == (subscription.remote_id, subscription.callback_url)
    assert remote["enabled"]
    assert not remote["expired"]
    assert (subscription.secrets[0], subscription.secret_for) == (remote["token"], remote["remote_id"])
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return remote


# -- Registering -----------------------------------------------------------------------------------------------------


def test_the_token_is_stored_with_the_registration(active: Subscription, control: Control) -> None:
    remote = check_only_one(active, control)
    assert remote["name"] == "Identities"
    assert active.expires_at is not None
    assert 80 <= (active.expires_at - timezone.now()).total_seconds() <= 91
    assert active.renew_at is not None
    hint = reveal(active, by="staff:ann")
    assert (hint.kind, hint.header, hint.value) == ("rfc9421", None, remote["token"])


def test_the_operation_is_the_registration_not_the_login_and_tells_no_secret(active: Subscription) -> None:
    operation = active.operations.get()
    assert operation.request["url"].endswith(WEBHOOKS)
    assert operation.request["body"]["expiry"] == 90
    assert operation.response["body"]["token"] == "***"
    told = str((operation.request, operation.response))
    token = AccountToken.objects.get().value
    assert not [secret for secret in (active.secrets[0], token, *active.account.credentials.values()) if secret in told]


def test_one_access_token_serves_all_until_its_end(active: Subscription, control: Control) -> None:
    def logins() -> int:
        return len([call for call in control.calls("POST") if call["path"].endswith("/authenticate")])

    settled(active)
    sync_account(active.account)
    assert logins() == 1
    control.post("clock", advance_seconds=2000)  # theirs has ended, and so has the lease
    settled(active)
    assert logins() == 2
    check_only_one(active, control)


def test_no_changing_call_when_in_sync(active: Subscription, control: Control) -> None:
    before = len(control.calls())
    settled(active)
    settled(active)
    assert {call["method"] for call in control.calls()[before:]} == {"GET"}
    assert operations(active) == ["register"]


def test_an_older_server_without_names(subscription: Subscription, control: Control) -> None:
    control.post("options", knows_name=False)
    settled(subscription)
    check_only_one(subscription, control)
    operation = subscription.operations.get()
    assert "name" not in operation.request["body"]
    assert operation.response["status"] == 200


def test_a_missing_permission_is_named_and_granting_it_heals(subscription: Subscription, control: Control) -> None:
    control.post("options", permissions=["WEBHOOKS:VIEW"])
    settled(subscription)
    assert subscription.state == State.FAILING
    assert "WEBHOOKS:ADD" in subscription.state_reason
    assert subscription.last_error["code"] == "permission_missing"
    every = ["WEBHOOKS:ADD", "WEBHOOKS:VIEW", "WEBHOOKS:EDIT", "WEBHOOKS:REMOVE"]
    control.post("options", permissions=every)
    check_only_one(settled(subscription), control)


def test_storing_the_token_fails_and_the_next_run_leaves_exactly_one(
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
    settled(subscription)
    assert check_only_one(subscription, control)["remote_id"] != orphan["remote_id"]
    assert operations(subscription) == ["register unknown", "replace", "delete"]


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
def test_killed_between_answer_and_commit(
    first: bool, transactional_db: None, account: ProviderAccount, control: Control
) -> None:
    subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
    if not first:
        settled(subscription)
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


# -- Staying alive ---------------------------------------------------------------------------------------------------


def test_renews_in_place_when_it_is_time_and_keeps_the_token(active: Subscription, control: Control) -> None:
    secrets, remote_id = active.secrets, active.remote_id
    control.post("clock", advance_seconds=60)
    time.sleep(1.1)  # the provider counts whole seconds
    settled(active)
    assert operations(active) == ["register", "renew"]
    assert active.renews_in_place is True
    assert active.expires_at is not None
    assert (active.expires_at - timezone.now()).total_seconds() > 80
    assert (active.secrets, active.remote_id) == (secrets, remote_id)
    operation = active.operations.get(action="renew")
    assert (operation.request["method"], operation.request["body"]["expiry"]) == ("PUT", 90)
    check_only_one(active, control)


def test_replaces_where_an_update_does_not_prolong_and_both_tokens_count(
    active: Subscription, control: Control
) -> None:
    old = active.secrets[0]
    control.post("options", update_extends=False)
    control.post("clock", advance_seconds=60)
    settled(active)
    assert operations(active) == ["register", "renew", "replace", "delete"]
    remote = check_only_one(active, control)
    assert active.secrets == [remote["token"], old]


def test_deletes_first_where_there_is_no_room(active: Subscription, control: Control) -> None:
    control.post("options", update_extends=False, max_active=1)
    control.post("clock", advance_seconds=60)
    settled(active)
    assert operations(active) == ["register", "renew", "replace failed", "delete", "register"]
    check_only_one(active, control)


def test_an_ended_one_is_replaced_and_not_taken_for_switched_off(active: Subscription, control: Control) -> None:
    control.post("clock", advance_seconds=200)
    assert control.remotes()[0]["expired"]
    settled(active)
    assert operations(active) == ["register", "replace", "delete"]
    assert active.suspended_count == 0
    check_only_one(active, control)


def test_switched_off_after_failed_deliveries_and_back_on(active: Subscription, control: Control) -> None:
    control.post("options", failures_until_disabled=3)
    control.post("emit", count=3)  # nobody listens
    assert not control.remotes()[0]["enabled"]
    secrets = active.secrets
    settled(active)
    assert operations(active) == ["register", "enable"]
    assert active.suspended_count == 1
    assert active.secrets == secrets
    assert check_only_one(active, control)["failures"] == 0


def test_registers_again_after_deletion_at_the_provider(active: Subscription, control: Control) -> None:
    old = active.secrets[0]
    control.post(f"remote/{active.remote_id}", deleted=True)
    settled(active)
    assert operations(active) == ["register", "register"]
    remote = check_only_one(active, control)
    assert active.secrets == [remote["token"], old]


def test_reverts_a_changed_config(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"events": [{"type": "user.deleted", "filter": "[]"}]})
    assert [change.field for change in preview(active).steps[0].changes] == ["events"]
    settled(active)
    assert operations(active) == ["register", "update"]
    remote = check_only_one(active, control)
    assert [item["type"] for item in remote["events"]] == ["user.created", "grid.created"]


def test_one_that_somebody_pointed_elsewhere_is_no_longer_ours(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"callback_url": "https://elsewhere.example.test/in"})
    old = active.remote_id
    settled(active)
    assert {remote["remote_id"] for remote in control.remotes()} == {old, active.remote_id}
    assert active.remote_id != old
    assert active.state == State.ACTIVE


@pytest.mark.parametrize(("before", "after"), [(90, 30), (0, 30), (90, 0)])
def test_another_expiry_takes_effect_although_the_provider_does_not_show_it(
    before: int, after: int, account: ProviderAccount, control: Control
) -> None:
    subscription = desired_state.subscribe(account, config={**CONFIG, "expiry_days": before}, by="staff:ann")
    settled(subscription)
    assert (subscription.expires_at is None) == (before == 0)
    desired_state.change(subscription, by="staff:ann", config={**CONFIG, "expiry_days": after})
    (step,) = preview(subscription).steps
    assert [(change.field, change.before, change.after) for change in step.changes] == [("expiry_days", before, after)]
    settled(subscription)
    settled(subscription)
    assert operations(subscription) == ["register", "update"]
    operation = subscription.operations.get(action="update")
    assert operation.request["body"]["expiry"] == after
    check_only_one(subscription, control)
    assert (subscription.expires_at is None) == (after == 0)
    assert (subscription.renew_at is None) == (after == 0)


def test_an_expiry_that_somebody_took_away_is_drift(active: Subscription, control: Control) -> None:
    control.post(f"remote/{active.remote_id}", config={"expiry_days": 0})
    settled(active)
    assert operations(active) == ["register", "update"]
    assert check_only_one(active, control)["expiryDate"]


def test_a_due_renewal_to_no_expiry_at_all_ends_the_renewing(active: Subscription, control: Control) -> None:
    Subscription.objects.filter(pk=active.pk).update(config={**CONFIG, "expiry_days": 0}, remote_config=None)
    control.post("clock", advance_seconds=60)
    settled(active)
    assert operations(active) == ["register", "renew"]
    assert (active.expires_at, active.renew_at) == (None, None)
    check_only_one(active, control)


def test_disable_enable_delete(active: Subscription, control: Control) -> None:
    desired_state.change(active, by="staff:ann", enabled=False)
    assert settled(active).state == State.DISABLED
    assert not control.remotes()[0]["enabled"]
    assert control.remotes()[0]["expiryDate"]
    desired_state.change(active, by="staff:ann", enabled=True)
    check_only_one(settled(active), control)
    desired_state.request_deletion(active, by="staff:ann")
    active.refresh_from_db()
    assert settled(active).state == State.DELETED
    assert control.remotes() == []
    assert operations(active) == ["register", "disable", "enable", "delete"]


# -- What we lack the secret of --------------------------------------------------------------------------------------


def test_one_of_our_address_without_its_token_is_replaced_never_adopted(active: Subscription, control: Control) -> None:
    Subscription.objects.filter(pk=active.pk).update(secrets=[], secret_for=None)  # as from an old backup
    active.refresh_from_db()
    old = active.remote_id
    settled(active)
    assert operations(active) == ["register", "replace", "delete"]
    assert check_only_one(active, control)["remote_id"] != old


def test_what_took_effect_without_an_answer_is_replaced(subscription: Subscription, control: Control) -> None:
    control.post("faults", drop=True, times=1)
    settled(subscription)
    (orphan,) = control.remotes()
    assert operations(subscription) == ["register unknown"]
    settled(subscription)
    assert operations(subscription) == ["register unknown", "replace", "delete"]
    assert check_only_one(subscription, control)["remote_id"] != orphan["remote_id"]


def test_a_foreign_one_that_is_taken_over_is_replaced(account: ProviderAccount, control: Control) -> None:
    login = {"Authorization": _access(control, account)}
    body = {"callbackUrl": "https://elsewhere.example.test/in", "events": [{"type": "a.b"}], "name": "Theirs"}
    made = requests.post(f"{control.url}{WEBHOOKS}", json=body, headers=login, timeout=5).json()
    (found,) = list_remotes(account)
    assert (found.kind, found.remote.new_secret) == ("foreign", None)
    subscription = import_remote(account, made["id"], by="staff:ann", take_over=True)
    settled(subscription)
    assert operations(subscription) == ["replace", "delete"]
    remote = check_only_one(subscription, control)
    assert remote["remote_id"] != made["id"]
    assert [item["type"] for item in remote["events"]] == ["a.b"]


def _access(control: Control, account: ProviderAccount) -> str:
    credentials = account.credentials
    body = {"applicationId": credentials["application_id"], "sharedSecret": credentials["shared_secret"]}
    answer = requests.post(f"{control.url}/api/web/v1/adminapi/authenticate", json=body, timeout=5)
    return str(answer.json()["authToken"])


# -- Receiving, over HTTP --------------------------------------------------------------------------------------------


@pytest.fixture
def at_home(settings: Settings, live_server: LiveServer) -> None:
    """Let the sandbox reach this installation's receiver."""
    settings.PUBLIC_URL = live_server.url


@pytest.mark.parametrize("options", [{}, {"digest": "sha-512", "key_form": "base64"}], ids=["usual", "other"])
def test_signed_webhooks_are_verified_stored_and_understood(
    options: dict[str, object], transactional_db: None, at_home: None, active: Subscription, control: Control
) -> None:
    control.post("options", **options)
    sent = control.post("emit", count=3)["deliveries"]
    assert [item["status"] for item in sent] == [200] * 3
    again = control.post("emit", event_type="user.created", duplicate=True)["deliveries"]
    assert [item["status"] for item in again] == [200] * 2
    normalize.normalize_pending()
    assert set(WebhookRequest.objects.values_list("verification", flat=True)) == {"verified"}
    ids = {event_id for item in (*sent, *again) for event_id in item["event_ids"]}
    assert set(Event.objects.values_list("provider_event_id", flat=True)) == ids
    event = Event.objects.get(provider_event_id=again[0]["event_ids"][0])
    assert (event.type, event.action, event.resource_type, event.duplicates) == ("user.created", "created", "user", 1)
    assert event.actor
    assert event.resource == event.data["data"]["entityName"]
    request = event.request
    # A signature is no secret, and is needed to look at it again.
    assert dict(request.headers)["Signature"].startswith("sig=:")


def test_a_wrong_signature_is_refused_kept_and_never_raises(
    transactional_db: None, at_home: None, active: Subscription, control: Control
) -> None:
    (bad,) = control.post("emit", bad_signature=True)["deliveries"]
    assert bad["status"] == 401
    headers = {"Signature-Input": 'sig=("@method" "@method")', "Signature": "sig=:AAAA:, sig=:AAAA:"}
    for sent in ({}, headers, {**headers, "Content-Digest": "sha-256=:" + "A" * 4000 + ":"}):
        assert requests.post(active.callback_url, data=b"{}", headers=sent, timeout=5).status_code == 401
    assert set(WebhookRequest.objects.values_list("outcome", "verification")) == {(Outcome.REJECTED, "failed")}
    assert "fits none of the keys" in WebhookRequest.objects.order_by("id")[0].reason


def test_the_address_is_the_one_that_was_registered_whatever_the_proxy_calls_us(
    transactional_db: None, settings: Settings, live_server: LiveServer, account: ProviderAccount
) -> None:
    settings.PUBLIC_URL = "https://hooks.example.test"
    with Sandbox(deliver_to={"https://hooks.example.test": live_server.url}) as sandbox:
        settings.SANDBOX_URL = sandbox.url
        control = Control(sandbox.url, "entrust")
        accounts.change_account(account, by="staff:ann", settings=sandbox.logins("entrust")[0]["settings"])
        subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
        settled(subscription)
        assert [item["status"] for item in control.post("emit")["deliveries"]] == [200]
    assert WebhookRequest.objects.get().verification == "verified"


def test_until_the_provider_has_our_new_address_its_signatures_are_for_the_former_one(
    transactional_db: None, at_home: None, active: Subscription, control: Control, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://moved.example.test"
    assert public_url.move_callback_urls(by="staff:ann") == 1
    assert [item["status"] for item in control.post("emit")["deliveries"]] == [200]
    active.refresh_from_db()
    settled(active)
    assert control.remotes()[0]["url"] == active.callback_url == f"https://moved.example.test/hooks/{active.token}"
    normalize.normalize_pending()
    assert WebhookRequest.objects.get().outcome == Outcome.PROCESSED


def test_before_the_token_is_known_the_sender_is_asked_to_come_again(
    transactional_db: None, at_home: None, active: Subscription, control: Control
) -> None:
    Subscription.objects.filter(pk=active.pk).update(secrets=[])
    assert [item["status"] for item in control.post("emit")["deliveries"]] == [503]
    assert WebhookRequest.objects.count() == 0


def _out_of_reach(*_: object) -> None:
    raise Unavailable("not now")


def test_while_two_are_there_both_tokens_verify_and_their_events_are_one(
    transactional_db: None,
    at_home: None,
    active: Subscription,
    control: Control,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, old_token = active.remote_id, active.secrets[0]
    with monkeypatch.context() as patch:  # the replacement is there, and the old one could not be removed yet
        patch.setattr(Entrust, "delete", _out_of_reach)
        Subscription.objects.filter(pk=active.pk).update(renews_in_place=False)
        desired_state.request_renewal(active, by="staff:ann")
        settled(active)
    assert active.secrets[1] == old_token
    sent = control.post("emit", event_type="user.created")["deliveries"]
    assert sorted((item["remote_id"] == old, item["status"]) for item in sent) == [(False, 200), (True, 200)]
    normalize.normalize_pending()
    assert Event.objects.get().duplicates == 1


def test_the_test_button_sends_a_test_payload_that_is_shown_when_it_arrives(
    transactional_db: None, at_home: None, active: Subscription, control: Control
) -> None:
    for number in (1, 2):  # the payload is the same each time, and yet two arrive
        assert send_test_webhook(active, by="staff:ann").ok
        stop = time.monotonic() + 30
        while WebhookRequest.objects.count() < number:
            assert time.monotonic() < stop
            time.sleep(0.02)
    normalize.normalize_pending()
    events = list(Event.objects.all())
    assert [(event.type, event.action) for event in events] == [("untyped", "other")] * 2
    assert events[0].data == {"message": "This is a test of your webhook."}


def test_a_test_that_the_provider_refuses_says_why(active: Subscription, control: Control) -> None:
    control.post("options", permissions=["WEBHOOKS:VIEW"])
    found = send_test_webhook(active, by="staff:ann")
    assert not found.ok
    assert "WEBHOOKS:EDIT" in found.detail
