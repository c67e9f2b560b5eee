"""Operations: the steps that were executed at a provider."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from providers.db.fields import JSONTextField
from providers.db.ids import new_id
from providers.models import ProviderAccount
from subscriptions.models.subscription import Subscription


class OperationStatus(models.TextChoices):
    """The outcome of an operation."""

    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"  # the worker was killed or got no answer: it may have taken effect


class Operation(models.Model):
    """One executed step: the actor, what was sent, and what the provider answered. Committed before its call."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    # The account of the subscription, repeated for the account's timeline.
    account = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False, related_name="+")
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="operations")
    action = models.CharField(max_length=20)
    reason = models.TextField(blank=True, default="")
    remote_id = models.CharField(max_length=200, null=True, blank=True)
    actor = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=OperationStatus.choices, default=OperationStatus.RUNNING)
    request = JSONTextField(null=True, blank=True)
    response = JSONTextField(null=True, blank=True)
    error = models.TextField(null=True, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["subscription", "-id"], name="operation_of_subscription"),
            models.Index(fields=["subscription", "-uid"], name="operation_timeline"),
            models.Index(fields=["account", "-uid"], name="operation_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.action} ({self.status})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row; a new one gets the account of its subscription."""
        if self._state.adding and self.account_id is None:
            self.account_id = self.subscription.account_id
        super().save(*args, **kwargs)
