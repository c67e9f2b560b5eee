"""Importing a remote subscription: adopting it, or only monitoring it as a manually managed one."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from providers.conflict import Conflict
from providers.contract.base import RemoteSubscription
from providers.contract.schemas import validate
from providers.models import ProviderAccount
from subscriptions.lifecycle import public_url
from subscriptions.lifecycle.accounts import lock_for_adding
from subscriptions.lifecycle.activity_log import log_subscription
from subscriptions.models import KnownRemote, Managed, RemoteNote, Subscription, callback_url_for
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.live_plan import plan_for
from subscriptions.remote.inventory import Kind, find_remote


class AlreadyManaged(Conflict):
    """The remote subscription already belongs to a subscription here."""


class BeingDeleted(Conflict):
    """The remote subscription is being deleted at the provider."""


class AddressNotConfirmed(Conflict):
    """PUBLIC_URL is not confirmed: this may be a copy of another installation, which owns the subscriptions."""


def import_remote(
    account: ProviderAccount, remote_id: str, *, by: str, name: str = "", take_over: bool = False
) -> Subscription:
    """Create a subscription for a remote subscription that is not managed yet.

    With `take_over` it is adopted: its URL and secret are replaced at the provider by ours, and it is kept alive.
    Otherwise it is managed manually: it is shown, and never changed at the provider.

    Raises AlreadyManaged, BeingDeleted, AccountBeingDeleted, NotFound and other ProviderErrors; with `take_over` also
    AddressNotConfirmed, and InvalidInput if its config does not fit the provider's schema.
    """
    if take_over and not public_url.is_confirmed():
        raise AddressNotConfirmed(
            "This installation's address is not confirmed, so nothing is adopted: this may be a copy of another one. "
            f"Confirm that {settings.PUBLIC_URL} is the new address first."
        )
    item = find_remote(account, remote_id)
    if item.kind is Kind.MANAGED:
        raise AlreadyManaged(f"{remote_id} already belongs to a subscription.")
    config = dict(item.config or {})
    if take_over:
        config = validate(account.plugin.config_model, config).model_dump(mode="json")
    return _import(account, item.remote, config, by=by, name=name, take_over=take_over)


def plan_adoption(account: ProviderAccount, remote: RemoteSubscription) -> Plan:
    """Return the steps that adopting a remote subscription would take, with `…` in place of its future token.

    Makes no call. Raises InvalidInput if its config does not fit the provider's schema.
    """
    config = validate(account.plugin.config_model, dict(remote.config or {})).model_dump(mode="json")
    row = Subscription(
        account=account,
        token="…",  # noqa: S106 - a placeholder
        callback_url=callback_url_for("…"),
        config=config,
        remote_id=remote.remote_id,
        former_callback_urls=[remote.url] if remote.url else [],
    )
    return plan_for(row, [remote], timezone.now())


@transaction.atomic
def _import(
    account: ProviderAccount, remote: RemoteSubscription, config: dict[str, Any], *, by: str, name: str, take_over: bool
) -> Subscription:
    lock_for_adding(account)
    _check_importable(account, remote.remote_id)
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
    log_subscription(subscription, "imported", by, after={"remote_id": remote.remote_id, "take_over": take_over})
    return subscription


def _check_importable(account: ProviderAccount, remote_id: str) -> None:
    """Check that the remote subscription is still free. Call this while holding the lock on the account."""
    if account.subscriptions.filter(remote_id=remote_id, deleted_at=None).exists():
        raise AlreadyManaged(f"{remote_id} already belongs to a subscription.")
    if account.remote_notes.filter(remote_id=remote_id, removing_until__gt=timezone.now()).exists():
        raise BeingDeleted(f"{remote_id} is being deleted at the provider.")
