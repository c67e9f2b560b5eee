"""Slows down who guesses passwords: failed logins are counted by user name and by address, in the database.

The counters are shared by all processes and survive them. From a number of failures on, each further one doubles a
pause in which no password is checked.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from config.models import FailedLogins
from providers.db.clock_steps import not_after
from providers.digests import text_digest
from providers.times import has_elapsed, still_waits

FORGET_AFTER = timedelta(days=1)  # without another failure
FIRST_PAUSE, MAX_PAUSE = timedelta(seconds=2), timedelta(minutes=15)
FREE_BY_NAME = 4  # failures without a pause
FREE_BY_ADDRESS = 15  # more, because people in one office share an address
IPV6_PREFIX = 64  # one customer of a provider has as many addresses as this leaves


@dataclass(frozen=True, slots=True)
class Throttle:
    """The counters of one login."""

    username: str
    address: str

    def seconds_left(self) -> int:
        """Return for how many seconds no password is checked; 0 if it is checked now."""
        now = timezone.now()
        rows = FailedLogins.objects.filter(key__in=list(self._free_failures())).values_list("blocked_until", flat=True)
        waits = [until for until in rows if until is not None and still_waits(until, MAX_PAUSE, now)]
        return max((int((until - now).total_seconds()) + 1 for until in waits), default=0)

    @transaction.atomic
    def record_failure(self) -> bool:
        """Count a failed login. Return whether a pause begins."""
        now = timezone.now()
        FailedLogins.objects.filter(not_after("last_at", now - FORGET_AFTER, now)).delete()
        pauses = [_count(key, free, now) for key, free in self._free_failures().items()]
        return any(pauses)

    def record_success(self) -> None:
        """Forget the failures of this user. Those of the address stay: it may try the names of others."""
        FailedLogins.objects.filter(key=self._name_key).delete()

    def _free_failures(self) -> dict[str, int]:
        return {self._name_key: FREE_BY_NAME, _key("address", _network(self.address)): FREE_BY_ADDRESS}

    @property
    def _name_key(self) -> str:
        return _key("name", unicodedata.normalize("NFKC", self.username).casefold())


def _count(key: str, free: int, now: datetime) -> bool:
    row, _ = FailedLogins.objects.select_for_update().get_or_create(key=key, defaults={"last_at": now})
    failures = 1 if has_elapsed(row.last_at, FORGET_AFTER, now) else row.failures + 1
    pause = min(FIRST_PAUSE * 2 ** min(failures - free - 1, 20), MAX_PAUSE) if failures > free else None
    blocked_until = None if pause is None else now + pause
    FailedLogins.objects.filter(pk=row.pk).update(failures=failures, last_at=now, blocked_until=blocked_until)
    return pause is not None


def _key(kind: str, value: str) -> str:
    """Return a digest: people sometimes type their password as the user name."""
    return text_digest(f"{kind}:{value}")


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
