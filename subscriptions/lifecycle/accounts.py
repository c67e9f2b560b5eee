"""Adding, changing and deleting provider accounts.

Each function validates, writes the account together with its entry in the activity log, and makes no call. `by` is the
actor: `staff:<user>`, `api:<token>`, `demo` or `command:<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from providers.accounts import circuit_breaker, session
from providers.audit import log
from providers.conflict import Conflict
from providers.contract.errors import FieldError, InvalidInput
from providers.contract.schemas import validate
from providers.models import AccountStatus, ProviderAccount
from providers.names import check_name
from subscriptions.lifecycle.activity_log import log_account

UNCHANGED: Any = object()  # the default of parameters for which None is a valid value


class AccountInUse(Conflict):
    """The account still has subscriptions."""

    code = "account_in_use"


class AccountBeingDeleted(Conflict):
    """The account is being deleted together with its subscriptions."""


@transaction.atomic
def add_account(
    *,
    provider: str,
    name: str,
    settings: Mapping[str, Any],
    credentials: Mapping[str, Any],
    by: str,
    retention_days: int | None = None,
) -> ProviderAccount:
    """Create an account. Its requests and events are stored for `retention_days`, or indefinitely if None.

    Raises UnknownProvider and InvalidInput.
    """
    check_name(name)
    account = ProviderAccount(provider=provider, name=name, retention_days=retention_days)
    _set_validated(account, settings, credentials)
    account.save()
    after = {"name": name, "provider": provider, "retention_days": retention_days, **_flat_values(account)}
    log_account(account, log.CREATED, by, before={}, after=after)
    return account


@transaction.atomic
def change_account(
    account: ProviderAccount,
    *,
    by: str,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    credentials: Mapping[str, Any] | None = None,
    retention_days: int | None = UNCHANGED,
) -> None:
    """Change an account: `settings` are replaced as a whole, `credentials` are merged by key.

    If the settings change where credentials are sent, these must be entered again; see `merge_credentials`. New
    settings or credentials make failed subscriptions due at once and end a pause of the account's calls. Raises
    InvalidInput.
    """
    before = _values_of(account)
    if name is not None:
        check_name(name)
        account.name = name
    if retention_days is not UNCHANGED:
        account.retention_days = retention_days
    if settings is not None or credentials is not None:
        new_settings = account.settings if settings is None else settings
        _set_validated(account, new_settings, merge_credentials(account, new_settings, credentials or {}))
        account.status, account.status_reason = AccountStatus.UNCHECKED, ""
        account.tokens.all().delete()  # they were obtained with the old credentials
        account.sync_due_at = timezone.now()
        account.subscriptions.exclude(last_error=None).update(due_at=timezone.now(), failures=0)
    names = ("name", "retention_days", "settings", "credentials", "status", "status_reason", "sync_due_at")
    session.save_facts(account, *names, by=by)
    if settings is not None or credentials is not None:
        circuit_breaker.end_pause(account)  # the provider may accept the new values
    log_account(account, log.CHANGED, by, before=before, after=_values_of(account))


def merge_credentials(
    account: ProviderAccount, settings: Mapping[str, Any], entered: Mapping[str, Any]
) -> dict[str, object]:
    """Return the stored credentials merged with the entered ones, for these new settings.

    Raises InvalidInput for each stored value that the new settings would send to another address. Otherwise anyone
    who may change an account could read its credentials by entering the address of an own server.
    """
    merged = account.plugin.merge_credentials(account.credentials, entered)
    kept = [name for name, value in merged.items() if value not in (None, "") and name not in entered]
    if kept and _origins(account, settings) not in (_origins(account, account.settings), None):
        message = "Enter it again, because the address to which it is sent changes."
        raise InvalidInput([FieldError(name, "required", message) for name in kept])
    return merged


@transaction.atomic
def delete_account(account: ProviderAccount, *, by: str) -> None:
    """Delete an account without subscriptions, and its credentials. Its requests, events and log entries stay.

    Raises AccountInUse.
    """
    _lock_account(account)
    left = account.subscriptions.filter(deleted_at=None).count()
    if left:
        raise AccountInUse(f"The account still has {left} subscription{'s' if left > 1 else ''}. Delete them first.")
    log_account(account, log.DELETED, by)
    account.tokens.all().delete()
    account.credentials, account.deleted_at = {}, timezone.now()
    account.removal_asked_at = None
    account.save(update_fields=["credentials", "deleted_at", "removal_asked_at"])


def lock_for_adding(account: ProviderAccount) -> None:
    """Lock an account within a transaction, so that it is not deleted while a subscription is added to it.

    Raises AccountBeingDeleted, and ProviderAccount.DoesNotExist if the account is already deleted.
    """
    if _lock_account(account):
        raise AccountBeingDeleted(
            f"The account {account.name} is being deleted with its subscriptions: no subscription can be added."
        )


def _lock_account(account: ProviderAccount) -> datetime | None:
    """Lock an account and return since when it is being deleted with its subscriptions, or None.

    Raises ProviderAccount.DoesNotExist if it is already deleted.
    """
    locked = ProviderAccount.objects.select_for_update().values_list("removal_asked_at", flat=True)
    return locked.get(pk=account.pk)


def _origins(account: ProviderAccount, settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return where the credentials go with these settings; None if the settings are invalid."""
    try:
        return account.plugin.credential_origins(validate(account.plugin.settings_model, dict(settings)))
    except InvalidInput:
        return None


def _set_validated(account: ProviderAccount, settings: Mapping[str, Any], credentials: Mapping[str, Any]) -> None:
    plugin = account.plugin
    valid_settings = validate(plugin.settings_model, dict(settings))
    valid_credentials = validate(plugin.credentials_model, dict(credentials))
    account.settings = valid_settings.model_dump(mode="json", exclude_unset=True)
    account.credentials = valid_credentials.model_dump(mode="json", exclude_unset=True)


def _values_of(account: ProviderAccount) -> dict[str, object]:
    return {"name": account.name, "retention_days": account.retention_days, **_flat_values(account)}


def _flat_values(account: ProviderAccount) -> dict[str, object]:
    settings = {f"settings.{name}": value for name, value in account.settings.items()}
    return {**settings, **{f"credentials.{name}": value for name, value in account.credentials.items()}}
