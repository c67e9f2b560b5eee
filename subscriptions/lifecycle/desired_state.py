"""Changing what is wanted. The screens, the REST API and the demo call these; the clock only where a subscription's
drift policy says that what was changed at the provider is accepted.

Each function checks, writes the wanted half together with its history entry, and returns; `reconcile` does the rest.
`by` is who did it: `staff:<user>`, `api:<token>`, `demo`, `command:<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from providers.accounts import circuit_breaker, session
from providers.audit import log
from providers.audit.state_changes import write
from providers.conflict import Conflict
from providers.contract.schemas import validate
from providers.models import AccountStatus, ProviderAccount
from subscriptions.lifecycle import ip_allowlist
from subscriptions.lifecycle import quiet_hours as quiet
from subscriptions.models import Managed, State, Subscription, callback_url_for
from subscriptions.planning.states import DriftPolicy

ACCOUNT, SUBSCRIPTION = ProviderAccount.subject, Subscription.subject
WANTED_FIELDS = ("name", "config", "enabled", "auto_renew", "drift_policy")
START_AGAIN: Mapping[str, object] = {
    "suspensions": [],
    "suspended_count": 0,
    "gave_up_at": None,
    "enable_not_before": None,
}


NOT_BEING_DELETED = "Only a subscription that is being deleted can be forgotten."
AS_IT_IS: Any = object()  # where None has a meaning of its own


class AccountInUse(Conflict):
    """The account still has subscriptions."""

    code = "account_in_use"


class AccountLeaving(Conflict):
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
    """A new account; no call is made. `retention_days`: how long its requests and events are kept, None for ever.
    Raises UnknownProvider and InvalidInput."""
    account = ProviderAccount(provider=provider, name=name, retention_days=retention_days)
    _fill(account, settings, credentials)
    account.save()
    after = {"name": name, "provider": provider, "retention_days": retention_days, **_flat(account)}
    note_account(account, log.CREATED, by, before={}, after=after)
    return account


@transaction.atomic
def change_account(
    account: ProviderAccount,
    *,
    by: str,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    credentials: Mapping[str, Any] | None = None,
    retention_days: int | None = AS_IT_IS,
) -> None:
    """Changes an account: `settings` are replaced whole, `credentials` merged by key. What failed because of it is
    tried again at once. Raises InvalidInput."""
    before = _told(account)
    if name is not None:
        account.name = name
    if retention_days is not AS_IT_IS:
        account.retention_days = retention_days
    if settings is not None or credentials is not None:
        merged = account.plugin.merge_credentials(account.credentials, credentials or {})
        _fill(account, account.settings if settings is None else settings, merged)
        account.status, account.status_reason = AccountStatus.UNCHECKED, ""
        account.tokens.all().delete()  # they were obtained with the old credentials
        account.look_due_at = timezone.now()
        account.subscriptions.exclude(last_error=None).update(due_at=timezone.now(), failures=0)
    names = ("name", "retention_days", "settings", "credentials", "status", "status_reason", "look_due_at")
    session.save_facts(account, *names, by=by)
    if settings is not None or credentials is not None:
        circuit_breaker.lift(account)  # what the provider refused may be good now
    note_account(account, log.CHANGED, by, before=before, after=_told(account))


@transaction.atomic
def delete_account(account: ProviderAccount, *, by: str) -> None:
    """Takes an account away whose subscriptions are all deleted, and its credentials with it; what came in through it
    and what was done is kept. Raises AccountInUse."""
    _lock(account)
    left = account.subscriptions.filter(deleted_at=None).count()
    if left:
        raise AccountInUse(f"The account still has {left} subscription{'s' if left > 1 else ''}. Delete them first.")
    note_account(account, log.DELETED, by)
    account.tokens.all().delete()
    account.credentials, account.deleted_at = {}, timezone.now()
    account.removal_asked_at = None
    account.save(update_fields=["credentials", "deleted_at", "removal_asked_at"])


def lock_for_adding(account: ProviderAccount) -> None:
    """Keeps an account from being deleted while a subscription is added to it, and the other way round; within a
    transaction. Raises AccountLeaving, and ProviderAccount.DoesNotExist when it is deleted already."""
    if _lock(account):
        raise AccountLeaving(
            f"The account {account.name} is being deleted with its subscriptions; nothing is added to it."
        )


def _lock(account: ProviderAccount) -> datetime | None:
    """Locks it, and tells since when it is to go together with its subscriptions. Raises
    ProviderAccount.DoesNotExist when it is deleted already."""
    locked = ProviderAccount.objects.select_for_update().values_list("removal_asked_at", flat=True)
    return locked.get(pk=account.pk)


@transaction.atomic
def subscribe(
    account: ProviderAccount,
    *,
    config: Mapping[str, Any],
    by: str,
    name: str = "",
    enabled: bool = True,
    auto_renew: bool = True,
    managed: str = Managed.API,
    drift_policy: str = DriftPolicy.REVERT,
) -> Subscription:
    """A new subscription, due at once; no call is made. Raises InvalidInput, and ProviderAccount.DoesNotExist when the
    account was deleted meanwhile, or AccountLeaving when it is about to be."""
    lock_for_adding(account)
    subscription = Subscription.objects.create(
        account=account,
        name=name,
        config=_checked_config(account, config),
        enabled=enabled,
        auto_renew=auto_renew,
        managed=managed,
        drift_policy=DriftPolicy(drift_policy).value,
        changed_by=by,
    )
    after = {"account": account.name, "managed": str(managed), **_wanted(subscription)}
    note(subscription, log.CREATED, by, before={}, after=after)
    return subscription


@transaction.atomic
def change(subscription: Subscription, *, by: str, **wanted: Any) -> None:
    """Changes `name`, `config`, `enabled`, `auto_renew` or `drift_policy`. Switching on one that is wanted on, but that
    the provider switched off, ends the pause before it is switched on again. Raises InvalidInput."""
    unknown = set(wanted) - set(WANTED_FIELDS)
    if unknown:
        raise TypeError(f"Not of the wanted half: {', '.join(sorted(unknown))}")
    if "config" in wanted:
        wanted["config"] = _checked_config(subscription.account, wanted["config"])
    before = _wanted(subscription)
    again = START_AGAIN if wanted.get("enabled") is True and subscription.enabled else {}
    if wanted.get("enabled") is True and not subscription.enabled:
        wanted["quiet_from"] = timezone.now()  # it cannot have sent anything before
    subscription.change_desired_state(by=by, **wanted, **again)
    note(subscription, log.CHANGED, by, before=before, after=_wanted(subscription))


@transaction.atomic
def expect(
    subscription: Subscription, *, by: str, quiet_after: int | None = AS_IT_IS, quiet_hours: object = AS_IT_IS
) -> None:
    """Says how long it may be quiet, in seconds (None: as long as it likes), and what does not count in that (see
    `subscriptions.lifecycle.quiet_hours`). Nothing of it concerns the provider. It counts from now on."""
    row = subscription
    before = {"quiet_after": row.quiet_after, "quiet_hours": row.quiet_hours}
    after = dict(before)
    if quiet_after is not AS_IT_IS:
        after["quiet_after"] = quiet_after
    if quiet_hours is not AS_IT_IS:
        after["quiet_hours"] = None if quiet_hours is None else quiet.read(quiet_hours).as_json()
    if after == before:
        return
    Subscription.objects.filter(pk=row.pk).update(**after, quiet_from=timezone.now(), quiet_suggested_at=None)
    row.refresh_from_db(fields=["quiet_after", "quiet_hours", "quiet_from"])
    note(row, log.CHANGED, by, before=before, after=after)


@transaction.atomic
def accept_from(subscription: Subscription, *, by: str, allowed_networks: Sequence[str] | None) -> None:
    """Says from which networks calls are taken; none: from everywhere. None: as it is. Nothing of it concerns the
    provider. Requests that were refused before can be verified again. Raises networks.NotUnderstood."""
    row = subscription
    if allowed_networks is None:
        return
    before, after = row.allowed_networks, ip_allowlist.read_all(allowed_networks)
    if after == before:
        return
    Subscription.objects.filter(pk=row.pk).update(allowed_networks=after)
    row.allowed_networks = after
    note(row, log.CHANGED, by, before={"allowed_networks": before}, after={"allowed_networks": after})


@transaction.atomic
def accept_drift(subscription: Subscription, config: Mapping[str, Any], *, by: str) -> bool:
    """Takes what somebody changed at the provider as wanted, field by field in the history. False, and nothing is
    written, when the wanted half was changed since `subscription` was read."""
    before = _wanted(subscription)
    rows = Subscription.objects.filter(pk=subscription.pk, generation=subscription.generation)
    if not rows.update(config=dict(config), generation=F("generation") + 1):
        return False
    after = {**before, **{f"config.{name}": value for name, value in config.items()}}
    note(subscription, "drift accepted", by, before=before, after=after)
    return True


@transaction.atomic
def request_renewal(subscription: Subscription, *, by: str) -> None:
    """Ask for a renewal before it is due."""
    subscription.change_desired_state(by=by, renew_asked_at=timezone.now())
    note(subscription, "renewal asked for", by)


@transaction.atomic
def request_deletion(subscription: Subscription, *, by: str) -> None:
    """Wants it gone. A manual one, or one that was never registered, is gone at once; the others when the provider
    says so."""
    subscription.change_desired_state(by=by, present=False)
    # Asked of the row as it stands now: a worker may just be about to register it.
    only_here = Q(managed=Managed.MANUAL) | Q(register_tried_at=None)
    rows = Subscription.objects.filter(only_here, pk=subscription.pk)
    if write(rows, by=by, deleted_at=timezone.now(), state=State.DELETED, state_reason="Deleted here."):
        subscription.refresh_from_db()
    note(subscription, log.DELETED, by)


@transaction.atomic
def forget(subscription: Subscription, *, by: str) -> None:
    """Gives up on removing it at a provider that can never be reached again, so that its account can be deleted. Its
    remote id stays here and in the history. Raises Conflict."""
    rows = Subscription.objects.filter(pk=subscription.pk, present=False, deleted_at=None)
    now = subscription.forgotten_at = timezone.now()
    reason = subscription.deletion_summary
    if not write(rows, by=by, deleted_at=now, forgotten_at=now, state=State.DELETED, state_reason=reason):
        raise Conflict(NOT_BEING_DELETED)
    note(subscription, "forgotten", by, after={"remote_id": subscription.remote_id})
    subscription.refresh_from_db()


def confirm_public_url(*, by: str, account: ProviderAccount | None = None) -> int:
    """A person says that PUBLIC_URL is the new address of this installation: every callback URL moves there, and the
    plan follows at the providers. Returns how many moved."""
    rows = Subscription.objects.filter(deleted_at=None).select_related("account")
    if account is not None:
        rows = rows.filter(account=account)
    return sum(_move(row, by) for row in rows.iterator(chunk_size=500) if not row.address_confirmed)


@transaction.atomic
def _move(row: Subscription, by: str) -> int:
    before = {"callback_url": row.callback_url}
    former = list(dict.fromkeys([*row.former_callback_urls, row.callback_url]))
    row.change_desired_state(by=by, callback_url=callback_url_for(row.token), former_callback_urls=former)
    note(row, log.CHANGED, by, before=before, after={"callback_url": row.callback_url})
    return 1


def _fill(account: ProviderAccount, settings: Mapping[str, Any], credentials: Mapping[str, Any]) -> None:
    plugin = account.plugin
    checked = validate(plugin.settings_model, dict(settings))
    secret = validate(plugin.credentials_model, dict(credentials))
    account.settings = checked.model_dump(mode="json", exclude_unset=True)
    account.credentials = secret.model_dump(mode="json", exclude_unset=True)


def _checked_config(account: ProviderAccount, config: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = validate(account.plugin.config_model, dict(config)).model_dump(mode="json")
    return checked


def _wanted(subscription: Subscription) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(subscription, name) for name in WANTED_FIELDS if name != "config"}
    return {**values, **{f"config.{name}": value for name, value in subscription.config.items()}}


def _told(account: ProviderAccount) -> dict[str, object]:
    return {"name": account.name, "retention_days": account.retention_days, **_flat(account)}


def _flat(account: ProviderAccount) -> dict[str, object]:
    settings = {f"settings.{name}": value for name, value in account.settings.items()}
    return {**settings, **{f"credentials.{name}": value for name, value in account.credentials.items()}}


def note(
    subscription: Subscription,
    action: str,
    by: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Writes down what was done with a subscription. Call it in the transaction of the change itself."""
    log.note(
        by,
        action,
        SUBSCRIPTION,
        subject_id=subscription.uid,
        name=str(subscription),
        account_id=subscription.account_id,
        before=before,
        after=after,
    )


def note_account(
    account: ProviderAccount,
    action: str,
    by: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Writes down what was done with an account. Call it in the transaction of the change itself."""
    secret = frozenset(name for name in (*(before or {}), *(after or {})) if name.startswith("credentials."))
    log.note(
        by,
        action,
        ACCOUNT,
        subject_id=account.uid,
        name=account.name,
        account_id=account.pk,
        before=before,
        after=after,
        secret=secret,
    )
