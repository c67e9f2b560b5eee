"""Properties of plans that hold for all states and capabilities."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.contract.capabilities import Capabilities, Renewal, SecretMadeBy
from subscriptions.planning.config_diff import NEVER_ACCEPTED, config_changes, config_to_preserve, drifted_changes
from subscriptions.planning.plan import plan
from subscriptions.planning.remote_choice import choose_remote
from subscriptions.planning.states import DesiredState, DriftPolicy, ObservedState
from subscriptions.planning.steps import Step, StepAction, Wait
from tests.planning.examples import CAPABILITIES, DESIRED, NOW, URL, remote

registrations = st.builds(
    lambda number, enabled, life, path, url, secret: remote(
        f"r{number}",
        enabled=enabled,
        status="enabled" if enabled else "disabled",
        expires_at=None if life is None else NOW + timedelta(seconds=life),
        config=None if path is None else {"paths": [path], "types": ["x"]},
        url=url,
        secret_matches=secret,
    ),
    st.integers(1, 4),
    st.booleans(),
    st.one_of(st.none(), st.integers(-100, 200)),
    st.sampled_from([None, "/a", "/b"]),
    st.sampled_from([None, URL, URL + "/"]),
    st.sampled_from([None, True, False]),
)
observed_states = st.builds(
    ObservedState,
    remotes=st.lists(registrations, max_size=3, unique_by=lambda item: item.remote_id).map(tuple),
    current_id=st.sampled_from([None, "r1", "r2", "gone"]),
    granted=st.one_of(st.none(), st.integers(1, 300).map(lambda seconds: timedelta(seconds=seconds))),
    renews_in_place=st.sampled_from([None, True, False]),
    update_enables=st.sampled_from([None, True, False]),
    replace_refused=st.booleans(),
    secret_for=st.sampled_from([None, "r1", "r2"]),
    we_disabled=st.booleans(),
    enable_not_before=st.sampled_from([None, NOW - timedelta(seconds=9), NOW + timedelta(seconds=9)]),
    suspended_count=st.integers(0, 4),
    gave_up=st.booleans(),
    agreed_config=st.sampled_from([None, dict(DESIRED.config), {"paths": ["/b"], "types": ["x"]}]),
    pending=st.booleans(),
    spread=st.floats(0, 1),
)
desired_states = st.builds(
    lambda present, enabled, auto_renew, renew_now, policy: replace(
        DESIRED, present=present, enabled=enabled, auto_renew=auto_renew, renew_now=renew_now, drift_policy=policy
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(DriftPolicy)),
)
capability_sets = st.builds(
    lambda update, status, may_enable, renewal, maker, fixed, resets: replace(
        CAPABILITIES,
        enabling_resets_failures=resets,
        update_may_enable=update and may_enable,
        can_update=update,
        can_set_status=status,
        renewal=renewal,
        secret_made_by=maker,
        immutable_fields=fixed,
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(Renewal)),
    st.sampled_from(list(SecretMadeBy)),
    st.sampled_from([(), ("paths",)]),
    st.booleans(),
)


def apply_step(
    step: Step, desired: DesiredState, observed: ObservedState, number: int
) -> tuple[DesiredState, ObservedState]:
    """Return both states after a provider has executed the step."""
    by_id = {item.remote_id: item for item in observed.remotes}
    sent = {**desired.config, **config_to_preserve(desired, observed, by_id.get(step.remote_id or ""))}
    fresh = remote(f"new{number}", expires_at=NOW + timedelta(seconds=90), config=sent)
    match step.action:
        case StepAction.ADOPT:
            ends = by_id[step.remote_id or ""].expires_at
            granted = max(ends - NOW, timedelta(0)) if ends else None
            return desired, replace(observed, current_id=step.remote_id, granted=granted, agreed_config=None)
        case StepAction.REGISTER | StepAction.REPLACE:
            return replace(desired, renew_now=False), replace(
                observed,
                remotes=(*observed.remotes, fresh),
                current_id=fresh.remote_id,
                granted=timedelta(seconds=90),
                secret_for=fresh.remote_id,
                we_disabled=False,
                agreed_config=observed.agreed_config if step.action is StepAction.REPLACE else None,
            )
        case StepAction.DELETE:
            by_id.pop(step.remote_id or "")
        case StepAction.UPDATE:
            old = by_id[step.remote_id or ""]
            on = old.enabled or observed.update_enables is True
            by_id[old.remote_id] = replace(old, url=URL, config=sent, secret_matches=True, enabled=on)
            observed = replace(observed, update_enables=on if not old.enabled else observed.update_enables)
        case StepAction.ENABLE | StepAction.DISABLE:
            on = step.action is StepAction.ENABLE
            by_id[step.remote_id or ""] = replace(by_id[step.remote_id or ""], enabled=on)
            observed = replace(observed, we_disabled=not on)
        case StepAction.RENEW:
            old = by_id[step.remote_id or ""]
            by_id[old.remote_id] = replace(old, expires_at=NOW + timedelta(seconds=90), config=sent)
            desired, observed = replace(desired, renew_now=False), replace(observed, granted=timedelta(seconds=90))
    return desired, replace(observed, remotes=tuple(by_id.values()))


def converge(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> tuple[DesiredState, ObservedState, int]:
    """Plan and apply the first step until the plan is empty; return both states and the number of steps."""
    for number in range(14):
        result = plan(desired, observed, capabilities, NOW)
        if result.accepts:
            accepted = {change.field: change.before for change in result.accepts}
            desired = replace(desired, config={**desired.config, **accepted})
            observed = replace(observed, agreed_config={**(observed.agreed_config or {}), **accepted})
            continue
        if not result.steps:
            return desired, observed, number
        desired, observed = apply_step(result.steps[0], desired, observed, number)
    raise AssertionError(f"The plan does not converge: {result}")


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(desired_states, observed_states, capability_sets)
def test_applying_the_first_step_repeatedly_converges(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    desired, observed, _ = converge(desired, observed, capabilities)
    last = plan(desired, observed, capabilities, NOW)
    assert last.steps == ()
    assert last.accepts == ()
    working = [item for item in observed.remotes if item.enabled]
    if not desired.present:
        assert observed.remotes == ()
    elif not desired.enabled:
        assert working == []
    elif last.wait in (Wait.GAVE_UP, Wait.PAUSE):
        usable = choose_remote(desired, observed, capabilities, NOW)
        assert usable is None or not usable.enabled
    elif desired.auto_renew:
        assert len(working) == 1
        assert len(observed.remotes) == 1
        assert working[0].expires_at is None or working[0].expires_at > NOW


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(desired_states, observed_states, capability_sets)
def test_a_converged_registration_differs_only_in_reported_drift(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    before = desired
    desired, observed, _ = converge(desired, observed, capabilities)
    if not desired.present or not desired.enabled or plan(desired, observed, capabilities, NOW).waiting:
        return
    (registration,) = observed.remotes
    differences = config_changes(desired, registration)
    if desired.drift_policy is DriftPolicy.REPORT:
        assert differences == drifted_changes(desired, observed, registration)
    else:
        assert differences == ()
    if desired.drift_policy is not DriftPolicy.ACCEPT:
        assert desired.config == before.config


@pytest.mark.slow
@settings(deadline=None)
@given(desired_states, observed_states, capability_sets)
def test_only_drift_is_accepted_and_only_by_the_accept_policy(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    accepts = plan(desired, observed, capabilities, NOW).accepts
    assert not accepts or desired.drift_policy is DriftPolicy.ACCEPT
    assert not {change.field for change in accepts} & set(NEVER_ACCEPTED)
    for change in accepts:
        assert (observed.agreed_config or {})[change.field] == desired.config[change.field], (
            "our own change is not drift"
        )


@pytest.mark.slow
@settings(deadline=None)
@given(desired_states, observed_states, capability_sets)
def test_reported_drift_is_never_changed(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    desired = replace(desired, drift_policy=DriftPolicy.REPORT)
    by_id = {item.remote_id: item for item in observed.remotes}
    for step in plan(desired, observed, capabilities, NOW).steps:
        old = by_id.get(step.remote_id or "")
        reported = drifted_changes(desired, observed, old) if old and step.action is not StepAction.DELETE else ()
        assert not [change for change in step.changes if change in reported]


@pytest.mark.slow
@settings(deadline=None)
@given(desired_states, observed_states, capability_sets)
def test_a_given_up_subscription_stays_suspended(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    disabled = tuple(replace(item, enabled=False) for item in observed.remotes)
    observed = replace(observed, gave_up=True, we_disabled=False, remotes=disabled)
    desired = replace(desired, present=True, enabled=True)
    result = plan(desired, observed, capabilities, NOW)
    assert {step.action for step in result.steps} <= {StepAction.ADOPT}
    assert result.wait is Wait.GAVE_UP


@pytest.mark.slow
@settings(deadline=None)
@given(desired_states, observed_states, capability_sets)
def test_every_step_concerns_one_of_our_registrations(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    ours = {item.remote_id for item in observed.remotes}
    for step in plan(desired, observed, capabilities, NOW).steps:
        assert step.remote_id is None or step.remote_id in ours
        assert step.reason


@pytest.mark.slow
@settings(deadline=None)
@given(desired_states, observed_states, capability_sets)
def test_a_usable_registration_is_deleted_before_another_is_registered(
    desired: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    steps = plan(desired, observed, capabilities, NOW).steps
    registers = [step for step in steps if step.action is StepAction.REGISTER]
    assert len(registers) <= 1
    if registers and choose_remote(desired, observed, capabilities, NOW) is not None:
        deleted_before = {step.remote_id for step in steps[: steps.index(registers[0])]}
        assert observed.replace_refused
        assert choose_remote(desired, observed, capabilities, NOW).remote_id in deleted_before  # type: ignore[union-attr]


@pytest.mark.slow
@settings(deadline=None)
@given(desired_states, observed_states, capability_sets)
def test_planning_is_deterministic(desired: DesiredState, observed: ObservedState, capabilities: Capabilities) -> None:
    assert plan(desired, observed, capabilities, NOW) == plan(desired, observed, capabilities, NOW)
