"""A model-based test of the lifecycle: random events against the simulator of each provider.

After any sequence of actions of people, faults, clock steps, crashes and concurrent workers, the provider has exactly
the desired state within a bounded number of passes. Foreign webhooks are never changed.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from providers.contract.capabilities import Renewal
from subscriptions.lifecycle import desired_state
from subscriptions.models import State, Subscription
from subscriptions.planning.states import DriftPolicy
from tests.harness.lifecycle_world import CLAIMS_END, LEASE, SLUGS, WorkerKiller, World, create_world

pytestmark = pytest.mark.django_db

FAULTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 503, "retry_after": 30},
    {"status": 429, "retry_after": 60},
    {"status": 401},
    {"status": 403},
    {"status": 400},
    {"status": 409},
    {"drop": True},
    {"drop": "before"},
    {"timeout": 1.0},
    {"garbage": True},
    {"redirect": True},
]
# Optional behavior of providers: options of the simulators, where one has them.
OPTIONAL_BEHAVIORS = (
    "update_extends",
    "update_enables",
    "allow_update",
    "show_status",
    "knows_name",
    "update_merges_value",
)
# What servers do beside their documents: options of every simulator. These stay until the end of a run.
LASTING_MISBEHAVIOR: tuple[dict[str, object], ...] = (
    {"list_lag_seconds": 6.0},
    {"read_lag_seconds": 6.0},
    {"odd_entry": True},
    {"shown_url": "final slash"},
    {"shown_url": "upper case"},
    {"shown_text": "NFD"},
    {"shown_status": "Active"},
    {"secret_mask": "xxxxxxxx"},
)
# These have to end before anything can converge.
PASSING_MISBEHAVIOR: tuple[dict[str, object], ...] = (
    {"list_limit": 0},
    {"list_limit": 1},
    {"list_answer": "html"},
    {"list_answer": "null"},
    {"list_answer": "missing"},
    {"update_status": 400},
    {"update_status": 405},
    {"registration_status": 500},
)
RIGHT = {"list_limit": None, "list_answer": "right", "update_status": None, "registration_status": None}
PASSES, APART = 14, 600.0  # the bound: passes, and seconds between them


class Lifecycle(RuleBasedStateMachine):
    """The rules are the possible events; `all_settles` checks the guarantees."""

    slug: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.world: World = self.stack.enter_context(create_world(self.slug))

    def teardown(self) -> None:
        try:
            if sys.exception() is None:  # every run must converge in the end
                self.all_settles()
        finally:
            transaction.set_rollback(True)
            self.stack.close()

    @initialize(data=st.data(), policy=st.sampled_from(list(DriftPolicy)))
    def initialize_world(self, data: st.DataObject, policy: DriftPolicy) -> None:
        for name in OPTIONAL_BEHAVIORS:
            if self.world.has_option(name):
                self.world.option(**{name: data.draw(st.booleans(), name)})
        self.crowded = bool(self.world.limit) and data.draw(st.booleans(), "room for one only")
        if self.world.limit:
            self.world.limit_webhooks(1 if self.crowded else 20)
        self.world.subscribe(drift_policy=policy)

    # -- People and programs -----------------------------------------------------------------------------------------

    @precondition(lambda self: not self.crowded and len(self.present()) < 3)
    @rule(policy=st.sampled_from(list(DriftPolicy)))
    def subscribe(self, policy: DriftPolicy) -> None:
        self.world.subscribe(drift_policy=policy)

    @rule(data=st.data(), other=st.booleans())
    def change_config(self, data: st.DataObject, other: bool) -> None:
        config = {**self.world.contract.config, **(self.world.changes() if other else {})}
        desired_state.change(self.any_of(data), by="staff:ann", config=config)

    @rule(data=st.data(), enabled=st.booleans())
    def switch(self, data: st.DataObject, enabled: bool) -> None:
        desired_state.change(self.any_of(data), by="staff:ann", enabled=enabled)

    @precondition(lambda self: self.world.can.renewal is not Renewal.NONE)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        desired_state.request_renewal(self.any_of(data), by="staff:ann")

    @precondition(lambda self: len(self.present()) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        desired_state.request_deletion(self.any_of(data), by="staff:ann")

    # -- The provider, and others who have access to it ---------------------------------------------------------------

    @precondition(lambda self: not self.crowded and len(self.world.foreign) < 4)
    @rule()
    def register_foreign(self) -> None:
        self.world.register_foreign(f"https://elsewhere.example.test/{len(self.world.foreign)}")

    @precondition(lambda self: self.world.hooks())
    @rule(data=st.data(), change=st.sampled_from(["off", "on", "deleted", "config"]))
    def somebody_changes(self, data: st.DataObject, change: str) -> None:
        hook = data.draw(st.sampled_from(sorted(self.world.hooks(), key=lambda item: item.created_at)))
        if change == "deleted":
            self.world.change_remotely(hook.remote_id, deleted=True)
        elif change == "config":
            self.world.change_remotely(hook.remote_id, config=self.world.changes())
        elif self.shows_status() and (self.world.can.can_set_status or self.world.can.update_may_enable):
            self.world.change_remotely(hook.remote_id, status="disabled" if change == "off" else "enabled")

    @rule(data=st.data(), times=st.integers(1, 4))
    def calls_fail(self, data: st.DataObject, times: int) -> None:
        self.world.faults(*(data.draw(st.sampled_from(FAULTS)) for _ in range(times)))

    @rule(options=st.sampled_from([*LASTING_MISBEHAVIOR, *PASSING_MISBEHAVIOR]))
    def provider_misbehaves(self, options: dict[str, object]) -> None:
        self.world.option(**options)

    @rule()
    def provider_behaves_again(self) -> None:
        self.world.option(**RIGHT)

    # -- Time --------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([5.0, 60.0, LEASE / 2, LEASE * 0.7, LEASE * 2]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance_clock(seconds)

    @rule(seconds=st.sampled_from([60.0, LEASE / 2, LEASE * 2]))
    def their_clock_jumps(self, seconds: float) -> None:
        self.world.age(seconds)

    @rule(seconds=st.sampled_from([-300, -30, 0, 30, 300]))
    def our_clock_is_set(self, seconds: int) -> None:
        self.world.clock_offset = timedelta(seconds=seconds)

    # -- Workers   ---------------------------------------------------------------------------------------------------

    @rule()
    def a_worker_works(self) -> None:
        self.world.sweep()

    @rule(number=st.integers(0, 40))
    def a_worker_is_killed(self, number: int) -> None:
        self.world.sweep_and_die(WorkerKiller(number))

    @rule(call=st.integers(0, 4), late=st.booleans())
    def another_worker_works_during_a_call(self, call: int, late: bool) -> None:
        """Let another worker sweep during a call, possibly after the first one's claim ended."""
        calls = 0

        def during() -> None:
            nonlocal calls
            calls += 1
            if calls == call + 1:
                self.world.advance_clock(CLAIMS_END if late else 0.0)
                self.world.sweep()

        self.world.during_call = during
        self.world.sweep()
        self.world.during_call = lambda: None

    @rule()
    def all_settles(self) -> None:
        world = self.world
        world.faults()
        world.option(**RIGHT)
        for row in self.present():
            row.refresh_from_db()
            if row.state == State.SUSPENDED or row.gave_up_at:  # the pauses get long, so a person acts
                desired_state.change(row, by="staff:ann", enabled=row.enabled)
        world.advance_clock(CLAIMS_END)
        world.settle(*Subscription.objects.filter(account=world.account), passes=PASSES, apart=APART)

    @invariant()
    def foreign_webhooks_are_untouched(self) -> None:
        self.world.assert_foreign_unchanged()

    # -- Helpers -----------------------------------------------------------------------------------------------------

    def shows_status(self) -> bool:
        """Return whether responses show that a webhook is disabled; otherwise nobody can notice it."""
        return bool(getattr(self.world.spare.options, "show_status", True))

    def present(self) -> list[Subscription]:
        return list(Subscription.objects.filter(account=self.world.account, present=True).order_by("pk"))

    def any_of(self, data: st.DataObject) -> Subscription:
        return data.draw(st.sampled_from(self.present()))


@pytest.mark.slow
@pytest.mark.timeout(0)  # the duration depends on LIFECYCLE_EXAMPLES
@pytest.mark.parametrize("slug", SLUGS)
def test_every_sequence_of_events_converges(slug: str) -> None:
    machine = type(f"LifecycleAt_{slug}", (Lifecycle,), {"slug": slug})
    run_state_machine_as_test(machine, settings=BOUNDED)


BOUNDED = settings(
    max_examples=int(os.environ.get("LIFECYCLE_EXAMPLES", "3")),  # `make soak` asks for more
    stateful_step_count=25,
    deadline=None,
    derandomize="LIFECYCLE_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    # Shrinking a failure takes minutes, so it is only done in long runs.
    phases=tuple(Phase) if "LIFECYCLE_EXAMPLES" in os.environ else (Phase.explicit, Phase.generate),
)
