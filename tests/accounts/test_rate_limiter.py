"""The rate limit of an account: spacing of calls, and the daily quota."""

from __future__ import annotations

import time

import pytest

from providers.accounts.rate_limiter import DatabaseLimiter
from providers.contract.call_limits import Priority
from providers.contract.capabilities import RateLimit
from providers.contract.errors import Throttled
from providers.models import ProviderAccount

pytestmark = pytest.mark.django_db


def test_the_daily_quota_is_reserved_for_urgent_calls(account: ProviderAccount, settings: object) -> None:

    settings.SANDBOX_URL = None  # type: ignore[attr-defined]
    limiter = DatabaseLimiter(account, RateLimit(per_day=10))
    for _ in range(7):
        limiter.acquire(Priority.SYNC, None)
    with pytest.raises(Throttled, match="more urgent"):
        limiter.acquire(Priority.SYNC, None)
    for _ in range(2):
        limiter.acquire(Priority.CHANGE, None)
    with pytest.raises(Throttled):
        limiter.acquire(Priority.CHANGE, None)
    limiter.acquire(Priority.RENEWAL, None)
    with pytest.raises(Throttled) as refused:
        limiter.acquire(Priority.RENEWAL, None)
    assert refused.value.retry_after


def test_the_rate_limit_spaces_calls_and_refuses_long_waits(account: ProviderAccount) -> None:
    limiter = DatabaseLimiter(account, RateLimit(per_second=10))
    started = time.monotonic()
    for _ in range(4):
        limiter.acquire(Priority.CHANGE, None)
    assert time.monotonic() - started >= 0.29
    slow = DatabaseLimiter(account, RateLimit(per_second=0.1))
    slow.acquire(Priority.CHANGE, None)
    with pytest.raises(Throttled):
        slow.acquire(Priority.CHANGE, time.monotonic() + 1)
