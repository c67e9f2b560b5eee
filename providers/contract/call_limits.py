"""The limits on API calls: priorities, and the protocols of the rate limiter and the circuit breaker."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from providers.contract.errors import (
    ProviderError,
)


class Priority(IntEnum):
    """The priority of a call when few are allowed: a sync yields to a change, and a change to a renewal.

    An urgent call is for a lease that is about to expire: it is tried even while other calls are held back.
    """

    SYNC = 0
    CHANGE = 1
    RENEWAL = 2
    URGENT = 3


class Limiter(Protocol):
    """Keeps the calls of an account within its provider's rate limits, across all processes."""

    def acquire(self, priority: Priority, deadline: float | None) -> None:
        """Wait for permission to call. Raises Throttled if it is not granted before `deadline` (monotonic seconds)."""

    def penalise(self, seconds: float) -> None:
        """Allow no calls for that long, because the provider throttled one."""


class Gate(Protocol):
    """The circuit breaker of an account: it stops calls after failures, and learns from each response."""

    def enter(self, priority: Priority) -> None:
        """Check that calls are allowed; called before each call. Raises CallsPaused."""

    def record(self, error: ProviderError | None) -> None:
        """Record the outcome of a call; None means success."""


class NoLimit:
    """A limiter that allows every call, for tests and for providers without a limit."""

    def acquire(self, priority: Priority, deadline: float | None) -> None:
        """Return immediately."""

    def penalise(self, seconds: float) -> None:
        """Do nothing."""
