"""Remote subscriptions without a subscription here: deleting an orphan at the provider, and ignoring one.

Both are done only on request of a person or a program, never by the scheduler. A foreign one is never deleted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from providers.accounts.session import open_session
from providers.conflict import Conflict
from providers.contract.errors import NotFound, ProviderError
from providers.contract.http import Exchange
from providers.models import ProviderAccount
from subscriptions.lifecycle import public_url
from subscriptions.lifecycle.activity_log import log_account
from subscriptions.models import KnownRemote, RemoteNote
from subscriptions.remote.adoption import AlreadyManaged, BeingDeleted
from subscriptions.remote.inventory import InventoryItem, Kind, find_in_session

DELETION_TIMEOUT = timedelta(seconds=60)  # longer than the calls may take; a crash blocks an import no longer than that


class NotAnOrphan(Conflict):
    """The remote subscription is not, or no longer, an orphan, so it is not deleted."""


def delete_orphan(account: ProviderAccount, remote_id: str, *, by: str, seconds: float = 10.0) -> None:
    """Delete an orphan at the provider: a remote subscription with our URL or token, but without a subscription here.

    Whether it still is one is checked right before the call, and it cannot be imported meanwhile. The attempt and its
    result are logged. Raises NotAnOrphan, BeingDeleted, NotFound, and ProviderError.
    """
    _reserve(account, remote_id)
    try:
        _delete(account, remote_id, by=by, seconds=seconds)
    finally:
        RemoteNote.objects.filter(account=account, remote_id=remote_id).update(removing_until=None)


@transaction.atomic
def ignore(account: ProviderAccount, remote_id: str, *, by: str) -> None:
    """Hide a remote subscription from the list of unmanaged ones. Nothing changes at the provider.

    Raises AlreadyManaged, and NotFound for a remote ID that was never listed.
    """
    _lock(account)
    if account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists():
        raise AlreadyManaged(f"{remote_id} belongs to a subscription, so it cannot be ignored.")
    known = KnownRemote.objects.filter(account=account, remote_id=remote_id).select_related("subscription").first()
    if known is None:
        raise NotFound(f"The provider has never listed {remote_id}.")
    if known.subscription is not None and not known.subscription.deleted_at:
        raise AlreadyManaged(f"{remote_id} belongs to a subscription, so it cannot be ignored.")
    row, _ = RemoteNote.objects.get_or_create(account=account, remote_id=remote_id)
    if row.ignored_at is None:
        RemoteNote.objects.filter(pk=row.pk).update(ignored_at=timezone.now())
        log_account(account, "remote subscription ignored", by, after={"remote_id": remote_id})


@transaction.atomic
def stop_ignoring(account: ProviderAccount, remote_id: str, *, by: str) -> None:
    """Show an ignored remote subscription again. Does nothing if it is not ignored."""
    ignored = RemoteNote.objects.filter(account=account, remote_id=remote_id).exclude(ignored_at=None)
    if ignored.update(ignored_at=None):
        log_account(account, "remote subscription no longer ignored", by, after={"remote_id": remote_id})


@transaction.atomic
def _reserve(account: ProviderAccount, remote_id: str) -> None:
    """Reserve the orphan, so that it is not imported or deleted concurrently. Takes the same lock as an import."""
    _lock(account)
    if account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists():
        raise NotAnOrphan(f"{remote_id} belongs to a subscription now, so it is not deleted.")
    now = timezone.now()
    row, _ = RemoteNote.objects.get_or_create(account=account, remote_id=remote_id)
    if row.removing_until is not None and row.removing_until > now:
        raise BeingDeleted(f"{remote_id} is already being deleted at the provider.")
    RemoteNote.objects.filter(pk=row.pk).update(removing_until=now + DELETION_TIMEOUT)


def _delete(account: ProviderAccount, remote_id: str, *, by: str, seconds: float) -> None:
    exchanges: list[Exchange] = []
    with open_session(account, deadline=time.monotonic() + seconds, record=exchanges.append) as session:
        item = find_in_session(account, session, remote_id, reread_url=True)
        _check_orphaned(account, item)
        details = {"remote_id": remote_id, "callback_url": item.remote.url}
        log_account(account, "orphan deletion started", by, after=details)
        exchanges.clear()
        try:
            account.plugin.delete(session, remote_id)
        except NotFound:  # it has been deleted meanwhile
            pass
        except ProviderError as error:
            result = "orphan deletion without an answer" if error.outcome_unknown else "orphan deletion failed"
            log_account(account, result, by, after={**details, **_changing_call(exchanges), "error": error.message})
            raise
    with transaction.atomic():
        KnownRemote.objects.filter(account=account, remote_id=remote_id).delete()
        RemoteNote.objects.filter(account=account, remote_id=remote_id).delete()
        log_account(account, "orphan deleted", by, after={**details, **_changing_call(exchanges)})


def _check_orphaned(account: ProviderAccount, item: InventoryItem) -> None:
    remote_id = item.remote.remote_id
    taken = account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists()
    if item.kind is Kind.MANAGED or taken:
        raise NotAnOrphan(f"{remote_id} belongs to a subscription, so it is not deleted here.")
    if item.kind is not Kind.ORPHANED:
        raise NotAnOrphan(f"{remote_id} is not ours. Foreign remote subscriptions are never deleted.")
    if not public_url.is_confirmed():
        raise NotAnOrphan(
            "This installation's address is not confirmed, so what looks like an orphan may be used by another "
            f"installation. Confirm that {settings.PUBLIC_URL} is the new address first."
        )


def _lock(account: ProviderAccount) -> None:
    """Lock the account's row. Raises ProviderAccount.DoesNotExist if the account has been deleted."""
    ProviderAccount.objects.select_for_update().values_list("pk").get(pk=account.pk)


def _changing_call(exchanges: Sequence[Exchange]) -> dict[str, object]:
    """Return the last call that was not a GET, and its answer, with secrets masked."""
    calls = [item for item in exchanges if item.method != "GET"]
    if not calls:
        return {}
    call = calls[-1]
    request = {"method": call.method, "url": call.url, "body": call.request_body}
    response = None if call.status is None else {"status": call.status, "body": call.response_body}
    return {"request": request, "response": response}
