"""A subscription row that this worker has claimed: its calls and its writes check the claim."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from providers.accounts.session import open_session
from providers.audit.state_changes import write
from providers.contract.call_limits import Priority
from providers.contract.http import Exchange
from providers.contract.session import ProviderSession
from subscriptions.lifecycle import secret_rotation
from subscriptions.models import Subscription
from subscriptions.reconciliation.columns import REFRESHED, ColumnValues, reconciled_values, set_values
from subscriptions.reconciliation.status import status_columns


class ClaimLost(Exception):
    """The claim ended while we worked, or the row was deleted: another worker may have it, so we stop."""


@dataclass
class ClaimedRow:
    """A claimed row, and the values of it that are saved.

    `set` changes the row in memory only; `save` writes what changed, once, if the claim is still ours.
    """

    row: Subscription
    holder: str
    deadline: float | None = None  # monotonic seconds
    force: bool = False  # call even while the account's circuit is open
    saved: ColumnValues = field(init=False)

    def __post_init__(self) -> None:
        self.saved = copy.deepcopy(reconciled_values(self.row))

    def set(self, values: ColumnValues) -> None:
        """Set column values on the row, without saving them."""
        set_values(self.row, values)

    def keep_claim(self) -> None:
        """Prolong the claim. Raises ClaimLost if it is no longer ours."""
        if not self.row.keep_claim(self.holder):
            raise ClaimLost

    def open_session(
        self, priority: Priority, exchanges: list[Exchange] | None = None
    ) -> AbstractContextManager[ProviderSession[Any, Any]]:
        """Open a session that keeps the claim before each call, because calls wait for a slot and for their answer.

        The exchanges are appended to `exchanges`, with the secrets masked.
        """
        return open_session(
            self.row.account,
            priority=priority,
            deadline=self.deadline,
            record=exchanges.append if exchanges is not None else None,
            secrets=[*self.row.secrets, *secret_rotation.former_secrets(self.row)],
            before_call=self.keep_claim,
            force=self.force,
        )

    def save(self, actor: str) -> None:
        """Write the reconciled columns that changed, and the state derived from them. Raises ClaimLost.

        Columns of the desired state are never written. They are read again first, because they may have been changed
        and the state depends on them.
        """
        row, deleted_at = self.row, self.row.deleted_at
        row.refresh_from_db(fields=REFRESHED)
        row.deleted_at = row.deleted_at or deleted_at
        self.set(status_columns(row, timezone.now()))
        values = reconciled_values(row)
        changed = {name: value for name, value in values.items() if value != self.saved.get(name)}
        if not write(self._rows(), by=actor, **changed, last_reconciled_at=row.last_reconciled_at):
            raise ClaimLost
        self.saved = copy.deepcopy(values)

    def mark_saved(self, name: str) -> None:
        """Record that the current value of a column has been saved by other code."""
        self.saved[name] = copy.deepcopy(getattr(self.row, name))

    def save_schedule(self, generation: int) -> None:
        """Write when the row is due next. If the desired state was changed meanwhile, the row stays due."""
        row = self.row
        self._rows().filter(generation=generation).update(due_at=row.due_at, renew_asked_at=row.renew_asked_at)

    def make_due(self) -> None:
        """Make the row due now.

        A sync finds work on rows that are not due. If this worker is killed, the sweep must resume as soon as the
        claim ends, even when the next sync would find nothing to do.
        """
        now = timezone.now()
        self._rows().filter(Q(due_at=None) | Q(due_at__gt=now)).update(due_at=now)

    def record_registration_try(self) -> None:
        """Record that a registration call follows. Raises ClaimLost if the subscription was deleted meanwhile."""
        row = self.row
        row.register_tried_at, row.unknown_registrations = timezone.now(), row.unknown_registrations + 1
        live = Subscription.objects.filter(pk=row.pk, present=True)
        values = {"register_tried_at": row.register_tried_at, "unknown_registrations": row.unknown_registrations}
        if not live.update(**values):
            raise ClaimLost  # possibly deleted for good, because nothing was registered yet
        self.mark_saved("unknown_registrations")

    def record_registration_refused(self) -> None:
        """Record that the registration call certainly had no effect."""
        self.row.unknown_registrations = 0
        self._rows().update(unknown_registrations=0)
        self.mark_saved("unknown_registrations")

    def forget_registration_try(self) -> None:
        """Record that the provider has never had our token, so that deleting the subscription needs no call."""
        row = self.row
        if self._rows().filter(register_tried_at=row.register_tried_at).update(register_tried_at=None):
            row.register_tried_at = None

    def _rows(self) -> QuerySet[Subscription]:
        return Subscription.objects.filter(pk=self.row.pk, claimed_by=self.holder)
