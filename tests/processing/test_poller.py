"""The worker's poller: which requests it normalizes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from events import tasks
from events.models import Outcome
from events.processing import poller
from subscriptions.models import Subscription
from tests.harness.fake_provider import clock_at, fresh, store_request

pytestmark = pytest.mark.django_db


def test_the_poller_leaves_young_requests_to_the_web_process(hook: Subscription) -> None:
    old = store_request(hook, b"", received_at=timezone.now() - poller.MIN_AGE - timedelta(seconds=1))
    young = store_request(hook, b"")
    assert tasks.normalize_pending() == 1
    assert (fresh(old).outcome, fresh(young).outcome) == (Outcome.PING, Outcome.RECEIVED)


def test_a_request_is_processed_after_the_clock_was_set_back(
    hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = store_request(hook, b"")
    with clock_at(monkeypatch, timezone.now() - timedelta(hours=1)):
        assert tasks.normalize_pending() == 1
    assert fresh(request).outcome == Outcome.PING
