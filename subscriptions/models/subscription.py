"""The subscription: what is to be registered at a provider, and what was last observed there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from providers.audit.state_changes import write
from providers.contract.capabilities import SecretMadeBy
from providers.db.claims import Claimable
from providers.db.ids import new_id
from providers.models import ProviderAccount
from subscriptions.models.callback_url import callback_url_for, new_token
from subscriptions.models.desired_state import DesiredColumns, ReceiverRuleColumns, RequestColumns
from subscriptions.models.observed_state import LearnedColumns, ObservedColumns, SharedColumns
from subscriptions.models.status import ScheduleColumns, StatusColumns, TrafficColumns
from subscriptions.planning.renewal_times import spread_of


@dataclass(frozen=True, slots=True)
class Rotation:
    """The progress of a secret rotation. `set_at` is when the provider was given the new secret."""

    asked_at: datetime
    set_at: datetime | None
    seen: bool  # a request was authenticated with the new secret
    old_accepted: bool


class Subscription(
    Claimable,
    DesiredColumns,
    RequestColumns,
    ReceiverRuleColumns,
    ObservedColumns,
    LearnedColumns,
    SharedColumns,
    StatusColumns,
    ScheduleColumns,
    TrafficColumns,
):
    """A webhook subscription at a provider.

    Each base class groups the columns of one owner: people and the API change the desired state, through
    `change_desired_state`; only the reconciler writes the observed state, what it learned and the status; the events
    app writes the traffic columns.
    """

    subject: ClassVar[str] = "subscription"
    state_field: ClassVar[str] = "state"
    account_key: ClassVar[str] = "account_id"

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    account = models.ForeignKey(ProviderAccount, models.PROTECT, related_name="subscriptions")
    name = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    token = models.CharField(max_length=64, unique=True, default=new_token, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["renew_at"], name="subscription_by_renewal"),
            models.Index(fields=["waiting_for"], name="subscription_by_wait"),
            models.Index(
                fields=["account"], condition=models.Q(last_error__isnull=False), name="subscription_with_error"
            ),
        ]

    def __str__(self) -> str:
        return self.name or str(self.uid)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row; a new one first gets its callback URL and, where we generate it, its secret."""
        if self._state.adding:
            self.callback_url = self.callback_url or callback_url_for(self.token)
            if not self.secrets and self.account.plugin.capabilities.secret_made_by is SecretMadeBy.US:
                self.secrets = [self.account.plugin.new_secret()]
        super().save(*args, **kwargs)

    @property
    def spread(self) -> float:
        """A fixed number from 0 to 1 that spreads the work of many subscriptions over time."""
        return spread_of(str(self.uid))

    @property
    def suggested_minutes(self) -> int | None:
        """The suggested longest time without an event, in minutes as the form asks for it."""
        return None if self.quiet_suggestion is None else self.quiet_suggestion // 60

    @property
    def address_confirmed(self) -> bool:
        """Whether the callback URL was made for the current PUBLIC_URL."""
        return self.callback_url == callback_url_for(self.token)

    @property
    def deletion_summary(self) -> str:
        """How a deleted subscription was deleted, as a sentence."""
        if self.forgotten_at is None:
            return "Deleted here and at the provider."
        if self.remote_id is None:
            return "Forgotten here. Whether the provider still has it could not be checked."
        return f"Forgotten here. The provider may still have it as {self.remote_id}."

    @property
    def rotation(self) -> Rotation | None:
        """The secret rotation in progress, or None."""
        if self.rotation_asked_at is None:
            return None
        return Rotation(
            asked_at=self.rotation_asked_at,
            set_at=self.secret_set_at if self.secret_is_set else None,
            seen=self.secret_seen_no == self.secret_no,
            old_accepted=not self.old_revoked,
        )

    @property
    def secret_is_set(self) -> bool:
        """Whether the provider was given the current secret, as far as we know."""
        return self.remote_secret_no == self.secret_no or (self.remote_secret_no is None and self.secret_no == 1)

    def change_desired_state(self, *, by: str, **changes: object) -> None:
        """Change the desired state and make the row due at once. `by` is the actor of the operations that follow."""
        values: dict[str, object] = {
            **changes,
            "changed_by": by,
            "generation": models.F("generation") + 1,
            "due_at": timezone.now(),
            "failures": 0,
        }
        write(type(self).objects.filter(pk=self.pk), by=by, **values)
        self.refresh_from_db()
