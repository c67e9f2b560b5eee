"""Detecting, acknowledging and resolving problems.

Detection is level-triggered: nothing "raises" a problem. The checks (`subscriptions.problems.registry`) report which
causes hold now; a pass compares them with the stored problems and opens, updates, resolves and reopens rows. A pass may
run at any time, in several processes at once, and again after a crash at any line: each change is conditional, in a
short transaction that also writes its transition.
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
from subscriptions.problems.registry import Cause, Key, NotKnownYet, all_sources, dismiss

logger = logging.getLogger(__name__)

HISTORY_KIND = "problem"  # the subject type in the audit trail
HEARTBEAT = "problems"  # the heartbeat of the last pass
PASS_INTERVAL = timedelta(seconds=8)  # shared by all processes
REOPEN_GRACE = timedelta(minutes=15)  # after a person resolves a problem, until it may reopen
TOUCH_INTERVAL = timedelta(seconds=30)  # between updates of `last_at` of an unchanged problem
BATCH_SIZE = 100  # rows per transaction
MAX_TRANSITIONS, TRIM_EVERY = 200, 50  # transitions kept per problem; reopenings between two deletions

T = TypeVar("T")


class NotActive(Conflict):
    """The problem has already been resolved."""


@dataclass(slots=True)
class PassResult:
    """What a pass changed."""

    opened: int = 0
    reopened: int = 0
    refreshed: int = 0
    resolved: int = 0
    unknown: frozenset[ProblemKind] = field(default_factory=frozenset)  # their checks failed; left unchanged


def detect(kinds: Collection[ProblemKind] = tuple(ProblemKind)) -> PassResult:
    """Update the stored problems of these kinds to the causes that hold now."""
    started = timezone.now()
    causes, unknown = _current_causes(frozenset(kinds), started)
    known = frozenset(kinds) - unknown
    result = PassResult(unknown=unknown)
    waiting = Q(state__in=ACTIVE) | Q(held_until__isnull=False)
    rows = {_key(row): row for row in Problem.objects.filter(waiting, kind__in=known)}
    holding = [(row, causes[key]) for key, row in rows.items() if key in causes]
    ended = [row for key, row in rows.items() if key not in causes]
    result.resolved = _resolve([row for row in ended if row.is_active], started)
    _clear_holds([row for row in ended if not row.is_active])
    result.refreshed = _refresh([pair for pair in holding if pair[0].is_active], started)
    result.reopened = _reopen([pair for pair in holding if _is_to_reopen(*pair, started)], started)
    unmatched = [cause for key, cause in causes.items() if key not in rows]
    result.opened, existing = _open(unmatched, started)
    result.reopened += _reopen([pair for pair in existing if _is_to_reopen(*pair, started)], started)
    return result


def detect_if_due(every: timedelta = PASS_INTERVAL) -> bool:
    """Run a pass unless any process began one within `every`. Return whether it ran."""
    due = Heartbeat.claim_run(HEARTBEAT, every)
    if due:
        detect()
    return due


@transaction.atomic
def acknowledge(problem: Problem, *, by: str) -> None:
    """Mark a problem as being worked on, which ends its reminders. Raises NotActive if it is resolved."""
    row = Problem.objects.select_for_update().get(pk=problem.pk)
    if row.state == ProblemState.RESOLVED:
        raise NotActive("The problem has already been resolved.")
    if row.state == ProblemState.OPEN:
        row.state, row.acknowledged_at, row.acknowledged_by = ProblemState.ACKNOWLEDGED, timezone.now(), by
        row.save(update_fields=["state", "acknowledged_at", "acknowledged_by"])
        _note(row, Transition.ACKNOWLEDGED, by, row.acknowledged_at)
        log.record(by, "acknowledged", HISTORY_KIND, subject_id=row.uid, name=str(row))
    problem.refresh_from_db()


@transaction.atomic
def resolve(problem: Problem, *, by: str) -> None:
    """Resolve a problem; do nothing if it is already resolved.

    It reopens if its cause still holds after REOPEN_GRACE, or with the next occurrence if it has evidence: the
    occurrences so far are dismissed.
    """
    row = Problem.objects.select_for_update().get(pk=problem.pk)
    if row.is_active:
        now = timezone.now()
        row.state, row.resolved_at, row.resolved_by = ProblemState.RESOLVED, now, by
        row.changed_at, row.held_until = now, now + REOPEN_GRACE
        row.save(update_fields=["state", "resolved_at", "resolved_by", "changed_at", "held_until"])
        dismiss(row)
        _note(row, Transition.RESOLVED, by, now)
        log.record(by, "resolved", HISTORY_KIND, subject_id=row.uid, name=str(row))
    problem.refresh_from_db()


def _current_causes(kinds: frozenset[ProblemKind], now: datetime) -> tuple[dict[Key, Cause], frozenset[ProblemKind]]:
    """Return the causes that hold now, and the kinds for which that is unknown because a check failed."""
    causes: dict[Key, Cause] = {}
    unknown: set[ProblemKind] = set()
    for source in all_sources():
        if not source.kinds & kinds:
            continue
        try:
            for cause in source.find(now):
                if cause.kind in kinds and _is_more_severe(cause, causes.get(cause.key)):
                    causes[cause.key] = cause
        except NotKnownYet:
            unknown |= source.kinds
        except Exception:
            # A failing check must neither resolve its own problems nor stop the other checks.
            logger.exception("The check for %s failed.", ", ".join(sorted(source.kinds)))
            unknown |= source.kinds
    return causes, frozenset(unknown & kinds)


def _is_more_severe(cause: Cause, other: Cause | None) -> bool:
    return other is None or cause.severity.rank > other.severity.rank


def _is_to_reopen(row: Problem, cause: Cause, now: datetime) -> bool:
    """Return whether a resolved problem, whose cause holds, reopens now."""
    if row.is_active:
        return False
    if row.held_until is None:
        return True
    if cause.evidence:  # only another occurrence counts
        return cause.evidence != row.evidence
    return not still_waits(row.held_until, REOPEN_GRACE, now)


def _resolve(rows: Sequence[Problem], started: datetime) -> int:
    """Resolve problems whose cause ended, unless another pass saw the cause after this one began. Return the number."""
    count = 0
    for batch in _batches(rows):
        with transaction.atomic():
            for row in _locked(batch, _written_by("last_at", started), state__in=ACTIVE):
                now = timezone.now()
                row.state, row.resolved_at, row.resolved_by, row.changed_at = ProblemState.RESOLVED, now, SCHEDULER, now
                row.save(update_fields=["state", "resolved_at", "resolved_by", "changed_at"])
                _note(row, Transition.RESOLVED, SCHEDULER, now)
                count += 1
    return count


def _clear_holds(rows: Sequence[Problem]) -> None:
    """End the grace period of resolved problems whose cause has ended: if it returns, the problem reopens at once."""
    for batch in _batches(rows):
        Problem.objects.filter(pk__in=[row.pk for row in batch], state=ProblemState.RESOLVED).update(held_until=None)


def _refresh(pairs: Sequence[tuple[Problem, Cause]], started: datetime) -> int:
    """Update active problems to their causes. Return how many changed; of the others only `last_at` is written."""
    changed = [pair for pair in pairs if _is_changed(*pair)]
    stale = [row for row, cause in pairs if not _is_changed(row, cause) and row.last_at <= started - TOUCH_INTERVAL]
    for batch in _batches(stale):
        keys = [row.pk for row in batch]
        Problem.objects.filter(pk__in=keys, state__in=ACTIVE, last_at__lt=started).update(last_at=started)
    causes = {row.pk: cause for row, cause in changed}
    for batch in _batches([row for row, _ in changed]):
        with transaction.atomic():
            for row in _locked(batch, _written_by("last_at", started), state__in=ACTIVE):
                more_severe = causes[row.pk].severity.rank > Severity(row.severity).rank
                _apply(row, causes[row.pk], started)
                if more_severe:
                    row.changed_at = timezone.now()
                    _note(row, Transition.MORE_SEVERE, SCHEDULER, row.changed_at)
                row.save(update_fields=[*CAUSE_FIELDS, "last_at", "changed_at"])
    return len(changed)


def _open(causes: Sequence[Cause], started: datetime) -> tuple[int, list[tuple[Problem, Cause]]]:
    """Open problems. Return how many were opened, and those that existed: resolved, or opened by another pass."""
    count = 0
    existing: list[tuple[Problem, Cause]] = []
    for batch in _batches(causes):
        rows = [_new(cause, started) for cause in batch]
        with transaction.atomic():
            Problem.objects.bulk_create(rows, ignore_conflicts=True)
            created = list(Problem.objects.filter(uid__in=[row.uid for row in rows]))
            ProblemTransition.objects.bulk_create(
                [_transition(row, Transition.OPENED, SCHEDULER, started) for row in created]
            )
        count += len(created)
        if len(created) < len(batch):
            existing += _existing(batch, {row.uid for row in created})
    return count, existing


def _existing(causes: Sequence[Cause], created: set[UUID]) -> list[tuple[Problem, Cause]]:
    by_key = {cause.key: cause for cause in causes}
    rows = Problem.objects.filter(
        kind__in={cause.kind for cause in causes}, subject_id__in={cause.subject.id for cause in causes}
    ).exclude(uid__in=created)
    return [(row, by_key[_key(row)]) for row in rows if _key(row) in by_key]


def _reopen(pairs: Sequence[tuple[Problem, Cause]], started: datetime) -> int:
    """Reopen problems on the same row, unless they were resolved after this pass began. Return the number."""
    causes = {row.pk: cause for row, cause in pairs}
    count = 0
    for batch in _batches([row for row, _ in pairs]):
        with transaction.atomic():
            for row in _locked(batch, _written_by("resolved_at", started), state=ProblemState.RESOLVED):
                now = timezone.now()
                _apply(row, causes[row.pk], started)
                row.state, row.reopened = ProblemState.OPEN, row.reopened + 1
                row.opened_at, row.changed_at = causes[row.pk].since or now, now
                row.acknowledged_at, row.acknowledged_by = None, ""
                row.resolved_at, row.resolved_by, row.held_until = None, "", None
                row.save()
                _note(row, Transition.REOPENED, SCHEDULER, now)
                _trim(row)
                count += 1
    return count


CAUSE_FIELDS = ("severity", "message", "action", "sample", "evidence", "count", "subject_name")


def _fields_of(cause: Cause) -> dict[str, object]:
    """Return the columns that a problem takes from its cause."""
    return {
        "severity": cause.severity.value,
        "message": cause.message,
        "action": cause.action,
        "sample": cause.sample,
        "evidence": cause.evidence,
        "count": max(cause.count, 1),
        "subject_name": cause.subject.name[:200],
    }


def _is_changed(row: Problem, cause: Cause) -> bool:
    return any(getattr(row, name) != value for name, value in _fields_of(cause).items())


def _apply(row: Problem, cause: Cause, now: datetime) -> None:
    for name, value in _fields_of(cause).items():
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
        **_fields_of(cause),
    )


def _key(row: Problem) -> Key:
    return (row.kind, row.subject_type, row.subject_id, row.cause)


def _locked(rows: Sequence[Problem], condition: Q, **more: object) -> Iterator[Problem]:
    """Return the current rows that still meet the condition, locked until the transaction ends."""
    keys = [row.pk for row in rows]
    return iter(list(Problem.objects.select_for_update().filter(condition, pk__in=keys, **more).order_by("pk")))


def _written_by(column: str, moment: datetime) -> Q:
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
        last = row.transitions.order_by("-pk").values_list("pk", flat=True)[MAX_TRANSITIONS:].first()
        row.transitions.filter(pk__lte=last or 0).delete()


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE))
