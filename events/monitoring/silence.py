"""Subscriptions that stopped sending: noticed, probed, and only then written down.

Nobody is alarmed because a clock ran out. First what can be asked without harm is asked: what the provider has, whether
our receiver answers, a test webhook where the provider has a call for one that nobody takes for an event. What that
told is written down beside the fact, on the subscription; it is cleared by itself when events come again.

The open row of a silence is the claim: there can be one for each subscription, so any number of workers may watch. One
that dies while it probes leaves a row without words, and the next pass goes on from it."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from django.db import connection, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from events.models import Event, Silence
from events.storage.time_range import first_number_at
from providers.audit.actors import SCHEDULER
from providers.contract.base import AnyProvider
from providers.db.clock_steps import not_after
from providers.times import readable_time
from subscriptions.lifecycle import quiet_hours, receiver_probe, secrets
from subscriptions.lifecycle.quiet_hours import QuietHours
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.timeline import Entry, Kind, Source, Span, Subject, register

logger = logging.getLogger(__name__)

SILENCE = "silence"
ARRIVAL = timedelta(minutes=2)  # for a test webhook, or for an event that was on its way
PROBES = 5  # in one pass
PROBE_SECONDS = 20.0
UNWATCHED = (State.PENDING, State.MANUAL, State.DISABLED, State.DELETING, State.DELETED)

LOOKED_BACK = timedelta(days=28)
SAMPLES = 2000  # events of a subscription that are read for a suggestion, however many there are
LEAST_DAYS = 3  # with events; less says nothing
USUAL, FACTOR = 0.9, 1.5  # of the longest silence of each day, the high percentile, and some air
SUGGESTED_EVERY = timedelta(days=1)
SUGGESTIONS = 20  # in one pass


def watch() -> int:
    """One pass: clears what is over, decides what was probed, probes what is suspicious, and brings suggestions up to
    date. Returns how many subscriptions it found silent."""
    now = timezone.now()
    _clear(now)
    found = sum(_decide(row, now) for row in Silence.objects.suspected().filter(_waited(now)))
    for row, since in _suspicious(now)[:PROBES]:
        _probe(row, since)
    _suggest(now)
    return found


def watched() -> QuerySet[Subscription]:
    """Those of which somebody expects events."""
    rows = Subscription.objects.filter(quiet_after__isnull=False, enabled=True, present=True, deleted_at=None)
    return rows.exclude(state__in=UNWATCHED)


def _waited(now: datetime) -> Q:
    """Match silences that were probed long enough ago for an event to have arrived."""
    return not_after("probed_at", now - ARRIVAL, now)


def _suspicious(now: datetime) -> list[tuple[Subscription, datetime]]:
    """Those whose expected time is over, and since when they are quiet."""
    open_row = Silence.objects.filter(subscription=OuterRef("pk"), ended_at=None)
    rows = watched().filter(~Exists(open_row)).select_related("account").defer("secrets", "account__credentials")
    found: list[tuple[Subscription, datetime]] = []
    for row in rows.order_by("last_event_at"):
        since = quiet_since(row)
        if row.quiet_after is None or now - since < timedelta(seconds=row.quiet_after):
            continue
        due = quiet_hours.due_at(since, row.quiet_after, hours_of(row))
        if due is not None and due <= now:
            found.append((row, since))
    return found


def quiet_since(row: Subscription) -> datetime:
    """From when on its silence counts: the last event, or later, when it began to be watched or was switched on."""
    return max(moment for moment in (row.last_event_at, row.quiet_from, row.created_at) if moment)


def hours_of(row: Subscription) -> QuietHours | None:
    """Its quiet hours; none where they are no longer understood, such as a time zone that was abolished."""
    if row.quiet_hours is None:
        return None
    try:
        return quiet_hours.parse_quiet_hours(row.quiet_hours)
    except quiet_hours.InvalidQuietHours as error:
        logger.warning("The quiet hours of subscription %s are left out: %s", row.uid, error)
        return None


# -- Probing -----------------------------------------------------------------------------------------------------------


def _probe(row: Subscription, since: datetime) -> None:
    silence, created = Silence.objects.get_or_create(
        subscription_id=row.pk,
        ended_at=None,
        defaults={"account_id": row.account_id, "since": since, "probed_at": timezone.now()},
    )
    if not created:
        return  # somebody else is at it
    row = Subscription.objects.select_related("account").get(pk=row.pk)
    words = [_look(row), _receiver(row)]
    tested, said = _test(row)
    # The moment counts from now: what comes after it may be the test's.
    Silence.objects.filter(pk=silence.pk).update(words=" ".join(word for word in (*words, said) if word), tested=tested)


def _look(row: Subscription) -> str:
    """Observes and repairs, as at any look. What it finds and cannot repair is in the state's own words."""
    if row.managed == Managed.MANUAL:
        return "It is registered by hand, so the provider cannot be asked whether it still has it."
    done = reconcile(row, deadline=time.monotonic() + PROBE_SECONDS, details=True)
    row.refresh_from_db()
    if row.state != State.ACTIVE:
        return f"Looking at the provider told why: {row.state_reason}"
    if not done:
        return "It was being worked on when the provider was to be asked."
    return f"{row.account.plugin.name} has it, switched on, and as wanted."


def _receiver(row: Subscription) -> str:
    return receiver_probe.find_receiver_error(row.callback_url) or "Our receiver answers at its callback URL."


def _test(row: Subscription) -> tuple[bool, str]:
    if not may_test(row.account.plugin) or row.managed == Managed.MANUAL or row.state != State.ACTIVE:
        return False, ""
    result = secrets.send_test_webhook(row, by=SCHEDULER)
    return result.ok, "" if result.ok else f"A test webhook could not be had: {result.detail}"


def may_test(plugin: AnyProvider) -> bool:
    """Whether the provider sends a test on request, and nobody takes that for a real event."""
    return plugin.capabilities.can_test and plugin.capabilities.test_is_harmless


def _decide(silence: Silence, now: datetime) -> bool:
    """After the wait: either events came, or it is a fact. True for a fact that was written now."""
    tested = int(silence.tested)
    # From the index, newest first; the test's own event is no sign of life.
    newest = Event.objects.filter(subscription=silence.subscription_id).order_by("-pk")
    times = newest.values_list("received_at", flat=True)[: tested + 1]
    came = sum(received_at >= silence.probed_at for received_at in times)
    if came > tested or not watched().filter(pk=silence.subscription_id).exists():
        Silence.objects.filter(pk=silence.pk, found_at=None).delete()
        return False
    words = silence.words or "The probe was interrupted, so nothing is known of the reason."
    if tested:
        minutes = int(ARRIVAL.total_seconds() // 60)
        words += (
            " A test webhook that we asked for arrived."
            if came
            else (f" A test webhook that we asked for did not arrive within {minutes} minutes.")
        )
    with transaction.atomic():
        if not Silence.objects.filter(pk=silence.pk, found_at=None).update(found_at=now, words=words):
            return False
        Subscription.objects.filter(pk=silence.subscription_id).update(silent_since=silence.since, silence_reason=words)
    return True


# -- The end of it -----------------------------------------------------------------------------------------------------


def _clear(now: datetime) -> None:
    """Ends silences: events came, or nobody expects any longer."""
    for silence in Silence.objects.found().select_related("subscription").defer("subscription__secrets"):
        row = silence.subscription
        heard = row.last_event_at is not None and silence.found_at is not None and row.last_event_at > silence.found_at
        changed = row.quiet_from is not None and silence.found_at is not None and row.quiet_from > silence.found_at
        if heard or changed or not watched().filter(pk=row.pk).exists():
            with transaction.atomic():
                Silence.objects.filter(pk=silence.pk).update(ended_at=row.last_event_at if heard else now)
                Subscription.objects.filter(pk=row.pk).update(silent_since=None, silence_reason="")


# -- Suggestions -------------------------------------------------------------------------------------------------------


def _suggest(now: datetime) -> None:
    """Writes down what its own history suggests, once a day for each subscription that sends."""
    due = Q(quiet_suggested_at=None) | Q(quiet_suggested_at__lt=now - SUGGESTED_EVERY)
    rows = Subscription.objects.filter(due, deleted_at=None, last_event_at__isnull=False).defer("secrets")
    for row in rows.order_by(F("quiet_suggested_at").asc(nulls_first=True))[:SUGGESTIONS]:
        Subscription.objects.filter(pk=row.pk).update(quiet_suggestion=suggestion(row, now), quiet_suggested_at=now)


def suggestion(row: Subscription, now: datetime) -> int | None:
    """The expected quiet time in seconds that its last four weeks suggest, its quiet hours left out; None while there
    is too little to go by.

    Of each day the longest silence that ended then; of those a high percentile, so that one odd holiday does not
    decide; and half as much again."""
    hours = hours_of(row)
    longest: defaultdict[date, timedelta] = defaultdict(timedelta)
    moments = _sample(row, now)
    for before, after in pairwise(moments):
        day = after.astimezone(hours.zone if hours else UTC).date()
        if after - before > longest[day]:  # what counts is never more
            longest[day] = max(longest[day], quiet_hours.counted_time(before, after, hours))
    if len(longest) < LEAST_DAYS:
        return None
    ranked = sorted(longest.values())
    usual = ranked[math.ceil(USUAL * len(ranked)) - 1]
    return _rounded(usual.total_seconds() * FACTOR)


def _rounded(seconds: float) -> int:
    step = 300 if seconds < 2 * 3600 else 1800 if seconds < 86400 else 6 * 3600
    return min(max(math.ceil(seconds / step) * step, 900), quiet_hours.MAX_QUIET_SECONDS)


SAMPLE = """
    WITH RECURSIVE sampled(id) AS (
        SELECT CAST(%s AS bigint)
        UNION ALL
        SELECT (
            SELECT event.id FROM events_event AS event
            WHERE event.subscription_id = %s AND event.id < sampled.id - %s AND event.id >= %s
            ORDER BY event.id DESC LIMIT 1
        )
        FROM sampled WHERE sampled.id IS NOT NULL
    )
    SELECT id FROM sampled WHERE id IS NOT NULL LIMIT %s
"""


def _sample(row: Subscription, now: datetime) -> list[datetime]:
    """When events came in the last weeks, oldest first: all, or some two thousand that stand evenly among those of the
    whole installation. Each costs one step down an index, so ten million cost no more. What is left out between two
    makes a gap look longer by twenty minutes at most."""
    newest = Event.objects.filter(subscription=row.pk).aggregate(last=Max("pk"))["last"]
    first = first_number_at(Event.objects.all(), now - LOOKED_BACK)
    if newest is None or first is None:
        return []
    stride = max(newest - first, 0) // SAMPLES
    with connection.cursor() as cursor:
        cursor.execute(SAMPLE, [newest, row.pk, stride, first, SAMPLES + 2])
        keys = [key for (key,) in cursor.fetchall()]
    return [moment for part in _parts(keys) for moment in _times(part)]


def _parts(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    """Oldest first, a few hundred at a time: SQLite limits the number of parameters."""
    ordered = sorted(keys)
    return (ordered[start : start + 500] for start in range(0, len(ordered), 500))


def _times(keys: Sequence[int]) -> list[datetime]:
    return list(Event.objects.filter(pk__in=keys).order_by("pk").values_list("received_at", flat=True))


# -- On the timeline ---------------------------------------------------------------------------------------------------


def _entries(subject: Subject, span: Span) -> Iterable[Entry]:
    of = Q(subscription=subject.pk) if isinstance(subject, Subscription) else Q(account=subject.pk)
    rows = Silence.objects.filter(of, found_at__isnull=False).select_related("subscription")
    for row in span.cut(rows.defer("subscription__secrets")):
        ended = f" It ended at {readable_time(row.ended_at)}." if row.ended_at else ""
        yield Entry(
            key=row.uid,
            at=row.found_at or row.probed_at,
            kind=SILENCE,
            what="fell silent",
            why=f"No event since {readable_time(row.since)}. {row.words}{ended}",
            actor=SCHEDULER,
            subscription=row.subscription.uid,
        )


register(Source({SILENCE: Kind("Silence", "volume_off")}, _entries))
