"""Subscriptions with their two halves, the operations that were done at providers, and whose remote ids we know."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from providers.audit.state_changes import write
from providers.contract.capabilities import SecretMadeBy
from providers.db.claims import Claimable
from providers.db.fields import EncryptedJSONField, JSONTextField
from providers.db.ids import new_id
from providers.models import ProviderAccount
from subscriptions.planning.plan import DriftPolicy, spread_of


def new_token() -> str:
    """The unguessable part of a callback URL: 256 bits, URL-safe."""
    return secrets.token_urlsafe(32)


def callback_url_for(token: str) -> str:
    """The callback URL of a token at this installation's PUBLIC_URL."""
    return f"{settings.PUBLIC_URL}/hooks/{token}"


class State(models.TextChoices):
    """Derived from the facts by `subscriptions.reconciliation.state.derive`; stored only to be filtered on."""

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


class Managed(models.TextChoices):
    """Who registers it at the provider."""

    API = "api", "Through the API"
    MANUAL = "manual", "By hand at the provider"


DRIFT_POLICIES = [
    (DriftPolicy.PUT_BACK.value, "Put it back"),
    (DriftPolicy.ACCEPT.value, "Accept it as wanted"),
    (DriftPolicy.REPORT.value, "Only report it"),
]


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far a secret rotation is. `set_at`: since when the provider has the new secret, where we bring it there."""

    asked_at: datetime
    set_at: datetime | None
    seen: bool  # a request was proved by the new one
    old_accepted: bool


class Subscription(Claimable):
    """What we want registered at a provider, and what was last observed there.

    Only `subscriptions.reconciliation.reconciler` writes the observed half and what it learned; people, the API and
    the clock change
    the wanted half, through `want`; `events` writes when events came. `state` is written by
    `providers.audit.state_changes`
    only.
    """

    subject: ClassVar[str] = "subscription"
    state_field: ClassVar[str] = "state"
    account_key: ClassVar[str] = "account_id"

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    account = models.ForeignKey(ProviderAccount, models.PROTECT, related_name="subscriptions")
    name = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # Where its events come in. The URL is kept as registered: signatures cover it, and PUBLIC_URL may change.
    token = models.CharField(max_length=64, unique=True, default=new_token, editable=False)
    callback_url = models.CharField(max_length=500, editable=False)
    former_callback_urls = JSONTextField(default=list, editable=False)
    secrets = EncryptedJSONField(default=list, editable=False)  # accepted for inbound proof, newest first

    # Wanted
    config = JSONTextField(default=dict)
    enabled = models.BooleanField(default=True)
    present = models.BooleanField(default=True, editable=False)
    auto_renew = models.BooleanField(default=True)
    drift_policy = models.CharField(max_length=10, choices=DRIFT_POLICIES, default=DriftPolicy.PUT_BACK.value)
    managed = models.CharField(max_length=10, choices=Managed.choices, default=Managed.API)
    renew_asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Of the secret that is to be in use; grows with each rotation. Where we make it, it is that of the first of
    # `secrets`; where the provider does, once a new registration has brought it.
    secret_no = models.PositiveIntegerField(default=1, editable=False)
    rotation_asked_at = models.DateTimeField(null=True, blank=True, editable=False)  # null: none is under way
    old_revoked = models.BooleanField(default=False, editable=False)  # nobody waits until the new one was seen
    generation = models.PositiveIntegerField(default=1, editable=False)  # grows with each change of the wanted half
    # Expected: the longest time without an event, in seconds (null: it is not watched), and what does not count in it
    # (`subscriptions.lifecycle.quiet_hours`). Counted from `quiet_from` on.
    quiet_after = models.PositiveIntegerField(null=True, blank=True)
    quiet_hours = JSONTextField(null=True, blank=True)
    quiet_from = models.DateTimeField(null=True, blank=True, editable=False)
    # Where calls may come from; none: everywhere (`subscriptions.lifecycle.ip_allowlist`). The provider does not hear
    # of it.
    allowed_networks = JSONTextField(default=list)
    changed_by = models.CharField(max_length=200, blank=True, default="", editable=False)

    # Observed
    remote_id = models.CharField(max_length=200, null=True, blank=True, editable=False)
    remote_status = models.CharField(max_length=50, null=True, blank=True, editable=False)
    remote_enabled = models.BooleanField(null=True, editable=False)
    remote_url = models.TextField(null=True, blank=True, editable=False)
    remote_config = JSONTextField(null=True, blank=True, editable=False)
    remote_secret_matches = models.BooleanField(null=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    granted = models.DurationField(null=True, blank=True, editable=False)  # the lease's life when it began
    observed_at = models.DateTimeField(null=True, blank=True, editable=False)
    details_at = models.DateTimeField(null=True, blank=True, editable=False)
    missing_since = models.DateTimeField(null=True, blank=True, editable=False)
    # The config in which both sides were last at one, in canonical form: what differs there now is drift
    agreed_config = JSONTextField(null=True, blank=True, editable=False)

    # Learned on the way
    register_tried_at = models.DateTimeField(null=True, blank=True, editable=False)
    renews_in_place = models.BooleanField(null=True, editable=False)
    update_enables = models.BooleanField(null=True, editable=False)
    replace_refused = models.BooleanField(default=False, editable=False)
    secret_for = models.CharField(max_length=200, null=True, blank=True, editable=False)
    # The number of the secret that the provider was given last, and since when; null: it is not known
    remote_secret_no = models.PositiveIntegerField(null=True, blank=True, editable=False)
    secret_set_at = models.DateTimeField(null=True, blank=True, editable=False)
    we_disabled = models.BooleanField(default=False, editable=False)
    suspended_count = models.PositiveIntegerField(default=0, editable=False)
    enable_not_before = models.DateTimeField(null=True, blank=True, editable=False)
    enabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    switch_offs = JSONTextField(default=list, editable=False)  # when the provider did so lately, ISO times
    gave_up_at = models.DateTimeField(
        null=True, blank=True, editable=False
    )  # switched off too often: waits for a person
    renewed_at = models.DateTimeField(null=True, blank=True, editable=False)
    renewal_failing_since = models.DateTimeField(null=True, blank=True, editable=False)  # it is due, and fails
    renewal_tries = models.PositiveIntegerField(default=0, editable=False)  # that failed since then
    held_since = models.DateTimeField(null=True, blank=True, editable=False)  # it waits for the account's calls

    # How it stands
    state = models.CharField(max_length=20, choices=State.choices, default=State.PENDING, db_index=True, editable=False)
    state_reason = models.TextField(blank=True, default="", editable=False)
    drift = JSONTextField(default=list, editable=False)
    waiting = models.TextField(blank=True, default="", editable=False)
    waiting_for = models.CharField(max_length=20, blank=True, default="", editable=False)  # plan.Wait
    last_error = JSONTextField(null=True, blank=True, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False)
    applied_generation = models.PositiveIntegerField(default=0, editable=False)
    last_reconciled_at = models.DateTimeField(null=True, blank=True, editable=False)
    renew_at = models.DateTimeField(null=True, blank=True, editable=False)
    due_at = models.DateTimeField(null=True, blank=True, default=timezone.now, db_index=True, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # A person gave up on removing it at the provider, which may still have it
    forgotten_at = models.DateTimeField(null=True, blank=True, editable=False)

    # Written by events
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)  # first accepted request
    last_event_at = models.DateTimeField(null=True, blank=True, editable=False)
    secret_seen_no = models.PositiveIntegerField(null=True, blank=True, editable=False)  # the newest that proved one
    silent_since = models.DateTimeField(null=True, blank=True, editable=False)
    silence_reason = models.TextField(blank=True, default="", editable=False)  # what the probe told
    quiet_suggestion = models.PositiveIntegerField(null=True, blank=True, editable=False)  # seconds
    quiet_suggested_at = models.DateTimeField(null=True, blank=True, editable=False)

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
        """A new row gets its callback URL and, where we make it, its secret: both before any call is made."""
        if self._state.adding:
            self.callback_url = self.callback_url or callback_url_for(self.token)
            if not self.secrets and self.account.plugin.capabilities.secret_made_by is SecretMadeBy.US:
                self.secrets = [self.account.plugin.new_secret()]
        super().save(*args, **kwargs)

    @property
    def spread(self) -> float:
        """Where this one stands in whatever is spread over time; 0 to 1, fixed."""
        return spread_of(str(self.uid))

    @property
    def suggested_minutes(self) -> int | None:
        """The suggestion for its expected time without an event, as the form asks for it."""
        return None if self.quiet_suggestion is None else self.quiet_suggestion // 60

    @property
    def address_confirmed(self) -> bool:
        """Whether PUBLIC_URL still is the address that the callback URL was made for."""
        return self.callback_url == callback_url_for(self.token)

    @property
    def how_it_ended(self) -> str:
        """How a deleted one went, in words."""
        if self.forgotten_at is None:
            return "Deleted here and at the provider."
        if self.remote_id is None:
            return "Forgotten here; the provider could not be asked whether it has anything of it."
        return f"Forgotten here; the provider may still have it as {self.remote_id}."

    @property
    def rotation(self) -> Rotation | None:
        """The secret rotation that is under way."""
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
        """Whether the provider was given the secret that is to be in use, as far as we know."""
        return self.remote_secret_no == self.secret_no or (self.remote_secret_no is None and self.secret_no == 1)

    def want(self, *, by: str, **wanted: object) -> None:
        """Changes the wanted half and makes the row due at once. `by` is who asked, for the operations."""
        values: dict[str, object] = {
            **wanted,
            "changed_by": by,
            "generation": models.F("generation") + 1,
            "due_at": timezone.now(),
            "failures": 0,
        }
        write(type(self).objects.filter(pk=self.pk), by=by, **values)
        self.refresh_from_db()


class OperationStatus(models.TextChoices):
    """How an operation ended."""

    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"  # we died, or got no answer: it may have taken effect


class Operation(models.Model):
    """One executed step: who or what asked, what was sent, what came back. Committed before its call is made."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    # The account is the subscription's; it is repeated for the account's timeline.
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
        """A new one belongs to its subscription's account."""
        if self._state.adding and self.account_id is None:
            self.account_id = self.subscription.account_id
        super().save(*args, **kwargs)


class KnownRemote(models.Model):
    """Whose a remote id is: ours (`subscription`) or foreign. So that an id is asked for once, not at every look."""

    account = models.ForeignKey(ProviderAccount, models.CASCADE, related_name="known_remotes")
    remote_id = models.CharField(max_length=200)
    subscription = models.ForeignKey(Subscription, models.CASCADE, null=True, related_name="known_remotes")
    url = models.TextField(blank=True, default="")
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["account", "remote_id"], name="known_remote_once")]

    def __str__(self) -> str:
        return self.remote_id


class FormerSecret(models.Model):
    """A secret that was accepted once. A person can still release what was proved by it and came too late."""

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="former_secrets")
    value = EncryptedJSONField(editable=False)
    dropped_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Former secret {self.pk}"


class RemoteNote(models.Model):
    """What people decided about a remote subscription that is not managed here: to ignore it, or to remove it, and
    until when that is under way. Unlike a KnownRemote it stays when the provider does not list the id for a while."""

    account = models.ForeignKey(ProviderAccount, models.CASCADE, related_name="remote_notes")
    remote_id = models.CharField(max_length=200)
    ignored_at = models.DateTimeField(null=True, blank=True)
    removing_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["account", "remote_id"], name="remote_note_once")]

    def __str__(self) -> str:
        return self.remote_id


class Heartbeat(models.Model):
    """When a part of the installation last showed that it is alive."""

    name = models.CharField(max_length=50, unique=True)
    at = models.DateTimeField()
    detail = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def beat(cls, name: str, detail: str = "") -> None:
        """Writes down that this part is alive now."""
        cls.objects.update_or_create(name=name, defaults={"at": timezone.now(), "detail": detail})

    @classmethod
    def take_turn(cls, name: str, every: timedelta) -> bool:
        """Whether it is time again for what is done once in a while, by whichever process comes first: the others are
        told no. A time in the future was written before the clock was set back."""
        now = timezone.now()
        cls.objects.get_or_create(name=name, defaults={"at": now - every})
        due = models.Q(at__lte=now - every) | models.Q(at__gt=now + timedelta(seconds=5))
        return cls.objects.filter(due, name=name).update(at=now) == 1
