"""Requests as they came in, the events that they carried, and where the feed ends."""

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
    """What became of a request."""

    RECEIVED = "received", "Received"  # its events are to follow
    PROCESSED = "processed", "Processed"
    DUPLICATE = "duplicate", "Duplicate"
    QUARANTINED = "quarantined", "Quarantined"
    REJECTED = "rejected", "Rejected"
    TRUNCATED = "truncated", "Truncated"
    PING = "ping", "Ping"


class VerificationState(models.TextChoices):
    """Whether a request proved that it comes from the provider."""

    VERIFIED = VerificationResult.VERIFIED.value, "Verified"
    FAILED = VerificationResult.FAILED.value, "Failed"
    NOT_VERIFIABLE = VerificationResult.NOT_VERIFIABLE.value, "Not verifiable"


class WebhookRequestQuerySet(models.QuerySet["WebhookRequest"]):
    """Reads over requests."""

    def unprocessed(self, *, older_than: timedelta = timedelta(0)) -> WebhookRequestQuerySet:
        """Return the requests without events yet, oldest first, that were received at least `older_than` ago."""
        now = timezone.now()
        old_enough = not_after("received_at", now - older_than, now)
        return self.filter(old_enough, outcome=Outcome.RECEIVED).order_by("id")


class WebhookRequest(models.Model):
    """One inbound HTTP call at a callback URL, kept verbatim. Only `events.processing.normalize` writes it."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    # Both are served by indexes below. The account is the subscription's; it is repeated for lists by account, and the
    # database need not look for it at each row, since it makes sure of the subscription.
    account = models.ForeignKey(
        ProviderAccount, models.PROTECT, related_name="webhook_requests", db_index=False, db_constraint=False
    )
    subscription = models.ForeignKey(Subscription, models.PROTECT, related_name="webhook_requests", db_index=False)

    method = models.CharField(max_length=10)
    received_at = models.DateTimeField()
    remote_addr = models.CharField("remote address", max_length=64, blank=True)
    headers = JSONTextField(default=list)  # [[name, value], ...]; secret values are replaced by a marker
    sealed_headers = EncryptedJSONField(default=dict, editable=False)  # {index in headers: the value}
    query = models.TextField(blank=True)
    body = models.BinaryField()
    size = models.PositiveBigIntegerField()  # of the body as it was sent; more than is kept when truncated

    verification = models.CharField(max_length=20, choices=VerificationState.choices)
    verification_detail = models.TextField(blank=True)
    outcome = models.CharField(max_length=20, choices=Outcome.choices)
    reason = models.TextField(blank=True, default="")
    processed_at = models.DateTimeField(null=True, blank=True)
    # Events of other requests that this one repeated and was counted at, by their key: reprocessing counts none twice.
    repeated_keys = JSONTextField(default=list, editable=False)
    # Only of what waits for long: how often reading it began without an end, and when last
    # (events.processing.poison_requests).
    tries = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    tried_at = models.DateTimeField(null=True, editable=False)

    objects = WebhookRequestQuerySet.as_manager()

    class Meta:
        verbose_name = "request"
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=Q(outcome="received"), name="request_unprocessed"),
            models.Index(fields=["subscription", "-id"], condition=Q(outcome="rejected"), name="request_rejected"),
            models.Index(
                fields=["subscription", "-id"], condition=Q(outcome="quarantined"), name="request_quarantined"
            ),
            models.Index(fields=["subscription", "-id"], name="request_of_subscription"),
            models.Index(fields=["account", "-id"], name="request_of_account"),
            models.Index(fields=["outcome", "-id"], name="request_by_outcome"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.uid}"

    def readable_headers(self) -> list[tuple[str, str]] | None:
        """The headers; None when what is stored cannot be read. Where that may be, they are deferred."""
        try:
            return [(name, value) for name, value in self.headers]
        except (ValueError, TypeError):
            return None

    def unsealed_headers(self) -> list[tuple[str, str]]:
        """The headers with those secret values that are kept. Raises ValueError or TypeError when what is stored
        cannot be read, and so Undecryptable."""
        sealed: dict[str, str] = self.sealed_headers
        return [(name, sealed.get(str(index), value)) for index, (name, value) in enumerate(self.headers)]

    def inbound(self, *, unsealed: bool = False) -> InboundRequest:
        """The call for the plug-in. Secret header values are markers; unsealed, those that were kept encrypted are
        there again (what proved an accepted request never was kept)."""
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
    """One normalised, de-duplicated thing that happened. Only `events.processing.normalize` and
    `events.processing.feed_position` write it.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    # Account and subscription are the request's, of which the database makes sure.
    account = models.ForeignKey(
        ProviderAccount, models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="events", db_index=False, db_constraint=False
    )
    request = models.ForeignKey(WebhookRequest, models.PROTECT, related_name="events")
    provider = models.CharField(max_length=50)

    type = models.CharField(max_length=200)  # the provider's own word
    action = models.CharField(max_length=30)
    resource_type = models.CharField(max_length=50, null=True, blank=True)
    resource = models.CharField(max_length=2000, null=True, blank=True)
    actor = models.CharField(max_length=255, null=True, blank=True)
    occurred_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField()
    provider_event_id = models.CharField(max_length=255, null=True, blank=True)
    dedup_key = models.CharField(max_length=255)
    duplicates = models.PositiveIntegerField(default=0)
    last_duplicate_at = models.DateTimeField(null=True, blank=True)  # the first time is received_at
    data = JSONTextField(null=True)  # the element as it was sent; null is JSON's null

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
    """Reads over silences."""

    def suspected(self) -> SilenceQuerySet:
        """Probed, and not decided yet."""
        return self.filter(found_at=None, ended_at=None)

    def found(self) -> SilenceQuerySet:
        """Those that last."""
        return self.filter(found_at__isnull=False, ended_at=None)


class Silence(models.Model):
    """A time in which a subscription sent nothing although events were expected. Only `events.monitoring.silence`
    writes it.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    account = models.ForeignKey(ProviderAccount, models.PROTECT, db_index=False, related_name="+")
    subscription = models.ForeignKey(Subscription, models.PROTECT, db_index=False, related_name="silences")
    since = models.DateTimeField()
    probed_at = models.DateTimeField()
    tested = models.BooleanField(default=False)  # the provider was asked for a test webhook, and sends it
    words = models.TextField(blank=True, default="")  # what the probe told
    found_at = models.DateTimeField(null=True)
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
    """What of an account was thrown away because of its age, and when the next look is due. Only
    `events.retention.purge`
    writes it."""

    account = models.OneToOneField(ProviderAccount, models.CASCADE, related_name="purge")
    due_at = models.DateTimeField(default=timezone.now, db_index=True)
    looked_at = models.DateTimeField(null=True)
    kept_since = models.DateTimeField(null=True)  # when the oldest request that is there came in, at the last look
    purged_at = models.DateTimeField(null=True)
    purged_requests = models.PositiveBigIntegerField(default=0)
    purged_events = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"Purge of account {self.account_id}"


class FeedEnd(models.Model):
    """The last position that was given out: one row, which is also the lock. It outlives the events themselves, so a
    position is never given twice."""

    position = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.position)


class Outage(models.Model):
    """A time whose requests were stored late: those that were received from `since` on, by `stored_by` at the latest.
    Only `events.storage.time_range` writes it, before such requests are stored, so that none is overlooked."""

    since = models.DateTimeField()
    stored_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.since} to {self.stored_by}"
