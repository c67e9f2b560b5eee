"""What an account has at its provider, whoever made it, and taking one of those in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from providers import accounts
from providers.base import Login, RemoteSubscription, validate
from providers.errors import NotFound, Throttled, Unavailable
from providers.models import ProviderAccount
from subscriptions.models import KnownRemote, Managed, Subscription
from subscriptions.observe import observe, token_in
from subscriptions.wanted import note


class Kind(StrEnum):
    """Whose a remote subscription is."""

    MANAGED = "managed"  # a subscription of ours
    ORPHANED = "orphaned"  # it calls us, but no subscription knows of it
    FOREIGN = "foreign"


class AlreadyManaged(Exception):
    """That remote subscription belongs to a subscription here already."""


@dataclass(frozen=True, slots=True)
class Found:
    """One remote subscription, and whose it is."""

    remote: RemoteSubscription
    kind: Kind
    subscription: Subscription | None

    @property
    def expires_at(self) -> datetime | None:
        """When its lease ends."""
        return self.remote.expires_at

    @property
    def config(self) -> Mapping[str, object] | None:
        """Its config in our words, where it was read."""
        return self.remote.config


def discover(account: ProviderAccount, *, seconds: float = 10.0) -> list[Found]:
    """Everything that the account has at its provider, now. Details that the time did not suffice for are None.
    Raises ProviderError."""
    with accounts.open_login(account, deadline=time.monotonic() + seconds) as login:
        observation = observe(account, login)
        rows = Subscription.objects.in_bulk(list(observation.ours))
        found = [
            Found(remote, Kind.MANAGED if not rows[pk].deleted_at else Kind.ORPHANED, rows[pk])
            for pk, remotes in observation.ours.items()
            for remote in remotes
        ]
        found += _not_by_token(account, observation.others)
        return [_with_details(account, login, item) for item in found]


def take_in(
    account: ProviderAccount, remote_id: str, *, by: str, name: str = "", take_over: bool = False
) -> Subscription:
    """Makes a subscription of a remote one that is not ours yet.

    With `take_over` it becomes ours: its URL and secret are changed at the provider to ours, and it is kept alive.
    Without, it is `manual`: shown, and never changed there. Raises AlreadyManaged, NotFound, InvalidInput (with
    `take_over`, when what it has does not fit our schema), and ProviderError.
    """
    item = next((found for found in discover(account) if found.remote.remote_id == remote_id), None)
    if item is None:
        raise NotFound(f"The provider has no {remote_id}.")
    managed = Subscription.objects.filter(account=account, remote_id=remote_id, deleted_at=None).exists()
    if item.kind is Kind.MANAGED or managed:
        raise AlreadyManaged(f"{remote_id} belongs to a subscription already.")
    config = dict(item.config or {})
    if take_over:
        config = validate(account.plugin.config_model, config).model_dump(mode="json")
    return _take_in(account, item.remote, config, by=by, name=name, take_over=take_over)


@transaction.atomic
def _take_in(
    account: ProviderAccount, remote: RemoteSubscription, config: dict[str, Any], *, by: str, name: str, take_over: bool
) -> Subscription:
    now = timezone.now()
    subscription = Subscription.objects.create(
        account=account,
        name=name,
        config=config,
        managed=Managed.API if take_over else Managed.MANUAL,
        changed_by=by,
        remote_id=remote.remote_id,
        remote_status=remote.status,
        remote_enabled=remote.enabled,
        remote_url=remote.url,
        remote_config=dict(remote.config) if remote.config is not None else None,
        expires_at=remote.expires_at,
        observed_at=now,
        former_callback_urls=[remote.url] if take_over and remote.url else [],
        register_tried_at=now if take_over else None,
    )
    if take_over:
        KnownRemote.objects.update_or_create(
            account=account,
            remote_id=remote.remote_id,
            defaults={"subscription": subscription, "url": remote.url or ""},
        )
    note(subscription, "imported", by, after={"remote_id": remote.remote_id, "take_over": take_over})
    return subscription


def _not_by_token(account: ProviderAccount, others: Sequence[RemoteSubscription]) -> list[Found]:
    """Remote ones whose URL is none of ours; still ours are those that were taken in without being taken over."""
    rows = Subscription.objects.filter(account=account, managed=Managed.MANUAL, deleted_at=None)
    taken_in = {row.remote_id: row for row in rows.exclude(remote_id=None)}
    return [
        Found(remote, Kind.MANAGED, taken_in[remote.remote_id])
        if remote.remote_id in taken_in
        else Found(remote, _kind(account, remote), None)
        for remote in others
    ]


def _kind(account: ProviderAccount, remote: RemoteSubscription) -> Kind:
    token = token_in(remote.url)
    if token is None:
        return Kind.FOREIGN
    elsewhere = Subscription.objects.filter(token=token, deleted_at=None).exclude(account=account).exists()
    ours = (remote.url or "").startswith(f"{settings.PUBLIC_URL}/hooks/") or Subscription.objects.filter(
        token=token
    ).exists()
    return Kind.ORPHANED if ours and not elsewhere else Kind.FOREIGN


def _with_details(account: ProviderAccount, login: Login[Any, Any], item: Found) -> Found:
    if item.remote.config is not None:
        return item
    if item.subscription is not None and item.subscription.remote_config is not None:
        return replace(item, remote=replace(item.remote, config=item.subscription.remote_config))
    try:
        details = account.plugin.read_remote(login, item.remote.remote_id)
    except (NotFound, Throttled, Unavailable):
        return item
    return replace(item, remote=replace(details, url=details.url or item.remote.url))
