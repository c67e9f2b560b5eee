"""The next worker recovers when a worker is killed at any step boundary of any plan, at every provider.

A first run counts all lasting effects (writes, commits, calls). Then a worker is killed right before each of them (in a
short run, before some of them), each time from the same initial situation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from unittest import mock

import pytest
from django.utils import timezone

from providers.contract.capabilities import Renewal, SecretMadeBy
from providers.models import ProviderAccount
from subscriptions.lifecycle import account_deletion, desired_state
from subscriptions.models import Subscription
from subscriptions.planning.registration_steps import REPLACE_AFTER_SUSPENSIONS
from subscriptions.planning.states import DriftPolicy
from subscriptions.reconciliation import apply
from subscriptions.reconciliation.observed_state import FIRST_PAUSE_SECONDS
from subscriptions.reconciliation.planning_input import MAX_LAG
from tests.harness.lifecycle_world import CLAIMS_END, LEASE, SLUGS, WorkerKilled, WorkerKiller, World, create_world

pytestmark = pytest.mark.django_db

EVERY_NTH = int(os.environ.get("KILL_AT_EVERY", "16"))  # boundaries, shifted per scenario; `make soak` takes all
# A short run takes every third scenario of a provider, and others of the next provider.
SCENARIOS_EVERY = 1 if "KILL_AT_EVERY" in os.environ else 3

Setup = Callable[[World], Subscription]


@dataclass(frozen=True)
class Scenario:
    """An event that needs a plan, and the actions of the expected steps."""

    set_up: Setup
    steps: tuple[str, ...] | None = None  # None: it depends on the provider


def make_sync_due() -> None:
    """Make the account due for a sync."""
    ProviderAccount.objects.update(sync_due_at=timezone.now())


def never_registered(world: World) -> Subscription:
    return world.subscribe()


def deleted_at_provider(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    world.change_remotely(row.remote_id or "", deleted=True)
    make_sync_due()
    world.sweep()  # its absence is doubted first
    world.advance_clock(MAX_LAG.total_seconds())
    return row


def changed_by_us(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    desired_state.change(row, by="staff:ann", config={**world.contract.config, **world.changes()})
    return row


def immutable_field_changed(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    fixed = {name: f"{world.contract.config[name]}/Other" for name in world.can.immutable_fields}
    desired_state.change(row, by="staff:ann", config={**world.contract.config, **fixed})
    return row


def changed_at_provider(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    world.change_remotely(row.remote_id or "", config=world.changes())
    return row


def drift_accepted(world: World) -> Subscription:
    row = world.subscribe_and_settle(drift_policy=DriftPolicy.ACCEPT)
    world.change_remotely(row.remote_id or "", config=world.changes())
    return row


def suspended(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    world.change_remotely(row.remote_id or "", status="disabled")
    return row


def suspended_repeatedly(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    Subscription.objects.update(suspended_count=REPLACE_AFTER_SUSPENSIONS - 1)
    world.change_remotely(row.remote_id or "", status="disabled")
    make_sync_due()
    world.sweep()  # it is observed, and a pause begins
    world.advance_clock(FIRST_PAUSE_SECONDS * 2**REPLACE_AFTER_SUSPENSIONS)
    return row


def disabled_by_us(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    desired_state.change(row, by="staff:ann", enabled=False)
    return row


def enabled_by_us(world: World) -> Subscription:
    row = world.subscribe_and_settle(enabled=False)
    desired_state.change(row, by="staff:ann", enabled=True)
    return row


def due_for_renewal(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    world.advance_clock(LEASE * 0.67)
    return row


def due_without_extending_updates(world: World) -> Subscription:
    world.option(update_extends=False)
    return due_for_renewal(world)


def due_without_room(world: World) -> Subscription:
    world.limit_webhooks(1)
    return due_without_extending_updates(world)


def lease_ended(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    world.advance_clock(LEASE * 1.1)
    return row


def renewal_requested(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    desired_state.request_renewal(row, by="staff:ann")
    return row


def unknown_registration(world: World) -> Subscription:
    row = world.subscribe()
    Subscription.objects.update(register_tried_at=timezone.now())
    world.register(row)
    return row


def second_registration(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    world.register(row)
    return row


def deleted(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    desired_state.request_deletion(row, by="staff:ann")
    return row


def deleted_with_two_registrations(world: World) -> Subscription:
    row = second_registration(world)
    desired_state.request_deletion(row, by="staff:ann")
    return row


def account_deleted(world: World) -> Subscription:
    row = world.subscribe_and_settle()
    account_deletion.request_deletion(world.account, by="staff:ann")
    return row


def scenarios(world: World) -> Iterator[Scenario]:
    """Yield the scenarios that the capabilities and the simulator of this provider permit."""
    can = world.can
    expires = can.renewal is not Renewal.NONE
    in_place = can.renewal is Renewal.UPDATE
    ours = can.secret_made_by is not SecretMadeBy.PROVIDER
    yield Scenario(never_registered, ("register",))
    yield Scenario(deleted_at_provider, ("register",))
    yield Scenario(changed_by_us, ("update",) if can.can_update else ("replace", "delete"))
    yield Scenario(changed_at_provider, ("update",) if can.can_update else ("replace", "delete"))
    yield Scenario(drift_accepted)
    if can.immutable_fields:
        yield Scenario(immutable_field_changed, ("replace", "delete"))
    if can.can_set_status:
        yield Scenario(suspended, ("enable",))
        yield Scenario(disabled_by_us, ("disable",))
    elif can.update_may_enable:
        yield Scenario(suspended, ("update",))
    if not can.can_set_status:
        yield Scenario(disabled_by_us, ("delete",))
    if can.can_set_status or can.update_may_enable:
        yield Scenario(suspended_repeatedly, ("replace", "delete"))
    yield Scenario(enabled_by_us, ("register",))
    if expires:
        yield Scenario(due_for_renewal, ("renew",) if in_place else ("replace", "delete"))
        yield Scenario(renewal_requested, ("renew",) if in_place else ("replace", "delete"))
        yield Scenario(lease_ended, ("replace", "delete"))
    if in_place and world.has_option("update_extends"):
        yield Scenario(due_without_extending_updates, ("renew", "replace", "delete"))
        if world.limit:
            yield Scenario(due_without_room, ("renew", "replace", "delete", "register"))
    yield Scenario(unknown_registration, ("adopt",) if ours else ("replace", "delete"))
    yield Scenario(second_registration)  # the newer one is kept
    yield Scenario(deleted, ("delete",))
    yield Scenario(deleted_with_two_registrations, ("delete", "delete"))
    yield Scenario(account_deleted, ("delete",))


def kill_workers(world: World, scenario: Scenario, boundaries: slice) -> None:
    """Kill a worker at each of these boundaries of the scenario in turn."""
    row = scenario.set_up(world)
    before = row.operations.count()
    world.advance_clock(1)
    make_sync_due()
    complete_run = WorkerKiller()
    with world.rolled_back():
        world.sweep_and_die(complete_run)
        actions = tuple(operation.action for operation in row.operations.order_by("pk")[before:])
        assert scenario.steps in (actions, None), world.history_of(row)
        world.settle(row)
    for number, event in list(enumerate(complete_run.events))[boundaries]:
        with world.rolled_back():
            killer = WorkerKiller(number)
            world.sweep_and_die(killer)
            assert killer.dead, f"it did not come to number {number}, {event}"
            world.advance_clock(CLAIMS_END)
            try:
                world.settle(row)
            except AssertionError as error:
                raise AssertionError(f"Killed before number {number} of {complete_run.events}:\n{error}") from error


@pytest.mark.slow
@pytest.mark.timeout(0)  # `make soak` kills at all of them
@pytest.mark.parametrize("slug", SLUGS)
def test_the_next_worker_recovers_from_a_kill_at_any_boundary(slug: str) -> None:
    with create_world(slug) as world:
        first = SLUGS.index(slug) % SCENARIOS_EVERY
        for number, scenario in list(enumerate(scenarios(world)))[first::SCENARIOS_EVERY]:
            with world.rolled_back():
                kill_workers(world, scenario, slice((number + SLUGS.index(slug)) % EVERY_NTH, None, EVERY_NTH))


@pytest.mark.parametrize("slug", SLUGS)
def test_work_that_a_sync_began_is_resumed_without_another_sync(
    slug: str,
) -> None:
    with create_world(slug) as world:
        row = changed_at_provider(world)
        make_sync_due()
        with mock.patch.object(apply, "record_answer", side_effect=WorkerKilled), suppress(WorkerKilled):
            world.sweep()
        Subscription.objects.update(claimed_until=timezone.now())  # a killed worker releases nothing
        world.advance_clock(CLAIMS_END)
        ProviderAccount.objects.update(sync_due_at=timezone.now() + timedelta(days=1))
        world.sweep()
        assert world.why_not_converged(row) is None, world.history_of(row)
        assert {item.status for item in row.operations.all()} == {"succeeded", "unknown"}
