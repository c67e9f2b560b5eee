"""Choosing which of the registrations that carry our token to keep."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities, SecretMadeBy
from subscriptions.planning.config_diff import config_changes
from subscriptions.planning.renewal_times import is_expired, renewal_time
from subscriptions.planning.states import DesiredState, ObservedState


def choose_remote(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities, now: datetime
) -> RemoteSubscription | None:
    """Return the registration to keep, or None when there is no usable one.

    The criteria, in order of weight: enabled, lease not ended, same config, not due for renewal, latest expiry, the
    current one, last in the list. Where the provider generates the secret and shows it only once, a registration whose
    secret we do not have is not usable.
    """

    def rank(item: tuple[int, RemoteSubscription]) -> tuple[bool, bool, bool, bool, float, bool, int]:
        position, remote = item
        return (
            remote.enabled,
            not is_expired(remote, now),
            not config_changes(desired, remote),
            not is_renewal_due(observed, remote, now),
            remote.expires_at.timestamp() if remote.expires_at else float("inf"),
            remote.remote_id == observed.current_id,
            position,
        )

    usable = [
        (position, remote)
        for position, remote in enumerate(observed.remotes)
        if capabilities.secret_made_by is not SecretMadeBy.PROVIDER or remote.remote_id == observed.secret_for
    ]
    return max(usable, key=rank)[1] if usable else None


def is_renewal_due(observed: ObservedState, remote: RemoteSubscription, now: datetime) -> bool:
    """Return whether the current registration is due for renewal.

    One that we did not register is not due, because its lifetime counts from its first observation, which is now.
    """
    if remote.expires_at is None or remote.remote_id != observed.current_id or is_expired(remote, now):
        return False
    due = renewal_time(observed.granted, remote.expires_at, observed.spread)
    return due is not None and due <= now


def is_elsewhere(remote: RemoteSubscription, desired: DesiredState) -> bool:
    """Return whether this registration sends to a scheme or host that is not, and never was, ours."""
    if remote.url is None or remote.url in desired.former_urls:
        return False
    return _origin(remote.url) != _origin(desired.callback_url)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()
