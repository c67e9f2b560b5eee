"""Files.com from end to end over HTTP: registered at the sandbox, then received, stored and normalized."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import Control

SLUG = "files-com"
MOVE = (
    "action=move&interface=web&path=a%2Fold.txt&destination=a%2Fnew.txt&at=2026-01-02T03:04:05{}&username=ann&type=file"
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receiver_answers")]


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return Control(sandbox.url, SLUG)


@pytest.fixture
def account(sandbox: Sandbox, live_server: LiveServer, settings: Settings) -> ProviderAccount:
    settings.PUBLIC_URL = live_server.url
    login = sandbox.logins(SLUG)[0]
    return accounts.add_account(
        provider=SLUG, name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )


def active_subscription(account: ProviderAccount, **config: Any) -> Subscription:
    subscription = desired_state.subscribe(account, config={"path": "/", **config}, by="staff:ann")
    assert reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription


def outcomes() -> list[tuple[str, str]]:
    """Normalize pending requests; return outcome and verification of all requests, oldest first."""
    normalize.normalize_pending()
    return list(WebhookRequest.objects.order_by("id").values_list("outcome", "verification"))


def test_a_get_is_stored_verified_and_normalized(account: ProviderAccount, control: Control) -> None:
    subscription = active_subscription(account, triggers=["move"])
    (delivery,) = control.post("emit", event_type="move")["deliveries"]
    assert (delivery["remote_id"], delivery["status"]) == (subscription.remote_id, 200)
    assert outcomes() == [("processed", "verified")]
    request = WebhookRequest.objects.get()
    assert (request.method, bytes(request.body)) == ("GET", b"")
    assert "action=move" in request.query
    assert subscription.secrets[0] not in json.dumps(request.headers)
    event = Event.objects.get()
    assert (event.type, event.action) == ("move", "moved")
    assert isinstance(event.data, dict)
    assert event.resource == event.data["destination"]
    assert all(isinstance(value, str) for value in event.data.values())


@pytest.mark.parametrize("ending", ["", "/"])
def test_an_encoded_and_a_raw_plus_give_one_event(account: ProviderAccount, ending: str) -> None:
    subscription = active_subscription(account)
    for plus in ("%2B00:00", "+00:00"):
        response = requests.get(
            f"{subscription.callback_url}{ending}?{MOVE.format(plus)}",
            headers={"Authorization": subscription.secrets[0]},
            allow_redirects=False,
            timeout=10,
        )
        assert (response.status_code, response.content) == (200, b"")
    assert outcomes() == [("processed", "verified"), ("duplicate", "verified")]
    event = Event.objects.get()
    assert (event.resource, event.actor, event.duplicates) == ("a/new.txt", "ann", 1)
    assert event.occurred_at is not None
    assert event.occurred_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert event.data == {
        "action": "move",
        "interface": "web",
        "path": "a/old.txt",
        "destination": "a/new.txt",
        "at": "2026-01-02T03:04:05+00:00",
        "username": "ann",
        "type": "file",
    }


def test_a_request_without_the_header_is_rejected_and_kept(account: ProviderAccount) -> None:
    subscription = active_subscription(account)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = requests.get(f"{subscription.callback_url}?{MOVE.format('Z')}", headers=headers, timeout=10)
        assert response.status_code == 401
    assert outcomes() == [("rejected", "failed")] * 2
    assert Event.objects.count() == 0


def test_a_manual_subscription_without_a_header_is_not_verifiable_and_becomes_active(account: ProviderAccount) -> None:
    accounts.change_account(account, by="staff:ann", settings={**account.settings, "expect_header": False})
    subscription = desired_state.subscribe(account, config={"path": "inbox"}, by="staff:ann", managed=Managed.MANUAL)
    url = f"{subscription.callback_url}?{MOVE.format('Z')}"
    assert requests.get(url, timeout=10).status_code == 200
    assert requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=10).status_code == 401
    assert requests.get(subscription.callback_url, timeout=10).status_code == 200
    assert outcomes() == [
        ("processed", "not_verifiable"),
        ("rejected", "failed"),
        ("ping", "not_verifiable"),
    ]
    assert reconcile(subscription)
    subscription.refresh_from_db()
    assert subscription.state == State.ACTIVE
    assert Event.objects.count() == 1


@pytest.mark.parametrize("metadata", ["none", "query", "headers"])
def test_a_file_as_the_body_is_an_event(account: ProviderAccount, control: Control, metadata: str) -> None:
    active_subscription(account, file_as_body=True, triggers=["create"], filenames=["*.xml"])
    control.post("options", file_metadata=metadata)
    (delivery,) = control.post("emit", event_type="create")["deliveries"]
    assert delivery["status"] == 200
    assert outcomes() == [("processed", "verified")]
    request = WebhookRequest.objects.get()
    assert bytes(request.body).startswith(b"The content of")
    event = Event.objects.get()
    expected = ("file", "other") if metadata == "none" else ("create", "created")
    assert (event.type, event.action, event.resource_type) == (*expected, "file")
    assert (event.resource is None) == (metadata == "none")


@pytest.mark.parametrize("encoding", ["percent", "utf-8", "iso-8859-1"])
def test_paths_in_headers_may_have_any_encoding(account: ProviderAccount, control: Control, encoding: str) -> None:
    active_subscription(account, file_as_body=True, triggers=["create"], filenames=["Menü-*.pdf"])
    control.post("options", file_metadata="headers", header_encoding=encoding)
    control.post("emit", event_type="create", count=3)
    assert outcomes() == [("processed", "verified")] * 3
    assert {str(event.resource).rpartition("/")[2][:5] for event in Event.objects.all()} == {"Menü-"}


def test_two_files_that_differ_in_a_path_that_is_not_ascii_are_two_events(account: ProviderAccount) -> None:
    subscription = active_subscription(account, file_as_body=True)
    for name in ("Ä.pdf".encode(), "Ö.pdf".encode(), "Ö.pdf".encode(), "Ö.pdf".encode("latin-1")):
        headers: dict[str, str | bytes] = {
            "Authorization": subscription.secrets[0],
            "X-Files-Action": "create",
            "X-Files-At": "2026-01-02T03:04:05Z",
            "X-Files-Path": b"inbox/" + name,
        }
        requests.post(subscription.callback_url, data=b"%PDF", headers=headers, timeout=10)
    assert [outcome for outcome, _ in outcomes()] == ["processed", "processed", "duplicate", "duplicate"]
    assert list(Event.objects.order_by("id").values_list("resource", flat=True)) == ["inbox/Ä.pdf", "inbox/Ö.pdf"]
    assert WebhookRequest.objects.earliest("id").readable_headers()


def test_the_name_of_a_file_is_read_from_content_disposition(account: ProviderAccount, control: Control) -> None:
    active_subscription(account, file_as_body=True, triggers=["create"], filenames=["Menü-*.pdf"])
    control.post("options", file_metadata="disposition")
    control.post("emit", event_type="create")
    assert outcomes() == [("processed", "verified")]
    assert str(Event.objects.get().resource).startswith("Menü-")


def test_headers_and_a_prefix_of_a_large_file_are_kept(account: ProviderAccount, settings: Settings) -> None:
    subscription = active_subscription(account, file_as_body=True)
    settings.MAX_BODY_BYTES = 100_000
    response = requests.post(
        subscription.callback_url,
        data=b"%PDF" + b"x" * 300_000,
        headers={
            "Authorization": subscription.secrets[0],
            "Content-Type": "application/pdf",
            "X-Hookkeeper-Body": "file",
        },
        timeout=10,
    )
    assert (response.status_code, response.content) == (200, b"")
    assert outcomes() == [("truncated", "verified")]
    request = WebhookRequest.objects.get()
    assert (request.size, len(request.body)) == (300_004, 65536)
    assert dict(request.headers)["Content-Type"] == "application/pdf"


@pytest.mark.parametrize(
    "config",
    [
        {"method": "POST"},
        {"method": "POST", "encoding": "JSON"},
        {"method": "POST", "encoding": "XML"},
        {"method": "POST", "encoding": "EV1"},
        {"method": "POST", "encoding": "EV2"},
        {"file_form_field": "file"},
    ],
    ids=str,
)
def test_every_post_format_is_normalized(account: ProviderAccount, control: Control, config: dict[str, Any]) -> None:
    active_subscription(account, **config)
    control.post("emit", event_type="create", count=2)
    assert outcomes() == [("processed", "verified")] * 2
    assert {event.action for event in Event.objects.all()} == {"created"}
    assert Event.objects.count() == 2


def test_overlapping_subscriptions_each_receive_the_event(account: ProviderAccount, control: Control) -> None:
    hooks = active_subscription(account, path="Elsewhere"), active_subscription(account)
    control.post("emit", event_type="create", count=2)
    assert outcomes() == [("processed", "verified")] * 4
    inner, whole = (set(hook.events.values_list("dedup_key", flat=True)) for hook in hooks)
    assert inner == whole
    assert len(inner) == 2


def test_several_callback_urls_in_one_list_each_receive_the_event(account: ProviderAccount, control: Control) -> None:
    accounts.change_account(account, by="staff:ann", settings={**account.settings, "expect_header": False})
    hooks = [
        desired_state.subscribe(account, config={"path": "/"}, by="staff:ann", managed=Managed.MANUAL) for _ in range(2)
    ]
    registered = requests.post(
        f"{account.settings['base_url']}/api/rest/v1/behaviors",
        json={"path": "", "behavior": "webhook", "recursive": True, "value": [hook.callback_url for hook in hooks]},
        headers={"X-FilesAPI-Key": account.credentials["api_key"]},
        timeout=10,
    )
    assert registered.status_code == 201
    control.post("emit")
    assert outcomes() == [("processed", "not_verifiable")]
    control.post("options", attempt_all_urls=True)
    control.post("emit", duplicate=True)
    assert sorted(outcomes())[:2] == [("duplicate", "not_verifiable")] * 2
    assert [Event.objects.filter(subscription=hook).count() for hook in hooks] == [2, 1]


def test_a_redundant_url_receives_the_secret_of_the_first(account: ProviderAccount, control: Control) -> None:
    other = active_subscription(account, triggers=["create"])
    active_subscription(account, triggers=["read"], redundant_urls=[other.callback_url])
    control.post("options", attempt_all_urls=True)
    control.post("emit", event_type="read")
    assert sorted(outcomes()) == [("processed", "verified"), ("rejected", "failed")]


def test_hostile_bodies_are_quarantined_and_kept_whole(account: ProviderAccount) -> None:
    subscription = active_subscription(account)
    bodies = {
        "application/xml": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><action>&x;</action></a>',
        "application/json": b'{"action": "cre',
        "multipart/form-data": b"--x\r\n",
    }
    for kind, body in bodies.items():
        response = requests.post(
            subscription.callback_url,
            data=body,
            headers={"Authorization": subscription.secrets[0], "Content-Type": kind},
            timeout=10,
        )
        assert response.status_code == 200
    assert outcomes() == [("quarantined", "verified")] * 3
    stored = WebhookRequest.objects.order_by("id")
    assert [bytes(request.body) for request in stored] == list(bodies.values())
    assert all(request.reason for request in stored)
    assert {request.outcome for request in stored} == {Outcome.QUARANTINED}
    assert "passwd" not in str([request.reason for request in stored])
