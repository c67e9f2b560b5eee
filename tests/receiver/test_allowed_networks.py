"""Requests from networks that a subscription does not allow."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from events.models import Event, Outcome, WebhookRequest
from events.processing import reprocess
from events.receiver.subscription_cache import receivable_subscriptions
from providers.contract.capabilities import Proof
from subscriptions.lifecycle import desired_state
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of
from tests.harness.receiving import hook_path, post_hook

pytestmark = pytest.mark.django_db


BODY = body_of({"id": 1, "type": "made"})


def allow(subscription: Subscription, *allowed: str) -> None:
    desired_state.set_allowed_networks(subscription, by="staff:ann", allowed_networks=allowed)


def post_status(hook_client: Client, subscription: Subscription, secret: str = SECRET, **extra: Any) -> int:
    headers = {"X-Secret": secret, **extra.pop("headers", {})}
    status: int = post_hook(hook_client, subscription, BODY, headers=headers, **extra).status_code
    return status


def test_request_from_another_network_is_401_and_can_be_released(hook_client: Client, hook: Subscription) -> None:
    allow(hook, "192.0.2.0/24", "fd00::/8")
    assert post_status(hook_client, hook, REMOTE_ADDR="192.0.2.7") == 200
    assert post_status(hook_client, hook, REMOTE_ADDR="fd00::7") == 200
    assert post_status(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 401
    request = WebhookRequest.objects.latest("pk")
    assert (request.outcome, request.verification, request.remote_addr) == ("rejected", "verified", "203.0.113.7")
    assert "203.0.113.7, which is not in the allowed networks" in request.reason
    assert dict(request.headers)["X-Secret"] == "***"
    assert SECRET in request.sealed_headers.values()  # it is needed to verify the request again
    assert reprocess.reprocess_request(request).outcome == Outcome.REJECTED
    assert not Event.objects.exists()
    allow(hook, "192.0.2.0/24", "203.0.113.0/24")
    released = reprocess.reprocess_request(request)
    assert (released.outcome, released.verification, released.reason) == (Outcome.PROCESSED, "verified", "")
    assert SECRET not in released.sealed_headers.values()
    assert Event.objects.count() == 1


def test_reason_names_both_wrong_secret_and_network(hook_client: Client, hook: Subscription) -> None:
    allow(hook, "192.0.2.0/24")
    assert post_status(hook_client, hook, "wrong", REMOTE_ADDR="203.0.113.7") == 401
    request = WebhookRequest.objects.get()
    assert request.verification == "failed"
    assert "203.0.113.7" in request.reason
    assert request.reason.endswith(request.verification_detail)
    Subscription.objects.filter(pk=hook.pk).update(secrets=["wrong"])
    again = reprocess.reprocess_request(request)
    assert (again.outcome, again.verification) == (Outcome.REJECTED, "verified")
    assert again.reason.startswith("The request came from 203.0.113.7")
    allow(hook)
    assert reprocess.reprocess_request(request).outcome == Outcome.PROCESSED


def test_networks_also_apply_without_a_signature(
    hook_client: Client, hook: Subscription, fake: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.declare(proof=Proof.URL)
    allow(hook, "192.0.2.0/24")
    assert post_status(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 401
    assert WebhookRequest.objects.get().verification == "not_verifiable"


def test_head_from_another_network_is_200(hook_client: Client, hook: Subscription) -> None:
    allow(hook, "192.0.2.0/24")
    assert hook_client.head(hook_path(hook), REMOTE_ADDR="203.0.113.7").status_code == 200
    assert not WebhookRequest.objects.exists()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "status"),
    [
        ((), "192.0.2.7", 401),  # any client can send this header
        (("10.0.0.0/8",), "192.0.2.7", 401),
        (("127.0.0.0/8",), "192.0.2.7", 200),
        (("127.0.0.0/8",), "192.0.2.7, 203.0.113.7", 401),
        (("127.0.0.0/8",), "made-up", 401),
    ],
)
def test_client_address_behind_a_trusted_proxy_is_checked(
    hook_client: Client, hook: Subscription, settings: Settings, proxies: tuple[str, ...], forwarded: str, status: int
) -> None:
    settings.TRUSTED_PROXIES = tuple(ip_network(item) for item in proxies)
    allow(hook, "192.0.2.0/24")
    assert post_status(hook_client, hook, headers={"X-Forwarded-For": forwarded}) == status


@pytest.mark.django_db(transaction=True)
def test_changed_list_applies_at_once(
    hook_client: Client, hook: Subscription, receiver_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(hook, "192.0.2.0/24")
    assert post_status(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 401
    # The thread would refresh on its own only much later.
    monkeypatch.setattr("events.receiver.subscription_cache.REFRESH_SECONDS", 60.0)
    assert receivable_subscriptions.refresh()
    allow(hook, "203.0.113.0/24")
    assert post_status(hook_client, hook, REMOTE_ADDR="203.0.113.7") == 200
