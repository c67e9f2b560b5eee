"""Causes of problems, and the registry of the checks that find them.

Each app registers its own checks when it is ready, so that imports keep pointing down:

    @source(ProblemKind.QUARANTINE)
    def quarantined(now: datetime) -> Iterator[Cause]: ...

A check only reads stored facts. It yields every cause that holds at this moment; the problem of a cause that it no
longer yields is resolved. It makes a fixed number of queries and reads only the rows with a problem. Its texts contain
no relative times (`3 min ago`), because they would change the row at every pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from providers.models import ProviderAccount
from subscriptions.models import Problem, ProblemKind, Severity, SubjectType, Subscription

Key = tuple[str, str, str, str]  # kind, subject type, subject ID, name of the cause: identifies a problem


@dataclass(frozen=True, slots=True)
class Subject:
    """What a problem is about."""

    type: SubjectType
    id: str = ""
    name: str = ""
    account: int | None = None  # primary keys
    subscription: int | None = None


INSTALLATION = Subject(SubjectType.INSTALLATION, name="This installation")


def about_account(account: ProviderAccount) -> Subject:
    """Return an account as a subject."""
    return Subject(SubjectType.ACCOUNT, str(account.uid), account.name, account.pk)


def about_subscription(row: Subscription) -> Subject:
    """Return a subscription as a subject."""
    return Subject(SubjectType.SUBSCRIPTION, str(row.uid), str(row), row.account_id, row.pk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is wrong now.

    `name` distinguishes several causes of one kind with one subject. `count` is the number of occurrences as the check
    counts them (attempts, requests), `since` the time at which it began, where that is known.

    `evidence` is set for causes that consist of single occurrences, such as requests. It changes with each, so that a
    problem that a person has resolved stays resolved until the next occurrence.
    """

    kind: ProblemKind
    subject: Subject
    severity: Severity
    message: str
    name: str = ""
    count: int = 1
    since: datetime | None = None
    sample: Any = None
    evidence: str = ""
    action: str = ""  # replaces the advice for the kind

    @property
    def key(self) -> Key:
        """Return what identifies the problem."""
        return (self.kind.value, self.subject.type.value, self.subject.id, self.name)


class NotKnownYet(Exception):
    """Raised by a check that cannot tell yet; its problems stay as they are."""


Check = Callable[[datetime], Iterable[Cause]]


@dataclass(frozen=True, slots=True)
class Source:
    """A check, and the kinds of problem that it finds."""

    find: Check
    kinds: frozenset[ProblemKind]


_sources: dict[str, Source] = {}


def source(*kinds: ProblemKind) -> Callable[[Check], Check]:
    """Register a function as a check for these kinds. Several checks may share a kind."""

    def register(find: Check) -> Check:
        _sources[f"{find.__module__}.{find.__qualname__}"] = Source(find, frozenset(kinds))
        return find

    return register


Dismissal = Callable[[Problem], None]
_dismissals: dict[ProblemKind, Dismissal] = {}


def dismissal(*kinds: ProblemKind) -> Callable[[Dismissal], Dismissal]:
    """Register a function that dismisses what a problem of these kinds is about, when a person resolves it."""

    def register(dismiss: Dismissal) -> Dismissal:
        _dismissals.update(dict.fromkeys(kinds, dismiss))
        return dismiss

    return register


def dismiss(problem: Problem) -> None:
    """Dismiss what the problem is about, if its kind has such a function. Runs in the caller's transaction."""
    function = _dismissals.get(ProblemKind(problem.kind))
    if function is not None:
        function(problem)


def all_sources() -> tuple[Source, ...]:
    """Return every registered check with its kinds."""
    return tuple(_sources.values())
