"""Read the registrations of an account from its provider, and determine which of them are ours.

Registrations without our token are never modified. The owner of a remote ID is looked up once and cached in
`KnownRemote`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone

from providers.accounts import circuit_breaker
from providers.contract.base import RemoteSubscription
from providers.contract.errors import InvalidResponse, NotFound, PermissionMissing
from providers.contract.session import ProviderSession
from providers.contract.signatures import same
from providers.models import ProviderAccount
from subscriptions.models import KnownRemote, Subscription
from subscriptions.reconciliation.planning_input import with_known_details

_CALLBACK_PATH = re.compile(r"/hooks/([A-Za-z0-9_-]+)/?$")


@dataclass(frozen=True, slots=True)
class Observation:
    """The registrations of an account at its provider: ours by subscription (primary key), and all others."""

    at: datetime  # just before the provider was asked
    ours: Mapping[int, tuple[RemoteSubscription, ...]] = field(default_factory=dict)
    others: tuple[RemoteSubscription, ...] = ()

    def of(self, subscription: Subscription) -> tuple[RemoteSubscription, ...]:
        """Return all registrations that carry this subscription's token."""
        return self.ours.get(subscription.pk, ())


def token_of_url(url: str | None) -> str | None:
    """Return the token in a callback URL of ours, at any host; None for any other URL."""
    if not url:
        return None
    match = _CALLBACK_PATH.search(urlsplit(url).path)
    return match.group(1) if match else None


def observe(
    account: ProviderAccount,
    session: ProviderSession[Any, Any],
    *,
    details_of: Collection[int] = (),
) -> Observation:
    """List the registrations of the account at its provider and find their owners.

    A remote ID whose owner is cached is not read again, except for the details of the subscriptions in `details_of`
    (primary keys). Raises ProviderError.
    """
    capabilities, now = account.plugin.capabilities, timezone.now()
    known = {
        row.remote_id: row
        for row in KnownRemote.objects.filter(account=account)
        .select_related("subscription")
        .defer("subscription__secrets")
    }
    if capabilities.can_list:
        listed = _list(account, session)
        _delete_unlisted(account, known, {remote.remote_id for remote in listed})
    else:
        listed = _read_known(account, session, known)
    ours: dict[int, list[RemoteSubscription]] = {}
    others: list[RemoteSubscription] = []
    for listed_remote in listed:
        identified = _identify(account, session, listed_remote, known)
        if identified is None:
            continue
        owner, remote = identified
        if remote.partial and owner is not None:
            remote = _completed(account, session, remote, owner)
        if owner is None or owner.account_id != account.pk:
            others.append(remote)
            continue
        if remote.config is None and owner.pk in details_of and not capabilities.list_has_details:
            details = _read_details(account, session, remote, owner)
            if details is None:
                continue
            remote = details
        if not _points_to(owner, remote.url):  # it was pointed elsewhere, so it is not ours at the moment
            _save_owner(account, remote, owner)
            others.append(remote)
            continue
        ours.setdefault(owner.pk, []).append(_with_compared_secret(remote, owner))
    return Observation(now, {pk: tuple(remotes) for pk, remotes in ours.items()}, tuple(others))


def read_by_id(row: Subscription, session: ProviderSession[Any, Any]) -> RemoteSubscription | None:
    """Read the current registration of a row by its ID.

    Return None if the provider does not have it, or has it with a callback URL that is not the row's. Raises
    ProviderError.
    """
    remote_id = row.remote_id or ""
    try:
        remote = row.account.plugin.read_remote(session, remote_id, secret=next(iter(row.secrets), None))
    except NotFound:
        return None
    if not _points_to(row, remote.url):
        return None
    return with_known_details(row, _with_compared_secret(remote, row))


def record_owner(subscription: Subscription, remote_id: str) -> None:
    """Cache that this remote ID belongs to this subscription."""
    KnownRemote.objects.update_or_create(
        account_id=subscription.account_id,
        remote_id=remote_id,
        defaults={"subscription": subscription, "url": subscription.callback_url},
    )


def _list(account: ProviderAccount, session: ProviderSession[Any, Any]) -> tuple[RemoteSubscription, ...]:
    try:
        listed: tuple[RemoteSubscription, ...] = account.plugin.list_remote(session)
    except PermissionMissing as error:
        error.whole_account = True  # without the list nothing of the account can be kept alive
        raise
    if account.calls_paused_for == circuit_breaker.PERMISSION:
        circuit_breaker.end_pause(account, circuit_breaker.PERMISSION)
    return listed


def _identify(
    account: ProviderAccount,
    session: ProviderSession[Any, Any],
    remote: RemoteSubscription,
    known: dict[str, KnownRemote],
) -> tuple[Subscription | None, RemoteSubscription] | None:
    """Return the owner of a registration, and what is known of it; None when it no longer exists."""
    row = known.get(remote.remote_id)
    # If the URL changed, the owner may have changed too. Where the list shows no URL, a read of the details tells.
    if row is not None and remote.url in (None, row.url):
        return row.subscription, remote if remote.url else replace(remote, url=row.url or None)
    if remote.url is None and account.plugin.capabilities.reveals_url:
        try:
            details = account.plugin.read_remote(session, remote.remote_id)
        except NotFound:
            return None
        except InvalidResponse:
            return row.subscription if row else None, remote  # it is looked at again the next time
        # It was read without the secret to compare with; the next read of the details compares it.
        remote = replace(details, secret_matches=None)
    token = token_of_url(remote.url)
    owner = Subscription.objects.filter(token=token).first() if token else None
    if owner is None and row is not None:
        owner = row.subscription  # formerly ours; where it points to decides
    _save_owner(account, remote, owner)
    return owner, remote


def _with_compared_secret(remote: RemoteSubscription, owner: Subscription) -> RemoteSubscription:
    """Return the registration with `secret_matches` set from the secret that a list showed."""
    if remote.secret_matches is not None or remote.shown_secret is None or not owner.secrets:
        return remote
    return replace(remote, shown_secret=None, secret_matches=same(remote.shown_secret, owner.secrets[0]))


def _points_to(owner: Subscription, url: str | None) -> bool:
    # A provider may not show the URL, and one that is being adopted still has its old URL.
    return url is None or token_of_url(url) == owner.token or url in owner.former_callback_urls


def _save_owner(account: ProviderAccount, remote: RemoteSubscription, owner: Subscription | None) -> None:
    KnownRemote.objects.update_or_create(
        account=account, remote_id=remote.remote_id, defaults={"subscription": owner, "url": remote.url or ""}
    )


def _completed(
    account: ProviderAccount, session: ProviderSession[Any, Any], remote: RemoteSubscription, owner: Subscription
) -> RemoteSubscription:
    """Return a registration of ours of which the list showed little: its details, or else what was last observed."""
    with suppress(NotFound, InvalidResponse):
        details = _read_details(account, session, remote, owner)
        if details is not None:
            return details
    known = owner.remote_id == remote.remote_id
    return replace(
        remote,
        enabled=owner.remote_enabled is not False if known else True,
        expires_at=owner.expires_at if known else None,
        status=(owner.remote_status if known else None) or remote.status,
    )


def _read_details(
    account: ProviderAccount, session: ProviderSession[Any, Any], remote: RemoteSubscription, owner: Subscription
) -> RemoteSubscription | None:
    try:
        details = account.plugin.read_remote(session, remote.remote_id, secret=next(iter(owner.secrets), None))
    except NotFound:
        return None
    return details if details.url else replace(details, url=remote.url)


def _read_known(
    account: ProviderAccount, session: ProviderSession[Any, Any], known: dict[str, KnownRemote]
) -> tuple[RemoteSubscription, ...]:
    """Read each known registration by its ID, where the provider has no list call."""
    remotes: list[RemoteSubscription] = []
    for remote_id, row in known.items():
        try:
            secret = next(iter(row.subscription.secrets), None) if row.subscription else None
            remotes.append(account.plugin.read_remote(session, remote_id, secret=secret))
        except NotFound:
            _delete_unlisted(account, {remote_id: row}, set())
    return tuple(remotes)


def _delete_unlisted(account: ProviderAccount, known: Mapping[str, KnownRemote], listed: Collection[str]) -> None:
    """Forget the owners of what is not listed, but not of a registration that may merely not be shown."""
    unlisted = [
        remote_id
        for remote_id, row in known.items()
        if remote_id not in listed and not (row.subscription and row.subscription.remote_id == remote_id)
    ]
    if unlisted:
        KnownRemote.objects.filter(account=account, remote_id__in=unlisted).delete()
