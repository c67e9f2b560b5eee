"""The periodic sync of an account: one list call for all its subscriptions, then reconcile those that need it."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from providers.accounts import circuit_breaker, session
from providers.accounts.session import open_session
from providers.audit.actors import SCHEDULER
from providers.audit.state_changes import write
from providers.contract.call_limits import Priority
from providers.contract.errors import ProviderError, Throttled
from providers.db.claims import new_holder
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Managed, Subscription
from subscriptions.reconciliation.columns import OBSERVATION_TIMES
from subscriptions.reconciliation.live_plan import are_details_due, is_in_sync
from subscriptions.reconciliation.observe import Observation, observe
from subscriptions.reconciliation.reconciler import reconcile

logger = logging.getLogger(__name__)

SYNC_CLAIM_SECONDS = 120


def sync_account(account: ProviderAccount) -> bool:
    """List the registrations of an account at its provider, and reconcile each subscription that is not in sync.

    An account that was not checked yet is checked first. Returns False when another worker syncs it, its circuit is
    open, or it has nothing to sync. Failures are recorded on the account, not raised.
    """
    holder = new_holder()
    if not account.claim(holder, SYNC_CLAIM_SECONDS):
        return False
    now = timezone.now()
    pause = circuit_breaker.current_pause(account)
    if pause is not None and not pause.is_over(now):
        ProviderAccount.objects.filter(pk=account.pk).update(sync_due_at=pause.until, synced_at=now)
        account.release(holder)
        return False
    ProviderAccount.objects.filter(pk=account.pk).update(sync_due_at=now + account.sync_interval, synced_at=now)
    try:
        return _sync_claimed(account)
    except ProviderError as error:
        _postpone(account, error)
        return True
    finally:
        account.release(holder)


def _sync_claimed(account: ProviderAccount) -> bool:
    registered = account.subscriptions.filter(deleted_at=None, managed=Managed.API).exclude(register_tried_at=None)
    rows = list(registered.select_related("account").defer("secrets"))
    if account.status == AccountStatus.UNCHECKED or account.calls_paused_for == circuit_breaker.AUTHENTICATION:
        session.check(account, force=False)
    if not rows or account.calls_paused_for == circuit_breaker.AUTHENTICATION:
        return False
    observation = _observe(account, rows)
    _clear_failing(account)
    out_of_sync = [row for row in rows if not is_in_sync(row, observation)]
    _record_observation_times(rows, out_of_sync, observation)
    for row in out_of_sync:
        reconcile(row, observation=observation)
    return True


def _observe(account: ProviderAccount, rows: list[Subscription]) -> Observation:
    with open_session(account, priority=Priority.SYNC) as session:
        return observe(account, session, details_of={row.pk for row in rows if are_details_due(row)})


def _clear_failing(account: ProviderAccount) -> None:
    """End the state `failing`, because the list call worked. A warning of the last check stays."""
    if account.status != AccountStatus.FAILING:  # if it was set just now, the next sync clears it
        return
    failing = ProviderAccount.objects.filter(pk=account.pk, status=AccountStatus.FAILING)
    write(failing, by=SCHEDULER, status=AccountStatus.OK, status_reason="")


def _record_observation_times(
    rows: list[Subscription], out_of_sync: list[Subscription], observation: Observation
) -> None:
    """Record when the rows that are in sync were observed, with one write for all."""
    in_sync = {row.pk for row in rows} - {row.pk for row in out_of_sync}
    detailed = {pk for pk in in_sync if any(remote.config is not None for remote in observation.ours.get(pk, ()))}
    for keys, names in ((in_sync - detailed, ("observed_at", "last_reconciled_at")), (detailed, OBSERVATION_TIMES)):
        if keys:
            Subscription.objects.filter(pk__in=keys).update(**dict.fromkeys(names, observation.at))


def _postpone(account: ProviderAccount, error: ProviderError) -> None:
    """Sync again later. An error that opened the account's circuit has already been recorded with it."""
    wait = max(account.sync_interval, timedelta(seconds=error.retry_after or 0))
    if isinstance(error, Throttled):
        logger.info("Account %s is not synced for %s: %s", account.uid, wait, error)
    rows = ProviderAccount.objects.filter(pk=account.pk)
    rows.update(sync_due_at=timezone.now() + wait)
    if error.permanent and circuit_breaker.current_pause(account) is None:
        write(rows, by=SCHEDULER, status=AccountStatus.FAILING, status_reason=error.message)
