"""Find the work that is due, and do it. The database rows are the queue, so no messages are needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from django.db import connections
from django.db.models import Case, DateTimeField, Exists, F, Min, OuterRef, Q, QuerySet, When
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

BATCH_SIZE = 25  # subscriptions of an account between two looks at what is due
MAX_AT_ONCE = 500  # subscriptions of an account, or accounts, in one sweep
THREADS = 16
UNDECRYPTABLE_RETRY = timedelta(minutes=5)

_pool: ThreadPoolExecutor | None = None
_in_progress: set[int] = set()  # accounts that a thread of this process works on
_lock = threading.Lock()


def due_subscriptions() -> QuerySet[Subscription]:
    """Return the subscriptions that need work now: due renewals by the end of their lease, then the longest overdue.

    Those that wait for their account's open circuit are due as soon as it is closed. Times of a row that was
    reconciled in the future were written before the clock was set back and do not count.
    """
    now = timezone.now()
    stepped_back = before_clock_step("last_reconciled_at", now)
    circuit_closed = Q(paused_since__isnull=False, account__calls_paused_until=None)
    return Subscription.objects.filter(
        Q(due_at__lte=now) | stepped_back | circuit_closed, unclaimed(now), deleted_at=None
    ).order_by(_lease_at_stake(now).asc(nulls_last=True), "due_at")


def _lease_at_stake(now: datetime) -> Case:
    """Return the end of the lease where a renewal is due, as an expression; null for all other work."""
    return Case(
        When(present=True, enabled=True, remote_id__isnull=False, renew_at__lte=now, then=F("expires_at")),
        output_field=DateTimeField(),
    )


def due_accounts() -> QuerySet[ProviderAccount]:
    """Return the accounts with subscriptions that are due for a sync."""
    now = timezone.now()
    stepped_back = before_clock_step("synced_at", now)
    subscribed = Subscription.objects.filter(account=OuterRef("pk"), deleted_at=None, managed=Managed.API)
    return ProviderAccount.objects.filter(Exists(subscribed), Q(sync_due_at__lte=now) | stepped_back).order_by(
        "sync_due_at"
    )


def sweep() -> int:
    """Start a thread for each account with due work, and return the number of accounts without waiting for them.

    So a slow provider delays no other account. Accounts that a thread still works on are left to that thread.
    """
    return sum(_start_thread(account_id) for account_id in accounts_with_work())


def sweep_inline() -> int:
    """Do the due work in this thread, one account after another. Return the number of accounts with due work."""
    accounts = accounts_with_work()
    for account_id in accounts:
        process_account(account_id)
    return len(accounts)


def process_account(account_id: int) -> None:
    """Do all due work of one account: its deletion, then its subscriptions, then the sync of the account."""
    if accounts_being_deleted().filter(pk=account_id).exists():
        _guarded(partial(continue_deletion, account_id), f"Deleting account {account_id}")
    _reconcile_due(account_id)
    if due_accounts().filter(pk=account_id).exists():
        _guarded(partial(_sync, account_id), f"Syncing account {account_id}")


def _reconcile_due(account_id: int) -> None:
    """Reconcile what is due, in small batches: a renewal that becomes due meanwhile comes next, not last."""
    done: set[int] = set()
    while len(done) < MAX_AT_ONCE:
        due = due_subscriptions().filter(account_id=account_id).exclude(pk__in=done)
        batch = list(due.values_list("pk", flat=True)[:BATCH_SIZE])
        for pk in batch:
            _guarded(partial(_reconcile, pk), f"Reconciling subscription {pk}")
        done.update(batch)
        if len(batch) < BATCH_SIZE:
            return


def _reconcile(pk: int) -> None:
    try:
        row = Subscription.objects.select_related("account").get(pk=pk)
    except Undecryptable as error:  # its secret, or the account's credentials
        write(
            Subscription.objects.filter(pk=pk),
            by=SCHEDULER,
            state=State.FAILING,
            state_reason=str(error),
            due_at=timezone.now() + UNDECRYPTABLE_RETRY,
        )
        logger.error("Subscription %s cannot be reconciled: %s", pk, error)
    else:
        reconcile(row)


def _sync(account_id: int) -> None:
    try:
        account = ProviderAccount.objects.get(pk=account_id)
    except Undecryptable as error:
        write(
            ProviderAccount.objects.filter(pk=account_id),
            by=SCHEDULER,
            status=AccountStatus.FAILING,
            status_reason=str(error),
            sync_due_at=timezone.now() + UNDECRYPTABLE_RETRY,
            synced_at=timezone.now(),
        )
        logger.error("Account %s cannot be synced: %s", account_id, error)
    else:
        sync_account(account)


def accounts_with_work() -> list[int]:
    """Return the accounts with due work, the one whose lease ends first at the front."""
    due = due_subscriptions().order_by().values("account_id")
    by_account = due.annotate(lease=Min(_lease_at_stake(timezone.now())), first=Min("due_at")).order_by(
        F("lease").asc(nulls_last=True), "first"
    )
    syncs = due_accounts().values_list("pk", flat=True)
    deletions = accounts_being_deleted().values_list("pk", flat=True)
    first = [item["account_id"] for item in by_account[:MAX_AT_ONCE]]
    return list(dict.fromkeys([*first, *syncs[:MAX_AT_ONCE], *deletions[:MAX_AT_ONCE]]))


def _guarded(job: Callable[[], object], description: str) -> None:
    try:
        job()
    except Exception:  # an error with one row, perhaps a plug-in's bug, must not affect the others
        logger.exception("%s failed.", description)


def _start_thread(account_id: int) -> bool:
    global _pool
    with _lock:
        if account_id in _in_progress:
            return False
        _in_progress.add(account_id)
        _pool = _pool or ThreadPoolExecutor(THREADS, thread_name_prefix="sweep")
    _pool.submit(_run_in_thread, account_id)
    return True


def _run_in_thread(account_id: int) -> None:
    try:
        _guarded(partial(process_account, account_id), f"The sweep of account {account_id}")
    finally:
        with _lock:
            _in_progress.discard(account_id)
        connections.close_all()
