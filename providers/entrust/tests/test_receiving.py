"""Receiving Entrust's signed webhooks over HTTP, and test webhooks."""

from __future__ import annotations

import time

import pytest
import requests
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize
from providers.contract.errors import Unavailable
from providers.entrust.provider import Entrust
from providers.entrust.tests.registered import CONFIG, reconciled
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state, public_url
from subscriptions.lifecycle.secrets import send_test_webhook
from subscriptions.models import Subscription
from tests.harness.fixtures import Control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def at_home(settings: Settings, live_server: LiveServer) -> None:
    """Let the sandbox reach this installation's receiver."""
    settings.PUBLIC_URL = live_server.url


@pytest.mark.parametrize("options", [{}, {"digest": "sha-512", "key_form": "base64"}], ids=["usual", "other"])
def test_signed_webhooks_are_verified_and_normalized(
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
    # A signature is not a secret, and reprocessing needs it.
    assert dict(request.headers)["Signature"].startswith("sig=:")


def test_an_invalid_signature_is_rejected_and_stored(
    transactional_db: None, at_home: None, active: Subscription, control: Control
) -> None:
    (bad,) = control.post("emit", bad_signature=True)["deliveries"]
    assert bad["status"] == 401
    headers = {"Signature-Input": 'sig=("@method" "@method")', "Signature": "sig=:AAAA:, sig=:AAAA:"}
    for sent in ({}, headers, {**headers, "Content-Digest": "sha-256=:" + "A" * 4000 + ":"}):
        assert requests.post(active.callback_url, data=b"{}", headers=sent, timeout=5).status_code == 401
    assert set(WebhookRequest.objects.values_list("outcome", "verification")) == {(Outcome.REJECTED, "failed")}
    assert "matches none of the keys" in WebhookRequest.objects.order_by("id")[0].reason


def test_the_registered_url_is_verified_behind_a_proxy(
    transactional_db: None, settings: Settings, live_server: LiveServer, account: ProviderAccount
) -> None:
    settings.PUBLIC_URL = "https://hooks.example.test"
    with Sandbox(deliver_to={"https://hooks.example.test": live_server.url}) as sandbox:
        settings.SANDBOX_URL = sandbox.url
        control = Control(sandbox.url, "entrust")
        login = sandbox.logins("entrust")[0]
        accounts.change_account(account, by="staff:ann", settings=login["settings"], credentials=login["credentials"])
        subscription = desired_state.subscribe(account, config=CONFIG, by="staff:ann")
        reconciled(subscription)
        assert [item["status"] for item in control.post("emit")["deliveries"]] == [200]
    assert WebhookRequest.objects.get().verification == "verified"


@pytest.mark.slow
def test_signatures_for_the_former_url_are_accepted_until_it_is_changed(
    transactional_db: None, at_home: None, active: Subscription, control: Control, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://moved.example.test"
    assert public_url.move_callback_urls(by="staff:ann") == 1
    assert [item["status"] for item in control.post("emit")["deliveries"]] == [200]
    active.refresh_from_db()
    reconciled(active)
    assert control.remotes()[0]["url"] == active.callback_url == f"https://moved.example.test/hooks/{active.token}"
    normalize.normalize_pending()
    assert WebhookRequest.objects.get().outcome == Outcome.PROCESSED


def test_without_the_token_the_receiver_answers_503(
    transactional_db: None, at_home: None, active: Subscription, control: Control
) -> None:
    Subscription.objects.filter(pk=active.pk).update(secrets=[])
    assert [item["status"] for item in control.post("emit")["deliveries"]] == [503]
    assert WebhookRequest.objects.count() == 0


def _out_of_reach(*_: object) -> None:
    raise Unavailable("not now")


@pytest.mark.slow
def test_two_webhooks_verify_with_both_tokens_and_deduplicate(
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
        reconciled(active)
    assert active.secrets[1] == old_token
    sent = control.post("emit", event_type="user.created")["deliveries"]
    assert sorted((item["remote_id"] == old, item["status"]) for item in sent) == [(False, 200), (True, 200)]
    normalize.normalize_pending()
    assert Event.objects.get().duplicates == 1


def test_a_test_webhook_arrives_and_is_shown(
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
    result = send_test_webhook(active, by="staff:ann")
    assert not result.ok
    assert "WEBHOOKS:EDIT" in result.detail
