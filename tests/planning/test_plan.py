"""Examples of each step that a plan can contain."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from providers.contract.base import RemoteSubscription
from providers.contract.capabilities import SecretMadeBy
from subscriptions.planning.plan import plan
from subscriptions.planning.renewal_times import renewal_time
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.steps import Plan, Wait
from tests.planning.examples import CAPABILITIES, DESIRED, NOW, URL, actions, observed_with, remote


def test_plan_is_empty_when_in_sync() -> None:
    assert plan(DESIRED, observed_with(remote()), CAPABILITIES, NOW) == Plan()


def test_registers_a_new_subscription() -> None:
    result = plan(DESIRED, observed_with(current_id=None), CAPABILITIES, NOW)
    assert actions(result) == ["register"]
    assert "not registered" in result.steps[0].reason


def test_registers_again_after_deletion_at_the_provider() -> None:
    result = plan(DESIRED, observed_with(), CAPABILITIES, NOW)
    assert actions(result) == ["register"]
    assert "no longer has r1" in result.steps[0].reason


def test_adopts_a_registration_that_a_crash_left_behind() -> None:
    result = plan(DESIRED, observed_with(remote("r7"), current_id=None, granted=None), CAPABILITIES, NOW)
    assert actions(result) == ["adopt"]
    assert result.steps[0].remote_id == "r7"


def test_keeps_the_newest_enabled_registration_and_deletes_the_others() -> None:
    old, new = remote("r1"), remote("r2", expires_at=NOW + timedelta(seconds=85))
    result = plan(DESIRED, observed_with(old, new), CAPABILITIES, NOW)
    assert [(step.action.value, step.remote_id) for step in result.steps] == [("adopt", "r2"), ("delete", "r1")]


def test_a_matching_registration_wins_over_a_differing_one_without_expiry() -> None:
    old, new = remote("r1", expires_at=None, url=URL + "-2"), remote("r2")
    capabilities = replace(CAPABILITIES, can_update=False)
    result = plan(DESIRED, observed_with(old, new, current_id="r2"), capabilities, NOW)
    assert [(step.action.value, step.remote_id) for step in result.steps] == [("delete", "r1")]


def test_others_are_not_deleted_before_the_remaining_one_is_enabled() -> None:
    result = plan(DESIRED, observed_with(remote("r1", enabled=False), remote("r2", enabled=False)), CAPABILITIES, NOW)
    assert "delete" not in actions(result)
    assert "enable" in actions(result)


def test_reverts_a_changed_config_and_names_the_fields() -> None:
    result = plan(DESIRED, observed_with(remote(config={"paths": ["/b"], "types": ["x"]})), CAPABILITIES, NOW)
    assert actions(result) == ["update"]
    (change,) = result.steps[0].changes
    assert (change.field, change.before, change.after) == ("paths", ["/b"], ["/a"])


def test_unread_values_do_not_count_as_differences() -> None:
    assert plan(DESIRED, observed_with(remote(config=None, url=None, secret_matches=None)), CAPABILITIES, NOW) == Plan()


def test_reverts_a_changed_secret_and_masks_it() -> None:
    result = plan(DESIRED, observed_with(remote(secret_matches=False)), CAPABILITIES, NOW)
    assert actions(result) == ["update"]
    assert result.steps[0].changes[0].after == "***"


def test_changing_an_immutable_field_replaces_the_registration() -> None:
    capabilities = replace(CAPABILITIES, immutable_fields=("paths",))
    result = plan(DESIRED, observed_with(remote(config={"paths": ["/b"], "types": ["x"]})), capabilities, NOW)
    assert actions(result) == ["replace", "delete"]


def test_enables_a_suspended_registration() -> None:
    result = plan(DESIRED, observed_with(remote(enabled=False)), CAPABILITIES, NOW)
    assert actions(result) == ["enable"]


def test_waits_during_the_pause_after_a_suspension() -> None:
    later = NOW + timedelta(seconds=30)
    result = plan(DESIRED, observed_with(remote(enabled=False), enable_not_before=later), CAPABILITIES, NOW)
    assert result.steps == ()
    assert result.not_before == later
    assert result.wait is Wait.PAUSE
    assert "2026-01-02 03:04:35 UTC" in (result.waiting or "")


def test_waits_even_if_the_lease_ends_during_the_pause() -> None:
    off = remote(enabled=False, expires_at=NOW - timedelta(seconds=1))
    result = plan(DESIRED, observed_with(off, enable_not_before=NOW + timedelta(seconds=30)), CAPABILITIES, NOW)
    assert (result.steps, result.wait) == ((), Wait.PAUSE)


@pytest.mark.parametrize(("suspended_count", "resets"), [(3, True), (1, False)])
def test_replaces_the_registration_where_enabling_does_not_last(suspended_count: int, resets: bool) -> None:
    capabilities = replace(CAPABILITIES, enabling_resets_failures=resets)
    result = plan(DESIRED, observed_with(remote(enabled=False), suspended_count=suspended_count), capabilities, NOW)
    assert actions(result) == ["replace", "delete"]
    assert ("enabled", True) in {(change.field, change.after) for change in result.steps[0].changes}


def test_a_given_up_subscription_is_not_registered_again() -> None:
    result = plan(DESIRED, observed_with(gave_up=True), CAPABILITIES, NOW)
    assert (result.steps, result.wait) == ((), Wait.GAVE_UP)


DRIFTED = remote(config={"paths": ["/b"], "types": ["x"]})


@pytest.mark.parametrize(
    ("policy", "steps", "accepts"),
    [(DriftPolicy.REVERT, ["update"], []), (DriftPolicy.ACCEPT, [], ["paths"]), (DriftPolicy.REPORT, [], [])],
)
def test_drift_policies(policy: DriftPolicy, steps: list[str], accepts: list[str]) -> None:
    desired = replace(DESIRED, drift_policy=policy)
    result = plan(desired, observed_with(DRIFTED, agreed_config=dict(DESIRED.config)), CAPABILITIES, NOW)
    assert (actions(result), [change.field for change in result.accepts]) == (steps, accepts)


@pytest.mark.parametrize("policy", list(DriftPolicy))
def test_our_own_changes_are_sent_under_every_drift_policy(policy: DriftPolicy) -> None:
    desired = replace(DESIRED, drift_policy=policy)
    agreed = {"paths": ["/b"], "types": ["x"]}  # the remote config
    result = plan(desired, observed_with(DRIFTED, agreed_config=agreed), CAPABILITIES, NOW)
    assert (actions(result), result.accepts) == (["update"], ())


@pytest.mark.parametrize("changed", [remote(url=URL + "-2"), remote(secret_matches=False)], ids=["address", "secret"])
def test_a_changed_callback_url_or_secret_is_never_accepted(changed: RemoteSubscription) -> None:
    desired = replace(DESIRED, drift_policy=DriftPolicy.ACCEPT)
    result = plan(desired, observed_with(changed, agreed_config=dict(DESIRED.config)), CAPABILITIES, NOW)
    assert (actions(result), result.accepts) == (["update"], ())
    reported = replace(DESIRED, drift_policy=DriftPolicy.REPORT)
    assert plan(reported, observed_with(changed, agreed_config=dict(DESIRED.config)), CAPABILITIES, NOW) == Plan()


def test_the_pause_does_not_apply_to_registrations_that_we_disabled() -> None:
    observed = observed_with(remote(enabled=False), enable_not_before=NOW + timedelta(seconds=30), we_disabled=True)
    assert actions(plan(DESIRED, observed, CAPABILITIES, NOW)) == ["enable"]


def test_disables_a_registration() -> None:
    assert actions(plan(replace(DESIRED, enabled=False), observed_with(remote()), CAPABILITIES, NOW)) == ["disable"]


def test_deletes_and_registers_again_where_disabling_is_not_possible() -> None:
    capabilities = replace(CAPABILITIES, can_set_status=False)
    assert actions(plan(replace(DESIRED, enabled=False), observed_with(remote()), capabilities, NOW)) == ["delete"]
    assert actions(plan(DESIRED, observed_with(), capabilities, NOW)) == ["register"]


def test_tries_an_enabling_update_before_a_replacement() -> None:
    capabilities = replace(CAPABILITIES, can_set_status=False, update_may_enable=True)
    assert actions(plan(DESIRED, observed_with(remote(enabled=False)), capabilities, NOW)) == ["update"]
    observed = observed_with(remote(enabled=False), update_enables=False)
    result = plan(DESIRED, observed, capabilities, NOW)
    assert actions(result) == ["replace", "delete"]
    assert ("enabled", True) in {(change.field, change.after) for change in result.steps[0].changes}


def test_renews_while_more_than_a_third_of_the_lease_is_left() -> None:
    observed = observed_with(remote(expires_at=NOW + timedelta(seconds=30)))
    assert actions(plan(DESIRED, observed, CAPABILITIES, NOW)) == ["renew"]
    observed = observed_with(remote(expires_at=NOW + timedelta(seconds=37)))
    assert plan(DESIRED, observed, CAPABILITIES, NOW) == Plan()


def test_replaces_where_renewing_in_place_has_no_effect() -> None:
    observed = observed_with(
        remote(expires_at=NOW + timedelta(seconds=20)),
        renews_in_place=False,
    )
    assert actions(plan(DESIRED, observed, CAPABILITIES, NOW)) == ["replace", "delete"]


def test_deletes_first_where_the_provider_has_no_room_for_two() -> None:
    observed = observed_with(
        remote(expires_at=NOW + timedelta(seconds=20)),
        renews_in_place=False,
        replace_refused=True,
    )
    result = plan(DESIRED, observed, CAPABILITIES, NOW)
    assert actions(result) == ["delete", "register"]
    assert "events may be missed" in result.steps[0].reason


def test_an_ended_lease_is_replaced_unless_auto_renew_is_off() -> None:
    observed = observed_with(remote(expires_at=NOW - timedelta(seconds=1)))
    assert actions(plan(DESIRED, observed, CAPABILITIES, NOW)) == ["replace", "delete"]
    assert plan(replace(DESIRED, auto_renew=False), observed, CAPABILITIES, NOW).steps == ()


def test_a_requested_renewal_does_not_have_to_be_due() -> None:
    assert actions(
        plan(replace(DESIRED, renew_now=True, auto_renew=False), observed_with(remote()), CAPABILITIES, NOW)
    ) == ["renew"]


def test_deleting_a_subscription_deletes_all_its_registrations() -> None:
    result = plan(replace(DESIRED, present=False), observed_with(remote("r1"), remote("r2")), CAPABILITIES, NOW)
    assert [step.remote_id for step in result.steps] == ["r1", "r2"]
    assert set(actions(result)) == {"delete"}


def test_a_manual_subscription_is_never_changed() -> None:
    assert plan(replace(DESIRED, by_api=False), observed_with(remote(enabled=False)), CAPABILITIES, NOW) == Plan()


def test_nothing_is_planned_while_the_address_is_unconfirmed() -> None:
    result = plan(replace(DESIRED, address_confirmed=False), observed_with(), CAPABILITIES, NOW)
    assert result.steps == ()
    assert "PUBLIC_URL" in (result.waiting or "")


def test_our_token_at_another_host_stops_all_steps_until_confirmed() -> None:
    elsewhere = remote(url="https://other.example.test/hooks/t0ken", enabled=False)
    stopped = plan(DESIRED, observed_with(elsewhere), CAPABILITIES, NOW)
    assert stopped.steps == ()
    assert stopped.waiting
    confirmed = replace(DESIRED, former_urls=("https://other.example.test/hooks/t0ken",))
    assert "update" in actions(plan(confirmed, observed_with(elsewhere), CAPABILITIES, NOW))


def test_a_registration_with_an_unknown_secret_is_replaced_not_adopted() -> None:
    capabilities = replace(CAPABILITIES, secret_made_by=SecretMadeBy.PROVIDER)
    assert actions(plan(DESIRED, observed_with(remote("r9"), current_id=None), capabilities, NOW)) == [
        "replace",
        "delete",
    ]
    assert plan(DESIRED, observed_with(remote("r1"), secret_for="r1"), capabilities, NOW) == Plan()


@pytest.mark.parametrize(("spread", "minimum", "maximum"), [(0.0, 0.6, 0.6), (1.0, 0.66, 0.66), (0.5, 0.62, 0.64)])
def test_renewal_times_are_spread_and_leave_a_third_of_the_lease(spread: float, minimum: float, maximum: float) -> None:
    due = renewal_time(timedelta(seconds=900), NOW + timedelta(seconds=900), spread)
    assert due is not None
    assert 900 * minimum - 1 <= (due - NOW).total_seconds() <= 900 * maximum + 1
    assert (NOW + timedelta(seconds=900) - due).total_seconds() >= 300
