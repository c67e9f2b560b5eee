"""Execute one step: record the operation, call the provider, record the answer.

The operation is committed before the changing call, and its answer right after it. No call is made inside a
transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from django.db import transaction
from django.utils import timezone

from providers.audit.actors import SCHEDULER
from providers.contract.call_limits import Priority
from providers.contract.errors import LimitReached, NotFound, PermissionMissing, ProviderError, Refused, Unsupported
from providers.contract.http import Exchange
from subscriptions.models import Operation, OperationStatus, Subscription
from subscriptions.planning.steps import Step, StepAction
from subscriptions.reconciliation.backoff import urgency
from subscriptions.reconciliation.claimed_row import ClaimedRow
from subscriptions.reconciliation.observe import record_owner
from subscriptions.reconciliation.observed_state import adopted_columns
from subscriptions.reconciliation.provider_calls import Remotes, call_provider, changed_nothing, without_remote
from subscriptions.reconciliation.step_outcome import outcome_columns

logger = logging.getLogger(__name__)


class Boundary(StrEnum):
    """The points between the parts of a step. If a worker is killed at one of them, the next pass repairs the rest."""

    PLANNED = "planned"  # nothing is recorded yet
    RECORDED = "recorded"  # the operation is committed; the call comes next
    ANSWERED = "answered"  # the provider answered, or failed to; nothing of that is recorded yet
    WRITTEN = "written"  # the answer is committed


def mark_boundary(step: Step, boundary: Boundary) -> None:
    """Mark that a step has reached a boundary. Tests replace this function to stop the process at any of them."""
    logger.debug("%s of %s: %s", step.action, step.remote_id, boundary)


@dataclass
class StepExecutor:
    """Executes the steps of one pass over a claimed row, and remembers what they reveal about the provider."""

    claimed: ClaimedRow
    actor: str = SCHEDULER  # recorded on the operations
    no_update: bool = False  # learned in this pass: the provider has no update call after all
    as_agreed: bool = False  # the provider refuses the desired config, so the last agreed one is sent

    def execute(self, step: Step, remotes: Remotes) -> Remotes:
        """Execute a step and return what the provider has then. Raises ProviderError and ClaimLost."""
        mark_boundary(step, Boundary.PLANNED)
        self.claimed.keep_claim()
        if step.action is StepAction.ADOPT:
            self._adopt(step)
            return remotes
        row = self.claimed.row
        self.claimed.make_due()
        first_try = row.register_tried_at is None
        registers = step.action in (StepAction.REGISTER, StepAction.REPLACE)
        if registers:
            self.claimed.record_registration_try()
        operation = Operation.objects.create(
            subscription=row, action=step.action, reason=step.reason, remote_id=step.remote_id, actor=self.actor
        )
        mark_boundary(step, Boundary.RECORDED)
        exchanges: list[Exchange] = []
        try:
            with self.claimed.open_session(_priority_of(row, step), exchanges) as session:
                after = call_provider(row, step, remotes, session, as_agreed=self.as_agreed)
        except ProviderError as error:
            mark_boundary(step, Boundary.ANSWERED)
            record_answer(operation, exchanges, error)
            if registers and changed_nothing(error, exchanges):
                self.claimed.record_registration_refused()
                if first_try:
                    self.claimed.forget_registration_try()
            mark_boundary(step, Boundary.WRITTEN)
            recovered = self._recover(step, remotes, error)
            if recovered is None:
                raise
            return recovered
        mark_boundary(step, Boundary.ANSWERED)
        with transaction.atomic():
            record_answer(operation, exchanges, None)
            record_success(self.claimed, step, remotes, after)
            self.claimed.save(self.actor)
        mark_boundary(step, Boundary.WRITTEN)
        if step.action is StepAction.RENEW and row.renewals_without_effect:
            self.no_update = True  # this lease is only extended by a new registration
        return after

    def _adopt(self, step: Step) -> None:
        now = timezone.now()
        with transaction.atomic():
            Operation.objects.create(
                subscription=self.claimed.row,
                action=step.action,
                reason=step.reason,
                remote_id=step.remote_id,
                actor=self.actor,
                status=OperationStatus.SUCCEEDED,
                started_at=now,
                finished_at=now,
            )
            self.claimed.set(adopted_columns(step.remote_id or "", now))
            self.claimed.save(self.actor)
        mark_boundary(step, Boundary.WRITTEN)

    def _recover(self, step: Step, remotes: Remotes, error: ProviderError) -> Remotes | None:
        """Return what the provider has, where the error itself tells how to continue; None where it is a failure."""
        if isinstance(error, NotFound) and step.remote_id and step.action is not StepAction.REPLACE:
            return without_remote(remotes, step.remote_id)
        row = self.claimed.row
        if step.action is StepAction.RENEW and isinstance(error, Refused | PermissionMissing) and _is_urgent(row):
            self.no_update = True  # in this pass only: the next renewal is tried in place again
            return remotes
        if isinstance(error, LimitReached) and step.action is StepAction.REPLACE and not row.replace_refused:
            self.claimed.set({"replace_refused": True})
            return remotes
        if isinstance(error, Unsupported) and step.action in (StepAction.UPDATE, StepAction.RENEW):
            # Not every provider's update call is documented. Without one, only a new registration changes anything.
            self.no_update = True
            if step.action is StepAction.RENEW:
                self.claimed.set({"renews_in_place": False})
            return remotes
        return None


def record_answer(operation: Operation, exchanges: Sequence[Exchange], error: ProviderError | None) -> None:
    """Save the answer of the changing call on the operation.

    The changing call is the last one that is not a GET: a login may come before it, and a read after it.
    """
    changing = next((item for item in reversed(exchanges) if item.method != "GET"), exchanges[0] if exchanges else None)
    if changing:
        operation.request = {"method": changing.method, "url": changing.url, "body": changing.request_body}
        if changing.status is not None:
            operation.response = {"status": changing.status, "body": changing.response_body}
    if error is None:
        operation.status = OperationStatus.SUCCEEDED
    else:
        operation.status = OperationStatus.UNKNOWN if error.outcome_unknown else OperationStatus.FAILED
        operation.error = error.message
    operation.finished_at = timezone.now()
    operation.save(update_fields=["request", "response", "status", "error", "finished_at"])


def record_success(claimed: ClaimedRow, step: Step, before: Remotes, after: Remotes) -> None:
    """Set what a successful step changes on the row, without saving it, and record who owns the remote ID."""
    row = claimed.row
    if step.action in (StepAction.REGISTER, StepAction.REPLACE):
        record_owner(row, after[-1].remote_id)
    elif step.action is StepAction.UPDATE and step.remote_id:
        record_owner(row, step.remote_id)
    claimed.set(outcome_columns(row, step, before, after, timezone.now()))


def close_interrupted_operations(row: Subscription) -> None:
    """Mark operations that a killed worker left open: whether they took effect shows in the next observation."""
    row.operations.filter(status=OperationStatus.RUNNING).update(
        status=OperationStatus.UNKNOWN,
        error="The worker stopped before the answer was recorded. The provider's state is read again.",
        finished_at=timezone.now(),
    )


def _is_urgent(row: Subscription) -> bool:
    return urgency(row, timezone.now()) is Priority.URGENT


def _priority_of(row: Subscription, step: Step) -> Priority:
    priority = urgency(row, timezone.now())
    return max(priority, Priority.RENEWAL) if step.action in (StepAction.RENEW, StepAction.REPLACE) else priority
