"""Changing what is wanted. The screens, the REST API and the demo call these; the clock never does.

Each function checks, writes the wanted half, and returns; `reconcile` does the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from providers.base import Renewal, validate
from providers.errors import Unsupported
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Managed, Subscription, callback_url_for


def add_account(
    *, provider: str, name: str, settings: Mapping[str, Any], credentials: Mapping[str, Any]
) -> ProviderAccount:
    """A new account; no call is made. Raises UnknownProvider and InvalidInput."""
    account = ProviderAccount(provider=provider, name=name)
    _fill(account, settings, credentials)
    account.save()
    return account


def change_account(
    account: ProviderAccount,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    credentials: Mapping[str, Any] | None = None,
) -> None:
    """Changes an account: `settings` are replaced whole, `credentials` merged by key. What failed because of it is
    tried again at once. Raises InvalidInput."""
    if name is not None:
        account.name = name
    if settings is not None or credentials is not None:
        merged = {**account.credentials, **(credentials or {})}
        _fill(account, account.settings if settings is None else settings, merged)
        account.status, account.status_reason = AccountStatus.UNCHECKED, ""
        account.look_due_at = timezone.now()
    with transaction.atomic():
        account.save(update_fields=["name", "settings", "credentials", "status", "status_reason", "look_due_at"])
        account.subscriptions.exclude(last_error=None).update(due_at=timezone.now(), failures=0)


def subscribe(
    account: ProviderAccount,
    *,
    config: Mapping[str, Any],
    by: str,
    name: str = "",
    enabled: bool = True,
    auto_renew: bool = True,
    managed: str = Managed.API,
) -> Subscription:
    """A new subscription, due at once; no call is made. Raises InvalidInput."""
    return Subscription.objects.create(
        account=account,
        name=name,
        config=_checked_config(account, config),
        enabled=enabled,
        auto_renew=auto_renew,
        managed=managed,
        changed_by=by,
    )


def change(subscription: Subscription, *, by: str, **wanted: Any) -> None:
    """Changes `name`, `config`, `enabled` or `auto_renew`. Raises InvalidInput."""
    if "config" in wanted:
        wanted["config"] = _checked_config(subscription.account, wanted["config"])
    subscription.want(by=by, **wanted)


def renew_now(subscription: Subscription, *, by: str) -> None:
    """Asks for a renewal before its time. Raises Unsupported where subscriptions do not expire."""
    if subscription.account.plugin.capabilities.renewal is Renewal.NONE:
        raise Unsupported(f"Subscriptions at {subscription.account.plugin.name} do not expire.")
    subscription.want(by=by, renew_asked_at=timezone.now())


def remove(subscription: Subscription, *, by: str) -> None:
    """Wants it gone. A manual one, which we never registered, is gone at once."""
    values: dict[str, object] = {"present": False}
    if subscription.managed == Managed.MANUAL or subscription.register_tried_at is None:
        values["deleted_at"] = timezone.now()
    subscription.want(by=by, **values)


def confirm_public_url(*, by: str, account: ProviderAccount | None = None) -> int:
    """A person says that PUBLIC_URL is the new address of this installation: every callback URL moves there, and the
    plan follows at the providers. Returns how many moved."""
    rows = Subscription.objects.filter(deleted_at=None)
    if account is not None:
        rows = rows.filter(account=account)
    moved = 0
    for row in rows.iterator():
        if not row.address_confirmed:
            former = list(dict.fromkeys([*row.former_callback_urls, row.callback_url]))
            row.want(by=by, callback_url=callback_url_for(row.token), former_callback_urls=former)
            moved += 1
    return moved


def _fill(account: ProviderAccount, settings: Mapping[str, Any], credentials: Mapping[str, Any]) -> None:
    plugin = account.plugin
    checked = validate(plugin.settings_model, dict(settings))
    account.settings = checked.model_dump(mode="json", exclude_unset=True)
    account.credentials = validate(plugin.credentials_model, dict(credentials)).model_dump(
        mode="json", exclude_unset=True
    )


def _checked_config(account: ProviderAccount, config: Mapping[str, Any]) -> dict[str, Any]:
    return validate(account.plugin.config_model, dict(config)).model_dump(mode="json")
