"""The time until which the clock of this installation is trusted."""

from __future__ import annotations

from django.db import models


class ClockMark(models.Model):
    """A single row. Only `subscriptions.lifecycle.trusted_clock` uses it."""

    at = models.DateTimeField()  # the last time that was trusted
    suspected_at = models.DateTimeField(null=True)  # since when the clock shows a time far after `at`
    checked_at = models.DateTimeField(null=True)  # the last comparison since then

    def __str__(self) -> str:
        return self.at.isoformat()
