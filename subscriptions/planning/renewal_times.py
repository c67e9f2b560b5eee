"""When a lease is renewed."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from providers.contract.base import RemoteSubscription

# Fraction of the granted lifetime that is left when a renewal becomes due: from 0.40 down to 0.34, so that more than a
# third is left for retries.
MAX_FRACTION_LEFT, SPREAD_RANGE = 0.40, 0.06


def is_expired(remote: RemoteSubscription, now: datetime) -> bool:
    """Return whether the lease of this registration has ended."""
    return remote.expires_at is not None and remote.expires_at <= now


def renewal_time(granted: timedelta | None, expires_at: datetime | None, spread: float = 0.0) -> datetime | None:
    """Return when to renew: while 34 to 40 % of the granted lifetime is left. None without an expiry.

    `spread` (0 to 1) selects the point in that range, so that many subscriptions do not come due at once.
    """
    if expires_at is None or granted is None:
        return None
    return expires_at - granted * (MAX_FRACTION_LEFT - SPREAD_RANGE * spread)


def spread_of(key: str) -> float:
    """Return a number from 0 to 1 that depends only on the key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
