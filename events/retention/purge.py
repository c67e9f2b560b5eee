"""How long requests and events are kept: as many days as their account says, or for ever.

What is older is thrown away in small transactions, each of which leaves everything consistent: the receiver never waits
for more than one of them, a kill at any line leaves rows that the next run finds, and several runs at once would at
worst delete the same rows. A request goes with or after its events, and nothing that waits goes with its age: one whose
events are still to come is kept until they came, and one in quarantine until it is released or twice as old."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from events.models import Event, Outcome, Purge, WebhookRequest
from events.storage import time_range
from providers.db.claims import new_holder
from providers.db.clock_steps import before_clock_step
from providers.models import ProviderAccount

logger = logging.getLogger(__name__)

QUARANTINE_FACTOR = 2  # so much longer a request in quarantine waits for a person
EVERY = timedelta(minutes=10)
LOOKED_AT = 500  # requests read at a time to find the old ones
REQUESTS, EVENTS = 40, 50  # deleted in one transaction; under 100 rows, for SQLite has one writer
# Between two transactions, for those who wait to write: seconds at least, and in times of what the last one took.
PAUSE = 0.02
PAUSES = 4
RUN_SECONDS = 20.0  # of one account at a time; the rest is left to the next run
CLAIM_SECONDS = 60.0


@dataclass(slots=True)
class Purged:
    """What a run threw away, and whether something is left that is too old."""

    requests: int = 0
    events: int = 0
    more: bool = False


def age_of(account: ProviderAccount) -> timedelta | None:
    """How long requests and events of this account are kept; None: for ever."""
    return None if account.retention_days is None else timedelta(days=account.retention_days)


def kept_until(request: WebhookRequest) -> datetime | None:
    """When this request and its events are thrown away if nothing is done with it; None: never."""
    age = age_of(request.subscription.account)
    if age is None or request.outcome == Outcome.RECEIVED:
        return None
    if request.outcome == Outcome.QUARANTINED:
        return request.received_at + QUARANTINE_FACTOR * age
    return max(request.received_at, request.processed_at or request.received_at) + age


def too_old(rows: QuerySet[WebhookRequest], now: datetime, age: timedelta) -> QuerySet[WebhookRequest]:
    """Those that `kept_until` lies behind. The age counts from the reading as well: what was released or read again
    starts anew, so its events reach everybody."""
    settled = ~Q(outcome__in=(Outcome.RECEIVED, Outcome.QUARANTINED)) & Q(received_at__lt=now - age)
    settled &= Q(processed_at=None) | Q(processed_at__lt=now - age)
    forgotten = Q(outcome=Outcome.QUARANTINED, received_at__lt=now - QUARANTINE_FACTOR * age)
    return rows.filter(settled | forgotten)


def purge_due() -> int:
    """Goes over the accounts whose turn it is. Returns how many rows were thrown away. Any number of workers may do
    this at once: a claim gives each account to one of them."""
    now = timezone.now()
    known = Purge.objects.values_list("account", flat=True)
    for pk in ProviderAccount.with_deleted.exclude(pk__in=known).values_list("pk", flat=True):
        Purge.objects.get_or_create(account_id=pk, defaults={"due_at": now})
    stepped_back = before_clock_step("looked_at", now)
    total = 0
    for row in Purge.objects.filter(Q(due_at__lte=now) | stepped_back).order_by("due_at"):
        done = purge(row)
        total += done.requests + done.events
    return total


def purge(row: Purge) -> Purged:
    """Throws away what is too old of one account, for some seconds at most. Nothing when somebody else is at it."""
    holder = new_holder()
    done = Purged()
    if not row.claim(holder, CLAIM_SECONDS):
        return done
    try:
        account = ProviderAccount.with_deleted.defer("credentials").get(pk=row.account_id)
        age = age_of(account)
        if age is not None:
            _purge(row, holder, age, done)
        now = timezone.now()
        Purge.objects.filter(pk=row.pk).update(
            due_at=now if done.more else now + EVERY, looked_at=now, kept_since=_kept_since(row.account_id)
        )
        if done.requests:
            logger.info("Account %s: %d requests and %d events were purged.", account.uid, done.requests, done.events)
    finally:
        row.release(holder)
    return done


def _purge(row: Purge, holder: str, age: timedelta, done: Purged) -> None:
    end = time.monotonic() + RUN_SECONDS
    for keys in _old_ones(row.account_id, age):
        finished = False
        while not finished:
            begun = time.monotonic()
            finished = _throw_away(row, keys, age, done)
            time.sleep(max(PAUSE, PAUSES * (time.monotonic() - begun)))
        if time.monotonic() >= end or not row.keep_claim(holder, CLAIM_SECONDS):
            done.more = True
            return


def _old_ones(account_id: int, age: timedelta) -> Iterator[Sequence[int]]:
    """The numbers of requests that are too old, a few at a time. Numbers follow time, so this reads the account's
    oldest through the index, passes over what is kept longer, and ends where all are young and none was stored late."""
    last = 0
    end = time_range.end_of_requests_until(timezone.now() - age)
    while True:
        now = timezone.now()
        rows = WebhookRequest.objects.filter(account=account_id, pk__gt=last).order_by("pk")
        looked_at = list(rows.values_list("pk", "received_at")[:LOOKED_AT])
        if not looked_at:
            return
        young = not any(received_at < now - age for _, received_at in looked_at)
        if young and end is not None and looked_at[-1][0] >= end:
            return
        first, last = looked_at[0][0], looked_at[-1][0]
        within = WebhookRequest.objects.filter(account=account_id, pk__range=(first, last)).order_by("pk")
        keys = list(too_old(within, now, age).values_list("pk", flat=True))
        for start in range(0, len(keys), REQUESTS):
            yield keys[start : start + REQUESTS]


def _throw_away(row: Purge, keys: Sequence[int], age: timedelta, done: Purged) -> bool:
    """One transaction: some events of these requests, or the last of them with the requests. True when all are gone.

    They are looked at again, locked: somebody may have read one anew since."""
    with transaction.atomic():
        requests = too_old(WebhookRequest.objects.filter(pk__in=keys), timezone.now(), age).order_by("pk")
        old = list(requests.select_for_update().values_list("pk", flat=True))
        events = list(Event.objects.filter(request__in=old).order_by("pk").values_list("pk", flat=True)[:EVENTS])
        Event.objects.filter(pk__in=events).only("pk").delete()
        finished = len(events) < EVENTS
        if finished:
            WebhookRequest.objects.filter(pk__in=old).only("pk").delete()  # without reading the bodies
        gone = len(old) if finished else 0
        if gone or events:
            Purge.objects.filter(pk=row.pk).update(
                purged_requests=F("purged_requests") + gone,
                purged_events=F("purged_events") + len(events),
                purged_at=timezone.now(),
            )
    done.requests += gone
    done.events += len(events)
    return finished


def _kept_since(account_id: int) -> datetime | None:
    """When the oldest request that is kept came in."""
    rows = WebhookRequest.objects.filter(account=account_id).order_by("pk")
    return rows.values_list("received_at", flat=True).first()
