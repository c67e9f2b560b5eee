"""What an account has at its provider, whoever made it, and taking one of those in."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from providers.accounts.session import open_session
from providers.conflict import Conflict
from providers.contract.base import RemoteSubscription
from providers.contract.errors import NotFound, Throttled, Unavailable
from providers.contract.schemas import validate
from providers.contract.session import ProviderSession
from providers.models import ProviderAccount
from subscriptions.lifecycle.desired_state import lock_for_adding, note
from subscriptions.lifecycle.public_url import address_confirmed
from subscriptions.models import KnownRemote, Managed, RemoteNote, Subscription, callback_url_for
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.live_plan import plan_for
from subscriptions.reconciliation.observe import Observation, observe, token_of_url


class Kind(StrEnum):
    """Whose a remote subscription is."""

    MANAGED = "managed"  # a subscription of ours
    ORPHANED = "orphaned"  # it calls us, but no subscription knows of it
    FOREIGN = "foreign"


class AlreadyManaged(Conflict):
    """That remote subscription belongs to a subscription here already."""


class BeingRemoved(Conflict):
    """Somebody is removing it at the provider just now."""


class AddressNotConfirmed(Conflict):
    """PUBLIC_URL has changed: this may be a copy of another installation, so nothing is changed at the provider until
    somebody confirms the new address."""


@dataclass(frozen=True, slots=True)
class Found:
    """One remote subscription, and whose it is."""

    remote: RemoteSubscription
    kind: Kind
    subscription: Subscription | None
    ignored: bool = False  # a person does not want to be shown it again

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
    with open_session(account, deadline=time.monotonic() + seconds) as session:
        return list(_detailed(account, session, _found(account, observe(account, session))))


def find(account: ProviderAccount, remote_id: str, *, seconds: float = 10.0) -> Found:
    """One of them, with its details. Raises NotFound when the provider has none with that id, and ProviderError."""
    with open_session(account, deadline=time.monotonic() + seconds) as session:
        return find_with(account, session, remote_id)


def find_with(
    account: ProviderAccount, session: ProviderSession[Any, Any], remote_id: str, *, anew: bool = False
) -> Found:
    """The same with a login that is open already. `anew`: where it points to is asked for again, although it is known
    from an earlier look."""
    found = _found(account, observe(account, session))
    item = next((item for item in found if item.remote.remote_id == remote_id), None)
    if item is None:
        raise NotFound(f"The provider has no {remote_id}.")
    capabilities = account.plugin.capabilities
    if not anew or item.kind is Kind.MANAGED or capabilities.list_has_details or not capabilities.reveals_url:
        return next(_detailed(account, session, [item]))
    remote = account.plugin.read_remote(session, remote_id)
    return replace(item, remote=remote, kind=_kind(account, remote) if remote.url else item.kind)


def take_in(
    account: ProviderAccount, remote_id: str, *, by: str, name: str = "", take_over: bool = False
) -> Subscription:
    """Makes a subscription of a remote one that is not ours yet.

    With `take_over` it becomes ours: its URL and secret are changed at the provider to ours, and it is kept alive.
    Without, it is `manual`: shown, and never changed there. Raises AlreadyManaged, NotFound, InvalidInput (with
    `take_over`, when what it has does not fit our schema), AddressNotConfirmed (with `take_over`), AccountLeaving,
    BeingRemoved, and ProviderError.
    """
    if take_over and not address_confirmed():
        raise AddressNotConfirmed(
            "This installation's address is not confirmed, so nothing is taken over: it may be a copy of another one. "
            f"Confirm that {settings.PUBLIC_URL} is the new address first."
        )
    item = find(account, remote_id)
    if item.kind is Kind.MANAGED:
        raise AlreadyManaged(f"{remote_id} belongs to a subscription already.")
    config = dict(item.config or {})
    if take_over:
        config = validate(account.plugin.config_model, config).model_dump(mode="json")
    return _take_in(account, item.remote, config, by=by, name=name, take_over=take_over)


def would_take_over(account: ProviderAccount, remote: RemoteSubscription) -> Plan:
    """What taking it over would do at the provider, step by step, with `…` for the token that it will get. No call is
    made. Raises InvalidInput when what it has does not fit our schema."""
    config = validate(account.plugin.config_model, dict(remote.config or {})).model_dump(mode="json")
    row = Subscription(
        account=account,
        token="…",  # noqa: S106 - none yet
        callback_url=callback_url_for("…"),
        config=config,
        remote_id=remote.remote_id,
        former_callback_urls=[remote.url] if remote.url else [],
    )
    return plan_for(row, [remote], timezone.now())


@transaction.atomic
def _take_in(
    account: ProviderAccount, remote: RemoteSubscription, config: dict[str, Any], *, by: str, name: str, take_over: bool
) -> Subscription:
    lock_for_adding(account)
    _check_free(account, remote.remote_id)
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
    RemoteNote.objects.filter(account=account, remote_id=remote.remote_id).delete()
    note(subscription, "imported", by, after={"remote_id": remote.remote_id, "take_over": take_over})
    return subscription


def _kind(account: ProviderAccount, remote: RemoteSubscription) -> Kind:
    token = token_of_url(remote.url)
    if token is None:
        return Kind.FOREIGN
    elsewhere = Subscription.objects.filter(token=token, deleted_at=None).exclude(account=account).exists()
    ours = (remote.url or "").startswith(f"{settings.PUBLIC_URL}/hooks/") or Subscription.objects.filter(
        token=token
    ).exists()
    return Kind.ORPHANED if ours and not elsewhere else Kind.FOREIGN


def _found(account: ProviderAccount, observation: Observation) -> list[Found]:
    """Whose each one is, and which of them people want to ignore. Still ours are also those that were taken in without
    being taken over, whose URL is another."""
    rows = Subscription.objects.defer("secrets").in_bulk(list(observation.ours))
    manual = account.subscriptions.filter(managed=Managed.MANUAL, deleted_at=None).exclude(remote_id=None)
    taken_in = {row.remote_id: row for row in manual.defer("secrets")}
    notes = account.remote_notes.exclude(ignored_at=None)
    ignored = set(notes.values_list("remote_id", flat=True))

    def tell(remote: RemoteSubscription, owner: Subscription | None) -> Found:
        living = owner if owner is not None and not owner.deleted_at else taken_in.get(remote.remote_id)
        if living is not None:
            return Found(remote, Kind.MANAGED, living)
        kind = Kind.ORPHANED if owner is not None else _kind(account, remote)
        return Found(remote, kind, owner, ignored=remote.remote_id in ignored)

    ours = [tell(remote, rows[pk]) for pk, remotes in observation.ours.items() for remote in remotes]
    return ours + [tell(remote, None) for remote in observation.others]


def _check_free(account: ProviderAccount, remote_id: str) -> None:
    """Within the transaction that holds the account's lock: nobody has taken it in meanwhile, or is removing it."""
    if account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists():
        raise AlreadyManaged(f"{remote_id} belongs to a subscription already.")
    if account.remote_notes.filter(remote_id=remote_id, removing_until__gt=timezone.now()).exists():
        raise BeingRemoved(f"{remote_id} is being removed at the provider just now.")


def _detailed(account: ProviderAccount, session: ProviderSession[Any, Any], found: Iterable[Found]) -> Iterator[Found]:
    """With what the list does not carry, as long as calls are to be had."""
    calls_left = True
    for item in found:
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
