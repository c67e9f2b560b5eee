"""What is wrong with what comes in: requests that cannot be read, that prove nothing, or that wait too long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet

from events.models import Outcome, WebhookRequest
from events.receiver.spool_drain import SPOOL_HEARTBEAT_PREFIX
from events.storage.time_range import requests_since
from providers.times import readable_time
from subscriptions.models import Heartbeat, ProblemKind, Severity, Subscription
from subscriptions.problems.registry import INSTALLATION, Cause, about_subscription, source

COUNTED = 1000  # newest requests; more than that is "1000 or more"
REMEMBERED = timedelta(hours=24)  # rejected ones that are older prove nothing about now
MANY_REJECTED = 10
HEARD_OF = timedelta(minutes=15)  # a machine's spool, until it counts as gone
SEE_TO_THE_MACHINE = (
    "Start its web process again: what waits on its disk goes into the database then. If that machine is gone for good,"
    " or another one has its disk now, resolve this; it stays so."
)
PATIENCE = timedelta(minutes=2)  # until requests without events are too many for comfort


@source(ProblemKind.QUARANTINE)
def quarantined(now: datetime) -> Iterator[Cause]:
    """Verified requests that cannot be read, by subscription; also of deleted ones, since they still wait."""
    waiting = WebhookRequest.objects.filter(outcome=Outcome.QUARANTINED)
    for row, requests in _by_subscription(waiting, Q()):
        newest, number = requests[0], _number(requests)
        yield Cause(
            kind=ProblemKind.QUARANTINE,
            subject=about_subscription(row),
            severity=Severity.WARNING,
            message=f"{number} cannot be read and wait; nothing is lost. The newest: {newest.reason}",
            count=len(requests),
            since=requests[-1].received_at,
            sample=_sample(newest),
            evidence=str(newest.uid),
        )


@source(ProblemKind.REJECTED_REQUESTS)
def rejected(now: datetime) -> Iterator[Cause]:
    """Requests of the last day that were refused. When many came and none was accepted since the first of them,
    events are being lost."""
    recent = requests_since(WebhookRequest.objects.filter(outcome=Outcome.REJECTED), now - REMEMBERED)
    for row, requests in _by_subscription(recent, Q(deleted_at=None)):
        newest, first = requests[0], requests[-1]
        none_accepted = row.last_event_at is None or row.last_event_at < first.received_at
        losing = len(requests) >= MANY_REJECTED and none_accepted
        detail = newest.reason or newest.verification_detail
        since = "None was accepted since the first of them. " if losing else ""
        were = "was" if len(requests) == 1 else "were"
        yield Cause(
            kind=ProblemKind.REJECTED_REQUESTS,
            subject=about_subscription(row),
            severity=Severity.CRITICAL if losing else Severity.WARNING,
            message=f"{_number(requests)} of the last day {were} refused. {since}{detail}".strip(),
            count=len(requests),
            since=first.received_at,
            sample=_sample(newest),
            evidence=str(newest.uid),
        )


@source(ProblemKind.BACKLOG)
def backlog(now: datetime) -> Iterator[Cause]:
    """Requests that were accepted a while ago and have no events yet."""
    oldest = WebhookRequest.objects.unprocessed(older_than=PATIENCE).only("received_at").first()
    if oldest is not None:
        yield Cause(
            kind=ProblemKind.BACKLOG,
            subject=INSTALLATION,
            severity=Severity.WARNING,
            message="Requests were accepted and stored, but their events have not been read out of them.",
            since=oldest.received_at,
        )


@source(ProblemKind.SPOOL)
def receiver_spool(now: datetime) -> Iterator[Cause]:
    """Machines on which requests wait for the database, or whose spool could take none: as each tells of its own, every
    second. Of one that tells nothing any more, it is a person who knows whether it returns."""
    for told in Heartbeat.objects.filter(name__startswith=SPOOL_HEARTBEAT_PREFIX):
        machine = told.name.removeprefix(SPOOL_HEARTBEAT_PREFIX)
        if told.at > now - HEARD_OF:
            message, action, evidence = told.detail, "", ""
        else:
            message = f"{told.detail} That is what it told at {readable_time(told.at)}; since then, nothing."
            action, evidence = SEE_TO_THE_MACHINE, told.at.isoformat()
        yield Cause(
            kind=ProblemKind.SPOOL,
            subject=INSTALLATION,
            name=machine,
            severity=Severity.WARNING,
            message=f"On {machine}: {message}",
            action=action,
            evidence=evidence,
        )


@source(ProblemKind.SILENT)
def silent(now: datetime) -> Iterator[Cause]:
    """Subscriptions that sent nothing although events were expected, as `events.monitoring.silence` wrote down."""
    rows = Subscription.objects.filter(silent_since__isnull=False, deleted_at=None).select_related("account")
    for row in rows.only("uid", "name", "silent_since", "silence_reason", "account__uid"):
        yield Cause(
            kind=ProblemKind.SILENT,
            subject=about_subscription(row),
            severity=Severity.WARNING,
            message=f"No event since {readable_time(row.silent_since)}. {row.silence_reason}",
            since=row.silent_since,
        )


def _by_subscription(
    requests: QuerySet[WebhookRequest], which: Q
) -> Iterator[tuple[Subscription, Sequence[WebhookRequest]]]:
    """Subscriptions that have such requests, each with the newest of them, newest first. However many requests there
    are, it reads one index entry of each subscription and the newest COUNTED requests."""
    own = requests.filter(subscription=OuterRef("pk"))
    rows = (
        Subscription.objects.filter(which, Exists(own))
        .select_related("account")
        .only("uid", "name", "last_event_at", "account__uid")
    )
    owners = {row.pk: row for row in rows}
    found: defaultdict[int, list[WebhookRequest]] = defaultdict(list)
    told = requests.filter(subscription__in=owners).only(*TOLD) if owners else requests.none()
    for request in told.order_by("-pk")[:COUNTED]:
        found[request.subscription_id].append(request)
    for pk, row in owners.items():
        newest = found[pk] or list(requests.filter(subscription=pk).only(*TOLD).order_by("-pk")[:1])
        if newest:  # else it was reprocessed or thrown away just now
            yield row, newest


TOLD = ("uid", "subscription", "received_at", "reason", "verification_detail", "method", "remote_addr", "size")


def _number(requests: Sequence[WebhookRequest]) -> str:
    count = len(requests)
    more = " or more" if count == COUNTED else ""
    return f"{count}{more} request{'s' if count > 1 else ''}"


def _sample(request: WebhookRequest) -> dict[str, object]:
    """Nothing of the body: what it holds is for those who may read requests."""
    return {
        "request": str(request.uid),
        "method": request.method,
        "from": request.remote_addr,
        "size": request.size,
        "reason": request.reason or request.verification_detail,
    }
