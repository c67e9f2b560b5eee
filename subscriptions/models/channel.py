"""Notification channels, their messages, and the problems that each channel has reported."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone

from providers.db.claims import Claimable
from providers.db.fields import EncryptedJSONField, JSONTextField
from providers.db.ids import new_id
from subscriptions.models.problem import Problem, Severity


class ChannelKind(models.TextChoices):
    """The transport of a channel."""

    EMAIL = "email", "Email"
    WEBHOOK = "webhook", "Webhook (Slack-compatible)"


class Channel(Claimable):
    """A channel that notifies people of problems.

    What it last reported about each problem is stored in `NotifiedProblem`, so that no change is reported twice or
    missed.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=ChannelKind.choices)
    enabled = models.BooleanField(default=True)
    recipients = JSONTextField(default=list)  # email addresses
    url = EncryptedJSONField(default=str)  # of the webhook; a secret, because anyone who knows it can post there
    min_severity = models.CharField(max_length=10, choices=Severity.choices, default=Severity.WARNING)
    every = models.DurationField(default=timedelta(minutes=10))  # minimum interval between two messages
    remind_every = models.DurationField(null=True, blank=True, default=timedelta(hours=24))
    recoveries = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # Delivery state, written by `subscriptions.notifications.dispatch`.
    caught_up_at = models.DateTimeField(default=timezone.now, editable=False)  # changes after it are not sent yet
    sent_at = models.DateTimeField(null=True, editable=False)
    alarmed_at = models.DateTimeField(null=True, editable=False)  # last urgent message, sent ahead of the interval
    failures = models.PositiveIntegerField(default=0, editable=False)
    last_error = models.TextField(blank=True, default="", editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def severities(self) -> Sequence[Severity]:
        """The severities that this channel sends."""
        least = Severity(self.min_severity).rank
        return [severity for severity in Severity if severity.rank >= least]


class NotifiedProblem(models.Model):
    """What a channel last sent about a problem: which opening, its severity, and whether it was resolved."""

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="notified")
    problem = models.ForeignKey(Problem, models.CASCADE, related_name="notified")
    reopened = models.PositiveIntegerField()  # the problem's `reopened` counter at that time
    severity = models.CharField(max_length=10, choices=Severity.choices)
    resolved = models.BooleanField(default=False)
    notified_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["channel", "problem"], name="notified_once")]

    def __str__(self) -> str:
        return f"{self.problem_id} at {self.channel_id}"


class MessageStatus(models.TextChoices):
    """Whether a message was sent."""

    SENDING = "sending", "Sending"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"  # the worker was killed before recording the outcome; its content is sent again


class Message(models.Model):
    """One message of a channel, committed before it is sent."""

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="messages")
    status = models.CharField(max_length=10, choices=MessageStatus.choices, default=MessageStatus.SENDING)
    subject = models.CharField(max_length=300)
    text = models.TextField()
    error = models.TextField(blank=True, default="")
    is_test = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [models.Index(fields=["channel", "-id"], name="message_of_channel")]

    def __str__(self) -> str:
        return self.subject
