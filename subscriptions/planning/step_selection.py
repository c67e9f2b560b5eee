"""Applying only some steps of a plan that a person or a program has seen. Pure, like the plan itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from providers.conflict import Conflict
from providers.digests import json_digest
from subscriptions.planning.steps import Plan, Step, StepAction

StepKey = tuple[StepAction, str | None]


class PlanChanged(Conflict):
    """The plan is no longer the one that was shown; nothing was done."""

    code = "plan_changed"


class IncompleteChoice(Conflict):
    """A chosen step is only safe together with another one that was not chosen; nothing was done."""

    code = "incomplete_choice"


def step_key(step: Step) -> StepKey:
    """Return what identifies a step: its action and its remote ID (None for a new registration)."""
    return step.action, step.remote_id


def plan_version(plan: Plan) -> str:
    """Return a digest of what the plan would change, field by field.

    Reasons do not count, because they contain durations that change every second.
    """
    steps = [[*step_key(step), [[item.field, item.before, item.after] for item in step.changes]] for step in plan.steps]
    return json_digest(steps)[:32]


def required_with(plan: Plan, step: Step) -> tuple[Step, ...]:
    """Return the other steps that must be applied with this one, so that no choice deletes the only working one.

    An adoption comes before what follows it, and a replacement before the deletion of what it replaces. Where the old
    registration must be deleted before a new one is possible, the deletion and the registration need each other.
    """
    position = plan.steps.index(step)
    pair = (StepAction.DELETE, StepAction.REGISTER)
    paired = step.action in pair and any(item.action is StepAction.REGISTER for item in plan.steps)
    return tuple(
        item
        for index, item in enumerate(plan.steps)
        if (index < position and item.action in (StepAction.ADOPT, StepAction.REPLACE))
        or (paired and index != position and item.action in pair)
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen steps, and the version of the plan that they were chosen from (None: any version)."""

    keys: Collection[StepKey]
    version: str | None = None

    def check(self, plan: Plan) -> None:
        """Check that the choice can be applied to this plan.

        Raises PlanChanged when a chosen step is not in the plan or the version differs, and IncompleteChoice when the
        choice leaves out a step that a chosen one requires.
        """
        missing = [item for item in self.keys if item not in map(step_key, plan.steps)]
        if missing:
            action, remote_id = missing[0]
            of = f" of {remote_id}" if remote_id else ""
            raise PlanChanged(f"The plan has changed: it no longer has the step {action}{of}. Load it again.")
        if self.version is not None and self.version != plan_version(plan):
            raise PlanChanged("The plan has changed: it would no longer do what was shown. Load it again.")
        for step in plan.steps:
            left_out = [item for item in required_with(plan, step) if step_key(item) not in self.keys]
            if step_key(step) in self.keys and left_out:
                raise IncompleteChoice(
                    f"The {step.action} can only be applied together with the {left_out[0].action}"
                    f"{f' of {left_out[0].remote_id}' if left_out[0].remote_id else ''}. Choose both."
                )

    def next_step(self, plan: Plan) -> Step | None:
        """Return the first chosen step of this plan that may be applied now, or None."""
        for step in plan.steps:
            if step_key(step) in self.keys and all(step_key(item) in self.keys for item in required_with(plan, step)):
                return step
        return None
