"""What a person decides about rejected requests: allow their senders, accept or dismiss them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from events.models import Event, Outcome, WebhookRequest
from events.processing import reprocess, settle
from providers.models import HistoryEntry
from subscriptions.lifecycle import desired_state
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of, fresh, store_request
from tests.harness.receiving import post_hook

pytestmark = pytest.mark.django_db


def post_from(hook_client: Client, hook: Subscription, address: str, number: int, secret: str = SECRET) -> None:
    body = body_of({"id": number, "type": "made"})
    options: dict[str, Any] = {"headers": {"X-Secret": secret}, "REMOTE_ADDR": address}
    post_hook(hook_client, hook, body, **options)


def test_an_address_is_allowed_and_only_its_requests_are_released(hook_client: Client, hook: Subscription) -> None:
    desired_state.set_allowed_networks(hook, by="staff:ann", allowed_networks=["192.0.2.0/24"])
    for number in range(3):
        post_from(hook_client, hook, "203.0.113.7", number)
    post_from(hook_client, hook, "203.0.113.8", 3)
    post_from(hook_client, hook, "203.0.113.7", 4, secret="wrong")
    hook.refresh_from_db()
    result = settle.allow_and_release(hook, ["203.0.113.7"], by="staff:ann")
    assert (result.outcomes, result.last) == ({"processed": 3}, None)
    hook.refresh_from_db()
    assert hook.allowed_networks == ["192.0.2.0/24", "203.0.113.7/32"]
    assert Event.objects.count() == 3
    rejected = WebhookRequest.objects.filter(outcome="rejected").order_by("pk")
    assert list(rejected.values_list("remote_addr", "verification")) == [
        ("203.0.113.8", "verified"),
        ("203.0.113.7", "failed"),
    ]
    settle.allow_and_release(hook, ["203.0.113.7"], by="staff:ann")
    hook.refresh_from_db()
    assert len(hook.allowed_networks) == 2, "an allowed address is not added again"


def test_a_blocked_request_stays_verified_after_its_secret_was_replaced(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}), headers=(("X-Secret", SECRET),))
    WebhookRequest.objects.filter(pk=request.pk).update(
        outcome="rejected", sealed_headers={"0": SECRET}, headers=[["X-Secret", "***"]]
    )
    Subscription.objects.filter(pk=hook.pk).update(secrets=["another"])
    again = reprocess.reprocess_request(request)
    assert (again.outcome, again.verification) == (Outcome.REJECTED, "verified")
    assert "No header carries the secret." in again.reason


def test_a_person_accepts_a_rejected_request(hook: Subscription) -> None:
    request = store_request(hook, body_of({"id": 1, "type": "made"}), headers=())
    assert settle.accept(request, by="staff:ann")
    accepted = fresh(request)
    assert (accepted.outcome, accepted.verification, accepted.reason) == (Outcome.PROCESSED, "failed", "")
    assert accepted.verification_detail.startswith("Accepted by ann.")
    assert Event.objects.count() == 1
    entry = HistoryEntry.objects.get()
    assert (entry.action, entry.actor, entry.subject_id) == ("accepted", "staff:ann", str(request.uid))
    assert not settle.accept(request, by="staff:ann"), "it is not rejected any more"
    assert HistoryEntry.objects.count() == 1


@pytest.mark.parametrize(("body", "outcome"), [(b"no json", Outcome.QUARANTINED), (b"", Outcome.PING)])
def test_an_accepted_request_goes_on_like_any_other(hook: Subscription, body: bytes, outcome: Outcome) -> None:
    request = store_request(hook, body, headers=())
    settle.accept(request, by="staff:ann")
    assert fresh(request).outcome == outcome


def test_an_accepted_request_with_a_cut_body_is_truncated(hook: Subscription) -> None:
    request = store_request(hook, b"{}", headers=())
    WebhookRequest.objects.filter(pk=request.pk).update(size=10_000_000)
    settle.accept(fresh(request), by="staff:ann")
    assert fresh(request).outcome == Outcome.TRUNCATED


def test_only_rejected_and_quarantined_requests_are_dismissed(hook: Subscription, fake: FakeProvider) -> None:
    rejected = store_request(hook, b"{}", headers=())
    processed = store_request(hook, body_of({"id": 1, "type": "made"}))
    for request in (rejected, processed, rejected):
        settle.dismiss(request, by="staff:ann")
    assert fresh(rejected).dismissed_at
    assert not fresh(processed).dismissed_at
    assert HistoryEntry.objects.filter(action="dismissed").count() == 1
