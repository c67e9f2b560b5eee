"""Claims on rows, so that only one worker at a time works on each.

A claim is a conditional UPDATE and expires automatically, so a killed worker does not block a row for long.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.db.clock_steps import before_clock_step

CLAIM_SECONDS = 45  # longer than the longest wait for a rate limit slot and the longest call together


def new_holder() -> str:
    """Return a unique holder for a claim, made of the host, the process and a random part."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(6)}"


def unclaimed(now: datetime) -> Q:
    """Match rows without a holder: never claimed, released, expired, or claimed before the clock was set back."""
    return Q(claimed_until=None) | Q(claimed_until__lte=now) | before_clock_step("claimed_at", now)


class Claimable(models.Model):
    """Columns and methods of rows that workers claim."""

    claimed_by = models.CharField(max_length=100, blank=True, default="", editable=False)
    claimed_at = models.DateTimeField(null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def claim(self, holder: str, seconds: float = CLAIM_SECONDS) -> bool:
        """Claim the row for `seconds` if it has no other holder. Return whether the claim succeeded."""
        now = timezone.now()
        return self._update_claim(
            unclaimed(now), claimed_by=holder, claimed_at=now, claimed_until=now + timedelta(seconds=seconds)
        )

    def keep_claim(self, holder: str, seconds: float = CLAIM_SECONDS) -> bool:
        """Prolong the claim. Return False if it has expired and another worker has the row."""
        now = timezone.now()
        return self._update_claim(Q(claimed_by=holder), claimed_at=now, claimed_until=now + timedelta(seconds=seconds))

    def release(self, holder: str) -> None:
        """Release the row if this holder still has it."""
        self._update_claim(Q(claimed_by=holder), claimed_by="", claimed_at=None, claimed_until=None)

    def _update_claim(self, condition: Q, **values: object) -> bool:
        rows: models.Manager[models.Model] = type(self)._base_manager  # noqa: SLF001 - Django's documented name for it
        return rows.filter(condition, pk=self.pk).update(**values) == 1
