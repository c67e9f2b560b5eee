"""Accounts at providers, their limits and tokens, the audit trail, and the recorded state changes."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings as django_settings
from django.db import models
from django.utils import timezone
from pydantic import BaseModel

from providers.contract.base import AnyProvider
from providers.contract.registry import get_provider
from providers.contract.schemas import validate
from providers.db.claims import Claimable
from providers.db.fields import EncryptedJSONField, JSONTextField
from providers.db.ids import new_id

SANDBOX_SYNC_INTERVAL = timedelta(seconds=15)
SYNC_INTERVAL = timedelta(minutes=5)
DETAILS_INTERVAL = timedelta(hours=1)
MAX_RETENTION_DAYS = 3650


class AccountStatus(models.TextChoices):
    """Whether the credentials work, according to the last check or call."""

    UNCHECKED = "unchecked", "Unchecked"
    OK = "ok", "OK"
    FAILING = "failing", "Failing"


class UndeletedAccounts(models.Manager["ProviderAccount"]):
    """The manager for accounts that are not deleted."""

    def get_queryset(self) -> models.QuerySet[ProviderAccount]:
        """Leave out deleted accounts."""
        return super().get_queryset().filter(deleted_at=None)


class ProviderAccount(Claimable):
    """An account at a provider: settings and encrypted credentials.

    A deleted account keeps its row, without credentials, because its events and operations are kept. Only
    `providers.audit.state_changes` writes `status`.
    """

    subject: ClassVar[str] = "account"
    state_field: ClassVar[str] = "status"
    account_key: ClassVar[str] = "pk"

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    provider = models.CharField(max_length=50)
    name = models.CharField(max_length=200)
    settings = JSONTextField(default=dict)
    credentials = EncryptedJSONField(default=dict)
    status = models.CharField(max_length=20, choices=AccountStatus.choices, default=AccountStatus.UNCHECKED)
    status_reason = models.TextField(blank=True, default="")
    identity = JSONTextField(default=dict)
    checked_at = models.DateTimeField(null=True, blank=True)
    synced_at = models.DateTimeField(null=True, blank=True)
    sync_due_at = models.DateTimeField(default=timezone.now, db_index=True)

    # The pause of calls, written by `providers.accounts.circuit_breaker`: its end, the time at which it was set, the
    # start of the first of consecutive pauses, its cause (an error code), and the number of consecutive pauses.
    # `call_failures` counts consecutive calls without a usable response.
    calls_paused_until = models.DateTimeField(null=True, blank=True, editable=False)
    calls_paused_at = models.DateTimeField(null=True, blank=True, editable=False)
    calls_paused_since = models.DateTimeField(null=True, blank=True, editable=False)
    calls_paused_for = models.CharField(max_length=30, blank=True, default="", editable=False)
    calls_paused_reason = models.TextField(blank=True, default="", editable=False)
    calls_paused_count = models.PositiveIntegerField(default=0, editable=False)
    call_failures = models.PositiveIntegerField(default=0, editable=False)

    retention_days = models.PositiveIntegerField(
        null=True, blank=True
    )  # of requests and events; null keeps them indefinitely
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    # A requested deletion with all subscriptions: the worker deletes those first, then the account.
    removal_asked_at = models.DateTimeField(null=True, blank=True, db_index=True, editable=False)
    removal_asked_by = models.CharField(max_length=200, blank=True, default="", editable=False)

    objects = UndeletedAccounts()
    with_deleted = models.Manager["ProviderAccount"]()

    class Meta:
        verbose_name = "account"
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def plugin(self) -> AnyProvider:
        """Return the provider plug-in. Raises UnknownProvider if it is not installed."""
        return get_provider(self.provider)

    @property
    def typed_settings(self) -> BaseModel:
        """Return the settings as the provider's model. Raises InvalidInput if they do not match it."""
        checked: BaseModel = validate(self.plugin.settings_model, self.settings)
        return checked

    @property
    def is_sandbox(self) -> bool:
        """Return whether the account is one of the sandbox, which is synced more often and has no day quota."""
        base_url = self.settings.get("base_url")
        return bool(base_url) and base_url == django_settings.SANDBOX_URL

    @property
    def sync_interval(self) -> timedelta:
        """Return the interval between two syncs of the remote state."""
        return SANDBOX_SYNC_INTERVAL if self.is_sandbox else SYNC_INTERVAL

    @property
    def details_interval(self) -> timedelta:
        """Return the interval between two reads of each registration's details, where the list does not have them."""
        return timedelta(0) if self.is_sandbox else DETAILS_INTERVAL


class AccountLimit(models.Model):
    """How much of its provider's limits an account has used; shared by all processes."""

    account = models.OneToOneField(ProviderAccount, models.CASCADE, primary_key=True, related_name="limit")
    next_slot_at = models.DateTimeField(default=timezone.now)
    blocked_at = models.DateTimeField(null=True)
    blocked_until = models.DateTimeField(null=True)
    throttled_since = models.DateTimeField(null=True)  # since when the provider has been throttling the account
    day = models.DateField(null=True)
    day_calls = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"Limits of account {self.account_id}"


class AccountToken(models.Model):
    """A short-lived access token, obtained with an account's credentials."""

    account = models.ForeignKey(ProviderAccount, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=50)
    value = EncryptedJSONField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["account", "name"], name="account_token_once")]

    def __str__(self) -> str:
        return f"Token {self.name} of account {self.account_id}"


class KeyCanary(models.Model):
    """A text that only the right ENCRYPTION_KEYS decrypt; see `providers.accounts.encryption_keys`."""

    ONLY: ClassVar[int] = 1  # the primary key of the only row

    value = EncryptedJSONField()

    def __str__(self) -> str:
        return "Canary"


class HistoryEntry(models.Model):
    """An entry of the audit trail, from the dashboard or the API. Entries are never deleted.

    `providers.audit.actors` describes the values of `actor`. Scheduled work is recorded as operations instead.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=50)
    subject_type = models.CharField(max_length=50)
    subject_id = models.CharField(max_length=100)
    subject_name = models.CharField(max_length=200, blank=True, default="")
    account = models.ForeignKey(ProviderAccount, models.PROTECT, null=True, db_index=False, related_name="+")
    changes = JSONTextField(default=list)  # [{"field", "from", "to"}], secrets as ***

    class Meta:
        verbose_name_plural = "audit trail"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["subject_type", "subject_id", "-id"], name="history_of_subject"),
            models.Index(fields=["subject_id", "-uid"], name="history_timeline"),
            models.Index(fields=["account", "-uid"], name="history_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject_type} {self.subject_name}"


class StateChange(models.Model):
    """A change of the state of an account or a subscription, and its reason. Never deleted.

    Only `providers.audit.state_changes` writes it, and counts repeated changes on one row.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    account = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False, related_name="+")
    subject_type = models.CharField(max_length=50)
    subject_id = models.CharField(max_length=100)
    before = models.CharField(max_length=20)
    after = models.CharField(max_length=20)
    reason = models.TextField(blank=True, default="")
    actor = models.CharField(max_length=200)
    at = models.DateTimeField(default=timezone.now)
    times = models.PositiveIntegerField(default=1)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["subject_id", "-uid"], name="state_change_timeline"),
            models.Index(fields=["account", "-uid"], name="state_change_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.subject_type} {self.before} to {self.after}"
