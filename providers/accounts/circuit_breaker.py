"""The circuit breaker: when the calls of an account are paused, and which call probes whether they work again.

Calls are paused when the provider refuses the credentials, when it refuses to list webhooks (a missing permission),
and after several consecutive calls without a usable response. Once a pause is over, one caller at a time makes a probe:
a usable response ends the pause, a failure starts a longer one. The pause is stored on the account's row, so all
processes share it, and each change is a conditional UPDATE of the pause that was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import F, QuerySet
from django.utils import timezone

from providers.audit.actors import SCHEDULER
from providers.audit.state_changes import write
from providers.contract.call_limits import Priority
from providers.contract.errors import (
    AuthenticationFailed,
    CallsPaused,
    DeadlineExceeded,
    PermissionMissing,
    ProviderError,
    Throttled,
    Unavailable,
)
from providers.dashboard.formatting import sentences
from providers.models import AccountLimit, AccountStatus, ProviderAccount
from providers.times import is_before_clock_step, readable_time

MAX_FAILURES = 5  # consecutive calls without a usable response
FIRST_BREAK, MAX_BREAK = timedelta(seconds=15), timedelta(minutes=5)
MAX_REFUSED_INTERVALS = 12  # longest pause after a refusal, in sync intervals: an hour for real accounts
PROBE_TIMEOUT = timedelta(seconds=45)  # after it, the probing process is assumed dead
MIN_REMAINDER = timedelta(seconds=5)  # shortest pause after an early probe that failed
URGENT_PROBE_INTERVAL = timedelta(seconds=2)  # between probes for leases that are about to end

AUTHENTICATION, PERMISSION, BREAKER = AuthenticationFailed.code, PermissionMissing.code, Unavailable.code
PAUSE_COLUMNS = (
    "call_failures",
    "calls_paused_at",
    "calls_paused_until",
    "calls_paused_for",
    "calls_paused_reason",
    "limit__throttled_since",
)
NO_PAUSE: Mapping[str, object] = {
    "calls_paused_until": None,
    "calls_paused_at": None,
    "calls_paused_since": None,
    "calls_paused_for": "",
    "calls_paused_reason": "",
    "calls_paused_count": 0,
    "call_failures": 0,
}


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause as read from the row. `cause` is the code of the error that started it."""

    cause: str
    reason: str
    at: datetime
    until: datetime

    def is_over(self, now: datetime) -> bool:
        """Return whether the pause has ended."""
        return self.until <= now or is_before_clock_step(self.at, now)

    def may_probe_early(self, account: ProviderAccount, now: datetime) -> bool:
        """Return whether a call for a lease that is about to end may probe now, before the pause is over."""
        interval = URGENT_PROBE_INTERVAL if self.cause == BREAKER else account.sync_interval
        return now >= self.at + interval

    def error(self, now: datetime) -> CallsPaused:
        """Return the error for calls during the pause."""
        return CallsPaused(
            sentences(f"API calls for this account are paused until {readable_time(self.until)}: {self.reason}"),
            cause=self.cause,
            retry_after=max((self.until - now).total_seconds(), 1.0),
        )


def current_pause(account: ProviderAccount) -> Pause | None:
    """Return the current pause of an account, or None."""
    return _read(account)[0]


def end_pause(account: ProviderAccount, *causes: str) -> None:
    """End the pause if it has one of these causes. Without causes, end any pause."""
    rows = _rows(account).exclude(calls_paused_for="", call_failures=0)
    if causes:
        rows = rows.filter(calls_paused_for__in=causes)
    was_refused = rows.filter(calls_paused_for__in=(AUTHENTICATION, PERMISSION), status=AccountStatus.FAILING)
    write(was_refused, by=SCHEDULER, status=AccountStatus.OK, status_reason="", sync_due_at=timezone.now())
    rows.update(**NO_PAUSE)


@dataclass(slots=True)
class AccountGate:
    """A `providers.contract.call_limits.Gate` for one session of an account.

    `force` is set when a person requested the call: it is then tried even during a pause.
    """

    account: ProviderAccount
    force: bool = False
    _pause: Pause | None = field(default=None, init=False)  # as read before the call
    _failures: int = field(default=0, init=False)
    _throttled: bool = field(default=False, init=False)
    _probing: bool = field(default=False, init=False)
    _interrupted: datetime | None = field(
        default=None, init=False
    )  # when the pause that this probe interrupted would have ended

    def enter(self, priority: Priority) -> None:
        """Run before each call. Raises CallsPaused if calls are paused and this caller is not the one to probe."""
        pause, self._failures, self._throttled = _read(self.account)
        if pause is None or self._probing:
            self._pause = pause or self._pause
            return
        now = timezone.now()
        early = self.force or (priority is Priority.URGENT and pause.may_probe_early(self.account, now))
        if not early and not pause.is_over(now):
            raise pause.error(now)
        claim = {"calls_paused_at": now, "calls_paused_until": now + PROBE_TIMEOUT}
        claimed = _rows(self.account).filter(calls_paused_until=pause.until, calls_paused_at=pause.at).update(**claim)
        probe = Pause(pause.cause, pause.reason, now, now + PROBE_TIMEOUT)
        if not claimed and not self.force:
            raise probe.error(now)
        self._pause, self._probing = probe, True
        self._interrupted = None if pause.is_over(now) else pause.until

    def record(self, error: ProviderError | None) -> None:
        """Run after each call. Any response except a server error closes the circuit."""
        if isinstance(error, DeadlineExceeded | Throttled):
            return
        if isinstance(error, Unavailable):
            self._record_no_response(error)
            return
        if self._throttled:
            AccountLimit.objects.filter(account=self.account).update(throttled_since=None)
        broken = self._pause is not None and self._pause.cause == BREAKER
        if self._failures or broken:
            end_pause(self.account, "", BREAKER)
            self._failures = 0
        if broken:  # a probe of a pause with another cause continues
            self._pause, self._probing = None, False

    def worked(self) -> None:
        """Run after a session without errors: the credentials are valid."""
        if self._probing and self._pause and self._pause.cause == AUTHENTICATION:
            end_pause(self.account, AUTHENTICATION)

    def failed(self, error: ProviderError) -> None:
        """Run after a session that ended with an error.

        If the provider refuses the whole account, pause its calls until the credentials change, a person checks the
        account, or a probe succeeds.
        """
        if not isinstance(error, AuthenticationFailed) and not (
            isinstance(error, PermissionMissing) and error.whole_account
        ):
            return
        now, before = timezone.now(), self._pause if self._probing else None
        rows = _rows(self.account).filter(calls_paused_at=before.at if before else None)
        stored = rows.values_list("calls_paused_for", "calls_paused_count").first()
        if stored is None:  # another process has already recorded it
            return
        cause, count = stored
        repeated = cause == error.code
        count = count + (self._interrupted is None) if repeated else 1
        intervals = min(2 ** min(count - 1, 10), MAX_REFUSED_INTERVALS)
        length = self._length(self.account.sync_interval * intervals, now)
        write(
            rows,
            by=SCHEDULER,
            **_pause_columns(error, now, length, count, since=F("calls_paused_since") if repeated else now),
            status=AccountStatus.FAILING,
            status_reason=error.message,
            checked_at=now,
            sync_due_at=now + length,
        )

    def _record_no_response(self, problem: Unavailable) -> None:
        now = timezone.now()
        _rows(self.account).update(call_failures=F("call_failures") + 1)
        if self._pause is not None:
            if self._probing and self._pause.cause == BREAKER:
                self._break(problem, now, at=self._pause.at)
            elif self._probing:  # the probe did not show whether the credentials work
                until = now + self._length(self.account.sync_interval, now)
                _rows(self.account).filter(calls_paused_at=self._pause.at).update(calls_paused_until=until)
            self._probing = False
        elif self._failures + 1 >= MAX_FAILURES:
            self._break(problem, now, at=None)

    def _break(self, problem: Unavailable, now: datetime, *, at: datetime | None) -> None:
        rows = _rows(self.account).filter(calls_paused_at=at, call_failures__gte=MAX_FAILURES)
        count = rows.values_list("calls_paused_count", flat=True).first()
        if count is None:  # another process has set the pause, or has received a response since
            return
        length = self._length(min(FIRST_BREAK * 2 ** min(count, 10), MAX_BREAK), now)
        new_count = count + (self._interrupted is None)
        rows.update(**_pause_columns(problem, now, length, new_count, since=F("calls_paused_since") if count else now))

    def _length(self, length: timedelta, now: datetime) -> timedelta:
        """Return the length of the next pause. A failed early probe does not prolong the pause that it interrupted."""
        return length if self._interrupted is None else max(self._interrupted - now, MIN_REMAINDER)


def _rows(account: ProviderAccount) -> QuerySet[ProviderAccount]:
    return ProviderAccount.with_deleted.filter(pk=account.pk)


def _read(account: ProviderAccount) -> tuple[Pause | None, int, bool]:
    """Return the pause, the number of consecutive failures, and whether the provider is throttling the account."""
    failures, at, until, cause, reason, throttled_since = _rows(account).values_list(*PAUSE_COLUMNS).get()
    pause = Pause(cause, reason, at, until) if at and until else None
    return pause, failures, throttled_since is not None


def _pause_columns(
    error: ProviderError, now: datetime, length: timedelta, count: int, *, since: object
) -> dict[str, object]:
    return {
        "calls_paused_until": now + length,
        "calls_paused_at": now,
        "calls_paused_since": since,
        "calls_paused_for": error.code,
        "calls_paused_reason": error.message,
        "calls_paused_count": count,
    }
