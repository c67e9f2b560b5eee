"""Problems, and the history of each."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from providers.db.fields import JSONTextField
from providers.db.ids import new_id
from providers.models import ProviderAccount


class ProblemKind(models.TextChoices):
    """What is wrong. `subscriptions.problems.remediation` says what a person does about each kind."""

    EXPIRING = "expiring", "Expiring"
    EXPIRED = "expired", "Expired"
    SUSPENDED = "suspended", "Suspended"
    MISSING = "missing", "Missing"
    DRIFTED = "drifted", "Drifted"
    FAILING = "failing", "Failing"
    SILENT = "silent", "Silent"
    ROTATION = "rotation", "Secret rotation"
    CREDENTIALS = "credentials", "Credentials"
    PERMISSION = "permission", "Permission missing"
    THROTTLED = "throttled", "Throttled"
    UNREACHABLE = "unreachable", "Unreachable"
    CLONE = "clone", "Copied installation"
    CLOCK = "clock", "Clock"
    QUARANTINE = "quarantine", "Quarantine"
    REJECTED_REQUESTS = "rejected_requests", "Rejected requests"
    BLOCKED_REQUESTS = "blocked_requests", "Blocked senders"
    BACKLOG = "backlog", "Backlog"
    SPOOL = "spool", "Spool"
    WORKER_DOWN = "worker_down", "Worker down"
    SCHEDULER_DOWN = "scheduler_down", "Scheduler down"
    NOTIFYING = "notifying", "Notifications fail"


class Severity(models.TextChoices):
    """How urgent a problem is."""

    INFO = "info", "Info"  # no action needed; not notified by default
    WARNING = "warning", "Warning"  # a person has to act, and there is time
    CRITICAL = "critical", "Critical"  # events are lost or about to be lost

    @property
    def rank(self) -> int:
        """A number that grows with the severity."""
        return list(type(self)).index(self)


class ProblemState(models.TextChoices):
    """Whether a problem is open."""

    OPEN = "open", "Open"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"  # the cause holds, and a person is working on it
    RESOLVED = "resolved", "Resolved"


class SubjectType(models.TextChoices):
    """What a problem is about."""

    ACCOUNT = "account", "Account"
    SUBSCRIPTION = "subscription", "Subscription"
    INSTALLATION = "installation", "This installation"


NARROW_TO_BROAD = (SubjectType.SUBSCRIPTION, SubjectType.ACCOUNT, SubjectType.INSTALLATION)
ACTIVE = (ProblemState.OPEN, ProblemState.ACKNOWLEDGED)
MAX_COUNTED = 999


class ProblemQuerySet(models.QuerySet["Problem"]):
    """Queries for problems."""

    def active(self) -> ProblemQuerySet:
        """Return the problems whose cause holds, as far as we know."""
        return self.filter(state__in=ACTIVE)

    def needing_attention(self) -> ProblemQuerySet:
        """Return the open problems that a person has to act on: all but those of severity `info`."""
        return self.filter(state=ProblemState.OPEN).exclude(severity=Severity.INFO)

    def count_label(self) -> str:
        """Return the number of problems as text, or `999+` from 1,000 on; counting stops there."""
        counted = len(self.order_by().values_list("pk")[: MAX_COUNTED + 1])
        return f"{MAX_COUNTED}+" if counted > MAX_COUNTED else str(counted)

    def most_severe_first(self) -> ProblemQuerySet:
        """Order by severity, then by breadth, then by age, newest first.

        Problems of the installation and of accounts come before those of subscriptions, because they may cause them.
        """
        severity, breadth = (
            models.Case(
                *(models.When(**{field: value}, then=rank) for rank, value in enumerate(values)),
                default=0,
                output_field=models.SmallIntegerField(),
            )
            for field, values in (("severity", Severity.values), ("subject_type", NARROW_TO_BROAD))
        )
        return self.order_by(severity.desc(), breadth.desc(), "-opened_at", "-pk")

    def of_subscription(self, pk: int) -> ProblemQuerySet:
        """Return the problems of one subscription."""
        return self.filter(subscription=pk)

    def of_account(self, pk: int) -> ProblemQuerySet:
        """Return the problems of an account and of its subscriptions."""
        return self.filter(account=pk)


class Problem(models.Model):
    """One thing that needs attention: a single row for each kind, subject and cause, however often it happens.

    `subscriptions.problems.detector` opens, updates and resolves rows; people and programs acknowledge and resolve.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    kind = models.CharField(max_length=30, choices=ProblemKind.choices)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    state = models.CharField(max_length=15, choices=ProblemState.choices, default=ProblemState.OPEN)

    # What it is about. `account` is set for subscriptions too; the name is the one it had when last detected.
    subject_type = models.CharField(max_length=20, choices=SubjectType.choices)
    subject_id = models.CharField(max_length=100, blank=True, default="")
    subject_name = models.CharField(max_length=200, blank=True, default="")
    account = models.ForeignKey(ProviderAccount, models.CASCADE, null=True, related_name="problems")
    subscription = models.ForeignKey("subscriptions.Subscription", models.CASCADE, null=True, related_name="problems")
    cause = models.CharField(max_length=100, blank=True, default="")  # distinguishes several of one kind and subject

    message = models.TextField()
    action = models.TextField(blank=True, default="")  # replaces the advice for the kind
    sample = JSONTextField(null=True, blank=True)  # secrets masked
    evidence = models.CharField(max_length=100, blank=True, default="")  # changes with each new occurrence
    count = models.PositiveIntegerField(default=1)
    reopened = models.PositiveIntegerField(default=0)

    first_at = models.DateTimeField()
    opened_at = models.DateTimeField()  # of the current opening
    last_at = models.DateTimeField()  # last detected
    changed_at = models.DateTimeField(db_index=True)  # last opened, resolved or more severe: what is notified
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=200, blank=True, default="")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=200, blank=True, default="")
    # Set when a person resolves a problem whose cause may still hold: it is not reopened before this time.
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
        """Whether the cause holds, as far as we know."""
        return self.state in ACTIVE


class Transition(models.TextChoices):
    """A change of a problem that its history records."""

    OPENED = "opened", "Opened"
    REOPENED = "reopened", "Reopened"
    MORE_SEVERE = "more_severe", "Became more severe"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    RESOLVED = "resolved", "Resolved"


class ProblemTransition(models.Model):
    """One entry in the history of a problem.

    Subject and account are copied from the problem, for the timelines.
    """

    uid = models.UUIDField("id", unique=True, default=new_id, editable=False)
    problem = models.ForeignKey(Problem, models.CASCADE, related_name="transitions")
    account = models.ForeignKey(ProviderAccount, models.CASCADE, null=True, db_index=False, related_name="+")
    subject_id = models.CharField(max_length=100, blank=True, default="")
    at = models.DateTimeField()
    transition = models.CharField(max_length=15, choices=Transition.choices)
    actor = models.CharField(max_length=200)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    message = models.TextField()

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["problem", "-id"], name="transition_of_problem"),
            models.Index(fields=["subject_id", "-uid"], name="transition_timeline"),
            models.Index(fields=["account", "-uid"], name="transition_of_account"),
        ]

    def __str__(self) -> str:
        return f"{self.transition} {self.at}"
