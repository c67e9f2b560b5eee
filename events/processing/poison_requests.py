"""Requests of which reading never came to an end: it hangs, or ends the process. They wait behind all others, are read
one by one, and are quarantined after a few tries.

Only requests that wait for long are counted: that such a reading begins is written down before, a batch at once. Which
of a batch it was, the next tries tell. A try that has begun is left alone for a while, so that no two workers count it
at once.
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

LATE = timedelta(seconds=60)  # after its arrival; until then its reading is not counted, and costs no write
TRY_TAKES = timedelta(seconds=60)  # at most; one that began earlier never ended
TRIES = 3
REASON = (
    f"Reading it did not end, {TRIES} times: it took more than {TRY_TAKES.seconds} seconds each time, or ended the "
    "process. The log has the details, if there are any; process it again once this is fixed."
)


def is_late(received_at: datetime, now: datetime) -> bool:
    """Return whether the request has waited for so long that attempts to parse it are counted."""
    return has_elapsed(received_at, LATE, now)


def begin(keys: Collection[int]) -> list[int]:
    """Counts a try of each, unless one is under way. Returns those whose try is the caller's, in order."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        rows = _not_begun().filter(pk__in=keys, outcome=Outcome.RECEIVED, tries__lt=TRIES).order_by("pk")
        mine = list(rows.select_for_update().values_list("pk", flat=True))
        WebhookRequest.objects.filter(pk__in=mine).update(tries=F("tries") + 1, tried_at=now)
    return mine


def ended(keys: Collection[int]) -> None:
    """Reading them came to an end, though what came of it could not be written: they are none."""
    WebhookRequest.objects.filter(pk__in=keys, outcome=Outcome.RECEIVED).update(tries=0, tried_at=None)


def due() -> WebhookRequestQuerySet:
    """Those whose next try may begin, or that are to be given up, the least suspicious first."""
    return _not_begun().filter(outcome=Outcome.RECEIVED, tries__gt=0).order_by("tries", "pk")


def give_up(key: int) -> bool:
    """Puts it into quarantine, unless somebody has settled it or wants it tried again. Whether it was done."""
    rows = WebhookRequest.objects.filter(pk=key, outcome=Outcome.RECEIVED, tries__gte=TRIES)
    return rows.update(outcome=Outcome.QUARANTINED, reason=REASON, processed_at=timezone.now()) == 1


def _not_begun() -> WebhookRequestQuerySet:
    now = timezone.now()
    over = Q(tried_at=None) | not_after("tried_at", now - TRY_TAKES, now)
    return WebhookRequest.objects.filter(over)
