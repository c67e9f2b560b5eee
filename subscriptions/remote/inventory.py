"""The remote subscriptions that an account has at its provider, and which of them are ours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings

from providers.accounts.session import open_session
from providers.contract.base import RemoteSubscription
from providers.contract.errors import NotFound, Throttled, Unavailable
from providers.contract.session import ProviderSession
from providers.models import ProviderAccount
from subscriptions.models import Managed, Subscription
from subscriptions.reconciliation.observe import Observation, observe, token_of_url


class Kind(StrEnum):
    """The owner of a remote subscription."""

    MANAGED = "managed"  # it belongs to a subscription here
    ORPHANED = "orphaned"  # it has our URL or token, but no subscription here
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class InventoryItem:
    """One remote subscription and its owner."""

    remote: RemoteSubscription
    kind: Kind
    subscription: Subscription | None
    ignored: bool = False  # a person has hidden it

    @property
    def expires_at(self) -> datetime | None:
        """The end of its lease."""
        return self.remote.expires_at

    @property
    def config(self) -> Mapping[str, object] | None:
        """Its config in canonical form, or None if it was not read."""
        return self.remote.config


def list_remotes(account: ProviderAccount, *, seconds: float = 10.0) -> list[InventoryItem]:
    """Return all remote subscriptions of the account.

    Details that could not be read within `seconds` are None. Raises ProviderError.
    """
    with open_session(account, deadline=time.monotonic() + seconds) as session:
        return list(_with_details(account, session, _classify_all(account, observe(account, session))))


def find_remote(account: ProviderAccount, remote_id: str, *, seconds: float = 10.0) -> InventoryItem:
    """Return one remote subscription with its details. Raises NotFound and other ProviderErrors."""
    with open_session(account, deadline=time.monotonic() + seconds) as session:
        return find_in_session(account, session, remote_id)


def find_in_session(
    account: ProviderAccount, session: ProviderSession[Any, Any], remote_id: str, *, reread_url: bool = False
) -> InventoryItem:
    """Return one remote subscription, using an open session. Raises NotFound and other ProviderErrors.

    `reread_url` reads its URL from the provider again, even if it is known from an earlier sync.
    """
    items = _classify_all(account, observe(account, session))
    item = next((item for item in items if item.remote.remote_id == remote_id), None)
    if item is None:
        raise NotFound(f"The provider has no {remote_id}.")
    capabilities = account.plugin.capabilities
    if not reread_url or item.kind is Kind.MANAGED or capabilities.list_has_details or not capabilities.reveals_url:
        return next(_with_details(account, session, [item]))
    remote = account.plugin.read_remote(session, remote_id)
    return replace(item, remote=remote, kind=_classify_unknown(account, remote) if remote.url else item.kind)


def _classify_unknown(account: ProviderAccount, remote: RemoteSubscription) -> Kind:
    """Return the kind of a remote subscription that belongs to no subscription of this account."""
    token = token_of_url(remote.url)
    if token is None:
        return Kind.FOREIGN
    elsewhere = Subscription.objects.filter(token=token, deleted_at=None).exclude(account=account).exists()
    ours = (remote.url or "").startswith(f"{settings.PUBLIC_URL}/hooks/") or Subscription.objects.filter(
        token=token
    ).exists()
    return Kind.ORPHANED if ours and not elsewhere else Kind.FOREIGN


def _classify_all(account: ProviderAccount, observation: Observation) -> list[InventoryItem]:
    """Return each remote subscription with its owner, and whether it is ignored.

    Those that were imported without being adopted are managed as well, although their URL is not ours.
    """
    rows = Subscription.objects.defer("secrets").in_bulk(list(observation.ours))
    manual = account.subscriptions.filter(managed=Managed.MANUAL, deleted_at=None).exclude(remote_id=None)
    imported = {row.remote_id: row for row in manual.defer("secrets")}
    notes = account.remote_notes.exclude(ignored_at=None)
    ignored = set(notes.values_list("remote_id", flat=True))

    def classify(remote: RemoteSubscription, owner: Subscription | None) -> InventoryItem:
        subscription = owner if owner is not None and not owner.deleted_at else imported.get(remote.remote_id)
        if subscription is not None:
            return InventoryItem(remote, Kind.MANAGED, subscription)
        kind = Kind.ORPHANED if owner is not None else _classify_unknown(account, remote)
        return InventoryItem(remote, kind, owner, ignored=remote.remote_id in ignored)

    ours = [classify(remote, rows[pk]) for pk, remotes in observation.ours.items() for remote in remotes]
    return ours + [classify(remote, None) for remote in observation.others]


def _with_details(
    account: ProviderAccount, session: ProviderSession[Any, Any], items: Iterable[InventoryItem]
) -> Iterator[InventoryItem]:
    """Yield the items with the details that the list does not contain, as long as the provider answers calls."""
    calls_left = True
    for item in items:
        if item.remote.config is not None:
            yield item
        elif item.subscription is not None and item.subscription.remote_config is not None:
            yield replace(item, remote=replace(item.remote, config=item.subscription.remote_config))
        elif not calls_left:
            yield item
        else:
            try:
                details = account.plugin.read_remote(session, item.remote.remote_id)
            except NotFound:
                yield item
            except (Throttled, Unavailable):
                calls_left = False
                yield item
            else:
                yield replace(item, remote=replace(details, url=details.url or item.remote.url))
