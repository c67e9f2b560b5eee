"""Columns that people and the API write: the desired registration, and requests for single actions."""

from __future__ import annotations

from django.db import models

from providers.db.fields import JSONTextField
from subscriptions.planning.states import DriftPolicy


class Managed(models.TextChoices):
    """Who registers the subscription at the provider."""

    API = "api", "Through the API"
    MANUAL = "manual", "Manually at the provider"


DRIFT_POLICIES = [
    (DriftPolicy.REVERT.value, "Revert"),
    (DriftPolicy.ACCEPT.value, "Accept as the new configuration"),
    (DriftPolicy.REPORT.value, "Only report"),
]


class DesiredColumns(models.Model):
    """What is to be registered at the provider.

    The reconciler never writes these columns, except through `lifecycle.desired_state.accept_drift`. It reads them
    again before each save, so that the derived status matches the newest desired state.
    """

    # The URL as registered. Signatures cover it and PUBLIC_URL may change, so it is stored.
    callback_url = models.CharField(max_length=500, editable=False)
    config = JSONTextField(default=dict)
    enabled = models.BooleanField(default=True)
    present = models.BooleanField(default=True, editable=False)  # false: to be deleted at the provider
    auto_renew = models.BooleanField(default=True)
    drift_policy = models.CharField(max_length=10, choices=DRIFT_POLICIES, default=DriftPolicy.REVERT.value)
    managed = models.CharField(max_length=10, choices=Managed.choices, default=Managed.API)
    # Set when a person gave up deleting the subscription at the provider, which may still have it.
    forgotten_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class RequestColumns(models.Model):
    """Requests for single actions (renewal, secret rotation), and who changed the desired state last."""

    generation = models.PositiveIntegerField(default=1, editable=False)  # grows with each change of the desired state
    changed_by = models.CharField(max_length=200, blank=True, default="", editable=False)
    renew_asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Number of the secret to use; each rotation increments it. A secret that we generate is the first of `secrets`
    # at once, one that the provider generates only after a new registration.
    secret_no = models.PositiveIntegerField(default=1, editable=False)
    rotation_asked_at = models.DateTimeField(null=True, blank=True, editable=False)  # null: no rotation in progress
    old_revoked = models.BooleanField(default=False, editable=False)  # the old secret is refused without waiting

    class Meta:
        abstract = True


class ReceiverRuleColumns(models.Model):
    """Rules for incoming requests. The provider does not know them, so changing one makes no call."""

    # Longest expected time without an event, in seconds, counted from `quiet_from`; null disables the check. Quiet
    # hours do not count (see `subscriptions.lifecycle.quiet_hours`).
    quiet_after = models.PositiveIntegerField(null=True, blank=True)
    quiet_hours = JSONTextField(null=True, blank=True)
    quiet_from = models.DateTimeField(null=True, blank=True, editable=False)
    # Networks that requests may come from; empty allows all (see `subscriptions.lifecycle.ip_allowlist`).
    allowed_networks = JSONTextField(default=list)

    class Meta:
        abstract = True
