"""Columns that only the reconciler writes: what the provider has, and what earlier passes learned."""

from __future__ import annotations

from django.db import models

from providers.db.fields import EncryptedJSONField, JSONTextField


class ObservedColumns(models.Model):
    """The registration as the provider last reported it."""

    remote_id = models.CharField(max_length=200, null=True, blank=True, editable=False)
    remote_status = models.CharField(max_length=50, null=True, blank=True, editable=False)
    remote_enabled = models.BooleanField(null=True, editable=False)
    remote_url = models.TextField(null=True, blank=True, editable=False)
    remote_config = JSONTextField(null=True, blank=True, editable=False)
    remote_secret_matches = models.BooleanField(null=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    granted = models.DurationField(null=True, blank=True, editable=False)  # length of the lease when it began
    observed_at = models.DateTimeField(null=True, blank=True, editable=False)
    details_at = models.DateTimeField(null=True, blank=True, editable=False)  # when the config was last read
    missing_since = models.DateTimeField(null=True, blank=True, editable=False)
    drift = JSONTextField(default=list, editable=False)
    # Canonical config on which both sides last agreed; a remote value that differs from it is drift.
    agreed_config = JSONTextField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True


class LearnedColumns(models.Model):
    """What earlier passes did and learned about this registration."""

    # How the provider behaves; null means not known yet.
    renews_in_place = models.BooleanField(null=True, editable=False)
    update_enables = models.BooleanField(null=True, editable=False)
    replace_refused = models.BooleanField(default=False, editable=False)  # no room for a second registration
    renewals_without_effect = models.PositiveIntegerField(default=0, editable=False)  # in a row, in place

    # Registrations in a row of which it is unknown whether they took effect.
    unknown_registrations = models.PositiveIntegerField(default=0, editable=False)
    # The changes that the provider accepted last, as a digest, and how often in a row: see `planning.unkept`.
    accepted_changes = JSONTextField(null=True, blank=True, editable=False)
    losses = JSONTextField(default=list, editable=False)  # ISO times at which the provider had lost it, recent ones

    # The secret at the provider. `secret_for` is the remote ID whose provider-generated secret we hold;
    # `remote_secret_no` is the number of the secret that the provider was given last (null: unknown).
    secret_for = models.CharField(max_length=200, null=True, blank=True, editable=False)
    remote_secret_no = models.PositiveIntegerField(null=True, blank=True, editable=False)
    secret_set_at = models.DateTimeField(null=True, blank=True, editable=False)

    # Who disabled it at the provider, and how often the provider suspended it.
    we_disabled = models.BooleanField(default=False, editable=False)
    enabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    suspended_count = models.PositiveIntegerField(default=0, editable=False)  # times in a row
    suspensions = JSONTextField(default=list, editable=False)  # ISO times of the recent ones
    enable_not_before = models.DateTimeField(null=True, blank=True, editable=False)
    gave_up_at = models.DateTimeField(null=True, blank=True, editable=False)  # suspended too often: waits for a person

    # Renewals: the last one, and since when and how often a due one has failed.
    renewed_at = models.DateTimeField(null=True, blank=True, editable=False)
    renewal_failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    renewal_tries = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        abstract = True


class SharedColumns(models.Model):
    """Columns that both lifecycle actions and the reconciler write.

    The reconciler writes such a column only if the current pass changed it.
    """

    secrets = EncryptedJSONField(default=list, editable=False)  # accepted for incoming requests, newest first
    former_callback_urls = JSONTextField(default=list, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True
