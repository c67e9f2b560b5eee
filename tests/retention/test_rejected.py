"""Limits on rejected requests: by number, bytes and age, without losing one that is being released."""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from events import tasks
from events.models import Outcome, WebhookRequest
from events.retention import rejected
from events.storage.time_range import first_id_at
from subscriptions.models import Subscription
from tests.harness.fake_provider import body_of, fresh, run_concurrently, store_request

pytestmark = pytest.mark.django_db


def test_rejected_requests_are_limited_by_number(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    accepted = store_request(hook, body_of({"id": 1, "type": "made"}))
    uids = [
        store_request(hook, b"{}", headers=()).uid
        for _ in range(rejected.MAX_REQUESTS + rejected.TRIM_AFTER_REQUESTS + 1)
    ]
    remaining = WebhookRequest.objects.filter(outcome=Outcome.REJECTED).order_by("id").values_list("uid", flat=True)
    assert rejected.MAX_REQUESTS <= len(remaining) <= rejected.MAX_REQUESTS + rejected.TRIM_AFTER_REQUESTS
    assert list(remaining) == uids[-len(remaining) :]  # the newest
    assert fresh(accepted)
    rejected.delete_old(hook.pk)
    assert WebhookRequest.objects.filter(outcome=Outcome.REJECTED).count() == rejected.MAX_REQUESTS


@pytest.mark.parametrize("verification", ["verified", "not_verifiable"])
def test_requests_that_only_an_allow_list_refused_are_never_trimmed(hook: Subscription, verification: str) -> None:
    received_at = timezone.now() - timedelta(days=400)
    authentic = [store_request(hook, b"{}", received_at=received_at) for _ in range(3)]
    WebhookRequest.objects.update(outcome=Outcome.REJECTED, verification=verification)
    for request in authentic:  # as IDs of that time
        WebhookRequest.objects.filter(pk=request.pk).update(uid=UUID(int=first_id_at(received_at).int + request.pk))
    for _ in range(rejected.MAX_REQUESTS + 5):
        store_request(hook, b"{}", headers=())
    rejected.delete_old(hook.pk)
    assert rejected.delete_aged() == 0
    assert rejected.delete_old(hook.pk) == 0
    kept = WebhookRequest.objects.filter(verification=verification)
    assert set(kept.values_list("pk", flat=True)) == {request.pk for request in authentic}
    assert WebhookRequest.objects.count() == len(authentic) + rejected.MAX_REQUESTS


def test_rejected_requests_are_limited_by_body_bytes(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    big = b"x" * (3 * 1024 * 1024)
    for _ in range(5):
        store_request(hook, big, headers=())
    assert WebhookRequest.objects.count() == 3  # a fourth would exceed 10 MB


def test_rejected_requests_are_limited_by_header_bytes(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    monkeypatch.setattr(rejected, "MAX_BYTES", 1024 * 1024)
    monkeypatch.setattr(rejected, "TRIM_AFTER_BYTES", 100 * 1024)
    large = ("x" * 30_000,) * 2
    for _ in range(30):
        store_request(hook, b"", headers=(("X-Plain", large[0]), ("Authorization", large[1])))
    assert WebhookRequest.objects.count() <= 1024 * 1024 // 60_000


def test_a_forked_process_does_not_wait_for_a_lock_of_its_parent(hook: Subscription) -> None:
    with rejected.growth._lock:
        child = os.fork()
        if not child:
            signal.alarm(10)
            rejected.growth.add(hook.pk, 1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def test_only_some_requests_trigger_a_trim(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    monkeypatch.setattr(rejected, "delete_old", trimmed.append)
    for _ in range(1 + 2 * rejected.TRIM_AFTER_REQUESTS):
        store_request(hook, b"{}", headers=())
    assert len(trimmed) == 3


def test_a_failing_trim_does_not_fail_the_request(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subscription_id: int) -> int:
        raise OperationalError("locked")

    monkeypatch.setattr(rejected, "growth", rejected.Growth())
    monkeypatch.setattr(rejected, "delete_old", fail)
    assert store_request(hook, b"{}", headers=()).outcome == Outcome.REJECTED


def test_rejected_requests_are_deleted_after_a_month(hook: Subscription) -> None:
    def store_old_request(days: int, **options: Any) -> WebhookRequest:
        received_at = timezone.now() - timedelta(days=days)
        request = store_request(hook, b"{}", received_at=received_at, **options)
        request.uid = UUID(int=first_id_at(received_at).int + request.pk)  # as an ID of that time
        request.save(update_fields=["uid"])
        return request

    month = [store_old_request(31, headers=()) for _ in range(3)]
    accepted, young = store_old_request(31), store_old_request(29, headers=())
    assert tasks.forget_rejected() == len(month)
    assert set(WebhookRequest.objects.all()) == {accepted, young}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_request_released_during_a_trim_is_not_deleted(hook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejected, "MAX_REQUESTS", 1)
    old = [store_request(hook, b"{}", headers=()) for _ in range(4)]
    released, row = threading.Event(), WebhookRequest.objects.filter(pk=old[1].pk)

    def release() -> None:
        with transaction.atomic():
            row.update(outcome=Outcome.RECEIVED)
            released.set()
            time.sleep(0.5)  # meanwhile the other thread trims

    def trim() -> int:
        released.wait(10)
        return rejected.delete_old(hook.pk)

    assert run_concurrently(trim, release)[0] == 2
    assert set(WebhookRequest.objects.values_list("pk", flat=True)) == {old[1].pk, old[3].pk}
