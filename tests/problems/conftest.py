"""Fixtures and helpers of the problem tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Heartbeat, Problem, State, Subscription
from subscriptions.problems import detector

DAY = timedelta(days=1)


def update(row: Subscription, **values: Any) -> None:
    Subscription.objects.filter(pk=row.pk).update(**values)
    row.refresh_from_db()


def set_lease(row: Subscription, *, left: float, **values: Any) -> None:
    """Give the subscription a lease that is due for renewal, with this fraction left."""
    now = timezone.now()
    update(row, expires_at=now + 10 * DAY * left, renew_at=now - timedelta(minutes=1), **values)


def error(code: str, message: str = "The provider refuses.") -> dict[str, Any]:
    return {"code": code, "message": message, "field": None}


def pause_calls(code: str, reason: str, *, failing: bool = True) -> None:
    """Pause the calls of all accounts."""
    now = timezone.now()
    ProviderAccount.objects.update(
        calls_paused_for=code,
        calls_paused_reason=reason,
        calls_paused_since=now - timedelta(minutes=9),
        calls_paused_at=now,
        calls_paused_until=now + timedelta(minutes=5),
        status=AccountStatus.FAILING if failing else AccountStatus.OK,
        status_reason=reason if failing else "",
    )


def open_problems() -> list[tuple[str, str]]:
    """Detect problems and return kind and severity of the open ones."""
    detector.detect()
    return sorted(Problem.objects.active().values_list("kind", "severity"))


@pytest.fixture
def row(hook: Subscription) -> Subscription:
    """Return a registered subscription with an unused lease of ten days, while worker and scheduler run."""
    Heartbeat.beat("worker")
    Heartbeat.beat("scheduler")
    now = timezone.now()
    update(hook, state=State.ACTIVE, remote_id="r-1", remote_enabled=True, granted=10 * DAY, expires_at=now + 10 * DAY)
    return hook
