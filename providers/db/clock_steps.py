"""Conditions on stored times that stay correct after the clock is set back; see `providers.times`."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from providers.times import CLOCK_TOLERANCE


def before_clock_step(column: str, now: datetime) -> Q:
    """Match rows whose `column`, which cannot be in the future, was written before the clock was set back."""
    return Q(**{f"{column}__gt": now + CLOCK_TOLERANCE})


def not_after(column: str, moment: datetime, now: datetime) -> Q:
    """Match rows whose `column` is at `moment` or earlier, or was written before the clock was set back."""
    return Q(**{f"{column}__lte": moment}) | before_clock_step(column, now)
