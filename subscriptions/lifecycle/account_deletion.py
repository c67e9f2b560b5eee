"""Deleting an account together with its subscriptions. The subscriptions are deleted first, at the provider too.

The request is stored on the account's row, and the remaining work is derived from that row and the subscriptions. So
the deletion resumes after a crash at any line, and stops if it is cancelled.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from providers.conflict import Conflict
from providers.models import ProviderAccount
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.lifecycle.activity_log import log_account
from subscriptions.models import Subscription

BATCH_SIZE = 100  # subscriptions per run, so that background transactions stay short


class NotBeingDeleted(Conflict):
    """The account is not being deleted."""


def accounts_being_deleted() -> QuerySet[ProviderAccount]:
    """Return the accounts whose deletion was requested, oldest request first and without their credentials."""
    return ProviderAccount.objects.exclude(removal_asked_at=None).defer("credentials").order_by("removal_asked_at")


@transaction.atomic
def request_deletion(account: ProviderAccount, *, by: str) -> None:
    """Request the deletion of an account with its subscriptions. A second request changes nothing."""
    requested = ProviderAccount.objects.filter(pk=account.pk, removal_asked_at=None).update(
        removal_asked_at=timezone.now(), removal_asked_by=by
    )
    if requested:
        count = remaining_subscriptions(account).count()
        log_account(account, "deletion with subscriptions requested", by, after={"subscriptions": count})
    account.refresh_from_db(fields=["removal_asked_at", "removal_asked_by"])


@transaction.atomic
def cancel_deletion(account: ProviderAccount, *, by: str) -> None:
    """Cancel the deletion of an account. Subscriptions whose deletion has already started are still deleted.

    Raises NotBeingDeleted if no deletion was requested, or if it is finished.
    """
    being_deleted = ProviderAccount.objects.filter(pk=account.pk).exclude(removal_asked_at=None)
    if not being_deleted.update(removal_asked_at=None, removal_asked_by=""):
        raise NotBeingDeleted("The account is not being deleted.")
    log_account(account, "deletion cancelled", by)
    account.refresh_from_db(fields=["removal_asked_at", "removal_asked_by"])


def continue_deletion(pk: int) -> bool:
    """Do the next part of an account's deletion, and return whether the account is deleted now.

    Requests the deletion of its subscriptions, and deletes the account once the last one is deleted. Safe to run twice
    at the same time.
    """
    account = accounts_being_deleted().filter(pk=pk).first()
    if account is None:
        return False
    present = remaining_subscriptions(account).filter(present=True).select_related("account")
    for row in present.defer("account__credentials")[:BATCH_SIZE]:
        if not _delete_subscription(row, account.removal_asked_by):
            return False
    return not remaining_subscriptions(account).exists() and _delete_account(account)


def remaining_subscriptions(account: ProviderAccount) -> QuerySet[Subscription]:
    """Return the subscriptions of an account that are not deleted yet."""
    return Subscription.objects.filter(account=account, deleted_at=None)


@transaction.atomic
def _delete_subscription(row: Subscription, by: str) -> bool:
    if not _lock_while_being_deleted(row.account_id):
        return False
    row.refresh_from_db(fields=["present"])
    if row.present:
        desired_state.request_deletion(row, by=by)
    return True


@transaction.atomic
def _delete_account(account: ProviderAccount) -> bool:
    if not _lock_while_being_deleted(account.pk):
        return False
    accounts.delete_account(account, by=account.removal_asked_by)
    return True


def _lock_while_being_deleted(pk: int) -> bool:
    """Lock the account's row, so that the deletion cannot be cancelled or finished meanwhile. False if it was."""
    locked = ProviderAccount.objects.select_for_update().filter(pk=pk).values_list("removal_asked_at", flat=True)
    return locked.first() is not None
