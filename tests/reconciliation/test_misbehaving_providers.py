"""Providers that lag, cut their lists, lose answers and refuse updates: never two webhooks, and never none.

Each test runs at every provider to which it applies, with the options of its simulator.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.utils import timezone

from providers.contract.capabilities import Renewal
from providers.contract.registry import all_providers
from providers.models import ProviderAccount
from subscriptions.lifecycle import desired_state
from subscriptions.models import State, Subscription
from subscriptions.planning.steps import Wait
from subscriptions.reconciliation.reconciler import reconcile
from tests.harness.lifecycle_world import LEASE, SLUGS, World, create_world

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.timeout(300)]

EXPIRING = [slug for slug in SLUGS if all_providers()[slug].capabilities.renewal is not Renewal.NONE]
IN_PLACE = [slug for slug in SLUGS if all_providers()[slug].capabilities.renewal is Renewal.UPDATE]


def live(world: World, row: Subscription, *, seconds: float, step: float, look: Callable[[], None]) -> None:
    """Sweep and sync every `step` seconds, and look after each sweep and at each call."""
    world.during_call = look
    ends = time.time() + seconds
    while time.time() < ends:
        ProviderAccount.objects.update(sync_due_at=timezone.now())
        world.sweep()
        look()
        world.advance_clock(step)
    world.during_call = lambda: None
    row.refresh_from_db()


def never_more_than(world: World, row: Subscription, number: int) -> Callable[[], None]:
    """Return a function that fails when the provider has more webhooks of this subscription."""

    def look() -> None:
        assert len(world.hooks(row)) <= number, world.history_of(row)

    return look


LAGS = [
    {"list_lag_seconds": 6.0},
    {"list_lag_seconds": 25.0, "read_lag_seconds": 20.0},
]


@pytest.mark.parametrize("lag", LAGS, ids=str)
@pytest.mark.parametrize("slug", SLUGS)
def test_a_provider_that_lags_gets_no_second_webhook(slug: str, lag: dict[str, float]) -> None:
    with create_world(slug) as world:
        world.option(**lag)
        row = world.subscribe()
        live(world, row, seconds=48, step=6, look=never_more_than(world, row, 1))
        world.settle(row)
        assert [item.action for item in row.operations.all()] == ["register"]


@pytest.mark.parametrize("slug", SLUGS)
def test_a_lost_answer_and_a_lagging_list_lead_to_one_webhook(slug: str) -> None:
    with create_world(slug) as world:
        world.option(list_lag_seconds=6.0, read_lag_seconds=6.0)
        world.faults({"drop": True})
        row = world.subscribe()
        live(world, row, seconds=48, step=6, look=never_more_than(world, row, 1))
        world.settle(row)


@pytest.mark.parametrize("shown", [0, 1])
@pytest.mark.parametrize("slug", SLUGS)
def test_a_cut_list_changes_nothing(slug: str, shown: int) -> None:
    with create_world(slug) as world:
        row = world.subscribe_and_settle()
        world.advance_clock(60)
        world.option(list_limit=shown)
        live(world, row, seconds=120, step=30, look=never_more_than(world, row, 1))
        for _ in range(3):
            reconcile(row, force=True, details=True)  # a person presses the button
        row.refresh_from_db()
        assert (row.state, len(world.hooks(row))) == (State.ACTIVE, 1), world.history_of(row)
        assert [item.action for item in row.operations.all()] == ["register"]


@pytest.mark.parametrize("slug", SLUGS)
def test_a_deletion_waits_until_the_webhook_is_certainly_gone(slug: str) -> None:
    with create_world(slug) as world:
        row = world.subscribe_and_settle()
        world.option(list_limit=0, read_lag_seconds=6.0)
        row.change_desired_state(by="staff:ann", present=False)
        live(world, row, seconds=120, step=5, look=lambda: None)
        assert (row.state, world.hooks(row)) == (State.DELETED, []), world.history_of(row)


@pytest.mark.parametrize("slug", SLUGS)
def test_after_two_losses_within_an_hour_a_person_has_to_look(slug: str) -> None:
    with create_world(slug) as world:
        row = world.subscribe_and_settle()
        for _ in range(3):
            world.change_remotely(row.remote_id or "", deleted=True)
            live(world, row, seconds=100, step=20, look=never_more_than(world, row, 1))
        assert [item.action for item in row.operations.all()] == ["register"] * 3
        assert (row.state, row.waiting_for) == (State.MISSING, Wait.LOST), world.history_of(row)
        assert "3 times within an hour" in row.state_reason
        reconcile(row, force=True)
        row.refresh_from_db()
        assert (row.state, len(world.hooks(row))) == (State.ACTIVE, 1), world.history_of(row)


# -- Renewals --------------------------------------------------------------------------------------------------------


def live_to_the_end_of_the_lease(world: World, row: Subscription) -> None:
    """Live past the end of the lease, and fail as soon as no live webhook exists."""

    def look() -> None:
        now = time.time()
        assert any(hook.is_live(now) for hook in world.hooks(row)), world.history_of(row)

    world.advance_clock(LEASE * 0.55)
    live(world, row, seconds=LEASE * 0.6, step=60, look=look)


@pytest.mark.parametrize(
    "list_fails",
    [{"odd_entry": True}, {"list_answer": "html"}, {"list_answer": "null"}, {"list_answer": "missing"}],
    ids=str,
)
@pytest.mark.parametrize("slug", EXPIRING)
def test_a_lease_is_renewed_although_the_list_is_unusable(slug: str, list_fails: dict[str, object]) -> None:
    with create_world(slug) as world:
        row = world.subscribe_and_settle()
        world.option(**list_fails)
        live_to_the_end_of_the_lease(world, row)
        assert row.expires_at
        assert row.expires_at > timezone.now()


@pytest.mark.parametrize("status", [400, 403, 405])
@pytest.mark.parametrize("slug", IN_PLACE)
def test_a_refused_renewal_is_followed_by_a_replacement(slug: str, status: int) -> None:
    with create_world(slug) as world:
        row = world.subscribe_and_settle()
        world.option(update_status=status)
        live_to_the_end_of_the_lease(world, row)
        world.settle(row)
        assert {"renew", "replace"} <= {item.action for item in row.operations.all()}


@pytest.mark.parametrize("slug", EXPIRING)
def test_a_lease_that_is_over_at_once_is_a_problem_and_no_loop(slug: str) -> None:
    with create_world(slug) as world:
        world.option(lease_seconds=-5.0)
        row = world.subscribe()
        live(world, row, seconds=300, step=20, look=never_more_than(world, row, 1))
        assert len(row.operations.all()) == 1, world.history_of(row)
        assert (row.state, row.waiting_for) == (State.EXPIRED, Wait.CLOCK)
        assert "clock" in row.state_reason
        world.option(lease_seconds=LEASE)
        live(world, row, seconds=640, step=80, look=never_more_than(world, row, 2))
        world.settle(row)


@pytest.mark.parametrize("slug", IN_PLACE)
def test_one_stale_answer_does_not_teach_that_updates_do_not_extend(slug: str) -> None:
    with create_world(slug) as world:
        if not world.has_option("update_extends"):
            pytest.skip("Updates always extend the lease at this simulator.")
        row = world.subscribe_and_settle()
        for extends in (False, True):
            world.option(update_extends=extends)
            world.advance_clock(LEASE * 0.67)
            world.settle(row)
        done = [item.action for item in row.operations.all()[::-1]]
        assert done == ["register", "renew", "replace", "delete", "renew"]


# -- Registrations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", SLUGS)
def test_registrations_that_take_effect_and_fail_leave_at_most_one_behind(slug: str) -> None:
    with create_world(slug) as world:
        world.option(registration_status=500)
        row = world.subscribe()
        live(world, row, seconds=70, step=5, look=never_more_than(world, row, 1))
        assert len([item for item in row.operations.all() if item.action in ("register", "replace")]) <= 3
        world.option(registration_status=None)
        live(world, row, seconds=360, step=60, look=never_more_than(world, row, 1))
        world.settle(row)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_conflict_leads_to_what_an_earlier_try_left(slug: str) -> None:
    with create_world(slug) as world:
        world.option(one_for_a_url=True)
        row = world.subscribe()
        world.register(row)  # nothing of it is recorded here
        live(world, row, seconds=60, step=5, look=never_more_than(world, row, 1))
        if all_providers()[slug].capabilities.secret_made_by == "provider":
            world.option(one_for_a_url=False)
            live(world, row, seconds=60, step=5, look=never_more_than(world, row, 2))
        world.settle(row)


# -- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if all_providers()[slug].capabilities.can_update])
def test_a_change_that_the_provider_does_not_keep_is_sent_three_times(slug: str) -> None:
    with create_world(slug) as world:
        row = world.subscribe_and_settle()
        world.option(forgets_updates=True, lease_seconds=30 * 86400)
        desired_state.change(row, by="staff:ann", config={**world.contract.config, **world.changes()})
        live(world, row, seconds=6 * 3600, step=900, look=lambda: None)
        updates = [item for item in row.operations.all() if item.action == "update"]
        assert len(updates) == 3, world.history_of(row)
        assert (row.state, row.waiting_for) == (State.DRIFTED, Wait.UNKEPT)
        assert "does not keep it" in row.state_reason
        world.option(forgets_updates=False)
        reconcile(row, force=True, details=True)
        world.settle(row)
