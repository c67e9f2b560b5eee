"""Retention: delete requests and events that are older than the retention period of their account.

Rows are deleted in small transactions, each of which leaves everything consistent: the receiver never waits for more
than one of them, the next run finds what a killed process left, and concurrent runs at worst delete the same rows. A
request is deleted with or after its events. A pending request is never deleted. One in quarantine, and one that was
rejected for its address only, is deleted after twice the retention period.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from events.models import Event, Outcome, Purge, VerificationState, WebhookRequest
from events.retention import rejected
from events.storage import time_range
from providers.db.claims import new_holder
from providers.db.clock_steps import before_clock_step
from providers.models import ProviderAccount
from subscriptions.lifecycle import trusted_clock

logger = logging.getLogger(__name__)

QUARANTINE_FACTOR = 2  # quarantined and blocked requests are stored for this many retention periods
PURGE_INTERVAL = timedelta(minutes=10)
SCAN_BATCH = 500  # requests read at a time to find expired ones
# Deleted in one transaction: fewer than 100 rows, because SQLite has only one writer.
MAX_REQUESTS = 40
MAX_EVENTS = 50
# Pause between two transactions, so that other writers can write: a multiple of the last transaction's duration, and at
# least a minimum.
MIN_PAUSE_SECONDS = 0.02
PAUSE_FACTOR = 4
MAX_RUN_SECONDS = 20.0  # for one account; the rest is left to the next run
CLAIM_SECONDS = 60.0


@dataclass(slots=True)
class PurgeResult:
    """How many rows a run deleted, and whether expired rows are left."""

    requests: int = 0
    events: int = 0
    more: bool = False


def retention_of(account: ProviderAccount) -> timedelta | None:
    """Return the retention period of an account; None if its requests and events are stored forever."""
    return None if account.retention_days is None else timedelta(days=account.retention_days)


def kept_until(request: WebhookRequest) -> datetime | None:
    """Return when this request and its events will be deleted with the current retention period; None for never."""
    retention = retention_of(request.subscription.account)
    failed = request.verification == VerificationState.FAILED
    if request.outcome == Outcome.REJECTED and failed:
        return request.received_at + min(retention or rejected.MAX_AGE, rejected.MAX_AGE)
    if retention is None or request.outcome == Outcome.RECEIVED:
        return None
    if request.outcome in (Outcome.QUARANTINED, Outcome.REJECTED):
        return request.received_at + QUARANTINE_FACTOR * retention
    return max(request.received_at, request.processed_at or request.received_at) + retention


def expired(rows: QuerySet[WebhookRequest], now: datetime, retention: timedelta) -> QuerySet[WebhookRequest]:
    """Return the requests whose `kept_until` has passed.

    The period also counts from `processed_at`: it starts again when a request is released or reprocessed, so that
    consumers have time to read its events.
    """
    blocked = Q(outcome=Outcome.REJECTED) & ~Q(verification=VerificationState.FAILED)
    waiting = Q(outcome=Outcome.QUARANTINED) | blocked
    processed = ~waiting & ~Q(outcome=Outcome.RECEIVED) & Q(received_at__lt=now - retention)
    processed &= Q(processed_at=None) | Q(processed_at__lt=now - retention)
    return rows.filter(processed | waiting & Q(received_at__lt=now - QUARANTINE_FACTOR * retention))


def purge_due() -> int:
    """Purge the accounts that are due, and return how many rows were deleted: none while the clock is not trusted.

    Any number of workers may call this at once: each account is claimed by one of them.
    """
    now = timezone.now()  # before the check: a clock that jumps after this line cannot delete anything
    if trusted_clock.check() is not None:
        return 0
    with_purge = Purge.objects.values_list("account", flat=True)
    for pk in ProviderAccount.with_deleted.exclude(pk__in=with_purge).values_list("pk", flat=True):
        Purge.objects.get_or_create(account_id=pk, defaults={"due_at": now})
    stepped_back = before_clock_step("checked_at", now)
    total = 0
    for row in Purge.objects.filter(Q(due_at__lte=now) | stepped_back).order_by("due_at"):
        result = purge(row, now)
        total += result.requests + result.events
    return total


def purge(row: Purge, now: datetime) -> PurgeResult:
    """Delete the rows of one account that are expired at `now`, a trusted time, for some seconds at most.

    Delete nothing if another worker has claimed the account.
    """
    holder = new_holder()
    result = PurgeResult()
    if not row.claim(holder, CLAIM_SECONDS):
        return result
    try:
        account = ProviderAccount.with_deleted.defer("credentials").get(pk=row.account_id)
        retention = retention_of(account)
        if retention is not None:
            _delete_expired(row, holder, retention, now, result)
        ended = timezone.now()
        Purge.objects.filter(pk=row.pk).update(
            due_at=ended if result.more else ended + PURGE_INTERVAL,
            checked_at=ended,
            kept_since=_oldest(row.account_id),
        )
        if result.requests:
            logger.info("Purged %d requests and %d events of account %s", result.requests, result.events, account.uid)
    finally:
        row.release(holder)
    return result


def _delete_expired(row: Purge, holder: str, retention: timedelta, now: datetime, result: PurgeResult) -> None:
    deadline = time.monotonic() + MAX_RUN_SECONDS
    for keys in _expired_batches(row.account_id, retention, now):
        finished = False
        while not finished:
            started = time.monotonic()
            finished = _delete_batch(row, keys, retention, now, result)
            time.sleep(max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * (time.monotonic() - started)))
        if time.monotonic() >= deadline or not row.keep_claim(holder, CLAIM_SECONDS):
            result.more = True
            return


def _expired_batches(account_id: int, retention: timedelta, now: datetime) -> Iterator[Sequence[int]]:
    """Yield the primary keys of expired requests, a few at a time.

    Primary keys nearly follow time. So this reads the account's oldest requests through the index, skips those that are
    stored for longer, and stops at the first batch that is too young and cannot contain requests that were stored late.
    """
    last = 0
    end = time_range.key_above_requests_until(now - retention)
    while True:
        rows = WebhookRequest.objects.filter(account=account_id, pk__gt=last).order_by("pk")
        batch = list(rows.values_list("pk", "received_at")[:SCAN_BATCH])
        if not batch:
            return
        all_young = not any(received_at < now - retention for _, received_at in batch)
        if all_young and end is not None and batch[-1][0] >= end:
            return
        first, last = batch[0][0], batch[-1][0]
        within = WebhookRequest.objects.filter(account=account_id, pk__range=(first, last)).order_by("pk")
        keys = list(expired(within, now, retention).values_list("pk", flat=True))
        for start in range(0, len(keys), MAX_REQUESTS):
            yield keys[start : start + MAX_REQUESTS]


def _delete_batch(row: Purge, keys: Sequence[int], retention: timedelta, now: datetime, result: PurgeResult) -> bool:
    """Delete some events of these requests, or the last events with the requests. Return whether all are deleted.

    Runs in one transaction. The requests are checked again under a lock, since one may have been reprocessed.
    """
    with transaction.atomic():
        requests = expired(WebhookRequest.objects.filter(pk__in=keys), now, retention).order_by("pk")
        request_ids = list(requests.select_for_update().values_list("pk", flat=True))
        event_ids = list(
            Event.objects.filter(request__in=request_ids).order_by("pk").values_list("pk", flat=True)[:MAX_EVENTS]
        )
        Event.objects.filter(pk__in=event_ids).only("pk").delete()
        finished = len(event_ids) < MAX_EVENTS
        if finished:
            WebhookRequest.objects.filter(pk__in=request_ids).only("pk").delete()  # without reading the bodies
        deleted = len(request_ids) if finished else 0
        if deleted or event_ids:
            Purge.objects.filter(pk=row.pk).update(
                purged_requests=F("purged_requests") + deleted,
                purged_events=F("purged_events") + len(event_ids),
                purged_at=timezone.now(),
            )
    result.requests += deleted
    result.events += len(event_ids)
    return finished


def _oldest(account_id: int) -> datetime | None:
    """Return when the oldest stored request was received."""
    rows = WebhookRequest.objects.filter(account=account_id).order_by("pk")
    return rows.values_list("received_at", flat=True).first()
