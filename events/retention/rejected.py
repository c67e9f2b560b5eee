"""Limits on requests that failed authentication.

They are stored so that they can be verified again, but anyone can send them. Requests that were rejected for their
address only are not limited: they are kept like those in quarantine.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import defaultdict
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Length
from django.utils import timezone

from events.models import Outcome, VerificationState, WebhookRequest, WebhookRequestQuerySet
from events.storage.body import TRUNCATED_BODY_BYTES
from events.storage.request_row import RequestRow
from events.storage.time_range import requests_until
from subscriptions.lifecycle import trusted_clock

logger = logging.getLogger(__name__)

MAX_REQUESTS = 100  # per subscription; the newest are kept
MAX_BYTES = 10 * 1024 * 1024  # per subscription, of bodies and headers
MAX_AGE = timedelta(days=30)
DELETE_BATCH = 100  # requests deleted in one transaction
# A process trims a subscription after it has added this many requests or bytes.
TRIM_AFTER_REQUESTS = 20
TRIM_AFTER_BYTES = 1024 * 1024


class Growth:
    """How much this process has added to each subscription since it last trimmed it.

    The first request of each subscription triggers a trim, so that frequent restarts cannot defeat the limit.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Reset all counts, as a forked process must: the lock may have been copied while held."""
        self._lock = threading.Lock()
        self._added: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (TRIM_AFTER_REQUESTS, 0))

    def add(self, subscription_id: int, size: int) -> bool:
        """Count one more request. Return whether the subscription is due for a trim."""
        with self._lock:
            count, total = self._added[subscription_id]
            due = count + 1 >= TRIM_AFTER_REQUESTS or total + size >= TRIM_AFTER_BYTES
            self._added[subscription_id] = (0, 0) if due else (count + 1, total + size)
        return due


growth = Growth()
os.register_at_fork(after_in_child=growth.reset)


def size_of(row: RequestRow) -> int:
    """Return the bytes of a row that count towards the limit."""
    return len(row.body) + len(row.query) + len(row.headers) + len(row.sealed_headers)


def trim(subscription_id: int) -> None:
    """Apply the limits to a subscription. A database error is only logged, because a later call tries again."""
    try:
        delete_old(subscription_id)
    except DatabaseError as error:
        logger.warning("Old rejected requests could not be deleted: %s", error)


def delete_old(subscription_id: int) -> int:
    """Delete the oldest of these requests of a subscription beyond the limits, and return how many were deleted."""
    rows = unauthenticated().filter(subscription_id=subscription_id)
    head_lengths = sum(
        (Length(Cast(name, TextField())) for name in ("headers", "sealed_headers")), start=Length("query")
    )
    newest = rows.order_by("-id").values_list("pk", "size", head_lengths)[: MAX_REQUESTS + 1]
    total = 0
    for newer_rows, (pk, size, head) in enumerate(newest):
        total += head
        total += size if size <= settings.MAX_BODY_BYTES else TRUNCATED_BODY_BYTES
        if newer_rows == MAX_REQUESTS or (total > MAX_BYTES and newer_rows > 0):
            return _delete(rows.filter(pk__lte=pk))
    return 0


def delete_aged() -> int:
    """Delete some of these requests that are older than MAX_AGE, and return how many were deleted.

    Nothing is deleted while the clock is not trusted.
    """
    now = timezone.now()  # before the check: a clock that jumps after this line cannot delete anything
    if trusted_clock.check() is not None:
        return 0
    return _delete(requests_until(unauthenticated(), now - MAX_AGE))


def unauthenticated() -> WebhookRequestQuerySet:
    """Return the requests that were rejected because authentication failed."""
    return WebhookRequest.objects.filter(outcome=Outcome.REJECTED, verification=VerificationState.FAILED)


def _delete(rows: QuerySet[WebhookRequest]) -> int:
    """Delete the oldest of these requests, up to one batch.

    They are locked first: one that is being released is no longer rejected and stays.
    """
    with transaction.atomic():
        keys = list(rows.order_by("id").select_for_update().values_list("pk", flat=True)[:DELETE_BATCH])
        deleted, _ = WebhookRequest.objects.filter(pk__in=keys).only("pk").delete()  # without reading the bodies
    return deleted
