"""Steps that replace or delete registrations."""

from __future__ import annotations

from providers.contract.base import RemoteSubscription
from subscriptions.planning.states import ObservedState
from subscriptions.planning.steps import Change, Step, StepAction


def delete_step(remote: RemoteSubscription, reason: str) -> Step:
    """Return the step that deletes this registration."""
    return Step(StepAction.DELETE, reason, remote.remote_id)


def replacement_steps(
    observed: ObservedState, old: tuple[RemoteSubscription, ...], reason: str, changes: tuple[Change, ...] = ()
) -> tuple[Step, ...]:
    """Return the steps that replace the old registrations: make before break.

    Where the provider has no room for both, break before make; the reasons say that events may be missed.
    """
    if observed.replace_refused:
        gap = f"{reason} The provider has no room for a second one, so this one is deleted first: events may be missed."
        deletes = tuple(delete_step(remote, gap) for remote in old)
        return (*deletes, Step(StepAction.REGISTER, f"{reason} The old one had to be deleted first.", None, changes))
    deletes = tuple(delete_step(remote, "The new one replaces it.") for remote in old)
    return (Step(StepAction.REPLACE, reason, old[0].remote_id, changes), *deletes)
