"""Deleting an account together with its live subscriptions: those go first, at the provider too, then the account goes.

That somebody wants it is a fact on the account's row; whatever is left to be done is told from that and from the
subscriptions. So it goes on after a crash at any line, and ends when the wish is taken back."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from providers.conflict import Conflict
from providers.models import ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.models import Subscription

BATCH = 100  # subscriptions in one go: background transactions stay short, and others get their turn


class NotLeaving(Conflict):
    """Nobody has asked for the account to be deleted."""


def leaving() -> QuerySet[ProviderAccount]:
    """Accounts that are to go, without their credentials, which nobody needs for that."""
    return ProviderAccount.objects.exclude(removal_asked_at=None).defer("credentials").order_by("removal_asked_at")


@transaction.atomic
def leave(account: ProviderAccount, *, by: str) -> None:
    """Wants an account gone together with its subscriptions. Asking twice changes nothing."""
    asked = ProviderAccount.objects.filter(pk=account.pk, removal_asked_at=None).update(
        removal_asked_at=timezone.now(), removal_asked_by=by
    )
    if asked:
        count = living_of(account).count()
        desired_state.note_account(account, "deletion with subscriptions asked for", by, after={"subscriptions": count})
    account.refresh_from_db(fields=["removal_asked_at", "removal_asked_by"])


@transaction.atomic
def stay(account: ProviderAccount, *, by: str) -> None:
    """Takes that back. Subscriptions that are being removed already go all the same. Raises NotLeaving when it was not
    asked for, or is done."""
    kept = ProviderAccount.objects.filter(pk=account.pk).exclude(removal_asked_at=None)
    if not kept.update(removal_asked_at=None, removal_asked_by=""):
        raise NotLeaving("The account is not being deleted.")
    desired_state.note_account(account, "deletion taken back", by)
    account.refresh_from_db(fields=["removal_asked_at", "removal_asked_by"])


def go_on(pk: int) -> bool:
    """The next piece of work for an account that is to go: wants its subscriptions gone, and takes it away when the
    last one is. Safe to run twice at once. Whether the account is gone."""
    account = leaving().filter(pk=pk).first()
    if account is None:
        return False
    for row in living_of(account).filter(present=True).select_related("account").defer("account__credentials")[:BATCH]:
        if not _remove(row, account.removal_asked_by):
            return False
    return not living_of(account).exists() and _finish(account)


def living_of(account: ProviderAccount) -> QuerySet[Subscription]:
    """Its subscriptions that are not gone yet."""
    return Subscription.objects.filter(account=account, deleted_at=None)


@transaction.atomic
def _remove(row: Subscription, by: str) -> bool:
    if not _still_leaving(row.account_id):
        return False
    row.refresh_from_db(fields=["present"])
    if row.present:
        desired_state.request_deletion(row, by=by)
    return True


@transaction.atomic
def _finish(account: ProviderAccount) -> bool:
    if not _still_leaving(account.pk):
        return False
    desired_state.delete_account(account, by=account.removal_asked_by)
    return True


def _still_leaving(pk: int) -> bool:
    """Locks the account's row: nobody takes it back, and no other worker takes it away, until this is written."""
    locked = ProviderAccount.objects.select_for_update().filter(pk=pk).values_list("removal_asked_at", flat=True)
    return locked.first() is not None
