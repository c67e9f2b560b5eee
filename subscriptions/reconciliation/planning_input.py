"""The input of a plan: the desired and the observed state of a subscription row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from providers.contract.base import RemoteSubscription
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from subscriptions.models import Managed, Subscription
from subscriptions.planning.states import DesiredState, DriftPolicy, ObservedState


def desired_state_of(row: Subscription) -> DesiredState:
    """Return the desired state of a row."""
    return DesiredState(
        present=row.present,
        enabled=row.enabled,
        auto_renew=row.auto_renew,
        by_api=row.managed == Managed.API,
        callback_url=row.callback_url,
        config=canonical_config(row),
        case_insensitive_fields=row.account.plugin.capabilities.case_insensitive_fields,
        former_urls=tuple(row.former_callback_urls),
        renew_now=row.renew_asked_at is not None,
        address_confirmed=row.address_confirmed,
        drift_policy=DriftPolicy(row.drift_policy),
    )


def observed_state_of(row: Subscription, remotes: Sequence[RemoteSubscription]) -> ObservedState:
    """Return the observed state of a row, given the registrations that carry its token now."""
    return ObservedState(
        remotes=tuple(remotes),
        current_id=row.remote_id,
        granted=row.granted,
        renews_in_place=row.renews_in_place,
        update_enables=row.update_enables,
        replace_refused=row.replace_refused,
        secret_for=row.secret_for,
        secret_set=row.secret_is_set,
        we_disabled=row.we_disabled,
        enable_not_before=row.enable_not_before,
        suspended_count=row.suspended_count,
        gave_up=row.gave_up_at is not None,
        agreed_config=row.agreed_config,
        pending=row.generation != row.applied_generation,
        spread=row.spread,
    )


def canonical_config(row: Subscription) -> dict[str, object]:
    """Return the desired config in canonical form, or an empty dict when it no longer fits the provider's schema."""
    plugin = row.account.plugin
    try:
        return plugin.canonical(validate(plugin.config_model, row.config))
    except InvalidInput:
        return {}  # reported by the next call that sends it


def with_known_details(row: Subscription, remote: RemoteSubscription) -> RemoteSubscription:
    """Return the provider's answer, completed with what it does not contain.

    Missing details are taken from the last read, and fields that the provider never shows from what we sent last. A
    secret that was not compared counts as different if the current one was not sent.
    """
    remote = _with_known_config(row, remote)
    if remote.remote_id == row.remote_id and remote.secret_matches is None and not row.secret_is_set:
        return replace(remote, secret_matches=False)
    return remote


def _with_known_config(row: Subscription, remote: RemoteSubscription) -> RemoteSubscription:
    if remote.remote_id != row.remote_id or row.remote_config is None:
        return remote
    if remote.config is not None:
        return replace(remote, config={**row.remote_config, **remote.config})
    # An earlier comparison was made with the earlier secret and says nothing about a new one.
    matches = row.remote_secret_matches if row.secret_is_set else None
    return replace(remote, config=row.remote_config, secret_matches=matches)
