"""The plan: the steps from the observed to the desired state. Pure: no I/O, no clock, no Django.

Everything that happens to a subscription at a provider is a plan: registering, renewing, registering again after a
deletion, enabling again, reverting a changed config, adopting what a crash left behind.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities
from subscriptions.planning.config_diff import accepted_changes
from subscriptions.planning.kept_remote import gave_up_plan, plan_disabled, plan_enabled
from subscriptions.planning.remote_choice import choose_remote, is_elsewhere
from subscriptions.planning.replacement import delete_step, replacement_steps
from subscriptions.planning.states import DesiredState, ObservedState
from subscriptions.planning.steps import Plan, Step, StepAction, Wait


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
        return Plan(tuple(delete_step(remote, "The subscription is deleted here.") for remote in observed.remotes))
    elsewhere = [remote for remote in observed.remotes if is_elsewhere(remote, desired)]
    if elsewhere:
        return Plan(
            waiting=f"The provider has our token at another address ({elsewhere[0].url}): another installation may be "
            "using it. Nothing is changed there until a person has decided.",
            wait=Wait.ELSEWHERE,
        )
    kept = choose_remote(desired, observed, capabilities, now)
    others = tuple(remote for remote in observed.remotes if remote is not kept)
    if kept is None:
        return _plan_without_usable(desired, observed, others)
    return _plan_with_kept(desired, observed, capabilities, kept, others, now)


def _plan_with_kept(
    desired: DesiredState,
    observed: ObservedState,
    capabilities: Capabilities,
    kept: RemoteSubscription,
    others: tuple[RemoteSubscription, ...],
    now: datetime,
) -> Plan:
    adopt: tuple[Step, ...] = ()
    if kept.remote_id != observed.current_id:
        adopt = (Step(StepAction.ADOPT, "It carries our callback URL, so it is adopted.", kept.remote_id),)
    accepts = accepted_changes(desired, observed, kept)
    desired = replace(desired, config={**desired.config, **{change.field: change.before for change in accepts}})
    plan_kept = plan_enabled if desired.enabled else plan_disabled
    rest = plan_kept(desired, observed, capabilities, kept, now)
    spare = tuple(delete_step(remote, f"Only one is needed; {kept.remote_id} is newer.") for remote in others)
    # The others are deleted only when the kept one is known to work; until then they may still be delivering.
    ready = kept.enabled or not desired.enabled
    return replace(rest, steps=(*adopt, *rest.steps, *(spare if ready else ())), accepts=accepts)


def _plan_without_usable(
    desired: DesiredState, observed: ObservedState, unusable: tuple[RemoteSubscription, ...]
) -> Plan:
    if not desired.enabled:
        return Plan(
            tuple(delete_step(remote, "It is disabled here, and its secret is unknown.") for remote in unusable)
        )
    if observed.gave_up:
        return gave_up_plan()
    if unusable:
        reason = "Its secret is unknown here, so its requests could not be verified."
        return Plan(replacement_steps(observed, unusable, reason))
    if observed.current_id:
        reason = f"The provider no longer has {observed.current_id}, so it is registered again."
    else:
        reason = "It is not registered at the provider yet."
    return Plan((Step(StepAction.REGISTER, reason),))
