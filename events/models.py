"""Stored requests, their events, the end of the feed, silences, purges and outages."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.contract.parsing import InboundRequest, VerificationResult
from providers.db.claims import Claimable
from providers.db.clock_steps import not_after
from providers.db.fields import EncryptedJSONField, JSONTextField
from providers.db.ids import new_id
from providers.models import ProviderAccount
from subscriptions.models import Subscription


class Outcome(models.TextChoices):
    """The state of a request: not normalized yet, or the result."""

    RECEIVED = "received", "Received"  # not normalized yet
    PROCESSED = "processed", "Processed"
    DUPLICATE = "duplicate", "Duplicate"
    QUARANTINED = "quarantined", "Quarantined"
    REJECTED = "rejected", "Rejected"
    TRUNCATED = "truncated", "Truncated"
    PING = "ping", "Ping"


class VerificationState(models.TextChoices):
    """Whether a request is known to come from the provider."""

    VERIFIED = VerificationResult.VERIFIED.value, "Verified"
    FAILED = VerificationResult.FAILED.value, "Failed"
    NOT_VERIFIABLE = VerificationResult.NOT_VERIFIABLE.value, "Not verifiable"


class WebhookRequestQuerySet(models.QuerySet["WebhookRequest"]):
    """Queries for requests."""

    def unprocessed(self, *, older_than: timedelta = timedelta(0)) -> WebhookRequestQuerySet:
        """Return the requests that are not normalized yet and were received at least `older_than` ago, oldest first."""
        now = timezone.now()
        old_enough = not_after("received_at", now - older_than, now)
        return self.filter(old_enough, outcome=Outcome.RECEIVED).order_by("id")

    def unsettled(self, outcome: Outcome) -> WebhookRequestQuerySet:
        """Return the rejected or quarantined requests that no person has dismissed: each is part of a problem."""
        return self.filter(outcome=outcome, dismissed_at=None)


class WebhookRequest(models.Model):
    """One inbound HTTP call at a callback URL, stored unmodified.

    The receiver inserts it, and only `events.processing` updates it. A column that the receiver fills must also be
    added to `events.storage.request_row`.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    # The composite indexes below serve both foreign keys. The account is that of the subscription, repeated for lists
    # by account. It needs no constraint, which would cost a lookup for each row, because the subscription has one.
    account = models.ForeignKey(
        ProviderAccount, models.PROTECT, related_name="webhook_requests", db_index=False, db_constraint=False
    )
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="webhook_requests", db_index=False)

    method = models.CharField(max_length=10)
    received_at = models.DateTimeField()
    remote_addr = models.CharField("remote address", max_length=64, blank=True)
    headers = JSONTextField(default=list)  # [[name, value], ...]; secret values are masked
    sealed_headers = EncryptedJSONField(default=dict, editable=False)  # {index in headers: value}
    query = models.TextField(blank=True)
    body = models.BinaryField()
    size = models.PositiveBigIntegerField()  # bytes of the body as it was sent; more than are stored if it is truncated

    verification = models.CharField(max_length=20, choices=VerificationState.choices)
    verification_detail = models.TextField(blank=True)
    outcome = models.CharField(max_length=20, choices=Outcome.choices)
    reason = models.TextField(blank=True, default="")
    processed_at = models.DateTimeField(null=True, blank=True)
    # The keys of other requests' events that this one has been counted as a duplicate of. Reprocessing counts none of
    # them twice.
    repeated_keys = JSONTextField(default=list, editable=False)
    # Only for requests that wait for long: how many attempts to normalize them never ended, and when the last one
    # started (events.processing.poison_requests).
    tries = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    tried_at = models.DateTimeField(null=True, editable=False)
    # When a person decided that nothing is to be done about a rejected or quarantined request.
    dismissed_at = models.DateTimeField(null=True, editable=False)

    objects = WebhookRequestQuerySet.as_manager()

    class Meta:
        verbose_name = "request"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=Q(outcome="received"), name="request_unprocessed"),
            models.Index(
                fields=["subscription", "-id"],
                condition=Q(outcome="rejected", verification="failed"),
                name="request_unauthenticated",
            ),
            *(
                models.Index(
                    fields=["subscription", "-id"],
                    condition=Q(outcome=outcome, dismissed_at=None),
                    name=f"request_{outcome}",
                )
                for outcome in ("rejected", "quarantined")
            ),
            models.Index(fields=["subscription", "-id"], name="request_of_subscription"),
            models.Index(fields=["account", "-id"], name="request_of_account"),
            models.Index(fields=["outcome", "-id"], name="request_by_outcome"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.uid}"

    def readable_headers(self) -> list[tuple[str, str]] | None:
        """Return the headers, or None if the stored value cannot be decoded.

        Queries must defer the column, because decoding it would otherwise fail the whole query.
        """
        try:
            return [(name, value) for name, value in self.headers]
        except (ValueError, TypeError):
            return None

    def unsealed_headers(self) -> list[tuple[str, str]]:
        """Return the headers with the stored secret values.

        Raises ValueError, TypeError or Undecryptable when the stored values cannot be decoded.
        """
        sealed: dict[str, str] = self.sealed_headers
        return [(name, sealed.get(str(index), value)) for index, (name, value) in enumerate(self.headers)]

    def inbound(self, *, unsealed: bool = False) -> InboundRequest:
        """Return the call for the plug-in.

        Secret header values are masked, unless `unsealed` restores those that are stored encrypted. The secret that
        authenticated an accepted request is not stored.
        """
        headers = self.unsealed_headers() if unsealed else [(name, value) for name, value in self.headers]
        return InboundRequest(
            method=self.method,
            url=self.subscription.callback_url,
            query=self.query,
            headers=tuple(headers),
            body=bytes(self.body),
            received_at=self.received_at,
            former_urls=tuple(self.subscription.former_callback_urls),
        )


class Event(models.Model):
    """One normalized, de-duplicated occurrence. Only `events.processing` writes it."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    # Account and subscription are those of the request, which has a constraint.
    account = models.ForeignKey(
        ProviderAccount, models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    request = models.ForeignKey(WebhookRequest, models.PROTECT, related_name="events")
    provider = models.CharField(max_length=50)

    type = models.CharField(max_length=200)  # as the provider names it
    action = models.CharField(max_length=30)
    resource_type = models.CharField(max_length=50, null=True, blank=True)
    resource = models.CharField(max_length=2000, null=True, blank=True)
    previous_resource = models.CharField(max_length=2000, null=True, blank=True)  # before a move, rename or copy
    actor = models.CharField(max_length=255, null=True, blank=True)
    occurred_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField()
    provider_event_id = models.CharField(max_length=255, null=True, blank=True)
    dedup_key = models.CharField(max_length=255)
    duplicates = models.PositiveIntegerField(default=0)
    last_duplicate_at = models.DateTimeField(null=True, blank=True)  # the first occurrence is at received_at
    data = JSONTextField(null=True)  # the element as it was sent; None is JSON's null

    position = models.BigIntegerField(unique=True, editable=False)  # in the feed

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["subscription", "dedup_key"], name="event_once")]
        indexes: ClassVar = [
            models.Index(fields=["account", "-id"], name="event_of_account"),
            models.Index(fields=["subscription", "-id"], name="event_of_subscription"),
            models.Index(fields=["type", "-id"], name="event_by_type"),
            models.Index(fields=["action", "-id"], name="event_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.uid}"


class SilenceQuerySet(models.QuerySet["Silence"]):
    """Queries for silences."""

    def suspected(self) -> SilenceQuerySet:
        """Return the silences that have been probed and are not confirmed yet."""
        return self.filter(confirmed_at=None, ended_at=None)

    def confirmed(self) -> SilenceQuerySet:
        """Return the confirmed silences that last."""
        return self.filter(confirmed_at__isnull=False, ended_at=None)


class Silence(models.Model):
    """A period in which a subscription sent nothing although events were expected.

    Only `events.monitoring.silence` writes it.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    account = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False, related_name="+")
    subscription = models.ForeignKey(Subscription, models.PROTECT, db_index=False, related_name="silences")
    since = models.DateTimeField()
    probed_at = models.DateTimeField()
    tested = models.BooleanField(default=False)  # the provider was asked for a test webhook, and supports it
    message = models.TextField(blank=True, default="")  # the result of the probe
    confirmed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = SilenceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subscription"], condition=Q(ended_at=None), name="one_open_silence")
        ]
        indexes: ClassVar = [
            models.Index(fields=["subscription", "-uid"], name="silence_timeline"),
            models.Index(fields=["account", "-uid"], name="silence_of_account"),
        ]

    def __str__(self) -> str:
        return f"Silence of subscription {self.subscription_id}"


class Purge(Claimable):
    """The purges of an account: how much was deleted because of its age, and when the next purge is due.

    Only `events.retention.purge` writes it.
    """

    account = models.OneToOneField(ProviderAccount, models.CASCADE, related_name="purge")
    due_at = models.DateTimeField(default=timezone.now, db_index=True)
    checked_at = models.DateTimeField(null=True)
    kept_since = models.DateTimeField(null=True)  # when the oldest stored request was received
    purged_at = models.DateTimeField(null=True)
    purged_requests = models.PositiveBigIntegerField(default=0)
    purged_events = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"Purge of account {self.account_id}"


class FeedEnd(models.Model):
    """The last position in the feed: one row, which is also the lock for assigning positions.

    It outlives the events, so that no position is assigned twice.
    """

    position = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.position)


class Outage(models.Model):
    """A period whose requests were stored late: received from `since` on, stored by `stored_by` at the latest.

    Only `events.storage.time_range` writes it, before such requests are stored, so that none is missed.
    """

    since = models.DateTimeField()
    stored_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.since} to {self.stored_by}"
