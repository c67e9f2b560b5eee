"""What is wrong with subscriptions, accounts and the installation, told from the facts on their rows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from providers.models import AccountLimit, AccountStatus, ProviderAccount
from subscriptions.causes import (
    INSTALLATION,
    Cause,
    NotKnownYet,
    about_account,
    about_subscription,
    source,
)
from subscriptions.models import Channel, Heartbeat, Managed, State, Subscription
from subscriptions.problem_models import ProblemKind, Severity

QUIET_TRIES = 3  # failed ones in a row, before something that may pass by itself is worth a person's time
WARN_BELOW = 0.25  # of the granted life is left and it is not renewed yet
ALARM_BELOW = 0.12
SWEPT_WITHIN = timedelta(seconds=10)  # what ended within that time is being registered again right now
OFTEN_SUSPENDED = 3
SHORT_PAUSE, LONG_PAUSE = timedelta(minutes=1), timedelta(minutes=15)  # that a provider asks for
DOWN_AFTER = timedelta(seconds=60)  # without a sign of life

# Errors of subscriptions that are their account's trouble: one problem for all of them.
OF_ACCOUNT = {
    "authentication_failed": ProblemKind.CREDENTIALS,
    "permission_missing": ProblemKind.PERMISSION,
    "throttled": ProblemKind.THROTTLED,
    "unavailable": ProblemKind.UNREACHABLE,
    "bad_answer": ProblemKind.UNREACHABLE,
    "address_refused": ProblemKind.UNREACHABLE,
}
PASSING = ("throttled", "unavailable", "bad_answer")  # errors that often heal by themselves

_started = time.monotonic()


def _living() -> QuerySet[Subscription]:
    """Subscriptions with what a problem tells of them, and nothing that has to be decrypted."""
    return (
        Subscription.objects.filter(deleted_at=None)
        .select_related("account")
        .only(
            *("uid", "name", "account__uid", "account__name", "state", "state_reason", "last_error", "failures"),
            *("enabled", "auto_renew", "managed", "remote_id", "expires_at", "granted", "renew_at"),
            *("missing_since", "drift", "suspended_count", "last_reconciled_at"),
        )
    )


# -- Leases ------------------------------------------------------------------------------------------------------------


@source(ProblemKind.EXPIRING, ProblemKind.EXPIRED)
def leases(now: datetime) -> Iterator[Cause]:
    """Leases that run out although they should have been renewed, or that nobody renews; and those that ended."""
    due = Q(renew_at__lte=now) | Q(state=State.EXPIRED)
    for row in _living().filter(due, present=True, enabled=True, managed=Managed.API, expires_at__isnull=False):
        if row.remote_id is None or row.expires_at is None:
            continue
        cause = _expired(row, now) if row.expires_at <= now else _expiring(row, now)
        if cause:
            yield cause


def _expired(row: Subscription, now: datetime) -> Cause | None:
    if row.state != State.EXPIRED and row.expires_at and row.expires_at > now - SWEPT_WITHIN:
        return None
    return Cause(
        kind=ProblemKind.EXPIRED,
        subject=about_subscription(row),
        severity=Severity.CRITICAL,
        message=_sentences(f"Its lease ended at {_time(row.expires_at)}; no events come.", _error_of(row)),
        count=max(row.failures, 1),
        since=row.expires_at,
        sample=row.last_error,
        action="" if row.auto_renew else "Renew it now, or let it be renewed by itself.",
    )


def _expiring(row: Subscription, now: datetime) -> Cause | None:
    """Quiet for the first tries; a warning while there is time; an alarm when little of the granted life is left."""
    left = lease_left(row, now)
    if left <= ALARM_BELOW:
        severity = Severity.CRITICAL
    elif left <= WARN_BELOW or row.failures >= QUIET_TRIES or not row.auto_renew:
        severity = Severity.WARNING
    else:
        return None
    tries = f"{row.failures} tries to renew it failed." if row.failures > 1 else ""
    why = tries if row.auto_renew else "It is not renewed by itself."
    return Cause(
        kind=ProblemKind.EXPIRING,
        subject=about_subscription(row),
        severity=severity,
        message=_sentences(f"Its lease ends at {_time(row.expires_at)}.", why, _error_of(row)),
        count=max(row.failures, 1),
        since=row.renew_at,
        sample=row.last_error,
        action="" if row.auto_renew else "Renew it now, or let it be renewed by itself.",
    )


def lease_left(row: Subscription, now: datetime) -> float:
    """Which part of the granted life is left, 0 to 1. Where it is not known how much was granted, a day counts as a
    quarter."""
    if row.expires_at is None:
        return 1.0
    whole = row.granted or timedelta(days=4)
    return max((row.expires_at - now) / whole, 0.0) if whole else 0.0


# -- States and errors -------------------------------------------------------------------------------------------------


@source(ProblemKind.SUSPENDED, ProblemKind.MISSING, ProblemKind.DRIFTED)
def states(now: datetime) -> Iterator[Cause]:
    """What is not at the provider as it is wanted."""
    for row in _living().filter(state__in=(State.SUSPENDED, State.MISSING, State.DRIFTED)):
        yield _state_cause(row)


def _state_cause(row: Subscription) -> Cause:
    often = row.suspended_count >= OFTEN_SUSPENDED
    severity = {
        State.MISSING: Severity.CRITICAL,
        State.SUSPENDED: Severity.CRITICAL if often else Severity.WARNING,
    }.get(State(row.state), Severity.WARNING)
    counts = {State.SUSPENDED: row.suspended_count, State.DRIFTED: len(row.drift)}
    return Cause(
        kind=ProblemKind(row.state),
        subject=about_subscription(row),
        severity=severity,
        message=row.state_reason,
        count=counts.get(State(row.state), row.failures),
        since=row.missing_since if row.state == State.MISSING else None,
        sample=row.drift if row.state == State.DRIFTED else row.last_error,
    )


@source(
    ProblemKind.FAILING,
    ProblemKind.CREDENTIALS,
    ProblemKind.PERMISSION,
    ProblemKind.THROTTLED,
    ProblemKind.UNREACHABLE,
)
def errors(now: datetime) -> Iterator[Cause]:
    """What providers refuse. Troubles of an account are one problem, however many subscriptions feel them."""
    groups: defaultdict[tuple[int, ProblemKind], list[Subscription]] = defaultdict(list)
    for row in _living().filter(Q(last_error__isnull=False) | Q(state=State.FAILING)).order_by("pk"):
        code = (row.last_error or {}).get("code", "")
        if code in OF_ACCOUNT:
            groups[row.account_id, OF_ACCOUNT[code]].append(row)
        elif not _told_otherwise(row, now):
            yield _failing(row)
    failing = {account.pk: account for account in _failing_accounts()}
    for (key, kind), rows in groups.items():
        cause = _of_account(kind, rows)
        if kind is ProblemKind.CREDENTIALS:
            failing.pop(key, None)
        if cause:
            yield cause
    for account in failing.values():
        if (account.pk, ProblemKind.PERMISSION) not in groups:
            yield _account_cause(account)
    yield from _paused(now, {key for key, kind in groups if kind is ProblemKind.THROTTLED})


def _told_otherwise(row: Subscription, now: datetime) -> bool:
    """Whether another kind tells of it already, with the same error."""
    if row.state in (State.EXPIRED, State.SUSPENDED, State.MISSING, State.DRIFTED):
        return True
    in_renewal = row.renew_at is not None and row.renew_at <= now and row.enabled and row.managed == Managed.API
    return bool(in_renewal and row.remote_id and _expiring(row, now))


def _failing(row: Subscription) -> Cause:
    return Cause(
        kind=ProblemKind.FAILING,
        subject=about_subscription(row),
        severity=Severity.WARNING,
        message=row.state_reason or _error_of(row),
        count=max(row.failures, 1),
        sample=row.last_error,
    )


def _of_account(kind: ProblemKind, rows: Sequence[Subscription]) -> Cause | None:
    """One cause for all subscriptions of an account that the same trouble hits."""
    first = rows[0]
    if (first.last_error or {}).get("code") in PASSING and max(row.failures for row in rows) < QUIET_TRIES:
        return None
    hit = f"{len(rows)} subscriptions are affected." if len(rows) > 1 else f"Affected: {first}."
    severity = Severity.CRITICAL if kind is ProblemKind.CREDENTIALS else Severity.WARNING
    return Cause(
        kind=kind,
        subject=about_account(first.account),
        severity=severity,
        message=_sentences(_error_of(first), hit),
        count=sum(max(row.failures, 1) for row in rows),
        sample={"subscription": str(first), **(first.last_error or {})},
    )


def _failing_accounts() -> QuerySet[ProviderAccount]:
    return ProviderAccount.objects.filter(status=AccountStatus.FAILING).only("uid", "name", "status_reason")


def _account_cause(account: ProviderAccount) -> Cause:
    return Cause(
        kind=ProblemKind.CREDENTIALS,
        subject=about_account(account),
        severity=Severity.CRITICAL,
        message=account.status_reason or "The provider refuses this account.",
    )


def _paused(now: datetime, told: set[int]) -> Iterator[Cause]:
    """Accounts whose provider asked for a long pause."""
    limits = AccountLimit.objects.filter(blocked_until__gt=now + SHORT_PAUSE, account__deleted_at=None)
    for limit in limits.select_related("account").only("blocked_at", "blocked_until", "account__uid", "account__name"):
        if limit.account_id in told or limit.blocked_until is None:
            continue
        long = limit.blocked_at is None or limit.blocked_until - limit.blocked_at > LONG_PAUSE
        yield Cause(
            kind=ProblemKind.THROTTLED,
            subject=about_account(limit.account),
            severity=Severity.WARNING if long else Severity.INFO,
            message=f"The provider wants no calls until {_time(limit.blocked_until)}.",
            since=limit.blocked_at,
        )


# -- The installation --------------------------------------------------------------------------------------------------


@source(ProblemKind.WORKER_DOWN, ProblemKind.SCHEDULER_DOWN)
def heartbeats(now: datetime) -> Iterator[Cause]:
    """Parts that show no life. Just after a start nothing can be said: everything was down until then."""
    beats = dict(Heartbeat.objects.filter(name__in=("worker", "scheduler")).values_list("name", "at"))
    silent = [name for name in ("scheduler", "worker") if name not in beats or now - beats[name] > DOWN_AFTER]
    if silent and time.monotonic() - _started < DOWN_AFTER.total_seconds():
        raise NotKnownYet
    if "scheduler" in silent:
        yield Cause(
            kind=ProblemKind.SCHEDULER_DOWN,
            subject=INSTALLATION,
            severity=Severity.CRITICAL,
            message=f"Nothing is renewed or repaired: no sign of life from the scheduler {_since(beats, 'scheduler')}.",
            since=beats.get("scheduler"),
        )
    if "worker" in silent:
        alone = "scheduler" not in silent
        yield Cause(
            kind=ProblemKind.WORKER_DOWN,
            subject=INSTALLATION,
            severity=Severity.WARNING if alone else Severity.CRITICAL,
            message=_sentences(
                f"No worker answers messages: no sign of life {_since(beats, 'worker')}.",
                "The scheduler runs, so the message broker may be what is down; work goes on without it."
                if alone
                else "",
            ),
            since=beats.get("worker"),
        )


def _since(beats: dict[str, datetime], name: str) -> str:
    return f"since {_time(beats[name])}" if name in beats else "yet"


@source(ProblemKind.NOTIFYING)
def channels(now: datetime) -> Iterator[Cause]:
    """Channels that tell nobody anything. The other channels say so."""
    for channel in Channel.objects.filter(enabled=True, failures__gte=QUIET_TRIES).only("uid", "name", "last_error"):
        yield Cause(
            kind=ProblemKind.NOTIFYING,
            subject=INSTALLATION,
            severity=Severity.WARNING,
            name=str(channel.uid),
            message=f"The channel {channel.name} reaches nobody: {channel.last_error}",
        )


# -- Words -------------------------------------------------------------------------------------------------------------


def _error_of(row: Subscription) -> str:
    return str((row.last_error or {}).get("message", "")) or ("" if row.last_error else row.state_reason)


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _time(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "an unknown time"
