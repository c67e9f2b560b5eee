"""Problems, the story of each, and the channels that tell people of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.db.claims import Claimable
from providers.db.fields import EncryptedJSONField, JSONTextField
from providers.db.ids import new_id
from providers.models import ProviderAccount


class ProblemKind(models.TextChoices):
    """What is wrong. `subscriptions.problems.remediation` says for each what a person does about it."""

    EXPIRING = "expiring", "Expiring"
    EXPIRED = "expired", "Expired"
    SUSPENDED = "suspended", "Suspended"
    MISSING = "missing", "Missing"
    DRIFTED = "drifted", "Drifted"
    FAILING = "failing", "Refused"
    SILENT = "silent", "Silent"
    ROTATION = "rotation", "Secret rotation"
    CREDENTIALS = "credentials", "Credentials"
    PERMISSION = "permission", "Permission missing"
    THROTTLED = "throttled", "Throttled"
    UNREACHABLE = "unreachable", "Unreachable"
    CLONE = "clone", "Clone"
    QUARANTINE = "quarantine", "Quarantine"
    REJECTED_REQUESTS = "rejected_requests", "Rejected requests"
    BACKLOG = "backlog", "Backlog"
    SPOOL = "spool", "Spool"
    WORKER_DOWN = "worker_down", "Worker down"
    SCHEDULER_DOWN = "scheduler_down", "Scheduler down"
    NOTIFYING = "notifying", "Notifications fail"


class Severity(models.TextChoices):
    """How much it matters."""

    INFO = "info", "Info"  # good to know; nobody is notified by default
    WARNING = "warning", "Warning"  # a person is needed, and there is time
    CRITICAL = "critical", "Critical"  # events are lost or about to be

    @property
    def rank(self) -> int:
        """The graver, the larger."""
        return list(type(self)).index(self)


class ProblemState(models.TextChoices):
    """Where it stands."""

    OPEN = "open", "Open"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"  # it holds, and a person is on it
    RESOLVED = "resolved", "Resolved"


class SubjectType(models.TextChoices):
    """What a problem is about."""

    ACCOUNT = "account", "Account"
    SUBSCRIPTION = "subscription", "Subscription"
    INSTALLATION = "installation", "This installation"


NARROW_TO_BROAD = (SubjectType.SUBSCRIPTION, SubjectType.ACCOUNT, SubjectType.INSTALLATION)
COUNTED = 99
ACTIVE = (ProblemState.OPEN, ProblemState.ACKNOWLEDGED)


class ProblemQuerySet(models.QuerySet["Problem"]):
    """Reads over problems."""

    def active(self) -> ProblemQuerySet:
        """Those whose cause holds, as far as we know."""
        return self.filter(state__in=ACTIVE)

    def needing_a_person(self) -> ProblemQuerySet:
        """Open, and more than good to know."""
        return self.filter(state=ProblemState.OPEN).exclude(severity=Severity.INFO)

    def number(self) -> str:
        """How many there are, without counting far: from 100 on it is `99+`."""
        found = len(self.order_by().values_list("pk")[: COUNTED + 1])
        return f"{COUNTED}+" if found > COUNTED else str(found)

    def gravest_first(self) -> ProblemQuerySet:
        """The critical ones first; of those what may be the cause of others: the installation's, then accounts'; then
        the newest."""
        weight, breadth = (
            models.Case(
                *(models.When(**{field: value}, then=rank) for rank, value in enumerate(values)),
                default=0,
                output_field=models.SmallIntegerField(),
            )
            for field, values in (("severity", Severity.values), ("subject_type", NARROW_TO_BROAD))
        )
        return self.order_by(weight.desc(), breadth.desc(), "-opened_at", "-pk")

    def of_subscription(self, key: int) -> ProblemQuerySet:
        """About one subscription."""
        return self.filter(subscription=key)

    def of_account(self, key: int) -> ProblemQuerySet:
        """About an account or one of its subscriptions."""
        return self.filter(account=key)


class Problem(models.Model):
    """One thing that needs a person: one row for each kind, subject and cause, however often it happens.

    `subscriptions.problems.detector` writes what the causes say; people and programs acknowledge and resolve.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    kind = models.CharField(max_length=30, choices=ProblemKind.choices)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    state = models.CharField(max_length=15, choices=ProblemState.choices, default=ProblemState.OPEN)

    # What it is about. The account is also that of the subscription; the name is as it was when last seen.
    subject_type = models.CharField(max_length=20, choices=SubjectType.choices)
    subject_id = models.CharField(max_length=100, blank=True, default="")
    subject_name = models.CharField(max_length=200, blank=True, default="")
    account = models.ForeignKey(ProviderAccount, models.CASCADE, null=True, related_name="problems")
    subscription = models.ForeignKey("subscriptions.Subscription", models.CASCADE, null=True, related_name="problems")
    cause = models.CharField(max_length=100, blank=True, default="")  # tells several of a kind and subject apart

    message = models.TextField()
    action = models.TextField(blank=True, default="")  # instead of what the kind advises
    sample = JSONTextField(null=True, blank=True)  # secrets masked
    evidence = models.CharField(max_length=100, blank=True, default="")  # changes when it happens anew
    count = models.PositiveIntegerField(default=1)
    reopened = models.PositiveIntegerField(default=0)

    first_at = models.DateTimeField()
    opened_at = models.DateTimeField()  # this time
    last_at = models.DateTimeField()  # seen to hold
    changed_at = models.DateTimeField(db_index=True)  # opened, graver, or resolved: what channels tell
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=200, blank=True, default="")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True, default="")
    # Resolved by a person although the cause may still hold: it is left alone until then.
    held_until = models.DateTimeField(null=True, blank=True)

    objects = ProblemQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject_type", "subject_id", "cause"], name="problem_once")
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "-id"], name="problem_by_state"),
            models.Index(fields=["held_until"], condition=Q(held_until__isnull=False), name="problem_held"),
        ]

    def __str__(self) -> str:
        kind = self.get_kind_display()
        return kind if self.subject_type == SubjectType.INSTALLATION else f"{kind}: {self.subject_name}"

    @property
    def is_active(self) -> bool:
        """Whether its cause holds, as far as we know."""
        return self.state in ACTIVE


class Turn(models.TextChoices):
    """What can happen to a problem."""

    OPENED = "opened", "Opened"
    REOPENED = "reopened", "Came back"
    GRAVER = "graver", "Became graver"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    RESOLVED = "resolved", "Resolved"


class ProblemTurn(models.Model):
    """One turn in the story of a problem: what happened, when, and whose doing it was.

    Subject and account are the problem's, repeated for the timelines."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    problem = models.ForeignKey(Problem, models.CASCADE, related_name="turns")
    account = models.ForeignKey(ProviderAccount, models.CASCADE, null=True, db_index=False, related_name="+")
    subject_id = models.CharField(max_length=100, blank=True, default="")
    at = models.DateTimeField()
    turn = models.CharField(max_length=15, choices=Turn.choices)
    actor = models.CharField(max_length=200)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    message = models.TextField()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["problem", "-id"], name="turn_of_problem"),
            models.Index(fields=["subject_id", "-uid"], name="turn_timeline"),
            models.Index(fields=["account", "-uid"], name="turn_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.turn} {self.at}"


class ChannelKind(models.TextChoices):
    """How a channel reaches people."""

    EMAIL = "email", "E-mail"
    WEBHOOK = "webhook", "Webhook (Slack-compatible)"


class Channel(Claimable):
    """One way to tell people of problems. What each was told stands in `ToldProblem`, so nothing is told twice in vain
    and nothing is forgotten."""

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=ChannelKind.choices)
    enabled = models.BooleanField(default=True)
    recipients = JSONTextField(default=list)  # e-mail addresses
    url = EncryptedJSONField(default=str)  # of a webhook: whoever knows it may post there
    min_severity = models.CharField(max_length=10, choices=Severity.choices, default=Severity.WARNING)
    every = models.DurationField(default=timedelta(minutes=10))  # at most one message in that time
    remind_every = models.DurationField(null=True, blank=True, default=timedelta(hours=24))
    recoveries = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    # How it stands; written by `subscriptions.notifications.dispatch`
    caught_up_at = models.DateTimeField(default=timezone.now, editable=False)  # what changed later is not told yet
    sent_at = models.DateTimeField(null=True, editable=False)
    alarmed_at = models.DateTimeField(null=True, editable=False)  # a message that did not wait for its turn
    failures = models.PositiveIntegerField(default=0, editable=False)
    last_error = models.TextField(blank=True, default="", editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def severities(self) -> Sequence[Severity]:
        """Those that it is told of."""
        least = Severity(self.min_severity).rank
        return [severity for severity in Severity if severity.rank >= least]


class ToldProblem(models.Model):
    """What a channel was told last of a problem: which of its openings, how grave, and whether it is over."""

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="told")
    problem = models.ForeignKey(Problem, models.CASCADE, related_name="told")
    reopened = models.PositiveIntegerField()  # which of its openings
    severity = models.CharField(max_length=10, choices=Severity.choices)
    over = models.BooleanField(default=False)
    told_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["channel", "problem"], name="told_once")]

    def __str__(self) -> str:
        return f"{self.problem_id} at {self.channel_id}"


class MessageStatus(models.TextChoices):
    """How a message fared."""

    SENDING = "sending", "Sending"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Unknown"  # we died before its answer was written down; what it told is told again


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
