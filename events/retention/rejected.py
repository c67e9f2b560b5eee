"""Rejected requests are kept so that they can be verified again, but not without end: anybody may send them."""

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

from events.models import Outcome, WebhookRequest
from events.storage.body import TRUNCATED_BODY_BYTES
from events.storage.request_row import RequestRow
from events.storage.time_range import requests_until

logger = logging.getLogger(__name__)

KEPT = 100  # of each subscription, the newest
KEPT_FOR = timedelta(days=30)
KEPT_BYTES = 10 * 1024 * 1024  # of their bodies and headers
AT_ONCE = 100  # deleted in one transaction
TRIM_EVERY = 20  # more requests, or
TRIM_EVERY_BYTES = 1024 * 1024  # more bytes, before we look again


class Growth:
    """How much this process added to each subscription since it last trimmed it. It begins with a trim, so that
    restarts do not add up."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew, as a forked process must: another thread may have held the lock."""
        self._lock = threading.Lock()
        self._added: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (TRIM_EVERY, 0))

    def add(self, subscription_id: int, size: int) -> bool:
        """Counts one more. True once in a while."""
        with self._lock:
            count, total = self._added[subscription_id]
            due = count + 1 >= TRIM_EVERY or total + size >= TRIM_EVERY_BYTES
            self._added[subscription_id] = (0, 0) if due else (count + 1, total + size)
        return due


growth = Growth()
os.register_at_fork(after_in_child=growth.reset)


def size_of(row: RequestRow) -> int:
    """What counts of one towards the cap."""
    return len(row.body) + len(row.query) + len(row.headers) + len(row.sealed_headers)


def trim(subscription_id: int) -> None:
    """Deletes a subscription's older ones beyond the caps, now and then; what fails, a later call does."""
    try:
        delete_old(subscription_id)
    except DatabaseError as error:
        logger.warning("Old rejected requests could not be deleted: %s", error)


def delete_old(subscription_id: int) -> int:
    """Deletes all but the newest rejected requests of a subscription, as far as both caps allow. Returns how many."""
    rows = WebhookRequest.objects.filter(subscription_id=subscription_id, outcome=Outcome.REJECTED)
    heads = sum((Length(Cast(name, TextField())) for name in ("headers", "sealed_headers")), start=Length("query"))
    found = rows.order_by("-id").values_list("pk", "size", heads)[: KEPT + 1]
    total = 0
    for kept, (pk, size, head) in enumerate(found):
        total += head
        total += (
            size if size <= settings.MAX_BODY_BYTES else TRUNCATED_BODY_BYTES
        )  # of a larger one, only that much is kept
        if kept == KEPT or (total > KEPT_BYTES and kept > 0):
            return _delete(rows.filter(pk__lte=pk))
    return 0


def delete_aged() -> int:
    """Deletes those that are too old to be released any more, a few at a time. Returns how many."""
    return _delete(requests_until(WebhookRequest.objects.filter(outcome=Outcome.REJECTED), timezone.now() - KEPT_FOR))


def _delete(rows: QuerySet[WebhookRequest]) -> int:
    """Deletes the oldest of them, a few at a time. They are locked first: one that is released at this moment waits for
    its events, and is none of them any more."""
    with transaction.atomic():
        keys = list(rows.order_by("id").select_for_update().values_list("pk", flat=True)[:AT_ONCE])
        deleted, _ = WebhookRequest.objects.filter(pk__in=keys).only("pk").delete()  # without reading the bodies
    return deleted
