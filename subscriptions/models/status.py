"""Columns for the state of a subscription, its schedule, and its traffic."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from providers.db.fields import JSONTextField


class State(models.TextChoices):
    """The state of a subscription, derived by `subscriptions.reconciliation.state.derive` and stored for filters."""

    DELETED = "deleted", "Deleted"
    DELETING = "deleting", "Deleting"
    MANUAL = "manual", "Manual"
    EXPIRED = "expired", "Expired"
    MISSING = "missing", "Missing"
    SUSPENDED = "suspended", "Suspended"
    DRIFTED = "drifted", "Drifted"
    FAILING = "failing", "Failing"
    DISABLED = "disabled", "Disabled"
    ACTIVE = "active", "Active"
    PENDING = "pending", "Pending"


class StatusColumns(models.Model):
    """The outcome of the last pass. Only the reconciler writes these, `state` through `providers.audit`."""

    state = models.CharField(max_length=20, choices=State.choices, default=State.PENDING, db_index=True, editable=False)
    state_reason = models.TextField(blank=True, default="", editable=False)
    waiting = models.TextField(blank=True, default="", editable=False)  # why a needed step is not done now
    waiting_for = models.CharField(max_length=20, blank=True, default="", editable=False)  # a planning `Wait`
    last_error = JSONTextField(null=True, blank=True, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False)  # in a row
    paused_since = models.DateTimeField(null=True, blank=True, editable=False)  # waits for the account's circuit
    applied_generation = models.PositiveIntegerField(default=0, editable=False)
    renew_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class ScheduleColumns(models.Model):
    """When the reconciler works on the row. Written with conditional updates, never as part of a whole-row save."""

    due_at = models.DateTimeField(null=True, blank=True, default=timezone.now, db_index=True, editable=False)
    last_reconciled_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When the first registration call was made; null means that the provider has never seen our token.
    register_tried_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class TrafficColumns(models.Model):
    """Facts that the events app records: its receiver, and its silence monitor."""

    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)  # first accepted request
    last_event_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Number of the newest secret that authenticated a request.
    secret_seen_no = models.PositiveIntegerField(null=True, blank=True, editable=False)
    silent_since = models.DateTimeField(null=True, blank=True, editable=False)
    silence_reason = models.TextField(blank=True, default="", editable=False)  # result of the probe
    quiet_suggestion = models.PositiveIntegerField(null=True, blank=True, editable=False)  # seconds
    quiet_suggested_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True
