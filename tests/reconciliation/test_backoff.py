"""Retries: pauses grow, but never last beyond the end of the lease."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.contract.call_limits import Priority
from providers.contract.errors import CallsPaused, PermissionMissing, ProviderError, Refused, Throttled, Unavailable
from subscriptions.models import Managed, Subscription
from subscriptions.planning.renewal_times import renewal_time
from subscriptions.planning.steps import Wait
from subscriptions.reconciliation.backoff import URGENT_FRACTION, WAITING_RETRY, next_due, pause_after, urgency

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIVES = st.integers(60, 90 * 86400).map(lambda seconds: timedelta(seconds=seconds))
ERRORS: dict[str, ProviderError] = {
    "temporary": Unavailable("No."),
    "refused": Refused("No."),
    "permission": PermissionMissing("No."),
    "throttled for a day": Throttled("No.", retry_after=86400),
    "throttled": Throttled("No."),
    "calls are paused": CallsPaused("No.", cause="authentication_failed", retry_after=3600),
}


def leased(life: timedelta, *, left: timedelta | None = None, failures: int = 1) -> Subscription:
    row = Subscription(
        remote_id="r1",
        granted=life,
        expires_at=NOW + (life if left is None else left),
        failures=failures,
        register_tried_at=NOW,
    )
    row.renew_at = renewal_time(row.granted, row.expires_at, row.spread)
    return row


def seconds(row: Subscription, error: ProviderError) -> float:
    return pause_after(row, error, NOW).total_seconds()


def test_pauses_grow_up_to_a_maximum() -> None:
    row = Subscription()
    for failures, minimum, maximum in ((1, 1.8, 2.2), (2, 3.6, 4.4), (5, 28, 36), (30, 270, 330)):
        row.failures = failures
        assert minimum <= seconds(row, Unavailable("No.")) <= maximum
    row.failures = 30
    assert 3240 <= seconds(row, Refused("No.")) <= 3960


def test_pauses_have_jitter() -> None:
    row = Subscription(failures=8)
    assert len({round(seconds(row, Unavailable("No.")), 3) for _ in range(20)}) > 10


def test_retry_after_is_respected() -> None:
    assert 100 <= seconds(Subscription(failures=1), Throttled("No.", retry_after=100)) <= 120


@pytest.mark.slow
@settings(deadline=None)
@given(LIVES, st.floats(0.001, 1), st.integers(1, 40), st.sampled_from(sorted(ERRORS)))
def test_a_pause_never_lasts_beyond_the_renewal_time_or_the_lease_end(
    life: timedelta, part: float, failures: int, error: str
) -> None:
    row = leased(life, left=life * part, failures=failures)
    pause = seconds(row, ERRORS[error])
    assert row.expires_at is not None
    assert row.renew_at is not None
    left = (row.expires_at - NOW).total_seconds()
    if left > 1:
        assert pause < left
    if row.renew_at > NOW and error != "calls are paused":
        assert pause <= (row.renew_at - NOW).total_seconds()


@pytest.mark.slow
@settings(deadline=None)
@given(LIVES, st.sampled_from(sorted(ERRORS)), st.integers(1, 60))
def test_every_error_leaves_several_tries_before_the_lease_ends(life: timedelta, error: str, failures: int) -> None:
    """Every call fails with this error, from the due renewal to the end of the lease."""
    row = leased(life, failures=failures)
    assert row.renew_at is not None
    assert row.expires_at is not None
    now, urgent, tries = row.renew_at, 0, 0
    while now < row.expires_at and tries < 100_000:
        tries += 1
        urgent += urgency(row, now) is Priority.URGENT
        row.failures += 1
        now += pause_after(row, ERRORS[error], now)
    assert tries >= 4
    assert urgent >= 2


def test_urgency_grows_towards_the_lease_end() -> None:
    life = timedelta(days=30)
    assert urgency(leased(life), NOW) is Priority.CHANGE
    assert urgency(leased(life, left=life * 0.3), NOW) is Priority.RENEWAL
    assert urgency(leased(life, left=life * (URGENT_FRACTION - 0.01)), NOW) is Priority.URGENT
    ended = leased(life, left=-timedelta(seconds=1))
    assert urgency(ended, NOW) is Priority.RENEWAL, "there is no lease left to lose"
    for changes in ({"enabled": False}, {"auto_renew": False}, {"present": False}, {"remote_id": None}):
        row = leased(life, left=life * 0.1)
        for name, value in changes.items():
            setattr(row, name, value)
        assert urgency(row, NOW) is Priority.CHANGE


@pytest.mark.slow
def test_renewals_of_many_subscriptions_are_spread() -> None:
    rows = [leased(timedelta(days=30)) for _ in range(2000)]
    minutes: dict[int, int] = {}
    for row in rows:
        assert row.renew_at is not None
        minute = int(row.renew_at.timestamp() // 60)
        minutes[minute] = minutes.get(minute, 0) + 1
    assert max(minutes.values()) < 20
    assert max(minutes) - min(minutes) > 24 * 60


@pytest.mark.parametrize("managed", list(Managed))
def test_a_healthy_subscription_is_due_at_its_renewal_time(managed: Managed) -> None:
    row = leased(timedelta(days=30))
    row.managed = managed
    assert next_due(row, NOW) == (row.renew_at if managed is Managed.API else None)


def test_a_subscription_that_waits_for_a_person_is_not_due() -> None:
    row = Subscription(remote_id="r1", register_tried_at=NOW, waiting="It waits.", waiting_for=Wait.GAVE_UP)
    assert next_due(row, NOW) is None, "the account's syncs check it"
    row.register_tried_at = None
    assert next_due(row, NOW) == NOW + WAITING_RETRY
