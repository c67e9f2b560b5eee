"""What is due now, and doing it. The rows are the queue: no message is needed for any of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from django.db import connections
from django.db.models import Exists, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from providers.audit.actors import SCHEDULER
from providers.audit.state_changes import write
from providers.db.claims import unclaimed
from providers.db.clock_steps import before_clock_step
from providers.db.encryption import Undecryptable
from providers.models import AccountStatus, ProviderAccount
from subscriptions.lifecycle.account_deletion import accounts_being_deleted, continue_deletion
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.account_sync import sync_account
from subscriptions.reconciliation.reconciler import reconcile

logger = logging.getLogger(__name__)

BATCH = 500
THREADS = 16
UNREADABLE_RETRY = timedelta(minutes=5)  # for rows that no encryption key opens

_pool: ThreadPoolExecutor | None = None
_in_hand: set[int] = set()  # accounts that a thread of this process is working on
_lock = threading.Lock()


def due_subscriptions() -> QuerySet[Subscription]:
    """Subscriptions that ask for work now, the longest overdue first. Those that wait for their account's calls ask as
    soon as these no longer rest. One that was reconciled in the future was so before the clock was set back: its times
    mean nothing any more."""
    now = timezone.now()
    stepped_back = before_clock_step("last_reconciled_at", now)
    lifted = Q(paused_since__isnull=False, account__calls_paused_until=None)
    return Subscription.objects.filter(
        Q(due_at__lte=now) | stepped_back | lifted, unclaimed(now), deleted_at=None
    ).order_by("due_at")


def due_accounts() -> QuerySet[ProviderAccount]:
    """Accounts with subscriptions whose remote state is to be looked at now."""
    now = timezone.now()
    stepped_back = before_clock_step("synced_at", now)
    subscribed = Subscription.objects.filter(account=OuterRef("pk"), deleted_at=None, managed=Managed.API)
    return ProviderAccount.objects.filter(Exists(subscribed), Q(sync_due_at__lte=now) | stepped_back).order_by(
        "sync_due_at"
    )


def sweep() -> int:
    """Hands each account with something due to a thread of its own and returns at once, so that a provider that is
    slow to answer keeps nobody else waiting. Accounts still being worked on are left to their thread. Returns how
    many accounts were handed out."""
    return sum(_hand_out(account_id) for account_id in _accounts_with_work())


def sweep_inline() -> int:
    """The same in this thread, one account after the other. Returns how many had something due."""
    accounts = _accounts_with_work()
    for account_id in accounts:
        process_account(account_id)
    return len(accounts)


def process_account(account_id: int) -> None:
    """Does all that is due for one account: first its subscriptions, then the look at the whole. One that is to go has
    them removed first, and goes when they are gone."""
    if accounts_being_deleted().filter(pk=account_id).exists():
        _guarded(partial(continue_deletion, account_id), f"Deleting account {account_id}")
    due = due_subscriptions().filter(account_id=account_id)
    for pk in list(due.values_list("pk", flat=True)[:BATCH]):
        _guarded(partial(_reconcile, pk), f"Reconciling subscription {pk}")
    if due_accounts().filter(pk=account_id).exists():
        _guarded(partial(_look, account_id), f"Looking at account {account_id}")


def _reconcile(pk: int) -> None:
    try:
        row = Subscription.objects.select_related("account").get(pk=pk)
    except Undecryptable as error:  # its own secret, or the account's credentials
        write(
            Subscription.objects.filter(pk=pk),
            by=SCHEDULER,
            state=State.FAILING,
            state_reason=str(error),
            due_at=timezone.now() + UNREADABLE_RETRY,
        )
        logger.error("Subscription %s cannot be worked on: %s", pk, error)
    else:
        reconcile(row)


def _look(account_id: int) -> None:
    try:
        account = ProviderAccount.objects.get(pk=account_id)
    except Undecryptable as error:
        write(
            ProviderAccount.objects.filter(pk=account_id),
            by=SCHEDULER,
            status=AccountStatus.FAILING,
            status_reason=str(error),
            sync_due_at=timezone.now() + UNREADABLE_RETRY,
            synced_at=timezone.now(),
        )
        logger.error("Account %s cannot be looked at: %s", account_id, error)
    else:
        sync_account(account)


def _accounts_with_work() -> list[int]:
    subscribed = due_subscriptions().values("account_id").annotate(first=Min("due_at")).order_by("first")
    looked = due_accounts().values_list("pk", flat=True)
    to_go = accounts_being_deleted().values_list("pk", flat=True)
    first = [item["account_id"] for item in subscribed[:BATCH]]
    return list(dict.fromkeys([*first, *looked[:BATCH], *to_go[:BATCH]]))


def _guarded(job: Callable[[], object], what: str) -> None:
    try:
        job()
    except Exception:  # one row's trouble, a plug-in's bug perhaps, must not keep the others from their turn
        logger.exception("%s failed.", what)


def _hand_out(account_id: int) -> bool:
    global _pool
    with _lock:
        if account_id in _in_hand:
            return False
        _in_hand.add(account_id)
        _pool = _pool or ThreadPoolExecutor(THREADS, thread_name_prefix="sweep")
    _pool.submit(_in_thread, account_id)
    return True


def _in_thread(account_id: int) -> None:
    try:
        _guarded(partial(process_account, account_id), f"The sweep of account {account_id}")
    finally:
        with _lock:
            _in_hand.discard(account_id)
        connections.close_all()
