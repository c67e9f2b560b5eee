"""The input of a plan: the desired and the observed state of a subscription row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from providers.contract.base import RemoteSubscription
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from subscriptions.models import Managed, Subscription
from subscriptions.planning.states import DesiredState, DriftPolicy, ObservedState
from subscriptions.planning.unkept import MAX_ACCEPTED


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


# How long the provider's answers may lag behind what we did there, and how long an absence is doubted at first.
MAX_LAG = timedelta(seconds=30)
FIRST_DOUBT = timedelta(seconds=5)
REGISTRATION_SETTLES, MAX_REGISTRATION_SETTLES = timedelta(seconds=15), timedelta(minutes=5)
LOSS_WINDOW = timedelta(hours=1)
OVER_AT_ONCE_RETRY = timedelta(minutes=10)


def observed_state_of(row: Subscription, remotes: Sequence[RemoteSubscription], now: datetime) -> ObservedState:
    """Return the observed state of a row, given the registrations that carry its token now."""
    return ObservedState(
        absence_settles_at=_absence_settles_at(row, remotes, now),
        registration_settles_at=_registration_settles_at(row, now),
        losses=len(recent_losses(row, now)),
        over_at_once_until=_over_at_once_until(row),
        unkept_digest=_unkept_digest(row),
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


def last_observed(row: Subscription) -> tuple[RemoteSubscription, ...]:
    """Return the remote subscription as it was at the last sync, or an empty tuple if there was none."""
    if not row.remote_id or row.missing_since or row.remote_enabled is None:
        return ()
    return (
        RemoteSubscription(
            remote_id=row.remote_id,
            status=row.remote_status or "",
            enabled=row.remote_enabled,
            expires_at=row.expires_at,
            url=row.remote_url,
            config=row.remote_config,
            secret_matches=row.remote_secret_matches if row.secret_is_set else False,
        ),
    )


def recent_losses(row: Subscription, now: datetime) -> list[str]:
    """Return the times within the last hour at which the provider had lost the registration."""
    return [moment for moment in row.losses if datetime.fromisoformat(moment) > now - LOSS_WINDOW]


def _absence_settles_at(row: Subscription, remotes: Sequence[RemoteSubscription], now: datetime) -> datetime | None:
    """Return until when the absence of the current registration is doubted; None if it is there.

    It takes two answers to believe that it is gone, with a pause between them that grows with each loss; and a
    provider's answers may lag behind our own registration. A deletion expects the absence, so one answer is enough.
    """
    if row.remote_id is None or any(remote.remote_id == row.remote_id for remote in remotes):
        return None
    doubt = FIRST_DOUBT * 4 ** len(recent_losses(row, now)) if row.present else timedelta(0)
    settles_at = min(row.missing_since or now, now) + doubt
    tried_at = row.register_tried_at
    # A try in the future was made before the clock was set back.
    return max(settles_at, tried_at + MAX_LAG) if tried_at and tried_at <= now else settles_at


def _registration_settles_at(row: Subscription, now: datetime) -> datetime | None:
    """Return the time until which the result of the last registration may be unknown; None if it is known.

    The pause grows with each such failure. It never takes more than a quarter of what is left of the lease.
    """
    if not row.unknown_registrations or row.register_tried_at is None or row.register_tried_at > now:
        return None
    pause = min(REGISTRATION_SETTLES * 2 ** min(row.unknown_registrations - 1, 10), MAX_REGISTRATION_SETTLES)
    if row.expires_at and row.expires_at > row.register_tried_at:
        pause = min(pause, (row.expires_at - row.register_tried_at) / 4)
    settles_at: datetime = row.register_tried_at + pause
    return settles_at


def _unkept_digest(row: Subscription) -> str | None:
    accepted = row.accepted_changes or {}
    return accepted["digest"] if accepted.get("times", 0) >= MAX_ACCEPTED else None


def _over_at_once_until(row: Subscription) -> datetime | None:
    """Return until when a lease that was over when it was granted is not replaced; None for any other lease."""
    tried_at: datetime | None = row.register_tried_at
    if tried_at is None or row.expires_at is None or row.granted != timedelta(0) or row.expires_at > tried_at:
        return None
    return tried_at + OVER_AT_ONCE_RETRY


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
