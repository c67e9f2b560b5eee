"""Plan and apply when somebody asks: for one subscription, an account, or everything.

An account costs one list call, whatever it holds: what the list does not carry is taken as it was read last, and only
read where it never was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from providers.accounts.session import open_session
from providers.conflict import Conflict
from providers.contract.call_limits import Priority
from providers.contract.errors import ProviderError
from providers.contract.registry import UnknownProvider
from providers.db.encryption import Undecryptable
from providers.models import ProviderAccount
from subscriptions.lifecycle import actions
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Managed, Subscription
from subscriptions.planning.step_selection import Choice, plan_version
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.live_plan import plan_from_observation, preview
from subscriptions.reconciliation.observe import Observation, observe
from subscriptions.reconciliation.reconciler import reconcile

T = TypeVar("T")

NO_TIME = "There was no time left to look at it."
BUSY_PAUSE = 0.1  # seconds between two tries to get a turn


class Busy(Conflict):
    """Somebody else is working on it; nothing was done."""


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """A subscription and what is to be done about it."""

    row: Subscription
    plan: Plan

    @property
    def version(self) -> str:
        """Names what the plan would do."""
        return plan_version(self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPlan:
    """What is to be done for one account: the subscriptions with steps, or with something that waits. `trouble` says
    why the account could not be looked at; then nothing is known."""

    account: ProviderAccount
    looked_at: datetime
    count: int = 0  # subscriptions that were looked at
    plans: Sequence[SubscriptionPlan] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountResult:
    """What was done for one account: `done` are the subscriptions that were attended to, as they stand after it; `left`
    how many the time did not suffice for, which the worker does."""

    account: ProviderAccount
    looked_at: datetime
    count: int = 0
    done: Sequence[Subscription] = ()
    left: int = 0
    trouble: str | None = None


def plan_subscription(subscription: Subscription, *, deadline: float | None = None) -> AccountPlan:
    """The plan for one, its details read anew. Raises ProviderError."""
    planned = SubscriptionPlan(subscription, preview(subscription, deadline=deadline))
    plans = _with_something((planned,))
    return AccountPlan(account=subscription.account, looked_at=timezone.now(), count=1, plans=plans)


def plan_account(account: ProviderAccount, *, deadline: float | None = None) -> AccountPlan:
    """The plans for all of an account's subscriptions. Raises ProviderError."""
    rows, observation = _look(account, Priority.CHANGE, deadline)
    return _planned(account, rows, observation)


def plan_everything(*, deadline: float | None = None) -> Iterator[AccountPlan]:
    """The plans of every account that has subscriptions, one after the other; `trouble` says which could not be looked
    at, and why."""
    for account in _accounts():
        if deadline is not None and time.monotonic() >= deadline:
            yield AccountPlan(account=account, looked_at=timezone.now(), trouble=NO_TIME)
        else:
            planned = _tried(partial(_plan_quietly, account.pk, deadline))
            if isinstance(planned, str):
                planned = AccountPlan(account=account, looked_at=timezone.now(), trouble=planned)
            yield planned


def apply_chosen(subscription: Subscription, choice: Choice, *, by: str, seconds: float = 10.0) -> None:
    """Does only the chosen steps, waiting for its turn if somebody else is at it. Raises PlanChanged, Incomplete, and
    Busy when the turn did not come: nothing was done then. What a provider refused is written down on the row."""
    actions.check(subscription, SubscriptionAction.RECONCILE)
    deadline = time.monotonic() + seconds
    while not reconcile(subscription, actor=by, deadline=deadline, details=True, choice=choice):
        if time.monotonic() + BUSY_PAUSE >= deadline:
            raise Busy("Somebody else is working on it just now. Nothing was done; try again.")
        time.sleep(BUSY_PAUSE)
    subscription.refresh_from_db()


def apply_account(account: ProviderAccount, *, by: str, deadline: float | None = None) -> AccountResult:
    """Looks at an account once and does everything that is to be done; what the time does not suffice for is made due,
    so that the worker does it. Raises ProviderError when the account cannot be looked at."""
    rows, observation = _look(account, Priority.CHANGE, deadline)
    plans = _planned(account, rows, observation).plans
    todo = [item.row for item in plans if item.plan.steps or item.plan.accepts]
    done: list[Subscription] = []
    left: list[int] = []
    for row in todo:
        in_time = deadline is None or time.monotonic() < deadline
        if in_time and reconcile(row, actor=by, deadline=deadline, observation=observation):
            row.refresh_from_db()
            done.append(row)
        else:
            left.append(row.pk)
    _make_due(left)
    return AccountResult(account=account, looked_at=observation.at, count=len(rows), done=done, left=len(left))


def apply_everything(*, by: str, deadline: float | None = None) -> Iterator[AccountResult]:
    """The same for every account that has subscriptions. One that there is no time for is made due for a look."""
    for account in _accounts():
        if deadline is not None and time.monotonic() >= deadline:
            ProviderAccount.objects.filter(pk=account.pk).update(look_due_at=timezone.now())
            yield AccountResult(account=account, looked_at=timezone.now(), trouble=f"{NO_TIME} The worker does.")
        else:
            result = _tried(partial(_apply_whole, account.pk, by, deadline))
            if isinstance(result, str):
                result = AccountResult(account=account, looked_at=timezone.now(), trouble=result)
            yield result


def apply_subscription(subscription: Subscription, *, by: str, deadline: float | None = None) -> AccountResult:
    """Reconcile one subscription. Provider errors are stored on the row. Raises Conflict if it is deleted."""
    actions.check(subscription, SubscriptionAction.RECONCILE)
    worked = reconcile(subscription, actor=by, deadline=deadline, details=True, insist=True)
    subscription.refresh_from_db()
    return AccountResult(
        account=subscription.account,
        looked_at=timezone.now(),
        count=1,
        done=(subscription,) if worked else (),
        left=0 if worked else 1,
    )


def _accounts() -> QuerySet[ProviderAccount]:
    """Those with subscriptions, without their credentials: one that no key opens must not hide the others."""
    subscribed = _living().filter(account=OuterRef("pk"))
    return ProviderAccount.objects.filter(Exists(subscribed)).defer("credentials").order_by("pk")


def _living() -> QuerySet[Subscription]:
    return Subscription.objects.filter(deleted_at=None, managed=Managed.API)


def _plan_quietly(pk: int, deadline: float | None) -> AccountPlan:
    account = ProviderAccount.objects.get(pk=pk)
    rows, observation = _look(account, Priority.SYNC, deadline)
    return _planned(account, rows, observation)


def _apply_whole(pk: int, by: str, deadline: float | None) -> AccountResult:
    return apply_account(ProviderAccount.objects.get(pk=pk), by=by, deadline=deadline)


def _tried(call: Callable[[], T]) -> T | str:
    """What the call returns, or why this one account is left out."""
    try:
        return call()
    except ProviderAccount.DoesNotExist:
        return "The account was deleted meanwhile."
    except (ProviderError, Undecryptable, UnknownProvider) as error:
        return str(error.args[0])


def _look(
    account: ProviderAccount, priority: Priority, deadline: float | None
) -> tuple[list[Subscription], Observation]:
    rows = list(_living().filter(account=account).defer("secrets"))
    if not rows:
        return [], Observation(timezone.now())
    for row in rows:
        row.account = account  # joined, its credentials would be decrypted once a row
    with open_session(account, priority=priority, deadline=deadline) as session:
        return rows, observe(account, session, details_of={row.pk for row in rows if row.details_at is None})


def _planned(account: ProviderAccount, rows: Sequence[Subscription], observation: Observation) -> AccountPlan:
    plans = [SubscriptionPlan(row, plan_from_observation(row, observation)) for row in rows]
    return AccountPlan(account=account, looked_at=observation.at, count=len(rows), plans=_with_something(plans))


def _with_something(plans: Sequence[SubscriptionPlan]) -> Sequence[SubscriptionPlan]:
    return [item for item in plans if item.plan != Plan()]


def _make_due(keys: Sequence[int]) -> None:
    for start in range(0, len(keys), 500):
        Subscription.objects.filter(pk__in=keys[start : start + 500]).update(due_at=timezone.now())
