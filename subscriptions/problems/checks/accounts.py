"""Checks of errors that providers return. An error of the whole account is one problem, not one per subscription."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from providers.dashboard.formatting import sentences
from providers.models import AccountLimit, AccountStatus, ProviderAccount
from providers.times import readable_time
from subscriptions.models import Managed, ProblemKind, Severity, State, Subscription
from subscriptions.problems.checks.leases import expiring
from subscriptions.problems.checks.rows import MIN_FAILURES, error_code, error_message, undeleted_subscriptions
from subscriptions.problems.registry import Cause, about_account, about_subscription, source

MIN_BLOCK, LONG_BLOCK = timedelta(minutes=1), timedelta(minutes=15)  # for which a provider accepts no calls

# Error codes of subscriptions that concern the whole account.
ACCOUNT_ERRORS = {
    "authentication_failed": ProblemKind.CREDENTIALS,
    "permission_missing": ProblemKind.PERMISSION,
    "throttled": ProblemKind.THROTTLED,
    "unavailable": ProblemKind.UNREACHABLE,
    "bad_answer": ProblemKind.UNREACHABLE,
    "address_refused": ProblemKind.UNREACHABLE,
}
TEMPORARY_ERRORS = ("throttled", "unavailable", "bad_answer")  # these often end without action
REPORTED_BY_STATE = (State.EXPIRED, State.SUSPENDED, State.MISSING, State.DRIFTED)


@source(
    ProblemKind.FAILING,
    ProblemKind.CREDENTIALS,
    ProblemKind.PERMISSION,
    ProblemKind.THROTTLED,
    ProblemKind.UNREACHABLE,
)
def errors(now: datetime) -> Iterator[Cause]:
    """Find errors of accounts and of subscriptions."""
    groups: defaultdict[tuple[int, ProblemKind], list[Subscription]] = defaultdict(list)
    failing = Q(last_error__isnull=False) | Q(state=State.FAILING)
    for row in undeleted_subscriptions().filter(failing).order_by("pk"):
        kind = ACCOUNT_ERRORS.get(error_code(row))
        if kind is not None:
            groups[row.account_id, kind].append(row)
        elif not _is_reported_otherwise(row, now):
            yield _failing(row)
    for account in _refused_or_paused_accounts():
        kind = ACCOUNT_ERRORS.get(account.calls_paused_for, ProblemKind.FAILING)
        if (account.pk, kind) not in groups:
            yield _account_cause(account, kind)
    for (_, kind), rows in groups.items():
        cause = _grouped_cause(kind, rows)
        if cause:
            yield cause
    yield from _blocked(now, {key for key, kind in groups if kind is ProblemKind.THROTTLED})


def _is_reported_otherwise(row: Subscription, now: datetime) -> bool:
    """Return whether a problem of another kind already reports this error."""
    if row.state in REPORTED_BY_STATE:
        return True
    renewing = row.renew_at is not None and row.renew_at <= now and row.enabled and row.managed == Managed.API
    return bool(renewing and row.remote_id and expiring(row, now))


def _failing(row: Subscription) -> Cause:
    return Cause(
        kind=ProblemKind.FAILING,
        subject=about_subscription(row),
        severity=Severity.WARNING,
        message=error_message(row) or row.state_reason,
        count=max(row.failures, 1),
        sample=row.last_error,
    )


def _grouped_cause(kind: ProblemKind, rows: Sequence[Subscription]) -> Cause | None:
    """Return one problem for all subscriptions of an account that have the same kind of error."""
    first, account = rows[0], rows[0].account
    paused = ACCOUNT_ERRORS.get(account.calls_paused_for) is kind
    temporary = error_code(first) in TEMPORARY_ERRORS
    if temporary and not paused and max(row.failures for row in rows) < MIN_FAILURES:
        return None
    affected = f"{len(rows)} subscriptions are affected." if len(rows) > 1 else f"Affected: {first}."
    return Cause(
        kind=kind,
        subject=about_account(account),
        severity=_severity(kind),
        message=sentences(account.calls_paused_reason if paused else error_message(first), affected),
        count=sum(max(row.failures, 1) for row in rows),
        since=account.calls_paused_since if paused else None,
        sample={"subscription": str(first), **(first.last_error or {})},
    )


def _refused_or_paused_accounts() -> QuerySet[ProviderAccount]:
    """Return accounts that the provider refuses or whose calls are paused, even if no subscription has an error yet."""
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
        message=reason or "The provider refuses calls for this account.",
        count=max(account.call_failures, 1),
        since=account.calls_paused_since,
    )


def _severity(kind: ProblemKind) -> Severity:
    """Return the severity: without valid credentials nothing can be renewed, so that is critical."""
    return Severity.CRITICAL if kind is ProblemKind.CREDENTIALS else Severity.WARNING


def _blocked(now: datetime, reported: set[int]) -> Iterator[Cause]:
    """Yield accounts whose provider asked for a long pause, except those already `reported` (primary keys)."""
    limits = AccountLimit.objects.filter(blocked_until__gt=now + MIN_BLOCK, account__deleted_at=None)
    for limit in limits.select_related("account").defer("account__credentials", "account__settings"):
        if limit.account_id in reported or limit.blocked_until is None:
            continue
        since = limit.throttled_since or limit.blocked_at
        long = since is None or limit.blocked_until - since > LONG_BLOCK
        yield Cause(
            kind=ProblemKind.THROTTLED,
            subject=about_account(limit.account),
            severity=Severity.WARNING if long else Severity.INFO,
            message=f"The provider accepts no calls until {readable_time(limit.blocked_until)}.",
            since=since,
        )
