"""Creating and changing the desired state of subscriptions.

Each function validates, writes the desired state together with its entry in the activity log, and makes no call;
`reconcile` applies it at the provider. `by` is the actor: `staff:<user>`, `api:<token>`, `demo`, `command:<name>`, or
the scheduler where the drift policy accepts a change made at the provider. Which actions are allowed in which state is
decided in `subscriptions.lifecycle.actions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from providers.audit import log
from providers.audit.state_changes import write
from providers.conflict import Conflict
from providers.contract.errors import FieldError, InvalidInput
from providers.contract.schemas import validate
from providers.models import ProviderAccount
from providers.names import check_name
from subscriptions.lifecycle import ip_allowlist
from subscriptions.lifecycle.accounts import UNCHANGED, lock_for_adding
from subscriptions.lifecycle.activity_log import log_subscription
from subscriptions.lifecycle.quiet_hours import parse_quiet_hours
from subscriptions.models import Managed, State, Subscription
from subscriptions.planning.states import DriftPolicy

DESIRED_FIELDS = ("name", "config", "enabled", "auto_renew", "drift_policy")
SUSPENSION_RESET: Mapping[str, object] = {
    "suspensions": [],
    "suspended_count": 0,
    "gave_up_at": None,
    "enable_not_before": None,
}
NOT_BEING_DELETED = "Only a subscription that is being deleted can be forgotten."


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
    """Create a subscription that is due at once.

    Raises InvalidInput, AccountBeingDeleted, and ProviderAccount.DoesNotExist if the account has been deleted.
    """
    check_name(name)
    lock_for_adding(account)
    subscription = Subscription.objects.create(
        account=account,
        name=name,
        config=validated_config(account, config, auto_renew=auto_renew),
        enabled=enabled,
        auto_renew=auto_renew,
        managed=managed,
        drift_policy=DriftPolicy(drift_policy).value,
        changed_by=by,
    )
    after = {"account": account.name, "managed": str(managed), **_desired_values(subscription)}
    log_subscription(subscription, log.CREATED, by, before={}, after=after)
    return subscription


@transaction.atomic
def change(subscription: Subscription, *, by: str, **desired: Any) -> None:
    """Change `name`, `config`, `enabled`, `auto_renew` or `drift_policy`.

    Enabling a subscription that is already enabled, but suspended by the provider, ends the wait before it is enabled
    there again. Raises InvalidInput.
    """
    unknown = set(desired) - set(DESIRED_FIELDS)
    if unknown:
        raise TypeError(f"Not part of the desired state: {', '.join(sorted(unknown))}")
    if "name" in desired:
        check_name(desired["name"])
    if "config" in desired:
        auto_renew = desired.get("auto_renew", subscription.auto_renew)
        desired["config"] = validated_config(subscription.account, desired["config"], auto_renew=auto_renew)
    elif desired.get("auto_renew"):
        validated_config(subscription.account, subscription.config, auto_renew=True)
    before = _desired_values(subscription)
    reset = SUSPENSION_RESET if desired.get("enabled") is True and subscription.enabled else {}
    if desired.get("enabled") is True and not subscription.enabled:
        desired["quiet_from"] = timezone.now()  # it cannot have sent anything before
    subscription.change_desired_state(by=by, **desired, **reset)
    log_subscription(subscription, log.CHANGED, by, before=before, after=_desired_values(subscription))


@transaction.atomic
def set_silence_rules(
    subscription: Subscription, *, by: str, quiet_after: int | None = UNCHANGED, quiet_hours: object = UNCHANGED
) -> None:
    """Set after how many seconds without an event the subscription counts as silent, and which hours do not count.

    `quiet_after=None` disables the check; for `quiet_hours` see `subscriptions.lifecycle.quiet_hours`. Counting starts
    now. The provider is not involved. Raises InvalidQuietHours.
    """
    row = subscription
    before = {"quiet_after": row.quiet_after, "quiet_hours": row.quiet_hours}
    after = dict(before)
    if quiet_after is not UNCHANGED:
        after["quiet_after"] = quiet_after
    if quiet_hours is not UNCHANGED:
        after["quiet_hours"] = None if quiet_hours is None else parse_quiet_hours(quiet_hours).as_json()
    if after == before:
        return
    Subscription.objects.filter(pk=row.pk).update(**after, quiet_from=timezone.now(), quiet_suggested_at=None)
    row.refresh_from_db(fields=["quiet_after", "quiet_hours", "quiet_from"])
    log_subscription(row, log.CHANGED, by, before=before, after=after)


@transaction.atomic
def set_allowed_networks(subscription: Subscription, *, by: str, allowed_networks: Sequence[str] | None) -> None:
    """Set the networks from which requests are accepted; an empty list accepts all, None changes nothing.

    The provider is not involved. Requests that were refused before can be verified again. Raises InvalidNetwork.
    """
    row = subscription
    if allowed_networks is None:
        return
    before, after = row.allowed_networks, ip_allowlist.normalize_networks(allowed_networks)
    if after == before:
        return
    Subscription.objects.filter(pk=row.pk).update(allowed_networks=after)
    row.allowed_networks = after
    log_subscription(row, log.CHANGED, by, before={"allowed_networks": before}, after={"allowed_networks": after})


@transaction.atomic
def accept_drift(subscription: Subscription, config: Mapping[str, Any], *, by: str) -> bool:
    """Make the config that was changed at the provider the desired one, and log it field by field.

    Return False and write nothing if the desired state has changed since `subscription` was read.
    """
    before = _desired_values(subscription)
    rows = Subscription.objects.filter(pk=subscription.pk, generation=subscription.generation)
    if not rows.update(config=dict(config), generation=F("generation") + 1):
        return False
    after = {**before, **{f"config.{name}": value for name, value in config.items()}}
    log_subscription(subscription, "drift accepted", by, before=before, after=after)
    return True


@transaction.atomic
def request_renewal(subscription: Subscription, *, by: str) -> None:
    """Request a renewal before it is due."""
    subscription.change_desired_state(by=by, renew_asked_at=timezone.now())
    log_subscription(subscription, "renewal requested", by)


@transaction.atomic
def request_deletion(subscription: Subscription, *, by: str) -> None:
    """Request the deletion of a subscription.

    A manually managed one, or one that was never registered, is deleted at once; any other as soon as the provider has
    deleted it.
    """
    subscription.change_desired_state(by=by, present=False)
    # The row's current values are queried, because a worker may have started to register it.
    only_here = Q(managed=Managed.MANUAL) | Q(register_tried_at=None)
    rows = Subscription.objects.filter(only_here, pk=subscription.pk)
    if write(rows, by=by, deleted_at=timezone.now(), state=State.DELETED, state_reason="Deleted here."):
        subscription.refresh_from_db()
    log_subscription(subscription, log.DELETED, by)


@transaction.atomic
def forget(subscription: Subscription, *, by: str) -> None:
    """Stop trying to delete a subscription at a provider that can never be reached again.

    Its account can be deleted then. The remote ID stays on the row and in the log. Raises Conflict if the subscription
    is not being deleted.
    """
    rows = Subscription.objects.filter(pk=subscription.pk, present=False, deleted_at=None)
    now = subscription.forgotten_at = timezone.now()
    reason = subscription.deletion_summary
    if not write(rows, by=by, deleted_at=now, forgotten_at=now, state=State.DELETED, state_reason=reason):
        raise Conflict(NOT_BEING_DELETED)
    log_subscription(subscription, "forgotten", by, after={"remote_id": subscription.remote_id})
    subscription.refresh_from_db()


def validated_config(account: ProviderAccount, config: Mapping[str, Any], *, auto_renew: bool) -> dict[str, Any]:
    """Return the config as it is stored. Raises InvalidInput, also for a fixed end that would be renewed."""
    valid = validate(account.plugin.config_model, dict(config))
    fixed_end = account.plugin.fixed_end_field(valid)
    if auto_renew and fixed_end:
        message = "The registration ends then, so switch auto-renew off as well."
        raise InvalidInput([FieldError(field=fixed_end, code="invalid", message=message)])
    dumped: dict[str, Any] = valid.model_dump(mode="json")
    return dumped


def _desired_values(subscription: Subscription) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(subscription, name) for name in DESIRED_FIELDS if name != "config"}
    return {**values, **{f"config.{name}": value for name, value in subscription.config.items()}}
