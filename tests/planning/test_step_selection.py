"""Applying chosen steps of a plan: dependent steps only together, and no step once the plan has changed."""

from __future__ import annotations

import dataclasses

import pytest
from django.utils import timezone

from providers.contract.errors import LimitReached
from providers.egnyte_connect.provider import EgnyteConnect
from subscriptions.lifecycle import desired_state
from subscriptions.models import State, Subscription
from subscriptions.planning.step_selection import (
    Choice,
    IncompleteChoice,
    PlanChanged,
    plan_version,
    required_with,
    step_key,
)
from subscriptions.planning.steps import Change, Plan, Step, StepAction
from subscriptions.reconciliation.live_plan import preview
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.fixtures import CONFIG, Control

ADOPT = Step(StepAction.ADOPT, "", "a")
UPDATE = Step(StepAction.UPDATE, "", "a", (Change("paths", ["/A"], ["/B"]),))
RENEW = Step(StepAction.RENEW, "", "a")
REPLACE = Step(StepAction.REPLACE, "", "a")
DELETE, DELETE_B = Step(StepAction.DELETE, "", "a"), Step(StepAction.DELETE, "", "b")
REGISTER = Step(StepAction.REGISTER, "")


@pytest.mark.parametrize(
    ("steps", "step", "required"),
    [
        ((UPDATE, RENEW), RENEW, ()),
        ((UPDATE, RENEW), UPDATE, ()),
        ((ADOPT, UPDATE, DELETE_B), DELETE_B, (ADOPT,)),
        ((REPLACE, DELETE), REPLACE, ()),
        ((REPLACE, DELETE), DELETE, (REPLACE,)),
        ((DELETE, REGISTER), DELETE, (REGISTER,)),
        ((DELETE, DELETE_B, REGISTER), REGISTER, (DELETE, DELETE_B)),
        ((DELETE, DELETE_B), DELETE_B, ()),
    ],
)
def test_steps_that_require_each_other(steps: tuple[Step, ...], step: Step, required: tuple[Step, ...]) -> None:
    plan = Plan(steps)
    assert required_with(plan, step) == required
    incomplete, complete = Choice([step_key(step)]), Choice([step_key(step), *map(step_key, required)])
    complete.check(plan)
    if required:
        assert incomplete.next_step(plan) is None
        with pytest.raises(IncompleteChoice, match=required[0].action):
            incomplete.check(plan)
    else:
        incomplete.check(plan)
        assert incomplete.next_step(plan) == step


def test_a_plan_version_depends_on_changes_not_on_reasons() -> None:
    other_reason = Step(StepAction.UPDATE, "Another reason.", "a", UPDATE.changes)
    other_value = Step(StepAction.UPDATE, "", "a", (Change("paths", ["/A"], ["/C"]),))
    assert plan_version(Plan((UPDATE,))) == plan_version(Plan((other_reason,)))
    assert plan_version(Plan((UPDATE,))) != plan_version(Plan((other_value,)))
    with pytest.raises(PlanChanged):
        Choice([step_key(UPDATE)], plan_version(Plan((other_value,)))).check(Plan((UPDATE,)))


# -- At the provider -------------------------------------------------------------------------------------------------


@pytest.fixture
def drifted(subscription: Subscription, control: Control, receiver_answers: None) -> Subscription:
    """Return a registered subscription with two pending steps: changed here, and disabled at the provider."""
    reconcile(subscription, details=True)
    desired_state.change(subscription, by="staff:ann", config={**CONFIG, "paths": ["/Shared/New"]})
    control.post(f"remote/{subscription.remote_id}", status="disabled")
    subscription.refresh_from_db()
    assert [step.action for step in preview(subscription).steps] == ["update", "enable"]
    return subscription


@pytest.mark.slow
@pytest.mark.django_db
def test_only_the_chosen_step_is_applied(drifted: Subscription, control: Control) -> None:
    choice = Choice([(StepAction.ENABLE, drifted.remote_id)], plan_version(preview(drifted)))
    assert reconcile(drifted, actor="staff:bob", details=True, choice=choice)
    assert list(drifted.operations.order_by("id").values_list("action", "actor")) == [
        ("register", "staff:ann"),
        ("enable", "staff:bob"),
    ]
    drifted.refresh_from_db()
    assert drifted.applied_generation < drifted.generation
    assert drifted.due_at is not None
    assert drifted.due_at <= timezone.now()
    assert [step.action for step in preview(drifted).steps] == ["update"]
    reconcile(drifted)
    drifted.refresh_from_db()
    assert drifted.state == State.ACTIVE
    assert control.remotes()[0]["status"] == "enabled"


@pytest.mark.django_db
def test_chosen_steps_are_applied_in_plan_order(drifted: Subscription) -> None:
    plan = preview(drifted)
    reconcile(
        drifted, details=True, choice=Choice([step_key(step) for step in reversed(plan.steps)], plan_version(plan))
    )
    drifted.refresh_from_db()
    assert drifted.state == State.ACTIVE
    assert drifted.applied_generation == drifted.generation


@pytest.mark.django_db
def test_no_step_is_applied_once_the_plan_has_changed(drifted: Subscription, control: Control) -> None:
    shown = preview(drifted)
    desired_state.change(drifted, by="staff:bob", config={**CONFIG, "paths": ["/Shared/Newer"]})
    before = drifted.operations.count()
    with pytest.raises(PlanChanged):
        reconcile(drifted, details=True, choice=Choice([step_key(shown.steps[0])], plan_version(shown)))
    control.post(f"remote/{drifted.remote_id}", status="enabled")
    with pytest.raises(PlanChanged, match="enable"):
        reconcile(drifted, details=True, choice=Choice([(StepAction.ENABLE, drifted.remote_id)]))
    assert drifted.operations.count() == before
    assert Subscription.objects.get(pk=drifted.pk).claimed_by == ""


@pytest.mark.django_db
def test_a_chosen_replacement_never_deletes_the_only_registration(
    drifted: Subscription, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise LimitReached("No room.")

    Subscription.objects.filter(pk=drifted.pk).update(renews_in_place=False)
    monkeypatch.setattr(EgnyteConnect, "register", full)
    monkeypatch.setattr(
        EgnyteConnect,
        "capabilities",
        dataclasses.replace(EgnyteConnect.capabilities, can_update=False),
    )
    plan = preview(drifted)
    assert [step.action for step in plan.steps] == ["replace", "delete"]
    reconcile(drifted, details=True, choice=Choice([step_key(step) for step in plan.steps]))
    assert len(control.remotes()) == 1
    assert "delete" not in drifted.operations.values_list("action", flat=True)


@pytest.mark.django_db
def test_steps_of_a_deleted_subscription_cannot_be_chosen(drifted: Subscription) -> None:
    desired_state.request_deletion(drifted, by="staff:ann")
    reconcile(drifted)
    with pytest.raises(PlanChanged):
        reconcile(drifted, choice=Choice([(StepAction.ENABLE, drifted.remote_id)]))
