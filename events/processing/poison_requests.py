"""Poison requests: parsing them hangs or kills the process.

They are retried alone, after all other requests, and quarantined after three attempts. Attempts are counted only for
requests that have been pending for long. An attempt is recorded before parsing, for a whole batch at once; retrying
each request alone then shows which one of the batch is the cause. While an attempt may still be running, no other
worker starts one.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from events.models import Outcome, WebhookRequest, WebhookRequestQuerySet
from providers.db.clock_steps import not_after
from providers.times import has_elapsed

COUNTED_AFTER = timedelta(seconds=60)  # since arrival; before, requests are parsed without recording an attempt
ATTEMPT_TIMEOUT = timedelta(seconds=60)  # after which an attempt counts as failed
MAX_ATTEMPTS = 3
REASON = (
    f"Parsing did not end in {MAX_ATTEMPTS} attempts: each took more than {ATTEMPT_TIMEOUT.seconds} seconds or killed "
    "the process. See the log for details; reprocess the request after a fix."
)


def is_late(received_at: datetime, now: datetime) -> bool:
    """Return whether a request has been pending for so long that attempts to parse it are counted."""
    return has_elapsed(received_at, COUNTED_AFTER, now)


def start_attempts(keys: Collection[int]) -> list[int]:
    """Record an attempt for each of these requests that has none under way. Return their keys, sorted."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        rows = (
            _without_running_attempt()
            .filter(pk__in=keys, outcome=Outcome.RECEIVED, tries__lt=MAX_ATTEMPTS)
            .order_by("pk")
        )
        claimed = list(rows.select_for_update().values_list("pk", flat=True))
        WebhookRequest.objects.filter(pk__in=claimed).update(tries=F("tries") + 1, tried_at=now)
    return claimed


def reset_attempts(keys: Collection[int]) -> None:
    """Clear the attempts of requests that were parsed but could not be written: they are not poison."""
    WebhookRequest.objects.filter(pk__in=keys, outcome=Outcome.RECEIVED).update(tries=0, tried_at=None)


def due() -> WebhookRequestQuerySet:
    """Return the requests to retry or to quarantine, those with the fewest attempts first."""
    return _without_running_attempt().filter(outcome=Outcome.RECEIVED, tries__gt=0).order_by("tries", "pk")


def quarantine(key: int) -> bool:
    """Quarantine a request that has used up its attempts. Return False if it was processed or reset meanwhile."""
    rows = WebhookRequest.objects.filter(pk=key, outcome=Outcome.RECEIVED, tries__gte=MAX_ATTEMPTS)
    return rows.update(outcome=Outcome.QUARANTINED, reason=REASON, processed_at=timezone.now()) == 1


def _without_running_attempt() -> WebhookRequestQuerySet:
    now = timezone.now()
    has_ended = Q(tried_at=None) | not_after("tried_at", now - ATTEMPT_TIMEOUT, now)
    return WebhookRequest.objects.filter(has_ended)
