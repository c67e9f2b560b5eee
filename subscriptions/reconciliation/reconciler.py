"""Reconcile a subscription: observe, plan, apply. Safe to run at any time, twice, or after a crash at any line.

A worker claims the row first and checks the claim before each call and each write.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import DatabaseError
from django.db.models import Q
from django.utils import timezone

from providers.audit.actors import SCHEDULER
from providers.contract.base import RemoteSubscription
from providers.contract.call_limits import Priority
from providers.contract.errors import (
    InvalidInput,
    InvalidResponse,
    NotFound,
    PermissionMissing,
    PluginFailed,
    ProviderError,
    Refused,
    Unavailable,
)
from providers.contract.schemas import validate
from providers.db.claims import new_holder
from subscriptions.lifecycle import desired_state, receiver_probe, secret_rotation
from subscriptions.models import Managed, Subscription
from subscriptions.planning.step_selection import Choice, IncompleteChoice, PlanChanged
from subscriptions.planning.steps import Change, Plan, Step, StepAction, Wait
from subscriptions.reconciliation.apply import StepExecutor, close_interrupted_operations
from subscriptions.reconciliation.backoff import next_due, urgency
from subscriptions.reconciliation.claimed_row import ClaimedRow, ClaimLost
from subscriptions.reconciliation.live_plan import are_details_due, observed_remotes, plan_for
from subscriptions.reconciliation.observe import Observation, observe, read_by_id
from subscriptions.reconciliation.observed_state import observed_columns, suspension_reset_columns
from subscriptions.reconciliation.planning_input import last_observed
from subscriptions.reconciliation.provider_calls import CONFLICT, Remotes
from subscriptions.reconciliation.status import error_columns, renewal_columns

logger = logging.getLogger(__name__)

MAX_STEPS = 12  # in one pass; a plan that needs more does not converge
RECEIVER_RETRY = timedelta(seconds=20)
RETRY_SECONDS = 0.1  # between two tries to claim a row


def reconcile(
    subscription: Subscription,
    *,
    actor: str | None = None,
    deadline: float | None = None,
    observation: Observation | None = None,
    details: bool = False,
    choice: Choice | None = None,
    force: bool = False,
) -> bool:
    """Bring one subscription from the observed to the desired state, as far as the provider permits.

    `actor` is recorded on the operations; by default the actor of the last change of the desired state, or the
    scheduler.
    `deadline` (monotonic seconds) bounds the calls; the rest continues in the background.
    `observation` is a recent one, which saves a call to the provider.
    `details` also reads what the list does not contain.
    `choice` limits the pass to these steps; the others are left to the next pass. Raises PlanChanged or
    IncompleteChoice, and then nothing was done.
    `force`: a person requested it. It is tried even while the account's circuit is open, and a subscription that was
    given up after too many suspensions is enabled again.

    Returns False when another worker has the row. Failures are recorded on the row, not raised.
    """
    holder = new_holder()
    if not subscription.claim(holder):
        return False
    try:
        subscription.refresh_from_db()
        claimed = ClaimedRow(subscription, holder, deadline, force)
        _Pass(claimed, actor, details, choice).run(observation)
    except ClaimLost:
        logger.warning("Lost the claim on subscription %s; stopped.", subscription.uid)
    finally:
        subscription.release(holder)
    return True


def reconcile_soon(subscription: Subscription, *, actor: str, seconds: float = 10.0, force: bool = False) -> None:
    """Make a first attempt within `seconds`, waiting for another worker to finish. The rest is left to the worker."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if reconcile(subscription, actor=actor, deadline=deadline, force=force):
            break
        time.sleep(RETRY_SECONDS)
    subscription.refresh_from_db()


@dataclass
class _Pass:
    """One pass over one claimed row."""

    claimed: ClaimedRow
    asked_by: str | None
    details: bool
    choice: Choice | None = None
    executor: StepExecutor = field(init=False)
    generation: int = field(init=False)  # of the desired state that this pass works on

    def __post_init__(self) -> None:
        row = self.row
        self.generation = row.generation
        changed_by = row.changed_by if row.generation != row.applied_generation else ""
        self.executor = StepExecutor(self.claimed, self.asked_by or changed_by or SCHEDULER)

    @property
    def row(self) -> Subscription:
        return self.claimed.row

    def run(self, observation: Observation | None) -> None:
        row = self.row
        close_interrupted_operations(row)
        self.claimed.set({"waiting": "", "waiting_for": ""})
        if self.claimed.force:  # a person looks at it
            self.claimed.set({"losses": [], "accepted_changes": None})
            if row.gave_up_at:
                self.claimed.set(suspension_reset_columns())
        steps_left = False
        failure: ProviderError | None = None
        try:
            if row.managed == Managed.API and not row.deleted_at:
                steps_left = self._converge(observation)
            elif self.choice is not None:
                self.choice.check(Plan())
            self._mark_applied(steps_left)
        except ProviderError as error:
            failure = error
        except (ClaimLost, PlanChanged, IncompleteChoice, DatabaseError):
            raise
        except Exception as error:
            # A bug, perhaps in a plug-in. Unless it is recorded, the row stays due and is tried again at once.
            logger.exception("Reconciling subscription %s failed.", row.uid)
            failure = PluginFailed(f"Internal error: {type(error).__name__}. It was logged.")
        self._finish(failure, steps_left)

    def _mark_applied(self, steps_left: bool) -> None:
        row = self.row
        self.claimed.set({"last_error": None, "failures": 0, "paused_since": None})
        if not steps_left:
            self.claimed.set(
                {
                    "applied_generation": row.applied_generation if row.waiting else self.generation,
                    "due_at": next_due(row, timezone.now()),
                }
            )

    def _finish(self, failure: ProviderError | None, steps_left: bool) -> None:
        row, now = self.row, timezone.now()
        if failure is not None:
            self.claimed.set(error_columns(row, failure, now))
        self.claimed.set({**renewal_columns(row, failure, now), "last_reconciled_at": now})
        settled = failure is None and not steps_left and not row.waiting
        if secret_rotation.finish_rotation(row, settled=settled):
            self.claimed.mark_saved("secrets")
        self.claimed.save(self.executor.actor)
        self.claimed.save_schedule(self.generation)

    def _converge(self, observation: Observation | None) -> bool:
        """Apply step after step. Return whether steps are left because they were not chosen."""
        remotes = self._observe(observation)
        done: set[tuple[StepAction, str | None]] = set()
        for _ in range(MAX_STEPS):
            current = self._plan(remotes)
            if current.accepts:
                if not self._accept(current.accepts):
                    return True
                continue
            if self.choice is not None and not done:
                self.choice.check(current)
            step = next(iter(current.steps), None) if self.choice is None else self.choice.next_step(current)
            if step is None and current.steps:
                return True
            if step is None:
                break
            if (step.action, step.remote_id) in done:
                raise Refused(f"The provider accepted the {step.action}, but it has not taken effect.")
            done.add((step.action, step.remote_id))
            # Checked before the first step, because an update before the enabling one may enable it as well.
            if any(_enables(item) for item in current.steps) and not self._is_receiver_ready():
                break
            remotes = self._apply_or_renew(step, current, remotes)
            self.claimed.save(self.executor.actor)
        else:
            raise Refused(f"The provider's state still differs after {MAX_STEPS} steps; stopped for now.")
        self._complete(remotes)
        return False

    def _plan(self, remotes: Remotes) -> Plan:
        """Set the observed columns on the row and return the plan for them."""
        self.claimed.set(observed_columns(self.row, remotes, timezone.now()))
        current = plan_for(self.row, remotes, timezone.now(), no_update=self.executor.no_update)
        self.claimed.set(
            {
                "waiting": current.waiting or "",
                "waiting_for": current.wait or "",
                "enable_not_before": current.not_before or self.row.enable_not_before,
            }
        )
        return current

    def _complete(self, remotes: Remotes) -> None:
        row = self.row
        if not row.waiting:
            self.claimed.set({"renew_asked_at": None})
        if not row.present and not remotes and not row.waiting:
            self.claimed.set({"deleted_at": timezone.now()})

    def _observe(self, observation: Observation | None) -> Remotes:
        row = self.row
        if observation is None or self._acted_since(observation.at):
            return () if row.register_tried_at is None else self._look()  # it has never seen the token
        return self._confirm_absence(observation)

    def _look(self) -> Remotes:
        row = self.row
        details = self.details or are_details_due(row) or row.generation != row.applied_generation
        try:
            with self.claimed.open_session(urgency(row, timezone.now())) as session:
                observation = observe(row.account, session, details_of={row.pk} if details else set())
        except (InvalidResponse, NotFound, Refused, Unavailable) as error:
            return self._without_list(error)
        return self._confirm_absence(observation)

    def _confirm_absence(self, observation: Observation) -> Remotes:
        """Return what was observed of this row. If its registration was not, ask for it by its ID.

        A list may lag, be cut or be empty. One that points elsewhere now is certainly not ours any more.
        """
        row, remotes = self.row, observed_remotes(self.row, observation)
        if any(item.remote_id == row.remote_id for item in observation.others):
            self.claimed.set({"remote_id": None, "missing_since": None})
        if row.remote_id is None or any(item.remote_id == row.remote_id for item in remotes):
            return remotes
        found = self._read_current()
        return remotes if found is None else (*remotes, found)

    def _without_list(self, error: ProviderError) -> Remotes:
        """Return the registration as it is known, so that a due renewal does not depend on the list call.

        Raises the error if no renewal is due.
        """
        row = self.row
        if row.remote_id is None or not row.enabled or urgency(row, timezone.now()) < Priority.RENEWAL:
            raise error
        logger.warning("Subscription %s is renewed without the provider's list: %s", row.uid, error.message)
        try:
            found = self._read_current()
        except (InvalidResponse, Unavailable):
            if row.missing_since:
                raise error from None
            return last_observed(row)
        return () if found is None else (found,)

    def _read_current(self) -> RemoteSubscription | None:
        """Read the current registration by its ID. Return None if the provider does not have it under our token."""
        row = self.row
        with self.claimed.open_session(urgency(row, timezone.now())) as session:
            return read_by_id(row, session)

    def _acted_since(self, moment: datetime) -> bool:
        """Return whether an observation made then is outdated: an operation ran since, or a new secret was created."""
        requested_at = self.row.rotation_asked_at
        return (requested_at is not None and requested_at >= moment) or self.row.operations.filter(
            Q(finished_at=None) | Q(finished_at__gte=moment)
        ).exists()

    def _is_receiver_ready(self) -> bool:
        """Return whether our receiver answers; otherwise wait.

        A provider that suspended us must not call again before that.
        """
        if self.row.we_disabled:
            return True
        error = receiver_probe.find_receiver_error(self.row.callback_url)
        if error:
            self.claimed.set(
                {
                    "waiting": f"{error} It is enabled again when the receiver answers.",
                    "waiting_for": Wait.RECEIVER,
                    "enable_not_before": timezone.now() + RECEIVER_RETRY,
                }
            )
        return error is None

    def _apply_or_renew(self, step: Step, current: Plan, remotes: Remotes) -> Remotes:
        """Execute the step.

        If the provider refuses a changed config while a renewal is due, the config that it last accepted is renewed
        before the refusal is reported, so that a wrong config does not end the lease.
        """
        try:
            return self.executor.execute(step, remotes)
        except (Refused, PermissionMissing) as error:
            if error.status == CONFLICT and step.action in (StepAction.REGISTER, StepAction.REPLACE):
                found = self._look()  # perhaps an earlier try took effect
                if any(item not in remotes for item in found):
                    return found
                raise
            renewals = [item for item in current.steps if item.action in (StepAction.RENEW, StepAction.REPLACE)]
            if step.action is not StepAction.UPDATE or not renewals or self.row.agreed_config is None:
                raise
            self.executor.as_agreed = True
            after = self.executor.execute(renewals[0], remotes)
            self.claimed.set(observed_columns(self.row, after, timezone.now()))
            self.claimed.save(self.executor.actor)
            raise

    def _accept(self, changes: Sequence[Change]) -> bool:
        """Accept changes made at the provider as the desired state.

        Return False when the desired state was changed meanwhile; that change is then handled first.
        """
        row = self.row
        remote_values = {change.field: change.before for change in changes}
        try:
            config = validate(row.account.plugin.config_model, {**row.config, **remote_values})
        except InvalidInput as error:
            raise Refused(f"The config at the provider cannot be accepted: {error}", field="config") from None
        self.claimed.keep_claim()
        if not desired_state.accept_drift(row, config.model_dump(mode="json"), by=SCHEDULER):
            return False
        row.refresh_from_db(fields=("config", "generation"))
        self.generation = row.generation
        return True


def _enables(step: Step) -> bool:
    return any(change.field == "enabled" and change.after is True for change in step.changes)
