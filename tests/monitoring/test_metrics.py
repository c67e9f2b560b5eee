"""/metrics in Prometheus's format."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries

from events.models import Purge
from providers.models import ProviderAccount
from subscriptions.models import Heartbeat, Subscription
from subscriptions.problems import detector

pytestmark = pytest.mark.django_db


def read() -> dict[tuple[str, ...], float]:
    response = Client().get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels.values() or [""])): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_all_metrics_are_reported(
    subscription: Subscription, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Heartbeat.beat("worker")
    ProviderAccount.objects.update(status="failing", calls_paused_for="authentication_failed")
    detector.detect()
    with django_assert_max_num_queries(7):
        metrics = read()
    assert metrics["hookkeeper_subscriptions", "pending"] == 1
    assert metrics["hookkeeper_subscriptions", "active"] == 0
    assert metrics["hookkeeper_accounts", "failing"] == 1
    assert metrics["hookkeeper_problems", "credentials", "open"] == 1
    assert metrics["hookkeeper_problems", "credentials", "acknowledged"] == 0
    assert metrics["hookkeeper_problems", "clone", "open"] == 0
    assert metrics["hookkeeper_requests_waiting", ""] == 0
    assert 0 <= metrics["hookkeeper_heartbeat_age_seconds", "worker"] < 60


def test_purged_rows_are_counted(subscription: Subscription) -> None:
    since = timezone.now() - timedelta(days=3)
    Purge.objects.create(account=subscription.account, purged_requests=7, purged_events=9, kept_since=since)
    metrics = read()
    assert (metrics["hookkeeper_purged_total", "requests"], metrics["hookkeeper_purged_total", "events"]) == (7, 9)
    assert 3 * 86400 <= metrics["hookkeeper_oldest_kept_seconds", ""] < 3 * 86400 + 60


def test_other_methods_are_rejected() -> None:
    assert Client().post("/metrics").status_code == 405
