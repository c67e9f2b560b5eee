"""From a stored request to events: normalise, reprocess.

A request is committed before it is answered. Its events follow in one transaction of their own, all or none; whatever
goes wrong with them, the request is there and can be processed again.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, DateTimeField, Q, TextField, Value, When
from django.db.models.functions import Cast
from django.utils import timezone
from pydantic import BaseModel

from events.models import Event, Outcome, WebhookRequest, WebhookRequestQuerySet
from events.processing import duplicates, event_insert, poison_requests
from events.processing.duplicates import Repeats
from events.processing.event_insert import EventRow, event_row
from events.storage.body import unpacked
from events.storage.columns import column_text
from events.storage.request_row import MAX_REASON, InboundCall, RequestRow, first_outcome, first_reason, kept_headers
from events.storage.sqlite_lock import prompt_atomic, write_turns
from providers.contract.base import AnyProvider
from providers.contract.errors import InvalidInput, UnreadableRequest
from providers.contract.parsing import InboundRequest, Parsed, ParsedEvent, Verification, VerificationResult
from providers.contract.registry import UnknownProvider
from providers.db.encryption import Undecryptable
from subscriptions.lifecycle import secret_rotation
from subscriptions.lifecycle.ip_allowlist import stored, why_elsewhere
from subscriptions.models import Managed, Subscription

logger = logging.getLogger(__name__)

BATCH_BYTES = 8 * 1024 * 1024  # of bodies that are read at once
BATCH = 250  # requests whose events are written, and whose common bookkeeping is done, at once
PATIENCE = 30.0  # seconds for others who write into SQLite
UNREADABLE_NAMED = 10

Progress = Callable[[], None]


COLUMNS = ("pk", "uid", "account_id", "subscription_id", "outcome", "method", "received_at", "query", "body")
SUBSCRIPTION = COLUMNS.index("subscription_id")


@dataclass(slots=True)
class Waiting:
    """A stored request that is to be read: what that takes, and no more. Its headers are JSON still, so that what is
    wrong with them concerns no other."""

    subscription: Subscription = field(repr=False)
    pk: int
    uid: UUID
    account_id: int
    subscription_id: int
    outcome: str
    method: str
    received_at: datetime
    query: str
    body: bytes = field(repr=False)
    headers: str = field(repr=False)

    def inbound(self) -> InboundRequest:
        """The call for the plug-in; secret header values are markers. Raises ValueError when the headers that are
        stored cannot be read."""
        return InboundRequest(
            method=self.method,
            url=self.subscription.callback_url,
            query=self.query,
            headers=tuple((name, value) for name, value in json.loads(self.headers)),
            body=bytes(self.body),
            received_at=self.received_at,
            former_urls=tuple(self.subscription.former_callback_urls),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What a plug-in made of a request, ready to be written. Without an outcome, the database decides between
    `processed` and `duplicate`."""

    events: tuple[EventRow, ...] = ()
    outcome: Outcome | None = None
    reason: str = ""


# -- Normalising -------------------------------------------------------------------------------------------------------


def normalise(request_id: int) -> bool:
    """Turns a stored request into its events. True when this call did it; False when somebody else has."""
    return normalise_batch(_sizes(WebhookRequest.objects.filter(pk=request_id))) == 1


def normalise_stored(rows: Sequence[RequestRow], *, progress: Progress = lambda: None) -> int:
    """Normalises these, which were stored just now and need not be read from the database, as far as nobody else has:
    a batch at most. `progress` is called before each is read. Returns how many it settled. Raises as `normalise_batch`
    does."""
    if not rows:
        return 0
    waiting = WebhookRequest.objects.filter(uid__among=frozenset(row.uid for row in rows), outcome=Outcome.RECEIVED)
    numbers = dict(waiting.order_by().values_list("uid", "pk"))
    found = _subscriptions({row.subscription_id for row in rows})
    settled = _settle_all(
        [
            Waiting(
                subscription=found[row.subscription_id],
                pk=numbers[row.uid],
                uid=row.uid,
                account_id=row.account_id,
                subscription_id=row.subscription_id,
                outcome=row.outcome,
                method=row.method,
                received_at=row.received_at,
                query=row.query,
                body=row.body,
                headers=row.headers,
            )
            # Once: while the database hung, a row may have been stored and have gone to the spool, and come from both.
            for row in {row.uid: row for row in rows}.values()
            if row.uid in numbers
        ],
        progress,
    )
    _note_last_events(settled)
    return len(settled)


def normalise_pending(
    *, older_than: timedelta = timedelta(0), batch: int = BATCH, progress: Progress = lambda: None
) -> int:
    """Normalises every request that still waits: in batches, oldest first, and then one by one those of which an
    earlier reading never ended (see `events.processing.poison_requests`). `progress` is called before each batch and
    each reading.

    Returns how many requests were settled. One that fails is passed over here and tried again by the next call.
    """
    total = 0
    last = 0
    while True:
        waiting = WebhookRequest.objects.unprocessed(older_than=older_than).filter(pk__gt=last, tries=0)
        found = list(waiting.values_list("pk", "size", "received_at")[:batch])
        now = timezone.now()
        for late in (True, False):
            sizes = [(pk, size) for pk, size, at in found if poison_requests.is_late(at, now) is late]
            total += normalise_batch(sizes, counted=late, progress=progress)
        if len(found) < batch:
            return total + _normalise_suspects(progress)
        last, *_ = found[-1]


def _normalise_suspects(progress: Progress) -> int:
    total = 0
    for pk, size, tries in list(poison_requests.due().values_list("pk", "size", "tries")[:BATCH]):
        if tries < poison_requests.TRIES:
            total += normalise_batch([(pk, size)], counted=True, progress=progress)
        elif poison_requests.give_up(pk) and (request := _without_secrets().defer("body").filter(pk=pk).first()):
            logger.error("Request %s is quarantined unread. %s", request.uid, request.reason)
            _note_accepted(request)
            total += 1
    return total


def _sizes(requests: WebhookRequestQuerySet) -> list[tuple[int, int]]:
    return list(requests.filter(outcome=Outcome.RECEIVED).order_by("pk").values_list("pk", "size"))


def normalise_batch(
    sizes: Sequence[tuple[int, int]], *, counted: bool = False, progress: Progress = lambda: None
) -> int:
    """Normalises the requests with these numbers, of such a size: many in one transaction, then once what concerns them
    all. `counted`: it is written down first that their reading begins. Returns how many it settled. Raises
    OperationalError or InterfaceError only when the database cannot be reached."""
    settled: list[Waiting] = []
    for portion in _portions(sizes):
        progress()
        keys = poison_requests.begin(portion) if counted else portion
        requests = _waiting(WebhookRequest.objects.filter(pk__in=keys, outcome=Outcome.RECEIVED).order_by("pk"))
        done = _settle_all(requests, progress)
        if counted and len(done) < len(requests):
            poison_requests.ended(keys)
        settled += done
    _note_last_events(settled)
    return len(settled)


def _settle_all(requests: Sequence[Waiting], progress: Progress) -> list[Waiting]:
    """Together, or one by one where that fails. Returns those that were settled here."""
    if not requests:
        return []
    try:
        return _settle_together(requests, progress)
    except Exception as error:  # noqa: BLE001  # whatever it was, it concerns one of them; each gets a try of its own
        logger.info("%s requests are normalised one by one: %s", len(requests), type(error).__name__)
        return _settle_each(requests, progress)


def _settle_each(requests: Sequence[Waiting], progress: Progress) -> list[Waiting]:
    settled: list[Waiting] = []
    for request in requests:
        progress()
        try:
            if _settle(request):
                settled.append(request)
        except (OperationalError, InterfaceError) as error:
            # It stays `received` and is tried again. A deadlock or a lock concerns this one; if we cannot even
            # connect, the others would fail as well.
            logger.warning("Request %s could not be normalised now: %s", request.uid, error)
            connection.close()
            connection.ensure_connection()
    return settled


def _waiting(requests: WebhookRequestQuerySet) -> list[Waiting]:
    """Reading needs no secret, so a lost encryption key does not stop it."""
    rows: list[Any] = list(requests.values_list(*COLUMNS, Cast("headers", TextField())))
    found = _subscriptions({row[SUBSCRIPTION] for row in rows})
    return [Waiting(found[row[SUBSCRIPTION]], *row) for row in rows]


def _subscriptions(keys: Collection[int]) -> dict[int, Subscription]:
    found = Subscription.objects.select_related("account").defer("secrets", "account__credentials")
    return found.in_bulk(keys)


def _portions(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Together as many as fit into a bounded memory."""
    keys: list[int] = []
    total = 0
    for key, size in sizes:
        if keys and (total + size > BATCH_BYTES or len(keys) == BATCH):
            yield keys
            keys, total = [], 0
        keys.append(key)
        total += size
    if keys:
        yield keys


def _without_secrets() -> WebhookRequestQuerySet:
    """Requests with their account. Reading needs no secret, so a lost encryption key does not stop it. Nor do headers
    that cannot be read: whoever needs them looks."""
    rows = WebhookRequest.objects.select_related("subscription__account")
    return rows.defer("headers", "sealed_headers", "subscription__secrets", "subscription__account__credentials")


def reprocess(request: WebhookRequest, *, also_former: bool = False) -> WebhookRequest:
    """Reads a stored request again, as after a fix or a new secret, and returns it as it is then.

    A rejected one is verified again first, and stays rejected when no secret that is accepted now fits, or calls from
    where it came are not taken. `also_former`: or one that no longer is, for a person who has looked at it and decided
    that it came too late, and is no forgery. Events that are there stay as they are, missing ones appear, and nothing
    is counted twice. Raises WebhookRequest.DoesNotExist when it was thrown away meanwhile.
    """
    request = _without_secrets().get(pk=request.pk)
    if request.tries:
        WebhookRequest.objects.filter(pk=request.pk).update(tries=0, tried_at=None)
    if request.outcome == Outcome.REJECTED:
        released = _release(request, also_former=also_former)
    else:
        released = request.outcome != Outcome.TRUNCATED
    if released:
        for waiting in _waiting(WebhookRequest.objects.filter(pk=request.pk)):
            if _settle(waiting):
                _note_last_events([waiting])
    request.refresh_from_db()
    return request


def _release(request: WebhookRequest, *, also_former: bool) -> bool:
    """Verifies a rejected request again. True when it is accepted now, and waits for its events."""
    arrival = _verified_again(request, also_former=also_former)
    if arrival is None:
        return False
    outcome = first_outcome(arrival)
    headers, sealed = kept_headers(arrival)
    with transaction.atomic(durable=True):
        changed = WebhookRequest.objects.filter(pk=request.pk, outcome=Outcome.REJECTED).update(
            outcome=outcome,
            reason=first_reason(arrival, outcome),
            verification=arrival.verification.result.value,
            verification_detail=column_text(arrival.verification.detail, MAX_REASON),
            headers=headers,
            sealed_headers=sealed,
        )
        if changed and outcome == Outcome.TRUNCATED:
            _note_accepted(request)
    request.refresh_from_db(fields=["outcome", "headers", "sealed_headers"])
    return outcome == Outcome.RECEIVED


def _verified_again(request: WebhookRequest, *, also_former: bool) -> InboundCall | None:
    """The request as if it came now, or None when it is refused again; the reason is then written down."""
    subscription = request.subscription
    account = subscription.account
    try:
        inbound = request.inbound(unsealed=True)
        former = secret_rotation.former_secrets(subscription) if also_former else []
        accepted = [*subscription.secrets, *former]
        arrival = InboundCall(
            subscription_id=subscription.pk,
            account_id=account.pk,
            sensitive=account.plugin.sensitive_headers(account.typed_settings),
            inbound=inbound,
            verification=verify(account.plugin, inbound, accepted, account.typed_settings),
            remote_addr=request.remote_addr,
            size=request.size,
            truncated=request.size > len(inbound.body),
            elsewhere=why_elsewhere(request.remote_addr, stored(subscription.allowed_networks)),
        )
    except (Undecryptable, InvalidInput, UnknownProvider) as error:
        _stays_rejected(request, reason=f"It could not be verified again: {error}")
        return None
    except DatabaseFailure:
        raise
    except Exception as error:
        # What is stored cannot be read, or the plug-in has a bug: the others of a batch shall not wait for that.
        logger.exception("Request %s could not be verified again", request.uid)
        _stays_rejected(request, reason=f"It could not be verified again: {type(error).__name__}: {error}")
        return None
    if arrival.accepted:
        return arrival
    proven = arrival.verification
    detail = column_text(proven.detail, MAX_REASON)
    _stays_rejected(request, reason=arrival.refusal, verification=proven.result.value, verification_detail=detail)
    return None


def _stays_rejected(request: WebhookRequest, *, reason: str, **facts: str) -> None:
    rows = WebhookRequest.objects.filter(pk=request.pk, outcome=Outcome.REJECTED)
    rows.update(reason=column_text(reason, MAX_REASON), **facts)


def _settle_together(requests: Sequence[Waiting], progress: Progress) -> list[Waiting]:
    """Reads them all and writes what came of them in one transaction. Returns those that nobody else has settled, or is
    settling. Raises when anything is not as it mostly is."""
    readings: list[tuple[Waiting, Reading]] = []
    for request in requests:
        progress()
        readings.append((request, _read(request)))
    with write_turns.turn(connection), prompt_atomic(connection, PATIENCE):
        waiting = WebhookRequest.objects.filter(pk__among=frozenset(request.pk for request in requests))
        waiting = waiting.filter(outcome=Outcome.RECEIVED)
        alone = connection.features.has_select_for_update_skip_locked  # SQLite has only one writer anyway
        keys = set(waiting.order_by("pk").select_for_update(skip_locked=alone).values_list("pk", flat=True))
        readings = [(request, reading) for request, reading in readings if request.pk in keys]
        own: defaultdict[int, set[str]] = defaultdict(set)
        for request_id, key in event_insert.insert([event for _, reading in readings for event in reading.events]):
            own[request_id].add(key)
        ends: defaultdict[tuple[Outcome, str], list[int]] = defaultdict(list)
        duplicates.count(_repeats(request, reading.events, own[request.pk]) for request, reading in readings)
        for request, reading in readings:
            outcome = reading.outcome or (Outcome.PROCESSED if own[request.pk] else Outcome.DUPLICATE)
            ends[outcome, reading.reason].append(request.pk)
            request.outcome = outcome
        for (outcome, reason), ended in ends.items():
            ended_rows = WebhookRequest.objects.filter(pk__among=frozenset(ended))
            ended_rows.update(outcome=outcome, reason=reason, processed_at=timezone.now())
        for first in {request.subscription_id: request for request, _ in reversed(readings)}.values():
            _note_accepted(first)
    return [request for request, _ in readings]


def _settle(request: Waiting) -> bool:
    """Reads the request and writes what came of it. False when another process was quicker."""
    reading = _read(request)
    try:
        return _write(request, reading)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # A value that the database refuses would fail again each time, and hold up nobody but itself in quarantine.
        logger.exception("The events of request %s could not be written", request.uid)
        return _write(request, _broken("Its events could not be written", error))


def _read(request: Waiting) -> Reading:
    """What the plug-in makes of it. Outside any transaction, since a plug-in may take its time; never raises."""
    try:
        inbound = unpacked(request.inbound(), limit=settings.MAX_BODY_BYTES)
        parsed = request.subscription.account.plugin.parse(inbound)
        return _as_reading(request, parsed)
    except UnreadableRequest as error:
        return Reading(outcome=Outcome.QUARANTINED, reason=column_text(str(error), MAX_REASON))
    except Exception as error:
        logger.exception("Request %s could not be read", request.uid)
        return _broken("Reading it failed", error)


def _broken(what: str, error: Exception) -> Reading:
    reason = f"{what}: {type(error).__name__}: {error}. The log has the details; process it again once this is fixed."
    return Reading(outcome=Outcome.QUARANTINED, reason=column_text(reason, MAX_REASON))


def verify(
    plugin: AnyProvider, inbound: InboundRequest, secrets: Sequence[str], account_settings: BaseModel
) -> Verification:
    """Whether it comes from the provider. A signature may cover a packed body as it was before."""
    verification = plugin.verify(inbound, secrets, account_settings)
    if verification.result is not VerificationResult.FAILED:
        return verification
    try:
        plain = unpacked(inbound, limit=settings.MAX_BODY_BYTES)
    except UnreadableRequest:
        return verification
    return verification if plain is inbound else plugin.verify(plain, secrets, account_settings)


def _as_reading(request: Waiting, parsed: Parsed) -> Reading:
    events = tuple(_row(request, event) for event in parsed.events)
    if parsed.unreadable:
        return Reading(events, Outcome.QUARANTINED, _why_unreadable(parsed))
    return Reading(events, None if events else Outcome.PING)


def _why_unreadable(parsed: Parsed) -> str:
    named = " ".join(f"Element {item.index}: {item.reason}" for item in parsed.unreadable[:UNREADABLE_NAMED])
    total = len(parsed.unreadable) + len(parsed.events)
    return column_text(f"{len(parsed.unreadable)} of {total} elements cannot be read. {named}", MAX_REASON)


def _row(request: Waiting, event: ParsedEvent) -> EventRow:
    return event_row(
        event,
        account_id=request.account_id,
        subscription_id=request.subscription_id,
        request_id=request.pk,
        provider=request.subscription.account.provider,
        received_at=request.received_at,
    )


def _write(request: Waiting, reading: Reading) -> bool:
    """Writes events, outcome and acceptance: all or nothing. False when somebody else changed the request meanwhile."""
    with write_turns.turn(connection), prompt_atomic(connection, PATIENCE):
        claim = WebhookRequest.objects.filter(pk=request.pk, outcome=request.outcome)
        if not claim.update(processed_at=timezone.now(), reason=reading.reason):
            return False
        outcome = reading.outcome or Outcome.PROCESSED
        if reading.events:
            new = _insert(request, reading.events)
            if reading.outcome is None and not new:
                outcome = Outcome.DUPLICATE
        WebhookRequest.objects.filter(pk=request.pk).update(outcome=outcome)
        _note_accepted(request)
    request.outcome = outcome
    return True


def _insert(request: Waiting, events: Sequence[EventRow]) -> bool:
    """Inserts what is not there yet and counts what is. True when at least one event comes from this request."""
    event_insert.insert(events)
    own = set(Event.objects.filter(request=request.pk).values_list("dedup_key", flat=True))
    duplicates.count([_repeats(request, events, own)])
    return bool(own)


def _repeats(request: Waiting, events: Iterable[EventRow], own: set[str]) -> Repeats:
    """Its events that came with another request."""
    keys = {event.dedup_key for event in events} - own
    return Repeats(request.pk, request.subscription_id, request.received_at, keys)


# -- What the subscription learns --------------------------------------------------------------------------------------


def note_accepted(subscription_id: int, received_at: datetime) -> None:
    """The first accepted request makes a subscription that is managed by hand active: it is due at once."""
    rows = Subscription.objects.filter(pk=subscription_id, accepted_at=None)
    rows.filter(managed=Managed.MANUAL).update(accepted_at=received_at, due_at=timezone.now())
    rows.update(accepted_at=received_at)


def _note_accepted(request: Waiting | WebhookRequest) -> None:
    if request.subscription.accepted_at is None:
        note_accepted(request.subscription_id, request.received_at)


def _note_last_events(requests: Iterable[Waiting]) -> None:
    """Moves `last_event_at` on, once a batch: many requests a second come, and for many subscriptions."""
    latest: dict[int, datetime] = {}
    for request in requests:
        if request.outcome in (Outcome.PROCESSED, Outcome.DUPLICATE):
            known = latest.get(request.subscription_id, request.received_at)
            latest[request.subscription_id] = max(known, request.received_at)
    if not latest:
        return
    moments = Case(*(When(pk=key, then=Value(at)) for key, at in latest.items()), output_field=DateTimeField())
    with write_turns.turn(connection), prompt_atomic(connection, PATIENCE):
        rows = Subscription.objects.filter(Q(last_event_at=None) | Q(last_event_at__lt=moments), pk__in=latest)
        # In one order, so that two who note the same ones do not block each other. Those who store requests go on.
        found = list(rows.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
        Subscription.objects.filter(pk__in=found).update(last_event_at=moments)
