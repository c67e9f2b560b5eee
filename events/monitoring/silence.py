"""The silence alarm: find subscriptions that stopped receiving events.

A subscription that has been quiet for longer than expected is probed first (see `silence_probe`). Only if no event
arrives within a short wait is the silence stored on the subscription, with the result of the probe. It is cleared when
events arrive again.

An open Silence row is also the claim on its subscription, which can have only one: any number of workers may run this.
A worker that dies while probing leaves a row without findings, and the next pass continues with it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from events.models import Event, Silence
from events.monitoring import silence_probe, silence_suggestion
from providers.db.clock_steps import not_after
from subscriptions.lifecycle import quiet_hours
from subscriptions.models import State, Subscription

ARRIVAL_WAIT = timedelta(minutes=2)  # for the test webhook, or for an event on its way
MAX_PROBES = 5  # in one pass
UNWATCHED_STATES = (State.PENDING, State.MANUAL, State.DISABLED, State.DELETING, State.DELETED)
INTERRUPTED = "The probe was interrupted, so the cause is unknown."


def watch() -> int:
    """Run one pass, and return how many silences were confirmed.

    A pass ends silences that are over, confirms or discards those that were probed, probes new suspects, and updates
    the suggestions.
    """
    now = timezone.now()
    _end_silences(now)
    confirmed = sum(_decide(silence, now) for silence in Silence.objects.suspected().filter(_was_probed_long_ago(now)))
    for row, since in _find_suspects(now)[:MAX_PROBES]:
        silence_probe.probe(row, since)
    silence_suggestion.update_suggestions(now)
    return confirmed


def watched() -> QuerySet[Subscription]:
    """Return the subscriptions from which events are expected."""
    rows = Subscription.objects.filter(quiet_after__isnull=False, enabled=True, present=True, deleted_at=None)
    return rows.exclude(state__in=UNWATCHED_STATES)


def quiet_since(row: Subscription) -> datetime:
    """Return when the current silence began: at the last event, or when expecting events began or changed."""
    return max(moment for moment in (row.last_event_at, row.quiet_from, row.created_at) if moment)


def _was_probed_long_ago(now: datetime) -> Q:
    """Match silences that were probed long enough ago for an event to have arrived."""
    return not_after("probed_at", now - ARRIVAL_WAIT, now)


def _find_suspects(now: datetime) -> list[tuple[Subscription, datetime]]:
    """Return the subscriptions that have been quiet for longer than expected, each with the start of its silence."""
    open_silence = Silence.objects.filter(subscription=OuterRef("pk"), ended_at=None)
    rows = watched().filter(~Exists(open_silence)).select_related("account").defer("secrets", "account__credentials")
    suspects: list[tuple[Subscription, datetime]] = []
    for row in rows.order_by("last_event_at"):
        since = quiet_since(row)
        if row.quiet_after is None or now - since < timedelta(seconds=row.quiet_after):
            continue
        due = quiet_hours.due_at(since, row.quiet_after, silence_suggestion.quiet_hours_of(row))
        if due is not None and due <= now:
            suspects.append((row, since))
    return suspects


def _decide(silence: Silence, now: datetime) -> bool:
    """Confirm a suspected silence after the wait, or delete it. Return whether it was confirmed."""
    tested = int(silence.tested)
    # Newest first, from the index. The event of the test webhook does not count.
    newest = Event.objects.filter(subscription=silence.subscription_id).order_by("-pk")
    times = newest.values_list("received_at", flat=True)[: tested + 1]
    arrived = sum(received_at >= silence.probed_at for received_at in times)
    if arrived > tested or not watched().filter(pk=silence.subscription_id).exists():
        Silence.objects.filter(pk=silence.pk, confirmed_at=None).delete()
        return False
    text = silence.message or INTERRUPTED
    if tested:
        text += f" {_test_result(arrived=bool(arrived))}"
    with transaction.atomic():
        if not Silence.objects.filter(pk=silence.pk, confirmed_at=None).update(confirmed_at=now, message=text):
            return False
        Subscription.objects.filter(pk=silence.subscription_id).update(silent_since=silence.since, silence_reason=text)
    return True


def _test_result(*, arrived: bool) -> str:
    if arrived:
        return "The requested test webhook arrived."
    minutes = int(ARRIVAL_WAIT.total_seconds() // 60)
    return f"The requested test webhook did not arrive within {minutes} minutes."


def _end_silences(now: datetime) -> None:
    """End silences whose subscription received an event, changed its expectation, or is no longer watched."""
    for silence in Silence.objects.confirmed().select_related("subscription").defer("subscription__secrets"):
        row, confirmed_at = silence.subscription, silence.confirmed_at
        event_arrived = row.last_event_at is not None and confirmed_at is not None and row.last_event_at > confirmed_at
        changed = row.quiet_from is not None and confirmed_at is not None and row.quiet_from > confirmed_at
        if event_arrived or changed or not watched().filter(pk=row.pk).exists():
            with transaction.atomic():
                Silence.objects.filter(pk=silence.pk).update(ended_at=row.last_event_at if event_arrived else now)
                Subscription.objects.filter(pk=row.pk).update(silent_since=None, silence_reason="")
