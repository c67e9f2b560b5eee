"""The pass that keeps problems true, and what people do with them.

Level-triggered: nothing anywhere "raises" a problem. The sources (`subscriptions.problems.registry`) tell which causes
hold now;
the pass compares them with the rows: it opens, refreshes, resolves and reopens. It may run at any time, in several
processes at once, and again after a crash at any line: every change is a conditional one in a short transaction of
its own, together with its turn in the problem's story.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from providers.audit import log
from providers.audit.actors import SCHEDULER
from providers.conflict import Conflict
from providers.db.clock_steps import not_after
from providers.times import still_waits
from subscriptions.models import (
    ACTIVE,
    Heartbeat,
    Problem,
    ProblemKind,
    ProblemState,
    ProblemTransition,
    Severity,
    Transition,
)
from subscriptions.problems.registry import Cause, Key, NotKnownYet, all_sources

logger = logging.getLogger(__name__)

PROBLEM = "problem"  # the word that the history uses
BEAT = "problems"  # the heartbeat that tells when a pass last began
EVERY = timedelta(seconds=8)  # all processes together
GRACE = timedelta(minutes=15)  # for which one that a person has resolved is left alone although its cause holds
TOUCH_EVERY = timedelta(seconds=30)  # how often "last seen" is written for what is as it was
BATCH = 100  # rows in one transaction
TURNS_KEPT, TRIM_EVERY = 200, 50  # of each problem; one that flaps must not fill the disk

T = TypeVar("T")


class NotActive(Conflict):
    """The problem is resolved already."""


@dataclass(slots=True)
class Outcome:
    """What a pass changed."""

    opened: int = 0
    reopened: int = 0
    refreshed: int = 0
    resolved: int = 0
    unknown: frozenset[ProblemKind] = field(default_factory=frozenset)  # whose sources failed; left as they were


def detect(kinds: Collection[ProblemKind] = tuple(ProblemKind)) -> Outcome:
    """Compares the causes of these kinds that hold now with the rows, and makes the rows say so."""
    started = timezone.now()
    found, unknown = _look(frozenset(kinds), started)
    known = frozenset(kinds) - unknown
    outcome = Outcome(unknown=unknown)
    waiting = Q(state__in=ACTIVE) | Q(held_until__isnull=False)
    rows = {_key(row): row for row in Problem.objects.filter(waiting, kind__in=known)}
    seen = [(row, found[key]) for key, row in rows.items() if key in found]
    gone = [row for key, row in rows.items() if key not in found]
    outcome.resolved = _resolve([row for row in gone if row.is_active], started)
    _forget_holds([row for row in gone if not row.is_active])
    outcome.refreshed = _refresh([pair for pair in seen if pair[0].is_active], started)
    outcome.reopened = _reopen([pair for pair in seen if _is_back(*pair, started)], started)
    unheard = [cause for key, cause in found.items() if key not in rows]
    opened, known_before = _open(unheard, started)
    outcome.opened = opened
    outcome.reopened += _reopen([pair for pair in known_before if _is_back(*pair, started)], started)
    return outcome


def detect_in_turn(every: timedelta = EVERY) -> bool:
    """The same, unless this or another process did it within that time. Whether it was done."""
    turn = Heartbeat.claim_run(BEAT, every)
    if turn:
        detect()
    return turn


@transaction.atomic
def acknowledge(problem: Problem, *, by: str) -> None:
    """Somebody is on it: it reminds nobody any more. Raises NotActive."""
    row = Problem.objects.select_for_update().get(pk=problem.pk)
    if row.state == ProblemState.RESOLVED:
        raise NotActive("The problem is resolved already.")
    if row.state == ProblemState.OPEN:
        row.state, row.acknowledged_at, row.acknowledged_by = ProblemState.ACKNOWLEDGED, timezone.now(), by
        row.save(update_fields=["state", "acknowledged_at", "acknowledged_by"])
        _note(row, Transition.ACKNOWLEDGED, by, row.acknowledged_at)
        log.note(by, "acknowledged", PROBLEM, subject_id=row.uid, name=str(row))
    problem.refresh_from_db()


@transaction.atomic
def resolve(problem: Problem, *, by: str) -> None:
    """Somebody says that it is over. When its cause still holds after GRACE, or something new happens, it comes back.
    Nothing when it is resolved already."""
    row = Problem.objects.select_for_update().get(pk=problem.pk)
    if row.is_active:
        now = timezone.now()
        row.state, row.resolved_at, row.resolved_by = ProblemState.RESOLVED, now, by
        row.changed_at, row.held_until = now, now + GRACE
        row.save(update_fields=["state", "resolved_at", "resolved_by", "changed_at", "held_until"])
        _note(row, Transition.RESOLVED, by, now)
        log.note(by, "resolved", PROBLEM, subject_id=row.uid, name=str(row))
    problem.refresh_from_db()


def _look(kinds: frozenset[ProblemKind], now: datetime) -> tuple[dict[Key, Cause], frozenset[ProblemKind]]:
    """What holds now, and the kinds of which that is not known, because a source failed."""
    found: dict[Key, Cause] = {}
    unknown: set[ProblemKind] = set()
    for source in all_sources():
        if not source.kinds & kinds:
            continue
        try:
            for cause in source.find(now):
                if cause.kind in kinds and _graver(cause, found.get(cause.key)):
                    found[cause.key] = cause
        except NotKnownYet:
            unknown |= source.kinds
        except Exception:
            # A source that fails must not make all its problems seem solved, nor hide those of the others.
            logger.exception("Looking for %s failed.", ", ".join(sorted(source.kinds)))
            unknown |= source.kinds
    return found, frozenset(unknown & kinds)


def _graver(cause: Cause, other: Cause | None) -> bool:
    return other is None or cause.severity.rank > other.severity.rank


def _is_back(row: Problem, cause: Cause, now: datetime) -> bool:
    """Whether a resolved one is to be opened again, since its cause holds."""
    if row.is_active:
        return False
    if row.held_until is None:
        return True
    if cause.evidence:  # it happens in single events: only another one counts
        return cause.evidence != row.evidence
    return not still_waits(row.held_until, GRACE, now)


def _resolve(rows: Sequence[Problem], started: datetime) -> int:
    """Those whose cause is gone, unless another pass has seen it later than ours began."""
    count = 0
    for batch in _batches(rows):
        with transaction.atomic():
            for row in _locked(batch, _not_later("last_at", started), state__in=ACTIVE):
                now = timezone.now()
                row.state, row.resolved_at, row.resolved_by, row.changed_at = ProblemState.RESOLVED, now, SCHEDULER, now
                row.save(update_fields=["state", "resolved_at", "resolved_by", "changed_at"])
                _note(row, Transition.RESOLVED, SCHEDULER, now)
                count += 1
    return count


def _forget_holds(rows: Sequence[Problem]) -> None:
    """The cause has gone after a person had said so: when it returns, that is new."""
    for batch in _batches(rows):
        Problem.objects.filter(pk__in=[row.pk for row in batch], state=ProblemState.RESOLVED).update(held_until=None)


def _refresh(pairs: Sequence[tuple[Problem, Cause]], started: datetime) -> int:
    """Those that still hold: what they say, or only that they were seen."""
    changed = [pair for pair in pairs if _differs(*pair)]
    stale = [row for row, cause in pairs if not _differs(row, cause) and row.last_at <= started - TOUCH_EVERY]
    for batch in _batches(stale):
        keys = [row.pk for row in batch]
        Problem.objects.filter(pk__in=keys, state__in=ACTIVE, last_at__lt=started).update(last_at=started)
    causes = {row.pk: cause for row, cause in changed}
    for batch in _batches([row for row, _ in changed]):
        with transaction.atomic():
            for row in _locked(batch, _not_later("last_at", started), state__in=ACTIVE):
                graver = causes[row.pk].severity.rank > Severity(row.severity).rank
                _say(row, causes[row.pk], started)
                if graver:
                    row.changed_at = timezone.now()
                    _note(row, Transition.MORE_SEVERE, SCHEDULER, row.changed_at)
                row.save(update_fields=[*SAID, "last_at", "changed_at"])
    return len(changed)


def _open(causes: Sequence[Cause], started: datetime) -> tuple[int, list[tuple[Problem, Cause]]]:
    """New rows. Also returns those that are there already: resolved earlier, or opened by another pass just now."""
    count = 0
    known: list[tuple[Problem, Cause]] = []
    for batch in _batches(causes):
        rows = [_new(cause, started) for cause in batch]
        with transaction.atomic():
            Problem.objects.bulk_create(rows, ignore_conflicts=True)
            made = list(Problem.objects.filter(uid__in=[row.uid for row in rows]))
            ProblemTransition.objects.bulk_create(
                [_transition(row, Transition.OPENED, SCHEDULER, started) for row in made]
            )
        count += len(made)
        if len(made) < len(batch):
            known += _known_before(batch, {row.uid for row in made})
    return count, known


def _known_before(causes: Sequence[Cause], made: set[UUID]) -> list[tuple[Problem, Cause]]:
    by_key = {cause.key: cause for cause in causes}
    rows = Problem.objects.filter(
        kind__in={cause.kind for cause in causes}, subject_id__in={cause.subject.id for cause in causes}
    ).exclude(uid__in=made)
    return [(row, by_key[_key(row)]) for row in rows if _key(row) in by_key]


def _reopen(pairs: Sequence[tuple[Problem, Cause]], started: datetime) -> int:
    """Those that are back, on the same row; unless another pass has resolved them after ours began."""
    causes = {row.pk: cause for row, cause in pairs}
    count = 0
    for batch in _batches([row for row, _ in pairs]):
        with transaction.atomic():
            for row in _locked(batch, _not_later("resolved_at", started), state=ProblemState.RESOLVED):
                now = timezone.now()
                _say(row, causes[row.pk], started)
                row.state, row.reopened = ProblemState.OPEN, row.reopened + 1
                row.opened_at, row.changed_at = causes[row.pk].since or now, now
                row.acknowledged_at, row.acknowledged_by = None, ""
                row.resolved_at, row.resolved_by, row.held_until = None, "", None
                row.save()
                _note(row, Transition.REOPENED, SCHEDULER, now)
                _trim(row)
                count += 1
    return count


SAID = ("severity", "message", "action", "sample", "evidence", "count", "subject_name")


def _said(cause: Cause) -> dict[str, object]:
    """What a row says of its cause."""
    return {
        "severity": cause.severity.value,
        "message": cause.message,
        "action": cause.action,
        "sample": cause.sample,
        "evidence": cause.evidence,
        "count": max(cause.count, 1),
        "subject_name": cause.subject.name[:200],
    }


def _differs(row: Problem, cause: Cause) -> bool:
    return any(getattr(row, name) != value for name, value in _said(cause).items())


def _say(row: Problem, cause: Cause, now: datetime) -> None:
    for name, value in _said(cause).items():
        setattr(row, name, value)
    row.last_at = now


def _new(cause: Cause, now: datetime) -> Problem:
    since = cause.since or now
    kind, subject_type, subject_id, name = cause.key
    return Problem(
        kind=kind,
        subject_type=subject_type,
        subject_id=subject_id,
        cause=name,
        account_id=cause.subject.account,
        subscription_id=cause.subject.subscription,
        first_at=since,
        opened_at=since,
        last_at=now,
        changed_at=timezone.now(),
        **_said(cause),
    )


def _key(row: Problem) -> Key:
    return (row.kind, row.subject_type, row.subject_id, row.cause)


def _locked(rows: Sequence[Problem], condition: Q, **more: object) -> Iterator[Problem]:
    """The rows as they are now, as far as the condition still holds; nobody changes them until the transaction ends."""
    keys = [row.pk for row in rows]
    return iter(list(Problem.objects.select_for_update().filter(condition, pk__in=keys, **more).order_by("pk")))


def _not_later(column: str, moment: datetime) -> Q:
    return not_after(column, moment, timezone.now())


def _transition(row: Problem, transition: Transition, actor: str, at: datetime) -> ProblemTransition:
    return ProblemTransition(
        problem=row,
        account_id=row.account_id,
        subject_id=row.subject_id,
        at=at,
        transition=transition,
        actor=actor[:200],
        severity=row.severity,
        message=row.message,
    )


def _note(row: Problem, transition: Transition, actor: str, at: datetime) -> None:
    _transition(row, transition, actor, at).save()


def _trim(row: Problem) -> None:
    if row.reopened % TRIM_EVERY == 0:
        last = row.transitions.order_by("-pk").values_list("pk", flat=True)[TURNS_KEPT:].first()
        row.transitions.filter(pk__lte=last or 0).delete()


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
