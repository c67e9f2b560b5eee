"""Differences between a registration and the desired state: who made them, and which are sent or accepted."""

from __future__ import annotations

from providers.contract.base import RemoteSubscription
from providers.contract.equivalence import canonical_url, equivalent
from subscriptions.planning.states import DesiredState, DriftPolicy, ObservedState
from subscriptions.planning.steps import Change

NEVER_ACCEPTED = ("callback_url", "secret")
MASKED = "***"


def config_changes(desired: DesiredState, remote: RemoteSubscription) -> tuple[Change, ...]:
    """Return the fields in which a registration differs from the desired state.

    A value that could not be read does not differ, nor does one that is only written differently.
    """
    changes: list[Change] = []
    if remote.url is not None and remote.url != canonical_url(desired.callback_url):
        changes.append(Change("callback_url", remote.url, desired.callback_url))
    for name, value in sorted(desired.config.items()):
        if remote.config is None or name not in remote.config:
            continue
        if not equivalent(remote.config[name], value, ignore_case=name in desired.case_insensitive_fields):
            changes.append(Change(name, remote.config[name], value))
    if remote.secret_matches is False:
        changes.append(Change("secret", MASKED, MASKED))
    return tuple(changes)


def drifted_changes(desired: DesiredState, observed: ObservedState, remote: RemoteSubscription) -> tuple[Change, ...]:
    """Return the differences that were made at the provider; the others were made here and are not sent yet."""
    if remote.remote_id != observed.current_id:  # possibly left behind by a crash
        return ()
    agreed = observed.agreed_config or {}

    def is_drift(change: Change) -> bool:
        if change.field == "secret" and not observed.secret_set:
            return False
        if change.field in NEVER_ACCEPTED:
            return not observed.pending and remote.url not in desired.former_urls
        return change.field in agreed and agreed[change.field] == desired.config[change.field]

    return tuple(change for change in config_changes(desired, remote) if is_drift(change))


def config_to_preserve(
    desired: DesiredState, observed: ObservedState, remote: RemoteSubscription | None
) -> dict[str, object]:
    """Return the remote values of fields whose drift is only reported; a renewal or replacement sends them again."""
    if remote is None or desired.drift_policy is not DriftPolicy.REPORT:
        return {}
    changes = drifted_changes(desired, observed, remote)
    return {change.field: change.before for change in changes if change.field not in NEVER_ACCEPTED}


def accepted_changes(desired: DesiredState, observed: ObservedState, remote: RemoteSubscription) -> tuple[Change, ...]:
    """Return the drifted fields whose remote values become the desired ones, as the drift policy says."""
    if desired.drift_policy is not DriftPolicy.ACCEPT:
        return ()
    return tuple(item for item in drifted_changes(desired, observed, remote) if item.field not in NEVER_ACCEPTED)


def changes_to_send(desired: DesiredState, observed: ObservedState, remote: RemoteSubscription) -> tuple[Change, ...]:
    """Return the differences to correct at the provider: all, except drift that is only reported."""
    changes = config_changes(desired, remote)
    if desired.drift_policy is not DriftPolicy.REPORT:
        return changes
    reported = drifted_changes(desired, observed, remote)
    return tuple(change for change in changes if change not in reported)
