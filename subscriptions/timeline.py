"""The whole story of an account or a subscription: what was done at the provider, how the state changed, what people
and programs did, and whatever else has registered a source. Newest first, for ever.

Nothing is copied for it: each source keeps its own rows, and they are merged when somebody reads. That is cheap because
every row's id is a UUIDv7: ids of all tables follow time, so one id is the place in all of them, and each source reads
one page from an index. Looks that find nothing new leave no row anywhere, so they never appear."""

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
WITHOUT_WORDS = (Transition.ACKNOWLEDGED, Transition.RESOLVED)  # what it was about stands where it was opened


@dataclass(frozen=True, slots=True)
class Named:
    """The subscription that an entry on an account's timeline is about."""

    pk: int
    uid: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened. `key` is the UUIDv7 of its row, and its place.

    `what` is a word or two, `why` the reason in a sentence. `status` is the word of state that it came to, if any.
    `times` and `last_at` tell of one that stands for several."""

    key: UUID
    at: datetime
    kind: str
    what: str
    actor: str
    why: str = ""
    status: str | None = None
    changes: Sequence[Mapping[str, object]] = ()
    operation: Operation | None = None
    problem: Problem | None = None
    times: int = 1
    last_at: datetime | None = None
    subscription: UUID | None = None
    about: Named | None = None  # filled in by the timeline

    @property
    def icon(self) -> str:
        """That of its kind."""
        return kinds()[self.kind].icon


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a timeline is read: below or above a place, the nearest `count`. `kinds` are those of the source
    that are asked for."""

    count: int
    below: UUID | None = None
    above: UUID | None = None
    kinds: frozenset[str] = frozenset()

    def cut(self, rows: QuerySet[M]) -> QuerySet[M]:
        """These rows within the span; they have a `uid`, and an index that ends with it."""
        if self.below is not None:
            rows = rows.filter(uid__lt=self.below)
        if self.above is not None:
            return rows.filter(uid__gt=self.above).order_by("uid")[: self.count]
        return rows.order_by("-uid")[: self.count]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entry for people: what it is called, and its icon (a Material symbol)."""

    words: str
    icon: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where entries come from. `kinds` names what it yields; `read` gives its entries within a span."""

    kinds: Mapping[str, Kind]
    read: Callable[[Subject, Span], Iterable[Entry]]


_sources: list[Source] = []


def register(source: Source) -> None:
    """Adds a source. An app does this when it is ready; apps above this one may add theirs."""
    _sources.append(source)


def kinds() -> dict[str, Kind]:
    """Every kind of entry."""
    return {name: kind for source in _sources for name, kind in source.kinds.items()}


@dataclass(frozen=True, slots=True)
class Timeline:
    """One account's or subscription's, narrowed to some kinds; none: all."""

    subject: Subject
    only: frozenset[str] = field(default_factory=frozenset)

    def part(self, count: int, *, below: UUID | None = None, above: UUID | None = None) -> list[Entry]:
        """The `count` entries next to a place, newest first; without one, the newest."""
        found: list[Entry] = []
        for source in _sources:
            asked = frozenset(source.kinds) & self.only if self.only else frozenset(source.kinds)
            if asked:
                found += source.read(self.subject, Span(count, below, above, asked))
        found.sort(key=lambda entry: entry.key, reverse=True)
        nearest = found[-count:] if above is not None else found[:count]
        return _named(nearest)

    def keyed(self, count: int, *, key: int | None, back: bool) -> list[tuple[int, Entry]]:
        """For pages by key: the entries next to the one with that key, in the order in which they are met."""
        place = None if key is None else UUID(int=key)
        entries = self.part(count, above=place)[::-1] if back else self.part(count, below=place)
        return [(entry.key.int, entry) for entry in entries]


def subject_filter(subject: Subject) -> Q:
    """For rows with `account` and `subject_id`: all of an account, or those about one subscription."""
    if isinstance(subject, ProviderAccount):
        return Q(account=subject.pk)
    return Q(subject_id=str(subject.uid))


def _operations(subject: Subject, span: Span) -> Iterable[Entry]:
    of = Q(account=subject.pk) if isinstance(subject, ProviderAccount) else Q(subscription=subject.pk)
    rows = Operation.objects.filter(of).select_related("subscription").defer("request", "response")
    for row in span.cut(rows.defer("subscription__secrets", "request", "response")):
        yield Entry(
            key=row.uid,
            at=row.started_at,
            kind=OPERATION,
            what=row.action,
            why=" ".join(text for text in (row.reason, row.error) if text),
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
            what=f"became {row.after}",
            why=row.reason,
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
        is_about_it = row.subject_type in (Subscription.subject, ProviderAccount.subject)
        yield Entry(
            key=row.uid,
            at=row.at,
            kind=SECRET if SECRET in row.action else ACTION,
            what=row.action if is_about_it else f"{row.subject_type} {row.action}",
            actor=row.actor,
            changes=row.changes,
            subscription=_subscription_of(row),
        )


def _problems(subject: Subject, span: Span) -> Iterable[Entry]:
    rows = ProblemTransition.objects.filter(subject_filter(subject)).select_related("problem__subscription")
    for row in span.cut(rows.defer("problem__sample", "problem__subscription__secrets")):
        about = row.problem.subscription
        yield Entry(
            key=row.uid,
            at=row.at,
            kind=PROBLEM,
            what=f"{row.problem.get_kind_display()}: {row.get_transition_display().lower()}",
            why="" if row.transition in WITHOUT_WORDS else row.message,
            actor=row.actor,
            problem=row.problem,
            subscription=about.uid if about else None,
        )


def _subscription_of(row: StateChange | HistoryEntry) -> UUID | None:
    return UUID(row.subject_id) if row.subject_type == Subscription.subject else None


def _named(entries: Sequence[Entry]) -> list[Entry]:
    """With the subscriptions that they are about, by one query."""
    uids = {entry.subscription for entry in entries if entry.subscription}
    found: Iterable[Any] = Subscription.objects.filter(uid__in=uids).values_list("pk", "uid", "name") if uids else ()
    named = {uid: Named(pk, uid, name or str(uid)) for pk, uid, name in found}
    return [replace(entry, about=named.get(entry.subscription) if entry.subscription else None) for entry in entries]


register(Source({OPERATION: Kind("Operations at the provider", "sync_alt")}, _operations))
register(Source({STATE: Kind("Changes of state", "flag")}, _states))
register(Source({ACTION: Kind("What people and programs did", "person"), SECRET: Kind("Secrets", "key")}, _history))
register(Source({PROBLEM: Kind("Problems", "report")}, _problems))
