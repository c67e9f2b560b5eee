"""Some steps of a plan that a person or a program has seen, chosen to be applied; refused when the plan is another now.

Pure, like the plan itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from providers.conflict import Conflict
from providers.digests import json_digest
from subscriptions.planning.plan import Plan, Step, StepAction

Key = tuple[StepAction, str | None]


class PlanChanged(Conflict):
    """The plan is no longer the one that was seen; nothing was done."""

    code = "plan_changed"


class Incomplete(Conflict):
    """A chosen step is only safe together with another one that was not chosen; nothing was done."""

    code = "incomplete_choice"


def key(step: Step) -> Key:
    """What a step is named by: what it does, and to which remote subscription (None for a new one)."""
    return step.action, step.remote_id


def version(plan: Plan) -> str:
    """Names what a plan would do, field by field; not its reasons, which count seconds."""
    steps = [[*key(step), [[item.field, item.before, item.after] for item in step.changes]] for step in plan.steps]
    return json_digest(steps)[:32]


def goes_with(plan: Plan, step: Step) -> tuple[Step, ...]:
    """The other steps of the plan that have to be done with this one, so that no choice deletes what still delivers.

    What is not adopted yet is adopted first; what a replacement replaces goes after it; and where the old one has to
    go before a new one can be registered, both belong together."""
    position = plan.steps.index(step)
    pair = (StepAction.DELETE, StepAction.REGISTER)
    paired = step.action in pair and any(item.action is StepAction.REGISTER for item in plan.steps)
    return tuple(
        item
        for place, item in enumerate(plan.steps)
        if (place < position and item.action in (StepAction.ADOPT, StepAction.REPLACE))
        or (paired and place != position and item.action in pair)
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen steps, and the version of the plan that they were chosen from (None: it does not matter)."""

    keys: Collection[Key]
    version: str | None = None

    def check(self, plan: Plan) -> None:
        """Raises PlanChanged when a chosen step, or the version, is not that of this plan; Incomplete when a choice
        leaves out what a chosen step needs."""
        missing = [item for item in self.keys if item not in map(key, plan.steps)]
        if missing:
            action, remote_id = missing[0]
            of = f" of {remote_id}" if remote_id else ""
            raise PlanChanged(f"The plan has changed meanwhile: it has no {action}{of} any more. Look again.")
        if self.version is not None and self.version != version(plan):
            raise PlanChanged(
                "The plan has changed meanwhile: what it would do is no longer what was shown. Look again."
            )
        for step in plan.steps:
            left_out = [item for item in goes_with(plan, step) if key(item) not in self.keys]
            if key(step) in self.keys and left_out:
                raise Incomplete(
                    f"The {step.action} can only be done together with the {left_out[0].action}"
                    f"{f' of {left_out[0].remote_id}' if left_out[0].remote_id else ''}: choose that as well."
                )

    def next(self, plan: Plan) -> Step | None:
        """The first chosen step of this plan that may be done now; None when none is left."""
        for step in plan.steps:
            if key(step) in self.keys and all(key(item) in self.keys for item in goes_with(plan, step)):
                return step
        return None
