"""The periodic look at a whole account: one list call for all its subscriptions, then reconcile those that need it."""

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
    """Checks the account if that is open, lists what it has at the provider, and reconciles each of its subscriptions
    with that. False when somebody else is looking, its calls rest, or there is nothing to look at. Failures are written
    down."""
    holder = new_holder()
    if not account.claim(holder, SYNC_CLAIM_SECONDS):
        return False
    now = timezone.now()
    pause = circuit_breaker.pause_of(account)
    if pause is not None and not pause.over(now):
        ProviderAccount.objects.filter(pk=account.pk).update(look_due_at=pause.until, looked_at=now)
        account.release(holder)
        return False
    ProviderAccount.objects.filter(pk=account.pk).update(look_due_at=now + account.look_interval, looked_at=now)
    try:
        ours = account.subscriptions.filter(deleted_at=None, managed=Managed.API).exclude(register_tried_at=None)
        rows = list(ours.select_related("account").defer("secrets"))
        if account.status == AccountStatus.UNCHECKED or account.calls_paused_for == circuit_breaker.AUTHENTICATION:
            session.check(account, insist=False)
        if not rows or account.calls_paused_for == circuit_breaker.AUTHENTICATION:
            return False
        observation = _observe(account, rows)
        _note_well(account)
        busy = [row for row in rows if not is_in_sync(row, observation)]
        _note_looked_at(rows, busy, observation)
        for row in busy:
            reconcile(row, observation=observation)
    except ProviderError as error:
        _put_off(account, error)
    finally:
        account.release(holder)
    return True


def _note_well(account: ProviderAccount) -> None:
    """What could be listed is not failing, whatever a check was refused. What the check warns of stays."""
    if account.status != AccountStatus.FAILING:  # or it became so meanwhile: then the next look tells
        return
    failing = ProviderAccount.objects.filter(pk=account.pk, status=AccountStatus.FAILING)
    write(failing, by=SCHEDULER, status=AccountStatus.OK, status_reason="")


def _note_looked_at(rows: list[Subscription], busy: list[Subscription], observation: Observation) -> None:
    """One write for all that are as they were."""
    quiet = {row.pk for row in rows} - {row.pk for row in busy}
    detailed = {pk for pk in quiet if any(remote.config is not None for remote in observation.ours.get(pk, ()))}
    for ids, names in ((quiet - detailed, ("observed_at", "last_reconciled_at")), (detailed, OBSERVATION_TIMES)):
        if ids:
            Subscription.objects.filter(pk__in=ids).update(**dict.fromkeys(names, observation.at))


def _observe(account: ProviderAccount, rows: list[Subscription]) -> Observation:
    with open_session(account, priority=Priority.SYNC) as session:
        return observe(account, session, details_of={row.pk for row in rows if are_details_due(row)})


def _put_off(account: ProviderAccount, error: ProviderError) -> None:
    """Looks again later. What makes the account's calls rest has been written down with that pause."""
    wait = max(account.look_interval, timedelta(seconds=error.retry_after or 0))
    if isinstance(error, Throttled):
        logger.info("Account %s is not looked at for %s: %s", account.uid, wait, error)
    rows = ProviderAccount.objects.filter(pk=account.pk)
    rows.update(look_due_at=timezone.now() + wait)
    if error.permanent and circuit_breaker.pause_of(account) is None:
        write(rows, by=SCHEDULER, status=AccountStatus.FAILING, status_reason=error.message)
