"""Planning and reconciling on demand: for one subscription, an account, or all accounts.

An account takes one list call, regardless of its number of subscriptions. Details that the list does not contain are
those of the last read; they are read here only if they were never read before.
"""

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

NO_TIME_LEFT = "There was no time left to sync the account."
CLAIM_RETRY_SECONDS = 0.1  # between two attempts to claim the subscription


class Busy(Conflict):
    """Another worker holds the claim on the subscription, so nothing was done."""


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """A subscription and its plan."""

    row: Subscription
    plan: Plan

    @property
    def version(self) -> str:
        """An identifier that changes with what the plan would do."""
        return plan_version(self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPlan:
    """The plans of one account's subscriptions that have steps or are waiting.

    `error` says why the account could not be synced; then there are no plans.
    """

    account: ProviderAccount
    synced_at: datetime
    count: int = 0  # subscriptions that were synced
    plans: Sequence[SubscriptionPlan] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountResult:
    """The result of reconciling one account.

    `done` are the reconciled subscriptions as they stand now, `left` the number of those that the worker reconciles
    because there was no time. `error` says why the account could not be synced.
    """

    account: ProviderAccount
    synced_at: datetime
    count: int = 0
    done: Sequence[Subscription] = ()
    left: int = 0
    error: str | None = None


def plan_subscription(subscription: Subscription, *, deadline: float | None = None) -> AccountPlan:
    """Plan one subscription after reading its details. Raises ProviderError."""
    planned = SubscriptionPlan(subscription, preview(subscription, deadline=deadline))
    plans = _without_empty((planned,))
    return AccountPlan(account=subscription.account, synced_at=timezone.now(), count=1, plans=plans)


def plan_account(account: ProviderAccount, *, deadline: float | None = None) -> AccountPlan:
    """Plan all subscriptions of an account. Raises ProviderError."""
    rows, observation = _sync(account, Priority.CHANGE, deadline)
    return _account_plan(account, rows, observation)


def plan_everything(*, deadline: float | None = None) -> Iterator[AccountPlan]:
    """Yield the plans of every account that has subscriptions. `error` is set for accounts that could not be synced."""
    for account in _accounts_with_subscriptions():
        if deadline is not None and time.monotonic() >= deadline:
            yield AccountPlan(account=account, synced_at=timezone.now(), error=NO_TIME_LEFT)
        else:
            planned = _result_or_error(partial(_plan_in_background, account.pk, deadline))
            if isinstance(planned, str):
                planned = AccountPlan(account=account, synced_at=timezone.now(), error=planned)
            yield planned


def apply_steps(subscription: Subscription, choice: Choice, *, by: str, seconds: float = 10.0) -> None:
    """Apply only the chosen steps, waiting up to `seconds` for the claim. Provider errors are stored on the row.

    Raises PlanChanged and IncompleteChoice, Busy if the claim was not released in time, and Conflict if the
    subscription is deleted. Nothing was done then.
    """
    actions.check(subscription, SubscriptionAction.RECONCILE)
    deadline = time.monotonic() + seconds
    while not reconcile(subscription, actor=by, deadline=deadline, details=True, choice=choice):
        if time.monotonic() + CLAIM_RETRY_SECONDS >= deadline:
            raise Busy("Another worker is reconciling the subscription. Nothing was done; try again.")
        time.sleep(CLAIM_RETRY_SECONDS)
    subscription.refresh_from_db()


def apply_account(account: ProviderAccount, *, by: str, deadline: float | None = None) -> AccountResult:
    """Sync an account once and apply the plans of its subscriptions.

    Subscriptions that do not fit in the deadline are made due, so that the worker reconciles them. Raises
    ProviderError if the account cannot be synced.
    """
    rows, observation = _sync(account, Priority.CHANGE, deadline)
    plans = _account_plan(account, rows, observation).plans
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
    return AccountResult(account=account, synced_at=observation.at, count=len(rows), done=done, left=len(left))


def apply_everything(*, by: str, deadline: float | None = None) -> Iterator[AccountResult]:
    """Reconcile every account that has subscriptions. Accounts not reached by the deadline are made due for a sync."""
    for account in _accounts_with_subscriptions():
        if deadline is not None and time.monotonic() >= deadline:
            ProviderAccount.objects.filter(pk=account.pk).update(sync_due_at=timezone.now())
            yield AccountResult(account=account, synced_at=timezone.now(), error=f"{NO_TIME_LEFT} The worker syncs it.")
        else:
            result = _result_or_error(partial(_apply_to_account, account.pk, by, deadline))
            if isinstance(result, str):
                result = AccountResult(account=account, synced_at=timezone.now(), error=result)
            yield result


def apply_subscription(subscription: Subscription, *, by: str, deadline: float | None = None) -> AccountResult:
    """Reconcile one subscription. Provider errors are stored on the row. Raises Conflict if it is deleted."""
    actions.check(subscription, SubscriptionAction.RECONCILE)
    was_claimed = reconcile(subscription, actor=by, deadline=deadline, details=True, force=True)
    subscription.refresh_from_db()
    return AccountResult(
        account=subscription.account,
        synced_at=timezone.now(),
        count=1,
        done=(subscription,) if was_claimed else (),
        left=0 if was_claimed else 1,
    )


def _accounts_with_subscriptions() -> QuerySet[ProviderAccount]:
    """Return the accounts with subscriptions. Credentials are deferred, so that undecryptable ones affect no others."""
    subscribed = _managed_by_api().filter(account=OuterRef("pk"))
    return ProviderAccount.objects.filter(Exists(subscribed)).defer("credentials").order_by("pk")


def _managed_by_api() -> QuerySet[Subscription]:
    return Subscription.objects.filter(deleted_at=None, managed=Managed.API)


def _plan_in_background(pk: int, deadline: float | None) -> AccountPlan:
    account = ProviderAccount.objects.get(pk=pk)
    rows, observation = _sync(account, Priority.SYNC, deadline)
    return _account_plan(account, rows, observation)


def _apply_to_account(pk: int, by: str, deadline: float | None) -> AccountResult:
    return apply_account(ProviderAccount.objects.get(pk=pk), by=by, deadline=deadline)


def _result_or_error(call: Callable[[], T]) -> T | str:
    """Return the result of the call, or why this account is skipped."""
    try:
        return call()
    except ProviderAccount.DoesNotExist:
        return "The account has been deleted."
    except (ProviderError, Undecryptable, UnknownProvider) as error:
        return str(error.args[0])


def _sync(
    account: ProviderAccount, priority: Priority, deadline: float | None
) -> tuple[list[Subscription], Observation]:
    rows = list(_managed_by_api().filter(account=account).defer("secrets"))
    if not rows:
        return [], Observation(timezone.now())
    for row in rows:
        row.account = account  # a join would decrypt its credentials once per row
    with open_session(account, priority=priority, deadline=deadline) as session:
        return rows, observe(account, session, details_of={row.pk for row in rows if row.details_at is None})


def _account_plan(account: ProviderAccount, rows: Sequence[Subscription], observation: Observation) -> AccountPlan:
    plans = [SubscriptionPlan(row, plan_from_observation(row, observation)) for row in rows]
    return AccountPlan(account=account, synced_at=observation.at, count=len(rows), plans=_without_empty(plans))


def _without_empty(plans: Sequence[SubscriptionPlan]) -> Sequence[SubscriptionPlan]:
    return [item for item in plans if item.plan != Plan()]


def _make_due(keys: Sequence[int]) -> None:
    for start in range(0, len(keys), 500):
        Subscription.objects.filter(pk__in=keys[start : start + 500]).update(due_at=timezone.now())
