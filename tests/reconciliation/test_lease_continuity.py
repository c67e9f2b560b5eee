"""A lease never ends if the provider answers at least once in its last third, no matter how it fails before that.

There is one exception, which is recorded: if updates do not extend the lease and the provider has no room for a second
registration, the first one must be deleted before the new one is registered.
"""

from __future__ import annotations

import os
import random
import time
from itertools import cycle

import pytest

from providers.contract.capabilities import Renewal
from providers.contract.registry import all_providers
from tests.harness.lifecycle_world import LEASE, SLUGS, World, create_world
from tests.reconciliation.test_lifecycle_of_each_provider import FAULTS

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(0)]

SEEDS = int(os.environ.get("LEASE_SEEDS", "1"))  # `make soak` asks for more
LEASES = 2  # simulated one after the other
SWEEP_SECONDS = 90.0  # seconds between two sweeps
MIN_LEASE_LEFT = 0.06  # as a share of the lease, when the provider answers again


def live_through(world: World, seed: int) -> list[str]:
    """Live through leases at a provider that fails from the start of each until a moment in its last third.

    The first lease has one kind of failure up to the last moment. Return the times at which no live webhook existed, at
    any call of ours and at any sweep.
    """
    row, chance = world.subscribe_and_settle(), random.Random(seed)
    gaps: list[str] = []

    def check_live() -> None:
        if not any(hook.enabled and hook.expires_at > time.time() for hook in world.hooks(row)):
            gaps.append(f"{time.time()}: none of {len(world.hooks(row))}")

    for number in range(LEASES):
        row.refresh_from_db()
        assert row.expires_at
        ends, before = row.expires_at.timestamp(), row.remote_id
        left = chance.uniform(MIN_LEASE_LEFT, 1 / 3) if number else MIN_LEASE_LEFT
        recovers_at = ends - LEASE * left
        kinds = chance.choices(FAULTS, k=3) if number else [FAULTS[(seed + 1) * 5 % len(FAULTS)]]
        faults = cycle(kinds)
        world.during_call = check_live
        while time.time() < ends + SWEEP_SECONDS:
            row.refresh_from_db()
            if row.expires_at.timestamp() > ends or row.remote_id != before:
                break
            if time.time() < recovers_at:
                world.faults(*({**next(faults), "times": 1} for _ in range(8)))
            else:
                world.faults()
            world.sweep()
            check_live()
            world.advance_clock(SWEEP_SECONDS)
        world.during_call = lambda: None
        world.faults()
        assert gaps or row.expires_at.timestamp() > ends or row.remote_id != before, world.history_of(row)
    return [*gaps, *([] if not gaps else [world.history_of(row)])]


EXPIRING = [slug for slug in SLUGS if all_providers()[slug].capabilities.renewal is not Renewal.NONE]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("slug", EXPIRING)
def test_no_lease_ends_while_the_provider_answers_once_in_its_last_third(slug: str, seed: int) -> None:
    with create_world(slug) as world:
        if world.has_option("update_extends"):
            world.option(update_extends=bool(seed % 2))
        gaps = live_through(world, seed)
        assert not gaps, "\n".join(gaps)


@pytest.mark.parametrize("slug", EXPIRING)
def test_a_gap_is_recorded_where_the_provider_has_no_room_for_two(slug: str) -> None:
    with create_world(slug) as world:
        if not world.limit or not world.has_option("update_extends"):
            pytest.skip("Its simulator has no limit, or its updates always extend the lease.")
        world.option(update_extends=False)
        world.limit_webhooks(1)
        row = world.subscribe_and_settle()
        world.advance_clock(LEASE * 0.67)
        gaps: list[str] = []
        world.during_call = lambda: gaps.extend(["gap"] if not world.hooks(row) else [])
        world.sweep()
        world.during_call = lambda: None
        world.settle(row)
        assert gaps
        assert row.operations.filter(action="delete", reason__contains="events may be missed").exists()
