"""When an account's calls rest, and who may try whether they work again.

They rest when the provider refuses the credentials, when it refuses to list (a permission is missing), and, as with a
circuit breaker, after several calls in a row that got no usable answer. When a pause is over, one caller at a time
probes; a good answer ends the trouble for all, a bad one begins a longer pause. The facts stand on the account's row,
so all processes share them; each change is a conditional UPDATE of the pause that was seen.
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

BREAK_AFTER = 5  # calls in a row without a usable answer
BREAK_FIRST, BREAK_LONGEST = timedelta(seconds=15), timedelta(minutes=5)
REFUSED_LONGEST_LOOKS = 12  # of the account's looks: an hour for real accounts
PROBE = timedelta(seconds=45)  # after that long, whoever probed is taken to be dead
SHORTEST = timedelta(seconds=5)  # of what is left of a pause that was cut short in vain
URGENT_PROBE_APART = timedelta(seconds=2)  # between the probes of leases that are about to end

AUTHENTICATION, PERMISSION, BREAKER = AuthenticationFailed.code, PermissionMissing.code, Unavailable.code
SEEN = (
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
    """A pause as it was read. `cause` is the code of the error that it is for."""

    cause: str
    reason: str
    at: datetime
    until: datetime

    def over(self, now: datetime) -> bool:
        """Return whether the pause has ended."""
        return self.until <= now or is_before_clock_step(self.at, now)

    def may_be_cut_short(self, account: ProviderAccount, now: datetime) -> bool:
        """Whether enough time has passed since the last call for one whose lease is about to end to try it."""
        apart = URGENT_PROBE_APART if self.cause == BREAKER else account.look_interval
        return now >= self.at + apart

    def error(self, now: datetime) -> CallsPaused:
        """What those get who would have called."""
        return CallsPaused(
            sentences(f"The account's calls rest until {readable_time(self.until)}: {self.reason}"),
            cause=self.cause,
            retry_after=max((self.until - now).total_seconds(), 1.0),
        )


def pause_of(account: ProviderAccount) -> Pause | None:
    """The pause of an account as it stands on its row now; None when its calls do not rest."""
    return _read(account)[0]


def lift(account: ProviderAccount, *causes: str) -> None:
    """Ends a pause that was for one of these causes (whatever it was for, when none is given)."""
    rows = _rows(account).exclude(calls_paused_for="", call_failures=0)
    if causes:
        rows = rows.filter(calls_paused_for__in=causes)
    was_refused = rows.filter(calls_paused_for__in=(AUTHENTICATION, PERMISSION), status=AccountStatus.FAILING)
    write(was_refused, by=SCHEDULER, status=AccountStatus.OK, status_reason="", look_due_at=timezone.now())
    rows.update(**NO_PAUSE)


@dataclass(slots=True)
class AccountGate:
    """A `providers.contract.call_limits.Gate` for one session of an account.

    `insist` is set when a person asked for the call: it is tried in any case.
    """

    account: ProviderAccount
    insist: bool = False
    _pause: Pause | None = field(default=None, init=False)  # as it was seen before the call
    _failures: int = field(default=0, init=False)
    _throttled: bool = field(default=False, init=False)
    _probing: bool = field(default=False, init=False)
    _cut_short: datetime | None = field(default=None, init=False)  # when the pause would have ended

    def enter(self, priority: Priority) -> None:
        """Before each call. Raises CallsPaused when they rest and it is not for this caller to probe."""
        pause, self._failures, self._throttled = _read(self.account)
        if pause is None or self._probing:
            self._pause = pause or self._pause
            return
        now = timezone.now()
        early = self.insist or (priority is Priority.URGENT and pause.may_be_cut_short(self.account, now))
        if not early and not pause.over(now):
            raise pause.error(now)
        mine = {"calls_paused_at": now, "calls_paused_until": now + PROBE}
        won = _rows(self.account).filter(calls_paused_until=pause.until, calls_paused_at=pause.at).update(**mine)
        probe = Pause(pause.cause, pause.reason, now, now + PROBE)
        if not won and not self.insist:
            raise probe.error(now)
        self._pause, self._probing = probe, True
        self._cut_short = None if pause.over(now) else pause.until

    def note(self, problem: ProviderError | None) -> None:
        """After each call. Any answer but an error of the server's own closes the breaker."""
        if isinstance(problem, DeadlineExceeded | Throttled):
            return
        if isinstance(problem, Unavailable):
            self._unanswered(problem)
            return
        if self._throttled:
            AccountLimit.objects.filter(account=self.account).update(throttled_since=None)
        broken = self._pause is not None and self._pause.cause == BREAKER
        if self._failures or broken:
            lift(self.account, "", BREAKER)
            self._failures = 0
        if broken:  # whoever probes a pause for anything else goes on with that
            self._pause, self._probing = None, False

    def worked(self) -> None:
        """All calls of this login went well, so the credentials are good."""
        if self._probing and self._pause and self._pause.cause == AUTHENTICATION:
            lift(self.account, AUTHENTICATION)

    def failed(self, error: ProviderError) -> None:
        """A login ended with this error. Where the provider refuses the account as such, its calls rest until the
        credentials change, a person has it checked, or a rare try succeeds."""
        if not isinstance(error, AuthenticationFailed) and not (
            isinstance(error, PermissionMissing) and error.whole_account
        ):
            return
        now, before = timezone.now(), self._pause if self._probing else None
        rows = _rows(self.account).filter(calls_paused_at=before.at if before else None)
        seen = rows.values_list("calls_paused_for", "calls_paused_count").first()
        if seen is None:  # somebody else has noted it already
            return
        again = seen[0] == error.code
        count = seen[1] + (self._cut_short is None) if again else 1
        looks = min(2 ** min(count - 1, 10), REFUSED_LONGEST_LOOKS)
        rest = self._rest(self.account.look_interval * looks, now)
        write(
            rows,
            by=SCHEDULER,
            **_pause(error, now, rest, count, since=F("calls_paused_since") if again else now),
            status=AccountStatus.FAILING,
            status_reason=error.message,
            checked_at=now,
            look_due_at=now + rest,
        )

    def _unanswered(self, problem: Unavailable) -> None:
        now = timezone.now()
        _rows(self.account).update(call_failures=F("call_failures") + 1)
        if self._pause is not None:
            if self._probing and self._pause.cause == BREAKER:
                self._break(problem, now, at=self._pause.at)
            elif self._probing:  # that told nothing about the credentials
                until = now + self._rest(self.account.look_interval, now)
                _rows(self.account).filter(calls_paused_at=self._pause.at).update(calls_paused_until=until)
            self._probing = False
        elif self._failures + 1 >= BREAK_AFTER:
            self._break(problem, now, at=None)

    def _break(self, problem: Unavailable, now: datetime, *, at: datetime | None) -> None:
        rows = _rows(self.account).filter(calls_paused_at=at, call_failures__gte=BREAK_AFTER)
        count = rows.values_list("calls_paused_count", flat=True).first()
        if count is None:  # somebody else was quicker, or has had an answer meanwhile
            return
        rest = self._rest(min(BREAK_FIRST * 2 ** min(count, 10), BREAK_LONGEST), now)
        grown = count + (self._cut_short is None)
        rows.update(**_pause(problem, now, rest, grown, since=F("calls_paused_since") if count else now))

    def _rest(self, rest: timedelta, now: datetime) -> timedelta:
        """How long the calls rest after a call in vain. One that cut a pause short does not make it longer."""
        return rest if self._cut_short is None else max(self._cut_short - now, SHORTEST)


def _rows(account: ProviderAccount) -> QuerySet[ProviderAccount]:
    return ProviderAccount.with_deleted.filter(pk=account.pk)


def _read(account: ProviderAccount) -> tuple[Pause | None, int, bool]:
    """The pause, the number of calls in a row without a usable answer, and whether the provider said "too many"."""
    failures, at, until, cause, reason, throttled_since = _rows(account).values_list(*SEEN).get()
    pause = Pause(cause, reason, at, until) if at and until else None
    return pause, failures, throttled_since is not None


def _pause(error: ProviderError, now: datetime, rest: timedelta, count: int, *, since: object) -> dict[str, object]:
    return {
        "calls_paused_until": now + rest,
        "calls_paused_at": now,
        "calls_paused_since": since,
        "calls_paused_for": error.code,
        "calls_paused_reason": error.message,
        "calls_paused_count": count,
    }
