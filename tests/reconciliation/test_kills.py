"""A worker is killed at every step boundary of every plan, at every provider; whoever comes next puts it right.

The boundaries are not chosen by hand: a first run counts everything that lasts (writes, commits, calls), and then a
worker dies right before each of them (in a short run, before some of them), in a world of its own.
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
from subscriptions.planning.kept_remote import REPLACE_AFTER_SUSPENSIONS
from subscriptions.planning.states import DriftPolicy
from subscriptions.reconciliation import apply
from subscriptions.reconciliation.observed_state import FIRST_PAUSE_SECONDS
from tests.harness.lifecycle_world import CLAIMS_END, LEASE, SLUGS, Death, Reaper, World, a_world

pytestmark = pytest.mark.django_db

EVERY = int(os.environ.get("KILL_AT_EVERY", "8"))  # of the boundaries, others at each scenario; `make soak` takes all

Happens = Callable[[World], Subscription]


@dataclass(frozen=True)
class Scenario:
    """Something that calls for a plan, and the steps that this takes."""

    happens: Happens
    steps: tuple[str, ...] | None = None  # None: it depends on the provider


def look_now() -> None:
    """The next sweep looks at the account."""
    ProviderAccount.objects.update(look_due_at=timezone.now())


def never_registered(world: World) -> Subscription:
    return world.subscribe()


def deleted_there(world: World) -> Subscription:
    row = world.begin()
    world.behind_our_back(row.remote_id or "", deleted=True)
    return row


def changed_by_us(world: World) -> Subscription:
    row = world.begin()
    desired_state.change(row, by="staff:ann", config={**world.contract.config, **world.changes()})
    return row


def changed_in_what_is_fixed(world: World) -> Subscription:
    row = world.begin()
    fixed = {name: f"{world.contract.config[name]}/Other" for name in world.can.immutable_fields}
    desired_state.change(row, by="staff:ann", config={**world.contract.config, **fixed})
    return row


def changed_there(world: World) -> Subscription:
    row = world.begin()
    world.behind_our_back(row.remote_id or "", config=world.changes())
    return row


def changed_there_and_accepted(world: World) -> Subscription:
    row = world.begin(drift_policy=DriftPolicy.ACCEPT)
    world.behind_our_back(row.remote_id or "", config=world.changes())
    return row


def switched_off_there(world: World) -> Subscription:
    row = world.begin()
    world.behind_our_back(row.remote_id or "", status="disabled")
    return row


def switched_off_again_and_again(world: World) -> Subscription:
    row = world.begin()
    Subscription.objects.update(suspended_count=REPLACE_AFTER_SUSPENSIONS - 1)
    world.behind_our_back(row.remote_id or "", status="disabled")
    look_now()
    world.sweep()  # it is seen, and a pause begins
    world.pass_time(FIRST_PAUSE_SECONDS * 2**REPLACE_AFTER_SUSPENSIONS)
    return row


def switched_off_by_us(world: World) -> Subscription:
    row = world.begin()
    desired_state.change(row, by="staff:ann", enabled=False)
    return row


def switched_on_by_us(world: World) -> Subscription:
    row = world.begin(enabled=False)
    desired_state.change(row, by="staff:ann", enabled=True)
    return row


def due_for_renewal(world: World) -> Subscription:
    row = world.begin()
    world.pass_time(LEASE * 0.67)
    return row


def due_where_updates_do_not_prolong(world: World) -> Subscription:
    world.option(update_extends=False)
    return due_for_renewal(world)


def due_where_there_is_no_room(world: World) -> Subscription:
    world.room_for(1)
    return due_where_updates_do_not_prolong(world)


def lease_ended(world: World) -> Subscription:
    row = world.begin()
    world.pass_time(LEASE * 1.1)
    return row


def renewal_asked_for(world: World) -> Subscription:
    row = world.begin()
    desired_state.request_renewal(row, by="staff:ann")
    return row


def unknown_one_there(world: World) -> Subscription:
    row = world.subscribe()
    Subscription.objects.update(register_tried_at=timezone.now())
    world.register(row)
    return row


def second_one_there(world: World) -> Subscription:
    row = world.begin()
    world.register(row)
    return row


def removed(world: World) -> Subscription:
    row = world.begin()
    desired_state.request_deletion(row, by="staff:ann")
    return row


def removed_with_two_there(world: World) -> Subscription:
    row = second_one_there(world)
    desired_state.request_deletion(row, by="staff:ann")
    return row


def account_removed(world: World) -> Subscription:
    row = world.begin()
    account_deletion.request_deletion(world.account, by="staff:ann")
    return row


def scenarios(world: World) -> Iterator[Scenario]:
    """What can happen at this provider, as its capabilities and its simulator say."""
    can = world.can
    expires = can.renewal is not Renewal.NONE
    in_place = can.renewal is Renewal.UPDATE
    ours = can.secret_made_by is not SecretMadeBy.PROVIDER
    yield Scenario(never_registered, ("register",))
    yield Scenario(deleted_there, ("register",))
    yield Scenario(changed_by_us, ("update",) if can.can_update else ("replace", "delete"))
    yield Scenario(changed_there, ("update",) if can.can_update else ("replace", "delete"))
    yield Scenario(changed_there_and_accepted)
    if can.immutable_fields:
        yield Scenario(changed_in_what_is_fixed, ("replace", "delete"))
    if can.can_set_status:
        yield Scenario(switched_off_there, ("enable",))
        yield Scenario(switched_off_by_us, ("disable",))
    elif can.update_may_enable:
        yield Scenario(switched_off_there, ("update",))
    if not can.can_set_status:
        yield Scenario(switched_off_by_us, ("delete",))
    if can.can_set_status or can.update_may_enable:
        yield Scenario(switched_off_again_and_again, ("replace", "delete"))
    yield Scenario(switched_on_by_us, ("register",))
    if expires:
        yield Scenario(due_for_renewal, ("renew",) if in_place else ("replace", "delete"))
        yield Scenario(renewal_asked_for, ("renew",) if in_place else ("replace", "delete"))
        yield Scenario(lease_ended, ("replace", "delete"))
    if in_place and world.knows("update_extends"):
        yield Scenario(due_where_updates_do_not_prolong, ("renew", "replace", "delete"))
        if world.limit:
            yield Scenario(due_where_there_is_no_room, ("renew", "replace", "delete", "register"))
    yield Scenario(unknown_one_there, ("adopt",) if ours else ("replace", "delete"))
    yield Scenario(second_one_there)  # the newer one is kept
    yield Scenario(removed, ("delete",))
    yield Scenario(removed_with_two_there, ("delete", "delete"))
    yield Scenario(account_removed, ("delete",))


def killed(world: World, scenario: Scenario, places: slice) -> None:
    """At these boundaries of what the scenario calls for, one after the other."""
    row = scenario.happens(world)
    before = row.operations.count()
    world.pass_time(1)
    look_now()
    whole = Reaper()
    with world.undone():
        world.sweep_and_die(whole)
        made = tuple(operation.action for operation in row.operations.order_by("pk")[before:])
        assert scenario.steps in (made, None), world.story(row)
        world.settle(row)
    for number, event in list(enumerate(whole.events))[places]:
        with world.undone():
            reaper = Reaper(number)
            world.sweep_and_die(reaper)
            assert reaper.dead, f"it did not come to number {number}, {event}"
            world.pass_time(CLAIMS_END)
            try:
                world.settle(row)
            except AssertionError as error:
                raise AssertionError(f"Killed before number {number} of {whole.events}:\n{error}") from error


@pytest.mark.timeout(0)  # `make soak` kills at all of them
@pytest.mark.parametrize("slug", SLUGS)
def test_whenever_a_worker_is_killed_the_next_one_puts_it_right(slug: str) -> None:
    with a_world(slug) as world:
        for number, scenario in enumerate(scenarios(world)):
            with world.undone():
                killed(world, scenario, slice((number + SLUGS.index(slug)) % EVERY, None, EVERY))


@pytest.mark.parametrize("slug", SLUGS)
def test_what_a_look_began_is_gone_on_with_although_the_next_look_finds_nothing_to_do(
    slug: str,
) -> None:
    with a_world(slug) as world:
        row = changed_there(world)
        look_now()
        with mock.patch.object(apply, "record_answer", side_effect=Death), suppress(Death):
            world.sweep()
        Subscription.objects.update(claimed_until=timezone.now())  # nothing that comes after a death is done
        world.pass_time(CLAIMS_END)
        ProviderAccount.objects.update(look_due_at=timezone.now() + timedelta(days=1))
        world.sweep()
        assert world.trouble(row) is None, world.story(row)
        assert {item.status for item in row.operations.all()} == {"succeeded", "unknown"}
