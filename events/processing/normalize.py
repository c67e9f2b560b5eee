"""Normalize stored requests: parse them and write their events.

A request is committed before it is answered. Its events are written later, in one transaction: all or none. If that
fails, the stored request remains and can be reprocessed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from events.models import Event, Outcome, WebhookRequest
from events.processing import (
    duplicates,
    event_insert,
    parse_request,
    pending_request,
    poison_requests,
    subscription_activity,
)
from events.processing.duplicates import DuplicateKeys
from events.processing.event_insert import EventRow
from events.processing.parse_request import ParsedRequest, quarantined
from events.processing.pending_request import PendingRequest
from events.processing.write_transaction import write_transaction
from events.storage.request_row import RequestRow

logger = logging.getLogger(__name__)

BATCH_BYTES = 8 * 1024 * 1024  # of bodies that are loaded at once
BATCH_SIZE = 250  # requests that are normalized together

Progress = Callable[[], None]


def normalize_request(request_id: int) -> bool:
    """Normalize one stored request. Return False if it was normalized elsewhere already."""
    rows = WebhookRequest.objects.filter(pk=request_id, outcome=Outcome.RECEIVED)
    return normalize_batch(list(rows.values_list("pk", "size"))) == 1


def normalize_again(request_id: int) -> None:
    """Normalize a stored request that may have been normalized before, as reprocessing does.

    Existing events stay as they are, missing ones are added, and no duplicate is counted twice.
    """
    for request in pending_request.load_requests(WebhookRequest.objects.filter(pk=request_id)):
        if _normalize_one(request):
            subscription_activity.update_last_event_at([request])


def normalize_rows(rows: Sequence[RequestRow], *, progress: Progress = lambda: None) -> int:
    """Normalize rows that were just stored, without loading them again. Return how many were normalized here.

    Pass one batch at most. `progress` is called before each request. Raises as `normalize_batch` does.
    """
    if not rows:
        return 0
    done = _normalize_all(pending_request.from_rows(rows), progress)
    subscription_activity.update_last_event_at(done)
    return len(done)


def normalize_pending(
    *, older_than: timedelta = timedelta(0), batch: int = BATCH_SIZE, progress: Progress = lambda: None
) -> int:
    """Normalize every pending request: in batches, oldest first, then suspected poison requests one by one.

    `progress` is called before each batch and each request. Return how many requests were normalized. One that fails is
    skipped and retried by the next call.
    """
    total = 0
    last = 0
    while True:
        pending = WebhookRequest.objects.unprocessed(older_than=older_than).filter(pk__gt=last, tries=0)
        rows = list(pending.values_list("pk", "size", "received_at")[:batch])
        now = timezone.now()
        for late in (True, False):
            sizes = [(pk, size) for pk, size, at in rows if poison_requests.is_late(at, now) is late]
            total += normalize_batch(sizes, count_attempts=late, progress=progress)
        if len(rows) < batch:
            return total + _normalize_suspects(progress)
        last, *_ = rows[-1]


def normalize_batch(
    sizes: Sequence[tuple[int, int]], *, count_attempts: bool = False, progress: Progress = lambda: None
) -> int:
    """Normalize the requests given as (primary key, size of the body). Return how many were normalized here.

    With `count_attempts`, an attempt is recorded for each request before it is parsed; see `poison_requests`. Raises
    OperationalError or InterfaceError only if the database cannot be reached.
    """
    done: list[PendingRequest] = []
    for portion in _portions(sizes):
        progress()
        keys = poison_requests.start_attempts(portion) if count_attempts else portion
        pending = WebhookRequest.objects.filter(pk__in=keys, outcome=Outcome.RECEIVED).order_by("pk")
        requests = pending_request.load_requests(pending)
        done_here = _normalize_all(requests, progress)
        if count_attempts and len(done_here) < len(requests):
            poison_requests.reset_attempts(keys)
        done += done_here
    subscription_activity.update_last_event_at(done)
    return len(done)


def _normalize_suspects(progress: Progress) -> int:
    total = 0
    for pk, size, attempts in list(poison_requests.due().values_list("pk", "size", "tries")[:BATCH_SIZE]):
        if attempts < poison_requests.MAX_ATTEMPTS:
            total += normalize_batch([(pk, size)], count_attempts=True, progress=progress)
        elif poison_requests.quarantine(pk):
            row = WebhookRequest.objects.filter(pk=pk).values_list("uid", "subscription_id", "received_at").first()
            if row is not None:
                uid, subscription_id, received_at = row
                logger.error("Request %s was quarantined unparsed. %s", uid, poison_requests.REASON)
                subscription_activity.record_accepted(subscription_id, received_at)
                total += 1
    return total


def _portions(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield the keys in portions whose bodies fit into bounded memory."""
    keys: list[int] = []
    total = 0
    for key, size in sizes:
        if keys and (total + size > BATCH_BYTES or len(keys) == BATCH_SIZE):
            yield keys
            keys, total = [], 0
        keys.append(key)
        total += size
    if keys:
        yield keys


def _normalize_all(requests: Sequence[PendingRequest], progress: Progress) -> list[PendingRequest]:
    """Normalize the requests in one transaction, or one by one if that fails. Return those normalized here."""
    if not requests:
        return []
    try:
        return _normalize_together(requests, progress)
    except Exception as error:  # noqa: BLE001  # one request of the batch causes it, so each is tried alone
        logger.info("%s requests are normalized one by one: %s", len(requests), type(error).__name__)
        return _normalize_each(requests, progress)


def _normalize_together(requests: Sequence[PendingRequest], progress: Progress) -> list[PendingRequest]:
    """Parse all requests and write the results in one transaction. Return those that no other process has taken."""
    parsed: list[tuple[PendingRequest, ParsedRequest]] = []
    for request in requests:
        progress()
        parsed.append((request, parse_request.parse(request)))
    with write_transaction():
        pending = WebhookRequest.objects.filter(pk__among=frozenset(request.pk for request in requests))
        pending = pending.filter(outcome=Outcome.RECEIVED)
        skip_locked = connection.features.has_select_for_update_skip_locked  # SQLite has only one writer anyway
        keys = set(pending.order_by("pk").select_for_update(skip_locked=skip_locked).values_list("pk", flat=True))
        parsed = [(request, result) for request, result in parsed if request.pk in keys]
        inserted: defaultdict[int, set[str]] = defaultdict(set)
        for request_id, key in event_insert.insert([event for _, result in parsed for event in result.events]):
            inserted[request_id].add(key)
        duplicates.count(_duplicate_keys(request, result.events, inserted[request.pk]) for request, result in parsed)
        by_outcome: defaultdict[tuple[Outcome, str], list[int]] = defaultdict(list)
        for request, result in parsed:
            outcome = result.outcome or (Outcome.PROCESSED if inserted[request.pk] else Outcome.DUPLICATE)
            by_outcome[outcome, result.reason].append(request.pk)
            request.outcome = outcome
        for (outcome, reason), request_ids in by_outcome.items():
            rows = WebhookRequest.objects.filter(pk__among=frozenset(request_ids))
            rows.update(outcome=outcome, reason=reason, processed_at=timezone.now())
        for first in {request.subscription_id: request for request, _ in reversed(parsed)}.values():
            _record_accepted(first)
    return [request for request, _ in parsed]


def _normalize_each(requests: Sequence[PendingRequest], progress: Progress) -> list[PendingRequest]:
    done: list[PendingRequest] = []
    for request in requests:
        progress()
        try:
            if _normalize_one(request):
                done.append(request)
        except (OperationalError, InterfaceError) as error:
            # It stays `received` and is retried later. A deadlock or a lock concerns this request only; if the
            # connection cannot be restored, the others would fail as well.
            logger.warning("Request %s could not be normalized now: %s", request.uid, error)
            connection.close()
            connection.ensure_connection()
    return done


def _normalize_one(request: PendingRequest) -> bool:
    """Parse the request and write the result. Return False if another process was faster."""
    parsed = parse_request.parse(request)
    try:
        return _write(request, parsed)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # A value that the database refuses would fail again each time; in quarantine it blocks nothing else.
        logger.exception("The events of request %s could not be written", request.uid)
        return _write(request, quarantined("Its events could not be written", error))


def _write(request: PendingRequest, parsed: ParsedRequest) -> bool:
    """Write events, outcome and acceptance: all or nothing. Return False if the request has changed meanwhile."""
    with write_transaction():
        claim = WebhookRequest.objects.filter(pk=request.pk, outcome=request.outcome)
        if not claim.update(processed_at=timezone.now(), reason=parsed.reason):
            return False
        outcome = parsed.outcome or Outcome.PROCESSED
        if parsed.events:
            has_events = _insert_events(request, parsed.events)
            if parsed.outcome is None and not has_events:
                outcome = Outcome.DUPLICATE
        WebhookRequest.objects.filter(pk=request.pk).update(outcome=outcome)
        _record_accepted(request)
    request.outcome = outcome
    return True


def _insert_events(request: PendingRequest, events: Sequence[EventRow]) -> bool:
    """Insert missing events and count the others as duplicates. Return whether any event is this request's own."""
    event_insert.insert(events)
    own_keys = set(Event.objects.filter(request=request.pk).values_list("dedup_key", flat=True))
    duplicates.count([_duplicate_keys(request, events, own_keys)])
    return bool(own_keys)


def _duplicate_keys(request: PendingRequest, events: Iterable[EventRow], own_keys: set[str]) -> DuplicateKeys:
    """Return the keys of those events that another request brought first."""
    keys = {event.dedup_key for event in events} - own_keys
    return DuplicateKeys(request.pk, request.subscription_id, request.received_at, keys)


def _record_accepted(request: PendingRequest) -> None:
    if request.subscription.accepted_at is None:
        subscription_activity.record_accepted(request.subscription_id, request.received_at)
