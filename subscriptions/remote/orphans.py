"""Remote subscriptions that no subscription here stands for: removing an orphan at the provider, and ignoring one.

Only a person or a program does either, never the clock, and nothing foreign is ever removed."""

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
from subscriptions.lifecycle.desired_state import note_account
from subscriptions.lifecycle.public_url import address_confirmed
from subscriptions.models import KnownRemote, RemoteNote
from subscriptions.remote.inventory import AlreadyManaged, BeingRemoved, Found, Kind, find_with

REMOVING = timedelta(seconds=60)  # longer than the calls may take; a crash blocks an import no longer than that


class NotOrphaned(Conflict):
    """It is not (any more) an orphan, so it is not removed."""


def remove(account: ProviderAccount, remote_id: str, *, by: str, seconds: float = 10.0) -> None:
    """Deletes an orphan at the provider: one with our URL or token that no subscription stands for. Whether it still is
    one is asked for right before, and nobody can import it meanwhile. What is about to be done, and what came of it,
    are written to the history. Raises NotOrphaned, BeingRemoved, NotFound, and ProviderError."""
    _reserve(account, remote_id)
    try:
        _remove(account, remote_id, by=by, seconds=seconds)
    finally:
        RemoteNote.objects.filter(account=account, remote_id=remote_id).update(removing_until=None)


@transaction.atomic
def ignore(account: ProviderAccount, remote_id: str, *, by: str) -> None:
    """Remembers that nobody needs to be shown it again; nothing changes at the provider. Raises AlreadyManaged, and
    NotFound for one that was never seen."""
    _lock(account)
    if account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists():
        raise AlreadyManaged(f"{remote_id} belongs to a subscription, so it cannot be ignored.")
    known = KnownRemote.objects.filter(account=account, remote_id=remote_id).select_related("subscription").first()
    if known is None:
        raise NotFound(f"The provider was not seen to have {remote_id}.")
    if known.subscription is not None and not known.subscription.deleted_at:
        raise AlreadyManaged(f"{remote_id} belongs to a subscription, so it cannot be ignored.")
    row, _ = RemoteNote.objects.get_or_create(account=account, remote_id=remote_id)
    if row.ignored_at is None:
        RemoteNote.objects.filter(pk=row.pk).update(ignored_at=timezone.now())
        note_account(account, "remote subscription ignored", by, after={"remote_id": remote_id})


@transaction.atomic
def stop_ignoring(account: ProviderAccount, remote_id: str, *, by: str) -> None:
    """Takes that back; nothing where it was not ignored."""
    ignored = RemoteNote.objects.filter(account=account, remote_id=remote_id).exclude(ignored_at=None)
    if ignored.update(ignored_at=None):
        note_account(account, "remote subscription no longer ignored", by, after={"remote_id": remote_id})


@transaction.atomic
def _reserve(account: ProviderAccount, remote_id: str) -> None:
    """Keeps it from being imported, or removed twice, from here on. Under the lock that an import takes as well."""
    _lock(account)
    if account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists():
        raise NotOrphaned(f"{remote_id} belongs to a subscription by now; it is not removed.")
    now = timezone.now()
    row, _ = RemoteNote.objects.get_or_create(account=account, remote_id=remote_id)
    if row.removing_until is not None and row.removing_until > now:
        raise BeingRemoved(f"{remote_id} is being removed at the provider already.")
    RemoteNote.objects.filter(pk=row.pk).update(removing_until=now + REMOVING)


def _remove(account: ProviderAccount, remote_id: str, *, by: str, seconds: float) -> None:
    exchanges: list[Exchange] = []
    with open_session(account, deadline=time.monotonic() + seconds, record=exchanges.append) as session:
        item = find_with(account, session, remote_id, anew=True)
        _check_orphaned(account, item)
        seen = {"remote_id": remote_id, "callback_url": item.remote.url}
        note_account(account, "orphan removal begun", by, after=seen)
        exchanges.clear()
        try:
            account.plugin.delete(session, remote_id)
        except NotFound:  # somebody was quicker; it is gone all the same
            pass
        except ProviderError as error:
            what = "orphan removal without an answer" if error.outcome_unknown else "orphan removal failed"
            note_account(account, what, by, after={**seen, **_told(exchanges), "error": error.message})
            raise
    with transaction.atomic():
        KnownRemote.objects.filter(account=account, remote_id=remote_id).delete()
        RemoteNote.objects.filter(account=account, remote_id=remote_id).delete()
        note_account(account, "orphan removed", by, after={**seen, **_told(exchanges)})


def _check_orphaned(account: ProviderAccount, item: Found) -> None:
    remote_id = item.remote.remote_id
    taken = account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists()
    if item.kind is Kind.MANAGED or taken:
        raise NotOrphaned(f"{remote_id} belongs to a subscription; it is not removed here.")
    if item.kind is not Kind.ORPHANED:
        raise NotOrphaned(f"{remote_id} is not ours: nothing foreign is ever removed.")
    if not address_confirmed():
        raise NotOrphaned(
            "This installation's address is not confirmed, so what looks like an orphan may be used by another "
            f"installation. Confirm that {settings.PUBLIC_URL} is the new address first."
        )


def _lock(account: ProviderAccount) -> None:
    """Raises ProviderAccount.DoesNotExist when it was deleted meanwhile."""
    ProviderAccount.objects.select_for_update().values_list("pk").get(pk=account.pk)


def _told(exchanges: Sequence[Exchange]) -> dict[str, object]:
    """The changing call and its answer, secrets masked: the last one that is no look."""
    calls = [item for item in exchanges if item.method != "GET"]
    if not calls:
        return {}
    call = calls[-1]
    request = {"method": call.method, "url": call.url, "body": call.request_body}
    response = None if call.status is None else {"status": call.status, "body": call.response_body}
    return {"request": request, "response": response}
