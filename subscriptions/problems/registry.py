"""Causes of problems, and the sources that find them. A source only reads facts that are written on rows.

Each app registers its own sources when it is ready, so that imports keep pointing down:

    @source(ProblemKind.QUARANTINE)
    def quarantined(now: datetime) -> Iterator[Cause]: ...

A source yields what holds at this moment, all of it; what it no longer yields is resolved. It costs a fixed number of
queries over rows that are in trouble, however many are healthy. Its words hold no times that run (`3 min ago`), or the
row would be written at every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from providers.models import ProviderAccount
from subscriptions.models import ProblemKind, Severity, SubjectType, Subscription

Key = tuple[str, str, str, str]  # kind, subject's type and id, cause: what makes a problem one


@dataclass(frozen=True, slots=True)
class Subject:
    """What a cause is about."""

    type: SubjectType
    id: str = ""
    name: str = ""
    account: int | None = None  # primary keys
    subscription: int | None = None


INSTALLATION = Subject(SubjectType.INSTALLATION, name="This installation")


def about_account(account: ProviderAccount) -> Subject:
    """That account."""
    return Subject(SubjectType.ACCOUNT, str(account.uid), account.name, account.pk)


def about_subscription(row: Subscription) -> Subject:
    """That subscription."""
    return Subject(SubjectType.SUBSCRIPTION, str(row.uid), str(row), row.account_id, row.pk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong now. `name` tells several of one kind with one subject apart; `count` is how often, as
    its source counts (tries, requests); `since` when it began, where that is known.

    `evidence` is for what happens in single events, such as requests: it changes with each, so that one which a person
    has resolved stays so until the next."""

    kind: ProblemKind
    subject: Subject
    severity: Severity
    message: str
    name: str = ""
    count: int = 1
    since: datetime | None = None
    sample: Any = None
    evidence: str = ""
    action: str = ""  # instead of what the kind advises

    @property
    def key(self) -> Key:
        """What makes it one problem."""
        return (self.kind.value, self.subject.type.value, self.subject.id, self.name)


class NotKnownYet(Exception):
    """A source cannot tell yet: its problems stay as they are."""


Find = Callable[[datetime], Iterable[Cause]]


@dataclass(frozen=True, slots=True)
class Source:
    """Finds all causes of some kinds."""

    find: Find
    kinds: frozenset[ProblemKind]


_sources: dict[str, Source] = {}


def source(*kinds: ProblemKind) -> Callable[[Find], Find]:
    """Registers a function as the source of these kinds. Several sources may share a kind."""

    def register(find: Find) -> Find:
        _sources[f"{find.__module__}.{find.__qualname__}"] = Source(find, frozenset(kinds))
        return find

    return register


def all_sources() -> tuple[Source, ...]:
    """Every source that was registered."""
    return tuple(_sources.values())
