"""The plan: the steps from the observed to the desired state. Pure: no I/O, no clock, no Django.

Every change of a subscription at a provider is planned here: registering, renewing, registering again after a
deletion, enabling again, reverting a changed config, and adopting what a crash left behind.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import takewhile

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities
from providers.times import readable_time
from subscriptions.planning.config_diff import accepted_changes
from subscriptions.planning.registration_steps import gave_up_plan, plan_disabled, plan_enabled
from subscriptions.planning.remote_choice import choose_remote, is_elsewhere
from subscriptions.planning.replacement import delete_step, replacement_steps
from subscriptions.planning.states import DesiredState, ObservedState
from subscriptions.planning.steps import Plan, Step, StepAction, Wait

MAX_LOSSES = 2  # within an hour, after which a person has to look


def plan(desired: DesiredState, observed: ObservedState, capabilities: Capabilities, now: datetime) -> Plan:
    """Return the steps that turn the observed into the desired state; none when nothing has to change.

    Applying the steps and planning again ends with an empty plan. No step names a registration that is not in
    `observed.remotes`, and none registers while a usable one exists, except as the first half of a replacement.
    """
    if not desired.by_api:
        return Plan()
    if not desired.address_confirmed:
        return Plan(
            waiting="PUBLIC_URL is no longer the address that this subscription was registered with. Nothing is "
            "changed at the provider until a person confirms the new address (manage.py confirm_public_url).",
            wait=Wait.ADDRESS,
        )
    if not desired.present:
        deletions = tuple(delete_step(remote, "The subscription is deleted here.") for remote in observed.remotes)
        return replace(_absent_plan(observed, now) or Plan(), steps=deletions)
    elsewhere = [remote for remote in observed.remotes if is_elsewhere(remote, desired)]
    if elsewhere:
        return Plan(
            waiting=f"The provider has our token at another address ({elsewhere[0].url}): another installation may be "
            "using it. Nothing is changed at the provider until a person decides.",
            wait=Wait.ELSEWHERE,
        )
    absent = _absent_plan(observed, now) if desired.enabled else None
    if absent is not None:
        return absent
    chosen = choose_remote(desired, observed, capabilities, now)
    others = tuple(remote for remote in observed.remotes if remote is not chosen)
    if chosen is None:
        complete = _plan_without_usable(desired, observed, others)
    else:
        complete = _plan_with_chosen(desired, observed, capabilities, chosen, others, now)
    return _until_registrations_settle(complete, observed, now)


def _absent_plan(observed: ObservedState, now: datetime) -> Plan | None:
    """Return a waiting plan while the provider may merely not show the current registration yet; None otherwise."""
    if observed.absence_settles_at is None or now >= observed.absence_settles_at:
        return None
    return Plan(
        waiting=f"The provider does not show {observed.current_id} at the moment. It is asked again at "
        f"{readable_time(observed.absence_settles_at)}, before anything is registered again.",
        not_before=observed.absence_settles_at,
        wait=Wait.ABSENT,
    )


def _until_registrations_settle(complete: Plan, observed: ObservedState, now: datetime) -> Plan:
    """Remove new registrations from the plan while the result of the last one is unknown."""
    registers = any(step.action in (StepAction.REGISTER, StepAction.REPLACE) for step in complete.steps)
    settles_at = observed.registration_settles_at
    if not registers or settles_at is None or now >= settles_at:
        return complete
    held = (StepAction.REGISTER, StepAction.REPLACE, StepAction.DELETE)
    return replace(
        complete,
        steps=tuple(takewhile(lambda step: step.action not in held, complete.steps)),
        waiting="Whether the last registration took effect is unknown. The provider is asked again at "
        f"{readable_time(settles_at)}, before anything is registered again.",
        not_before=settles_at,
        wait=Wait.REGISTRATION,
    )


def _plan_with_chosen(
    desired: DesiredState,
    observed: ObservedState,
    capabilities: Capabilities,
    chosen: RemoteSubscription,
    others: tuple[RemoteSubscription, ...],
    now: datetime,
) -> Plan:
    adopt: tuple[Step, ...] = ()
    if chosen.remote_id != observed.current_id:
        adopt = (Step(StepAction.ADOPT, "It carries our callback URL, so it is adopted.", chosen.remote_id),)
    accepts = accepted_changes(desired, observed, chosen)
    desired = replace(desired, config={**desired.config, **{change.field: change.before for change in accepts}})
    plan_for_chosen = plan_enabled if desired.enabled else plan_disabled
    chosen_plan = plan_for_chosen(desired, observed, capabilities, chosen, now)
    deletions = tuple(delete_step(remote, f"Only one is needed; {chosen.remote_id} is newer.") for remote in others)
    # The others are deleted only when the chosen one is known to work; until then they may still be delivering.
    is_working = chosen.enabled or not desired.enabled
    return replace(chosen_plan, steps=(*adopt, *chosen_plan.steps, *(deletions if is_working else ())), accepts=accepts)


def _plan_without_usable(
    desired: DesiredState, observed: ObservedState, unusable: tuple[RemoteSubscription, ...]
) -> Plan:
    if not desired.enabled:
        return Plan(
            tuple(delete_step(remote, "It is disabled here, and its secret is unknown.") for remote in unusable)
        )
    if observed.gave_up:
        return gave_up_plan()
    if unusable and observed.registration_settles_at is not None:
        # Each further try that fails in the same way would leave one more.
        left = "An earlier registration left it behind, and its secret is unknown here."
        deletions = tuple(delete_step(remote, left) for remote in unusable)
        return Plan((*deletions, Step(StepAction.REGISTER, "The answer to the earlier registration was lost.")))
    if unusable:
        reason = "Its secret is unknown here, so its requests could not be verified."
        return Plan(replacement_steps(observed, unusable, reason))
    if observed.current_id and observed.losses >= MAX_LOSSES:
        return Plan(
            waiting=f"The provider has lost it {observed.losses + 1} times within an hour. Find out who deletes it "
            "there, then reconcile it.",
            wait=Wait.LOST,
        )
    if observed.current_id:
        reason = f"The provider no longer has {observed.current_id}, so it is registered again."
    else:
        reason = "It is not registered at the provider yet."
    return Plan((Step(StepAction.REGISTER, reason),))
