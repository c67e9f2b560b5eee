"""What is wrong with subscriptions, accounts and the installation, told from the facts on their rows."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q, QuerySet

from providers.dashboard.formatting import sentences
from providers.models import AccountLimit, AccountStatus, ProviderAccount
from providers.times import readable_time
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import Channel, Heartbeat, Managed, ProblemKind, Severity, State, Subscription
from subscriptions.planning.plan import DriftPolicy, Wait
from subscriptions.problems.registry import INSTALLATION, Cause, NotKnownYet, about_account, about_subscription, source

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

ONLY_REPORTED = "Compare the fields; then set them right at the provider, or change the subscription to what is there."

_started = time.monotonic()


def _living() -> QuerySet[Subscription]:
    """Subscriptions with what a problem tells of them, and nothing that has to be decrypted."""
    return (
        Subscription.objects.filter(deleted_at=None)
        .select_related("account")
        .only(
            *("uid", "name", "account__uid", "account__name", "state", "state_reason", "last_error", "failures"),
            *("enabled", "auto_renew", "managed", "remote_id", "expires_at", "granted", "renew_at"),
            *("missing_since", "drift", "drift_policy", "suspended_count", "gave_up_at"),
            *("renewal_failing_since", "renewal_tries"),
            *("account__calls_paused_for", "account__calls_paused_reason", "account__calls_paused_since"),
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
        message=sentences(f"Its lease ended at {readable_time(row.expires_at)}; no events come.", _error_of(row)),
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
    elif left <= WARN_BELOW or row.renewal_tries >= QUIET_TRIES or not row.auto_renew:
        severity = Severity.WARNING
    else:
        return None
    tries = f"{row.renewal_tries} tries to renew it failed." if row.renewal_tries > 1 else ""
    why = tries if row.auto_renew else "It is not renewed by itself."
    return Cause(
        kind=ProblemKind.EXPIRING,
        subject=about_subscription(row),
        severity=severity,
        message=sentences(f"Its lease ends at {readable_time(row.expires_at)}.", why, _error_of(row)),
        count=max(row.renewal_tries, 1),
        since=row.renewal_failing_since or row.renew_at,
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
    often = row.suspended_count >= OFTEN_SUSPENDED or row.gave_up_at is not None
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
        action=ONLY_REPORTED if row.state == State.DRIFTED and row.drift_policy == DriftPolicy.REPORT else "",
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
    for account in _troubled_accounts():
        kind = OF_ACCOUNT.get(account.calls_paused_for, ProblemKind.FAILING)
        if (account.pk, kind) not in groups:
            yield _account_cause(account, kind)
    for (_, kind), rows in groups.items():
        cause = _of_account(kind, rows)
        if cause:
            yield cause
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
        message=_error_of(row) or row.state_reason,
        count=max(row.failures, 1),
        sample=row.last_error,
    )


def _of_account(kind: ProblemKind, rows: Sequence[Subscription]) -> Cause | None:
    """One cause for all subscriptions of an account that the same trouble hits."""
    first, account = rows[0], rows[0].account
    paused = OF_ACCOUNT.get(account.calls_paused_for) is kind
    passing = (first.last_error or {}).get("code") in PASSING
    if passing and not paused and max(row.failures for row in rows) < QUIET_TRIES:
        return None
    hit = f"{len(rows)} subscriptions are affected." if len(rows) > 1 else f"Affected: {first}."
    return Cause(
        kind=kind,
        subject=about_account(account),
        severity=_severity(kind),
        message=sentences(account.calls_paused_reason if paused else _error_of(first), hit),
        count=sum(max(row.failures, 1) for row in rows),
        since=account.calls_paused_since if paused else None,
        sample={"subscription": str(first), **(first.last_error or {})},
    )


def _troubled_accounts() -> QuerySet[ProviderAccount]:
    """Those that the provider refuses, and those whose calls rest; also when no subscription has felt it yet."""
    rows = ProviderAccount.objects.filter(~Q(calls_paused_for="") | Q(status=AccountStatus.FAILING))
    return rows.only(
        *("uid", "name", "status_reason", "calls_paused_for", "calls_paused_reason"),
        *("calls_paused_since", "call_failures"),
    )


def _account_cause(account: ProviderAccount, kind: ProblemKind) -> Cause:
    reason = account.calls_paused_reason or account.status_reason
    return Cause(
        kind=kind,
        subject=about_account(account),
        severity=_severity(kind),
        message=reason or "The provider refuses this account.",
        count=max(account.call_failures, 1),
        since=account.calls_paused_since,
    )


def _severity(kind: ProblemKind) -> Severity:
    """Without credentials nothing can be renewed at all."""
    return Severity.CRITICAL if kind is ProblemKind.CREDENTIALS else Severity.WARNING


def _paused(now: datetime, told: set[int]) -> Iterator[Cause]:
    """Accounts whose provider asked for a long pause."""
    limits = AccountLimit.objects.filter(blocked_until__gt=now + SHORT_PAUSE, account__deleted_at=None)
    for limit in limits.select_related("account").defer("account__credentials", "account__settings"):
        if limit.account_id in told or limit.blocked_until is None:
            continue
        since = limit.throttled_since or limit.blocked_at
        long = since is None or limit.blocked_until - since > LONG_PAUSE
        yield Cause(
            kind=ProblemKind.THROTTLED,
            subject=about_account(limit.account),
            severity=Severity.WARNING if long else Severity.INFO,
            message=f"The provider wants no calls until {readable_time(limit.blocked_until)}.",
            since=since,
        )


@source(ProblemKind.CLONE)
def copies(now: datetime) -> Iterator[Cause]:
    """Subscriptions that were registered with another address than PUBLIC_URL, all in one; and those whose token the
    provider has at an address that is not ours."""
    waiting = _living().filter(waiting_for__in=(Wait.ADDRESS, Wait.ELSEWHERE)).order_by("pk")
    moved: list[Subscription] = []
    for row in waiting.only("uid", "name", "account__uid", "account__name", "waiting", "waiting_for", "callback_url"):
        if row.waiting_for == Wait.ADDRESS:
            moved.append(row)
            continue
        yield Cause(
            kind=ProblemKind.CLONE,
            subject=about_subscription(row),
            severity=Severity.CRITICAL,
            message=row.waiting,
            action="See whose address that is. If another installation uses it, delete the subscription here; else "
            "delete it at the provider, and it is registered again.",
        )
    if moved:
        number = f"{len(moved)} subscriptions were" if len(moved) > 1 else "One subscription was"
        yield Cause(
            kind=ProblemKind.CLONE,
            subject=INSTALLATION,
            severity=Severity.CRITICAL,
            message=f"PUBLIC_URL is {settings.PUBLIC_URL}, but {number} registered with another address, such as "
            f"{_origin(moved[0].callback_url)}. Nothing is changed at the providers until a person has decided.",
            count=len(moved),
            sample={"subscriptions": [str(row) for row in moved[:10]]},
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@source(ProblemKind.ROTATION)
def rotations(now: datetime) -> Iterator[Cause]:
    """Secrets that were to be exchanged long ago. The old ones are still accepted: nothing is dropped by the clock."""
    rows = _living().filter(secret_rotation.long_under_way(now), present=True)
    for row in rows.only(
        *("uid", "name", "account__uid", "account__name", "account__provider"), *secret_rotation.TOLD_BY
    ):
        yield Cause(
            kind=ProblemKind.ROTATION,
            subject=about_subscription(row),
            severity=Severity.WARNING,
            message=sentences(
                f"Rotation was requested at {readable_time(row.rotation_asked_at)}.", secret_rotation.words(row)
            ),
            since=row.rotation_asked_at,
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
            message=sentences(
                f"No worker answers messages: no sign of life {_since(beats, 'worker')}.",
                "The scheduler runs, so the message broker may be what is down; work goes on without it."
                if alone
                else "",
            ),
            since=beats.get("worker"),
        )


def _since(beats: dict[str, datetime], name: str) -> str:
    return f"since {readable_time(beats[name])}" if name in beats else "yet"


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
    return str((row.last_error or {}).get("message", ""))
