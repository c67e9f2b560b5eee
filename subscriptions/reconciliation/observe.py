"""Asking the provider: which remote subscriptions there are, and which of them are ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone

from providers.accounts import circuit_breaker
from providers.contract.base import RemoteSubscription
from providers.contract.errors import NotFound, PermissionMissing
from providers.contract.session import ProviderSession
from providers.contract.signatures import same
from providers.models import ProviderAccount
from subscriptions.models import KnownRemote, Subscription

_CALLBACK_PATH = re.compile(r"/hooks/([A-Za-z0-9_-]+)/?$")


@dataclass(frozen=True, slots=True)
class Observation:
    """What an account has at its provider: ours by subscription (primary key), and everything else."""

    at: datetime  # just before the provider was asked
    ours: Mapping[int, tuple[RemoteSubscription, ...]] = field(default_factory=dict)
    others: tuple[RemoteSubscription, ...] = ()

    def of(self, subscription: Subscription) -> tuple[RemoteSubscription, ...]:
        """All that carry this subscription's token."""
        return self.ours.get(subscription.pk, ())


def token_of_url(url: str | None) -> str | None:
    """The token in a callback URL of ours, at whatever host; None when it is none of ours."""
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
    """Lists what the account has and tells whose it is. Ids whose owner is known are not asked for again, except for
    the details of the subscriptions in `details_of` (primary keys). Raises ProviderError."""
    capabilities, now = account.plugin.capabilities, timezone.now()
    known = {
        row.remote_id: row
        for row in KnownRemote.objects.filter(account=account)
        .select_related("subscription")
        .defer("subscription__secrets")
    }
    if capabilities.can_list:
        listed = _listed(account, session)
        _forget(account, known, {remote.remote_id for remote in listed})
    else:
        listed = _read_known(account, session, known)
    ours: dict[int, list[RemoteSubscription]] = {}
    others: list[RemoteSubscription] = []
    for remote in listed:
        identified = _identify(account, session, remote, known)
        if identified is None:
            continue
        owner, seen = identified
        if owner is None or owner.account_id != account.pk:
            others.append(seen)
            continue
        if seen.config is None and owner.pk in details_of and not capabilities.list_has_details:
            fresh = _read(account, session, seen, owner)
            if fresh is None:
                continue
            seen = fresh
        if not _points_to(owner, seen.url):  # somebody pointed it elsewhere: it is not ours to touch while it is so
            _write_down(account, seen, owner)
            others.append(seen)
            continue
        ours.setdefault(owner.pk, []).append(_compared(seen, owner))
    return Observation(now, {pk: tuple(remotes) for pk, remotes in ours.items()}, tuple(others))


def _listed(account: ProviderAccount, session: ProviderSession[Any, Any]) -> tuple[RemoteSubscription, ...]:
    try:
        listed: tuple[RemoteSubscription, ...] = account.plugin.list_remote(session)
    except PermissionMissing as error:
        error.whole_account = True  # whoever may not list can keep nothing alive
        raise
    if account.calls_paused_for == circuit_breaker.PERMISSION:
        circuit_breaker.lift(account, circuit_breaker.PERMISSION)
    return listed


def record_owner(subscription: Subscription, remote_id: str) -> None:
    """Writes down that this remote id is ours."""
    KnownRemote.objects.update_or_create(
        account_id=subscription.account_id,
        remote_id=remote_id,
        defaults={"subscription": subscription, "url": subscription.callback_url},
    )


def _identify(
    account: ProviderAccount,
    session: ProviderSession[Any, Any],
    remote: RemoteSubscription,
    known: dict[str, KnownRemote],
) -> tuple[Subscription | None, RemoteSubscription] | None:
    """Whose it is, and what is known of it; None when it is gone by now."""
    row = known.get(remote.remote_id)
    # One that shows another URL than it did may have changed hands; where the list shows none, its details tell later.
    if row is not None and remote.url in (None, row.url):
        return row.subscription, remote if remote.url else replace(remote, url=row.url or None)
    if remote.url is None and account.plugin.capabilities.reveals_url:
        try:
            details = account.plugin.read_remote(session, remote.remote_id)
        except NotFound:
            return None
        # The secret was not at hand for comparison; a later look at the details does that.
        remote = replace(details, secret_matches=None)
    token = token_of_url(remote.url)
    owner = Subscription.objects.filter(token=token).first() if token else None
    if owner is None and row is not None:
        owner = row.subscription  # once ours; where it points to decides
    _write_down(account, remote, owner)
    return owner, remote


def _compared(remote: RemoteSubscription, owner: Subscription) -> RemoteSubscription:
    """With `secret_matches` told from what a list showed."""
    if remote.secret_matches is not None or remote.shown_secret is None or not owner.secrets:
        return remote
    return replace(remote, shown_secret=None, secret_matches=same(remote.shown_secret, owner.secrets[0]))


def _points_to(owner: Subscription, url: str | None) -> bool:
    # A provider that does not show the URL leaves us with what we know; one that is being taken over has its old URL.
    return url is None or token_of_url(url) == owner.token or url in owner.former_callback_urls


def _write_down(account: ProviderAccount, remote: RemoteSubscription, owner: Subscription | None) -> None:
    KnownRemote.objects.update_or_create(
        account=account, remote_id=remote.remote_id, defaults={"subscription": owner, "url": remote.url or ""}
    )


def _read(
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
    """Without a list call, each known one is asked for by its id."""
    found: list[RemoteSubscription] = []
    for remote_id, row in known.items():
        try:
            secret = next(iter(row.subscription.secrets), None) if row.subscription else None
            found.append(account.plugin.read_remote(session, remote_id, secret=secret))
        except NotFound:
            _forget(account, {remote_id: row}, set())
    return tuple(found)


def _forget(account: ProviderAccount, known: Mapping[str, KnownRemote], listed: Collection[str]) -> None:
    gone = [remote_id for remote_id in known if remote_id not in listed]
    if gone:
        KnownRemote.objects.filter(account=account, remote_id__in=gone).delete()
