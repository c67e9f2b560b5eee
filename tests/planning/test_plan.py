"""`plan` as a pure function: examples of each step, and properties that hold for everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import Capabilities, ExpirySetBy, Proof, Renewal, SecretMadeBy
from subscriptions.planning.config_diff import NEVER_ACCEPTED, config_changes, config_to_preserve, drifted_changes
from subscriptions.planning.plan import plan
from subscriptions.planning.remote_choice import choose_remote
from subscriptions.planning.renewal_times import renewal_time
from subscriptions.planning.states import DesiredState, DriftPolicy, ObservedState
from subscriptions.planning.steps import Plan, Step, StepAction, Wait

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "https://hooks.example.test/hooks/t0ken"

CAPABILITIES = Capabilities(
    can_list=True,
    list_has_details=False,
    reveals_url=True,
    can_update=True,
    can_set_status=True,
    can_test=False,
    can_identify=True,
    renewal=Renewal.UPDATE,
    expiry_set_by=ExpirySetBy.PROVIDER,
    proof=Proof.HEADER,
    secret_made_by=SecretMadeBy.US,
    methods=("POST",),
    has_event_id=True,
)
WANTED = DesiredState(
    present=True, enabled=True, auto_renew=True, by_api=True, callback_url=URL, config={"paths": ["/a"], "types": ["x"]}
)


def remote(remote_id: str = "r1", **changes: object) -> RemoteSubscription:
    base = RemoteSubscription(
        remote_id=remote_id,
        status="enabled",
        enabled=True,
        expires_at=NOW + timedelta(seconds=80),
        url=URL,
        config=dict(WANTED.config),
        secret_matches=True,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def seen(*remotes: RemoteSubscription, **changes: object) -> ObservedState:
    base = ObservedState(remotes=remotes, current_id="r1", granted=timedelta(seconds=90))
    return replace(base, **changes)  # type: ignore[arg-type]


def actions(result: Plan) -> list[str]:
    return [step.action.value for step in result.steps]


def test_nothing_to_do_when_all_is_as_wanted() -> None:
    assert plan(WANTED, seen(remote()), CAPABILITIES, NOW) == Plan()


def test_registers_what_was_never_registered() -> None:
    result = plan(WANTED, seen(current_id=None), CAPABILITIES, NOW)
    assert actions(result) == ["register"]
    assert "not registered" in result.steps[0].reason


def test_registers_again_what_was_deleted_there() -> None:
    result = plan(WANTED, seen(), CAPABILITIES, NOW)
    assert actions(result) == ["register"]
    assert "no longer has r1" in result.steps[0].reason


def test_adopts_what_a_crash_left_behind() -> None:
    result = plan(WANTED, seen(remote("r7"), current_id=None, granted=None), CAPABILITIES, NOW)
    assert actions(result) == ["adopt"]
    assert result.steps[0].remote_id == "r7"


def test_keeps_the_newest_enabled_and_deletes_the_others() -> None:
    old, new = remote("r1"), remote("r2", expires_at=NOW + timedelta(seconds=85))
    result = plan(WANTED, seen(old, new), CAPABILITIES, NOW)
    assert [(step.action.value, step.remote_id) for step in result.steps] == [("adopt", "r2"), ("delete", "r1")]


def test_a_fresh_one_wins_over_one_without_end_that_could_not_be_changed() -> None:
    old, new = remote("r1", expires_at=None, url=URL + "/"), remote("r2")
    capabilities = replace(CAPABILITIES, can_update=False)
    result = plan(WANTED, seen(old, new, current_id="r2"), capabilities, NOW)
    assert [(step.action.value, step.remote_id) for step in result.steps] == [("delete", "r1")]


def test_does_not_delete_a_spare_before_the_kept_one_is_on() -> None:
    result = plan(WANTED, seen(remote("r1", enabled=False), remote("r2", enabled=False)), CAPABILITIES, NOW)
    assert "delete" not in actions(result)
    assert "enable" in actions(result)


def test_puts_a_changed_config_back_and_names_the_fields() -> None:
    result = plan(WANTED, seen(remote(config={"paths": ["/b"], "types": ["x"]})), CAPABILITIES, NOW)
    assert actions(result) == ["update"]
    (change,) = result.steps[0].changes
    assert (change.field, change.before, change.after) == ("paths", ["/b"], ["/a"])


def test_what_could_not_be_read_is_no_difference() -> None:
    assert plan(WANTED, seen(remote(config=None, url=None, secret_matches=None)), CAPABILITIES, NOW) == Plan()


def test_a_changed_secret_is_put_back_and_stays_masked() -> None:
    result = plan(WANTED, seen(remote(secret_matches=False)), CAPABILITIES, NOW)
    assert actions(result) == ["update"]
    assert result.steps[0].changes[0].after == "***"


def test_a_field_that_only_a_new_registration_changes_is_replaced() -> None:
    capabilities = replace(CAPABILITIES, immutable_fields=("paths",))
    result = plan(WANTED, seen(remote(config={"paths": ["/b"], "types": ["x"]})), capabilities, NOW)
    assert actions(result) == ["replace", "delete"]


def test_switches_back_on_what_the_provider_switched_off() -> None:
    result = plan(WANTED, seen(remote(enabled=False)), CAPABILITIES, NOW)
    assert actions(result) == ["enable"]


def test_waits_before_switching_on_again() -> None:
    later = NOW + timedelta(seconds=30)
    result = plan(WANTED, seen(remote(enabled=False), enable_not_before=later), CAPABILITIES, NOW)
    assert result.steps == ()
    assert result.not_before == later
    assert result.wait is Wait.PAUSE
    assert "2026-01-02 03:04:35 UTC" in (result.waiting or "")


def test_waits_as_well_when_its_lease_ends_during_the_pause() -> None:
    off = remote(enabled=False, expires_at=NOW - timedelta(seconds=1))
    result = plan(WANTED, seen(off, enable_not_before=NOW + timedelta(seconds=30)), CAPABILITIES, NOW)
    assert (result.steps, result.wait) == ((), Wait.PAUSE)


@pytest.mark.parametrize(("suspended_count", "resets"), [(3, True), (1, False)])
def test_where_switching_on_does_not_last_it_is_registered_anew(suspended_count: int, resets: bool) -> None:
    capabilities = replace(CAPABILITIES, enabling_resets_failures=resets)
    result = plan(WANTED, seen(remote(enabled=False), suspended_count=suspended_count), capabilities, NOW)
    assert actions(result) == ["replace", "delete"]
    assert ("enabled", True) in {(change.field, change.after) for change in result.steps[0].changes}


def test_given_up_it_is_not_registered_again_either() -> None:
    result = plan(WANTED, seen(gave_up=True), CAPABILITIES, NOW)
    assert (result.steps, result.wait) == ((), Wait.GAVE_UP)


DRIFTED = remote(config={"paths": ["/b"], "types": ["x"]})


@pytest.mark.parametrize(
    ("policy", "steps", "accepts"),
    [(DriftPolicy.REVERT, ["update"], []), (DriftPolicy.ACCEPT, [], ["paths"]), (DriftPolicy.REPORT, [], [])],
)
def test_each_drift_policy(policy: DriftPolicy, steps: list[str], accepts: list[str]) -> None:
    wanted = replace(WANTED, drift_policy=policy)
    result = plan(wanted, seen(DRIFTED, agreed_config=dict(WANTED.config)), CAPABILITIES, NOW)
    assert (actions(result), [change.field for change in result.accepts]) == (steps, accepts)


@pytest.mark.parametrize("policy", list(DriftPolicy))
def test_what_we_changed_ourselves_is_sent_whatever_the_policy(policy: DriftPolicy) -> None:
    wanted = replace(WANTED, drift_policy=policy)
    agreed = {"paths": ["/b"], "types": ["x"]}  # as it still stands there
    result = plan(wanted, seen(DRIFTED, agreed_config=agreed), CAPABILITIES, NOW)
    assert (actions(result), result.accepts) == (["update"], ())


@pytest.mark.parametrize("changed", [remote(url=URL + "/"), remote(secret_matches=False)], ids=["address", "secret"])
def test_a_changed_address_or_secret_is_never_accepted(changed: RemoteSubscription) -> None:
    wanted = replace(WANTED, drift_policy=DriftPolicy.ACCEPT)
    result = plan(wanted, seen(changed, agreed_config=dict(WANTED.config)), CAPABILITIES, NOW)
    assert (actions(result), result.accepts) == (["update"], ())
    reported = replace(WANTED, drift_policy=DriftPolicy.REPORT)
    assert plan(reported, seen(changed, agreed_config=dict(WANTED.config)), CAPABILITIES, NOW) == Plan()


def test_a_pause_does_not_hold_back_what_we_switched_off_ourselves() -> None:
    observed = seen(remote(enabled=False), enable_not_before=NOW + timedelta(seconds=30), we_disabled=True)
    assert actions(plan(WANTED, observed, CAPABILITIES, NOW)) == ["enable"]


def test_switches_off_what_is_wanted_off() -> None:
    assert actions(plan(replace(WANTED, enabled=False), seen(remote()), CAPABILITIES, NOW)) == ["disable"]


def test_where_nothing_can_be_switched_off_it_is_deleted_and_comes_back() -> None:
    capabilities = replace(CAPABILITIES, can_set_status=False)
    assert actions(plan(replace(WANTED, enabled=False), seen(remote()), capabilities, NOW)) == ["delete"]
    assert actions(plan(WANTED, seen(), capabilities, NOW)) == ["register"]


def test_where_an_update_may_switch_it_on_it_is_tried_before_a_replacement() -> None:
    capabilities = replace(CAPABILITIES, can_set_status=False, update_may_enable=True)
    assert actions(plan(WANTED, seen(remote(enabled=False)), capabilities, NOW)) == ["update"]
    observed = seen(remote(enabled=False), update_enables=False)
    result = plan(WANTED, observed, capabilities, NOW)
    assert actions(result) == ["replace", "delete"]
    assert ("enabled", True) in {(change.field, change.after) for change in result.steps[0].changes}


def test_renews_while_a_third_of_the_granted_life_is_left() -> None:
    observed = seen(remote(expires_at=NOW + timedelta(seconds=30)))
    assert actions(plan(WANTED, observed, CAPABILITIES, NOW)) == ["renew"]
    observed = seen(remote(expires_at=NOW + timedelta(seconds=37)))
    assert plan(WANTED, observed, CAPABILITIES, NOW) == Plan()


def test_replaces_where_renewing_in_place_does_not_work() -> None:
    observed = seen(
        remote(expires_at=NOW + timedelta(seconds=20)),
        renews_in_place=False,
    )
    assert actions(plan(WANTED, observed, CAPABILITIES, NOW)) == ["replace", "delete"]


def test_deletes_first_where_there_is_no_room_for_two() -> None:
    observed = seen(
        remote(expires_at=NOW + timedelta(seconds=20)),
        renews_in_place=False,
        replace_refused=True,
    )
    result = plan(WANTED, observed, CAPABILITIES, NOW)
    assert actions(result) == ["delete", "register"]
    assert "events may be missed" in result.steps[0].reason


def test_an_ended_lease_is_replaced_but_not_against_the_will() -> None:
    observed = seen(remote(expires_at=NOW - timedelta(seconds=1)))
    assert actions(plan(WANTED, observed, CAPABILITIES, NOW)) == ["replace", "delete"]
    assert plan(replace(WANTED, auto_renew=False), observed, CAPABILITIES, NOW).steps == ()


def test_renewal_on_request_needs_no_due_time() -> None:
    assert actions(plan(replace(WANTED, renew_now=True, auto_renew=False), seen(remote()), CAPABILITIES, NOW)) == [
        "renew"
    ]


def test_a_deleted_subscription_goes_with_all_its_remotes() -> None:
    result = plan(replace(WANTED, present=False), seen(remote("r1"), remote("r2")), CAPABILITIES, NOW)
    assert [step.remote_id for step in result.steps] == ["r1", "r2"]
    assert set(actions(result)) == {"delete"}


def test_a_manual_one_is_never_touched() -> None:
    assert plan(replace(WANTED, by_api=False), seen(remote(enabled=False)), CAPABILITIES, NOW) == Plan()


def test_nothing_is_written_from_an_unconfirmed_address() -> None:
    result = plan(replace(WANTED, address_confirmed=False), seen(), CAPABILITIES, NOW)
    assert result.steps == ()
    assert "PUBLIC_URL" in (result.waiting or "")


def test_our_token_at_another_host_stops_everything_until_somebody_confirms() -> None:
    elsewhere = remote(url="https://other.example.test/hooks/t0ken", enabled=False)
    stopped = plan(WANTED, seen(elsewhere), CAPABILITIES, NOW)
    assert stopped.steps == ()
    assert stopped.waiting
    confirmed = replace(WANTED, former_urls=("https://other.example.test/hooks/t0ken",))
    assert "update" in actions(plan(confirmed, seen(elsewhere), CAPABILITIES, NOW))


def test_a_remote_whose_secret_we_lack_is_replaced_never_adopted() -> None:
    capabilities = replace(CAPABILITIES, secret_made_by=SecretMadeBy.PROVIDER)
    assert actions(plan(WANTED, seen(remote("r9"), current_id=None), capabilities, NOW)) == ["replace", "delete"]
    assert plan(WANTED, seen(remote("r1"), secret_for="r1"), capabilities, NOW) == Plan()


@pytest.mark.parametrize(("spread", "least", "most"), [(0.0, 0.6, 0.6), (1.0, 0.66, 0.66), (0.5, 0.62, 0.64)])
def test_renewals_are_spread_but_never_later_than_a_third_before_the_end(
    spread: float, least: float, most: float
) -> None:
    due = renewal_time(timedelta(seconds=900), NOW + timedelta(seconds=900), spread)
    assert due is not None
    assert 900 * least - 1 <= (due - NOW).total_seconds() <= 900 * most + 1
    assert (NOW + timedelta(seconds=900) - due).total_seconds() >= 300


# -- Properties ------------------------------------------------------------------------------------------------------

remotes_ = st.builds(
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
observed_ = st.builds(
    ObservedState,
    remotes=st.lists(remotes_, max_size=3, unique_by=lambda item: item.remote_id).map(tuple),
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
    agreed_config=st.sampled_from([None, dict(WANTED.config), {"paths": ["/b"], "types": ["x"]}]),
    pending=st.booleans(),
    spread=st.floats(0, 1),
)
wanted_ = st.builds(
    lambda present, enabled, auto_renew, renew_now, policy: replace(
        WANTED, present=present, enabled=enabled, auto_renew=auto_renew, renew_now=renew_now, drift_policy=policy
    ),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(DriftPolicy)),
)
capabilities_ = st.builds(
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


def applied(
    step: Step, wanted: DesiredState, observed: ObservedState, number: int
) -> tuple[DesiredState, ObservedState]:
    """What a provider that does all it is told makes of a step."""
    named = {item.remote_id: item for item in observed.remotes}
    sent = {**wanted.config, **config_to_preserve(wanted, observed, named.get(step.remote_id or ""))}
    fresh = remote(f"new{number}", expires_at=NOW + timedelta(seconds=90), config=sent)
    match step.action:
        case StepAction.ADOPT:
            ends = named[step.remote_id or ""].expires_at
            granted = max(ends - NOW, timedelta(0)) if ends else None
            return wanted, replace(observed, current_id=step.remote_id, granted=granted, agreed_config=None)
        case StepAction.REGISTER | StepAction.REPLACE:
            return replace(wanted, renew_now=False), replace(
                observed,
                remotes=(*observed.remotes, fresh),
                current_id=fresh.remote_id,
                granted=timedelta(seconds=90),
                secret_for=fresh.remote_id,
                we_disabled=False,
                agreed_config=observed.agreed_config if step.action is StepAction.REPLACE else None,
            )
        case StepAction.DELETE:
            named.pop(step.remote_id or "")
        case StepAction.UPDATE:
            old = named[step.remote_id or ""]
            on = old.enabled or observed.update_enables is True
            named[old.remote_id] = replace(old, url=URL, config=sent, secret_matches=True, enabled=on)
            observed = replace(observed, update_enables=on if not old.enabled else observed.update_enables)
        case StepAction.ENABLE | StepAction.DISABLE:
            on = step.action is StepAction.ENABLE
            named[step.remote_id or ""] = replace(named[step.remote_id or ""], enabled=on)
            observed = replace(observed, we_disabled=not on)
        case StepAction.RENEW:
            old = named[step.remote_id or ""]
            named[old.remote_id] = replace(old, expires_at=NOW + timedelta(seconds=90), config=sent)
            wanted, observed = replace(wanted, renew_now=False), replace(observed, granted=timedelta(seconds=90))
    return wanted, replace(observed, remotes=tuple(named.values()))


def settled(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> tuple[DesiredState, ObservedState, int]:
    """What comes of planning and applying the first step, again and again, and how many steps that took."""
    for number in range(14):
        result = plan(wanted, observed, capabilities, NOW)
        if result.accepts:
            accepted = {change.field: change.before for change in result.accepts}
            wanted = replace(wanted, config={**wanted.config, **accepted})
            observed = replace(observed, agreed_config={**(observed.agreed_config or {}), **accepted})
            continue
        if not result.steps:
            return wanted, observed, number
        wanted, observed = applied(result.steps[0], wanted, observed, number)
    raise AssertionError(f"It does not come to an end: {result}")


@settings(deadline=None, max_examples=400)
@given(wanted_, observed_, capabilities_)
def test_applying_the_first_step_and_planning_again_always_ends(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    wanted, observed, _ = settled(wanted, observed, capabilities)
    last = plan(wanted, observed, capabilities, NOW)
    assert last.steps == ()
    assert last.accepts == ()
    working = [item for item in observed.remotes if item.enabled]
    if not wanted.present:
        assert observed.remotes == ()
    elif not wanted.enabled:
        assert working == []
    elif last.wait in (Wait.GAVE_UP, Wait.PAUSE):
        usable = choose_remote(wanted, observed, capabilities, NOW)
        assert usable is None or not usable.enabled
    elif wanted.auto_renew:
        assert len(working) == 1
        assert len(observed.remotes) == 1
        assert working[0].expires_at is None or working[0].expires_at > NOW


@settings(deadline=None, max_examples=400)
@given(wanted_, observed_, capabilities_)
def test_what_has_settled_differs_only_in_what_the_drift_policy_leaves(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    before = wanted
    wanted, observed, _ = settled(wanted, observed, capabilities)
    if not wanted.present or not wanted.enabled or plan(wanted, observed, capabilities, NOW).waiting:
        return
    (kept,) = observed.remotes
    left = config_changes(wanted, kept)
    if wanted.drift_policy is DriftPolicy.REPORT:
        assert left == drifted_changes(wanted, observed, kept)
    else:
        assert left == ()
    if wanted.drift_policy is not DriftPolicy.ACCEPT:
        assert wanted.config == before.config


@settings(deadline=None)
@given(wanted_, observed_, capabilities_)
def test_only_a_drifted_config_is_accepted_and_only_by_that_policy(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    accepts = plan(wanted, observed, capabilities, NOW).accepts
    assert not accepts or wanted.drift_policy is DriftPolicy.ACCEPT
    assert not {change.field for change in accepts} & set(NEVER_ACCEPTED)
    for change in accepts:
        assert (observed.agreed_config or {})[change.field] == wanted.config[change.field], "it was ours to send"


@settings(deadline=None)
@given(wanted_, observed_, capabilities_)
def test_what_is_only_reported_is_never_written(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    wanted = replace(wanted, drift_policy=DriftPolicy.REPORT)
    named = {item.remote_id: item for item in observed.remotes}
    for step in plan(wanted, observed, capabilities, NOW).steps:
        old = named.get(step.remote_id or "")
        reported = drifted_changes(wanted, observed, old) if old and step.action is not StepAction.DELETE else ()
        assert not [change for change in step.changes if change in reported]


@settings(deadline=None)
@given(wanted_, observed_, capabilities_)
def test_what_was_given_up_stays_off_until_a_person_comes(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    off = tuple(replace(item, enabled=False) for item in observed.remotes)
    observed = replace(observed, gave_up=True, we_disabled=False, remotes=off)
    wanted = replace(wanted, present=True, enabled=True)
    result = plan(wanted, observed, capabilities, NOW)
    assert {step.action for step in result.steps} <= {StepAction.ADOPT}
    assert result.wait is Wait.GAVE_UP


@settings(deadline=None)
@given(wanted_, observed_, capabilities_)
def test_no_step_names_what_is_not_ours(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    ours = {item.remote_id for item in observed.remotes}
    for step in plan(wanted, observed, capabilities, NOW).steps:
        assert step.remote_id is None or step.remote_id in ours
        assert step.reason


@settings(deadline=None)
@given(wanted_, observed_, capabilities_)
def test_never_registers_beside_a_usable_one_except_to_replace_it(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    steps = plan(wanted, observed, capabilities, NOW).steps
    registers = [step for step in steps if step.action is StepAction.REGISTER]
    assert len(registers) <= 1
    if registers and choose_remote(wanted, observed, capabilities, NOW) is not None:
        deleted_before = {step.remote_id for step in steps[: steps.index(registers[0])]}
        assert observed.replace_refused
        assert choose_remote(wanted, observed, capabilities, NOW).remote_id in deleted_before  # type: ignore[union-attr]


@settings(deadline=None)
@given(wanted_, observed_, capabilities_)
def test_planning_twice_gives_the_same(
    wanted: DesiredState, observed: ObservedState, capabilities: Capabilities
) -> None:
    assert plan(wanted, observed, capabilities, NOW) == plan(wanted, observed, capabilities, NOW)
