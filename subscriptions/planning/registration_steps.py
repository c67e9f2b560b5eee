"""Steps for the registration to keep: enabling, disabling, updating and renewing it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities, Renewal, SecretMadeBy
from providers.times import readable_time
from subscriptions.planning.config_diff import changes_to_send
from subscriptions.planning.remote_choice import is_renewal_due
from subscriptions.planning.renewal_times import is_expired
from subscriptions.planning.replacement import delete_step, replacement_steps
from subscriptions.planning.states import DesiredState, ObservedState
from subscriptions.planning.steps import Change, Plan, Step, StepAction, Wait
from subscriptions.planning.unkept import changes_digest, unkept_text

REPLACE_AFTER_SUSPENSIONS = 3  # in a row; enabling evidently does not last, so a new registration is tried


def plan_enabled(
    desired: DesiredState,
    observed: ObservedState,
    capabilities: Capabilities,
    chosen: RemoteSubscription,
    now: datetime,
) -> Plan:
    """Return the plan for a subscription that should be enabled."""
    changes = changes_to_send(desired, observed, chosen)
    if not changes or observed.unkept_digest != changes_digest(changes):
        return _plan_enabled(desired, observed, capabilities, chosen, changes, now)
    rest = _plan_enabled(desired, observed, capabilities, chosen, (), now)
    return replace(rest, waiting=rest.waiting or unkept_text(changes), wait=rest.wait or Wait.UNKEPT)


def _plan_enabled(
    desired: DesiredState,
    observed: ObservedState,
    capabilities: Capabilities,
    chosen: RemoteSubscription,
    changes: tuple[Change, ...],
    now: datetime,
) -> Plan:
    if is_expired(chosen, now) and observed.over_at_once_until and now < observed.over_at_once_until:
        return Plan(
            waiting="The lease was over as soon as the provider granted it. Compare this machine's clock with the "
            f"provider's. It is registered again at {readable_time(observed.over_at_once_until)}.",
            not_before=observed.over_at_once_until,
            wait=Wait.CLOCK,
        )
    may_renew = desired.auto_renew or desired.renew_now
    suspended = not chosen.enabled and not observed.we_disabled
    pause = _pause_plan(observed, now) if suspended else None
    if pause is not None:
        return pause
    enable = Change("enabled", False, True)
    if is_expired(chosen, now):
        if not may_renew:
            return Plan(waiting="Its lease has ended and auto-renew is off.", wait=Wait.LEASE_ENDED)
        enables = (enable,) if suspended and observed.suspended_count else ()
        return Plan(replacement_steps(observed, (chosen,), "Its lease has ended.", enables))
    if changes and _needs_new_registration(capabilities, changes):
        differs = "The differing fields can only be changed by a new registration."
        return Plan(replacement_steps(observed, (chosen,), _update_reason(observed, changes, differs), changes))
    disabled = "It is enabled here, but not at the provider." if observed.we_disabled else "The provider suspended it."
    if suspended and (
        not capabilities.enabling_resets_failures or observed.suspended_count >= REPLACE_AFTER_SUSPENSIONS
    ):
        reason = f"{disabled} Enabling it does not last, so it is registered again: its failure count restarts at zero."
        return Plan(replacement_steps(observed, (chosen,), reason, (*changes, enable)))
    if not chosen.enabled and not capabilities.can_set_status:
        if not capabilities.update_may_enable or observed.update_enables is False:
            return Plan(replacement_steps(observed, (chosen,), disabled, (*changes, enable)))
        return Plan((Step(StepAction.UPDATE, disabled, chosen.remote_id, (*changes, enable)),))
    steps = _update_steps(observed, changes, chosen)
    if not chosen.enabled:
        steps += (Step(StepAction.ENABLE, disabled, chosen.remote_id, (enable,)),)
    renewal = _renewal_steps(desired, observed, capabilities, chosen, now) if may_renew else ()
    return Plan((*steps, *renewal))


def plan_disabled(
    desired: DesiredState,
    observed: ObservedState,
    capabilities: Capabilities,
    chosen: RemoteSubscription,
    now: datetime,
) -> Plan:
    """Return the plan for a subscription that should be disabled."""
    if not capabilities.can_set_status:
        return Plan((delete_step(chosen, "It is disabled here, and this provider can only delete it."),))
    if is_expired(chosen, now):
        return Plan((delete_step(chosen, "It is disabled here, and its lease has ended."),))
    steps: tuple[Step, ...] = ()
    if chosen.enabled:
        change = Change("enabled", True, False)
        reason = "It is disabled here, but not at the provider."
        steps += (Step(StepAction.DISABLE, reason, chosen.remote_id, (change,)),)
    changes = changes_to_send(desired, observed, chosen)
    if not _needs_new_registration(capabilities, changes):
        steps += _update_steps(observed, changes, chosen)
    if (
        capabilities.renewal is Renewal.UPDATE
        and observed.renews_in_place is not False
        and (desired.auto_renew or desired.renew_now)
    ):
        steps += _renewal_steps(desired, observed, capabilities, chosen, now)
    return Plan(steps)


def gave_up_plan() -> Plan:
    """Return the plan for a subscription that the provider suspended too often."""
    return Plan(
        waiting="It was suspended too often, so it stays suspended until a person enables or reconciles it. First find "
        "out why its events were not accepted.",
        wait=Wait.GAVE_UP,
    )


def _needs_new_registration(capabilities: Capabilities, changes: tuple[Change, ...]) -> bool:
    """Return whether these changes can only be made by a new registration."""
    fixed = set(capabilities.immutable_fields)
    if capabilities.secret_made_by is SecretMadeBy.PROVIDER:
        fixed.add("secret")
    return not capabilities.can_update or any(change.field in fixed for change in changes)


def _update_steps(observed: ObservedState, changes: tuple[Change, ...], chosen: RemoteSubscription) -> tuple[Step, ...]:
    if not changes:
        return ()
    reason = _update_reason(observed, changes, "It differs from the desired state.")
    return (Step(StepAction.UPDATE, reason, chosen.remote_id, changes),)


def _update_reason(observed: ObservedState, changes: tuple[Change, ...], otherwise: str) -> str:
    """Return why these changes are made. A requested new secret is not described as a difference."""
    if observed.secret_set or not any(change.field == "secret" for change in changes):
        return otherwise
    return "A new secret was requested." if len(changes) == 1 else f"A new secret was requested. {otherwise}"


def _renewal_steps(
    desired: DesiredState,
    observed: ObservedState,
    capabilities: Capabilities,
    chosen: RemoteSubscription,
    now: datetime,
) -> tuple[Step, ...]:
    if capabilities.renewal is Renewal.NONE or chosen.expires_at is None:
        return ()
    if not desired.renew_now and not is_renewal_due(observed, chosen, now):
        return ()
    left = max(int((chosen.expires_at - now).total_seconds()), 0)
    reason = "Renewal was requested." if desired.renew_now else f"Its lease ends in {_duration(left)}."
    if capabilities.renewal is Renewal.UPDATE and capabilities.can_update and observed.renews_in_place is not False:
        return (Step(StepAction.RENEW, reason, chosen.remote_id),)
    return replacement_steps(observed, (chosen,), reason)


def _pause_plan(observed: ObservedState, now: datetime) -> Plan | None:
    """Return a waiting plan if a suspended registration must not be enabled now; None if it may be."""
    if observed.gave_up:
        return gave_up_plan()
    if observed.enable_not_before and now < observed.enable_not_before:
        return Plan(
            waiting=f"It is enabled again after a pause, at {readable_time(observed.enable_not_before)}.",
            not_before=observed.enable_not_before,
            wait=Wait.PAUSE,
        )
    return None


def _duration(seconds: int) -> str:
    """Return a duration in the largest unit that gives at least two."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
