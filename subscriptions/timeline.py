"""The timeline of an account or a subscription: operations, state changes, actions, problems, newest first.

Each source has its own rows, and they are merged when the timeline is read. That is cheap because every row's ID is a
UUIDv7: the IDs of all tables are ordered by time, so an ID is a position in all of them, and each source reads one page
from an index. A sync that finds nothing new writes no row, so it does not appear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from providers.models import HistoryEntry, ProviderAccount, StateChange
from subscriptions.models import Operation, Problem, ProblemTransition, Subscription, Transition

M = TypeVar("M", bound=Model)
Subject = Subscription | ProviderAccount

OPERATION, STATE, ACTION, SECRET, PROBLEM = "operation", "state", "action", "secret", "problem"
WITHOUT_REASON = (Transition.ACKNOWLEDGED, Transition.RESOLVED)  # the message is on the entry that opened the problem


@dataclass(frozen=True, slots=True)
class SubscriptionName:
    """The subscription of an entry on an account's timeline."""

    pk: int
    uid: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a timeline. `key` is the UUIDv7 of its row, which is also its position.

    `status` is the resulting state, if any. `times` and `last_at` are set for an entry that stands for several.
    """

    key: UUID
    at: datetime
    kind: str
    title: str
    actor: str
    reason: str = ""
    status: str | None = None
    changes: Sequence[Mapping[str, object]] = ()
    operation: Operation | None = None
    problem: Problem | None = None
    times: int = 1
    last_at: datetime | None = None
    subscription: UUID | None = None
    about: SubscriptionName | None = None  # filled in by the timeline

    @property
    def icon(self) -> str:
        """The icon of its kind."""
        return kinds()[self.kind].icon


@dataclass(frozen=True, slots=True)
class Span:
    """The part of a timeline to read: the `count` entries nearest to a position, below or above it.

    `kinds` are the requested kinds of the source.
    """

    count: int
    below: UUID | None = None
    above: UUID | None = None
    kinds: frozenset[str] = frozenset()

    def cut(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Return the rows within the span. They need a `uid` and an index that ends with it."""
        if self.below is not None:
            rows = rows.filter(uid__lt=self.below)
        if self.above is not None:
            return rows.filter(uid__gt=self.above).order_by("uid")[: self.count]
        return rows.order_by("-uid")[: self.count]


@dataclass(frozen=True, slots=True)
class Kind:
    """The label and the icon (a Material symbol) of a kind of entry."""

    label: str
    icon: str


@dataclass(frozen=True, slots=True)
class Source:
    """A source of entries: the kinds that it yields, and a function that returns its entries within a span."""

    kinds: Mapping[str, Kind]
    read: Callable[[Subject, Span], Iterable[Entry]]


_sources: list[Source] = []


def register(source: Source) -> None:
    """Register a source. Apps above this one may register theirs when they are ready."""
    _sources.append(source)


def kinds() -> dict[str, Kind]:
    """Return every kind of entry by name."""
    return {name: kind for source in _sources for name, kind in source.kinds.items()}


@dataclass(frozen=True, slots=True)
class Timeline:
    """The timeline of one account or subscription, with the kinds in `only`, or with all if it is empty."""

    subject: Subject
    only: frozenset[str] = field(default_factory=frozenset)

    def part(self, count: int, *, below: UUID | None = None, above: UUID | None = None) -> list[Entry]:
        """Return the `count` entries next to a position, newest first; the newest ones without a position."""
        entries: list[Entry] = []
        for source in _sources:
            requested = frozenset(source.kinds) & self.only if self.only else frozenset(source.kinds)
            if requested:
                entries += source.read(self.subject, Span(count, below, above, requested))
        entries.sort(key=lambda entry: entry.key, reverse=True)
        nearest = entries[-count:] if above is not None else entries[:count]
        return _with_names(nearest)

    def keyed(self, count: int, *, key: int | None, back: bool) -> list[tuple[int, Entry]]:
        """Return the entries next to a key, nearest first, for pagination by key."""
        position = None if key is None else UUID(int=key)
        entries = self.part(count, above=position)[::-1] if back else self.part(count, below=position)
        return [(entry.key.int, entry) for entry in entries]


def subject_filter(subject: Subject) -> Q:
    """Return a filter for rows with `account` and `subject_id`: all of an account, or those of one subscription."""
    if isinstance(subject, ProviderAccount):
        return Q(account=subject.pk)
    return Q(subject_id=str(subject.uid))


def _operations(subject: Subject, span: Span) -> Iterable[Entry]:
    owner = Q(account=subject.pk) if isinstance(subject, ProviderAccount) else Q(subscription=subject.pk)
    rows = Operation.objects.filter(owner).select_related("subscription").defer("request", "response")
    for row in span.cut(rows.defer("subscription__secrets", "request", "response")):
        yield Entry(
            key=row.uid,
            at=row.started_at,
            kind=OPERATION,
            title=row.action,
            reason=" ".join(text for text in (row.reason, row.error) if text),
            actor=row.actor,
            status=row.status,
            operation=row,
            subscription=row.subscription.uid,
        )


def _states(subject: Subject, span: Span) -> Iterable[Entry]:
    for row in span.cut(StateChange.objects.filter(subject_filter(subject))):
        yield Entry(
            key=row.uid,
            at=row.at,
            kind=STATE,
            title=f"became {row.after}",
            reason=row.reason,
            actor=row.actor,
            status=row.after,
            changes=({"field": "state", "from": row.before, "to": row.after},),
            times=row.times,
            last_at=row.last_at if row.times > 1 else None,
            subscription=_subscription_of(row),
        )


def _history(subject: Subject, span: Span) -> Iterable[Entry]:
    rows = HistoryEntry.objects.filter(subject_filter(subject))
    secret = Q(action__contains=SECRET)
    if len(span.kinds) == 1:
        rows = rows.filter(secret) if SECRET in span.kinds else rows.exclude(secret)
    for row in span.cut(rows):
        is_about_subject = row.subject_type in (Subscription.subject, ProviderAccount.subject)
        yield Entry(
            key=row.uid,
            at=row.at,
            kind=SECRET if SECRET in row.action else ACTION,
            title=row.action if is_about_subject else f"{row.subject_type} {row.action}",
            actor=row.actor,
            changes=row.changes,
            subscription=_subscription_of(row),
        )


def _problems(subject: Subject, span: Span) -> Iterable[Entry]:
    rows = ProblemTransition.objects.filter(subject_filter(subject)).select_related("problem__subscription")
    for row in span.cut(rows.defer("problem__sample", "problem__subscription__secrets")):
        subscription = row.problem.subscription
        yield Entry(
            key=row.uid,
            at=row.at,
            kind=PROBLEM,
            title=f"{row.problem.get_kind_display()}: {row.get_transition_display().lower()}",
            reason="" if row.transition in WITHOUT_REASON else row.message,
            actor=row.actor,
            problem=row.problem,
            subscription=subscription.uid if subscription else None,
        )


def _subscription_of(row: StateChange | HistoryEntry) -> UUID | None:
    return UUID(row.subject_id) if row.subject_type == Subscription.subject else None


def _with_names(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with their subscriptions, which are read by one query."""
    uids = {entry.subscription for entry in entries if entry.subscription}
    rows: Iterable[Any] = Subscription.objects.filter(uid__in=uids).values_list("pk", "uid", "name") if uids else ()
    named = {uid: SubscriptionName(pk, uid, name or str(uid)) for pk, uid, name in rows}
    return [replace(entry, about=named.get(entry.subscription) if entry.subscription else None) for entry in entries]


register(Source({OPERATION: Kind("Operations", "sync_alt")}, _operations))
register(Source({STATE: Kind("State changes", "flag")}, _states))
register(Source({ACTION: Kind("Actions", "person"), SECRET: Kind("Secrets", "key")}, _history))
register(Source({PROBLEM: Kind("Problems", "report")}, _problems))
