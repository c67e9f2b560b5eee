"""Problem checks for inbound requests: quarantined, rejected, pending for too long, waiting in a spool, or missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from events.models import Outcome, VerificationState, WebhookRequest
from events.receiver.spool_drain import SPOOL_HEARTBEAT_PREFIX
from events.retention import rejected as rejected_limits
from providers.times import readable_time
from subscriptions.models import Heartbeat, Problem, ProblemKind, Severity, Subscription
from subscriptions.problems.registry import INSTALLATION, Cause, about_subscription, dismissal, source

MAX_COUNTED = 1000  # newest requests; more are shown as "1000 or more"
MANY_REJECTED = 10
MAX_ADDRESSES = 10  # shown in the sample of blocked requests
HOST_TIMEOUT = timedelta(minutes=15)  # without a heartbeat of its spool, a host counts as gone
HOST_GONE_ACTION = (
    "Start the web process on that host: it writes the requests on its disk to the database. If the host is gone for "
    "good, or another host has its disk now, resolve this problem; it will not reopen."
)
BACKLOG_AGE = timedelta(minutes=2)  # requests pending for longer are a problem
COLUMNS = (
    *("uid", "subscription", "received_at", "reason", "verification", "verification_detail"),
    *("method", "remote_addr", "size"),
)


@source(ProblemKind.QUARANTINE)
def quarantined(now: datetime) -> Iterator[Cause]:
    """Find quarantined requests by subscription, including those of deleted subscriptions."""
    for row, requests in _by_subscription(WebhookRequest.objects.unsettled(Outcome.QUARANTINED), Q()):
        newest, count = requests[0], _count_text(requests)
        yield Cause(
            kind=ProblemKind.QUARANTINE,
            subject=about_subscription(row),
            severity=Severity.WARNING,
            message=f"{count} in quarantine, because parsing failed. Nothing is lost. The newest: {newest.reason}",
            count=len(requests),
            since=requests[-1].received_at,
            sample=_sample(newest),
            evidence=str(newest.uid),
        )


@source(ProblemKind.REJECTED_REQUESTS)
def rejected(now: datetime) -> Iterator[Cause]:
    """Find requests that failed authentication, until they are released, dismissed or deleted, however old they are.

    If there are many and none was accepted since the first of them, events are being lost, so the problem is critical.
    """
    unsettled = WebhookRequest.objects.unsettled(Outcome.REJECTED)
    for row, requests in _by_subscription(unsettled.filter(verification=VerificationState.FAILED), Q(deleted_at=None)):
        newest, first = requests[0], requests[-1]
        none_accepted = row.last_event_at is None or row.last_event_at < first.received_at
        losing = len(requests) >= MANY_REJECTED and none_accepted
        detail = newest.reason or newest.verification_detail
        since = "No request was accepted since the first of them. " if losing else ""
        were = "was" if len(requests) == 1 else "were"
        yield Cause(
            kind=ProblemKind.REJECTED_REQUESTS,
            subject=about_subscription(row),
            severity=Severity.CRITICAL if losing else Severity.WARNING,
            message=f"{_count_text(requests, rejected_limits.MAX_REQUESTS)} {were} rejected. {since}{detail}".strip(),
            count=len(requests),
            since=first.received_at,
            sample=_sample(newest),
            evidence=str(newest.uid),
        )


@source(ProblemKind.BLOCKED_REQUESTS)
def blocked(now: datetime) -> Iterator[Cause]:
    """Find requests that did not fail authentication, but came from an address that is not allowed."""
    unsettled = WebhookRequest.objects.unsettled(Outcome.REJECTED)
    for row, requests in _by_subscription(unsettled.exclude(verification=VerificationState.FAILED), Q(deleted_at=None)):
        newest, first = requests[0], requests[-1]
        addresses = Counter(request.remote_addr for request in requests).most_common(MAX_ADDRESSES)
        authentic = newest.verification == VerificationState.VERIFIED
        passed = " with a valid signature or secret" if authentic else ""
        yield Cause(
            kind=ProblemKind.BLOCKED_REQUESTS,
            subject=about_subscription(row),
            severity=Severity.WARNING,
            message=f"{_count_text(requests)}{passed} came from an address that is not in the allowed networks. "
            f"Nothing is lost: they can be released. {newest.reason}",
            count=len(requests),
            since=first.received_at,
            sample={**_sample(newest), "addresses": dict(addresses)},
            evidence=str(newest.uid),
        )


@dismissal(ProblemKind.QUARANTINE, ProblemKind.REJECTED_REQUESTS, ProblemKind.BLOCKED_REQUESTS)
def dismiss_requests(problem: Problem) -> None:
    """Dismiss the requests of a problem that a person resolves, up to the newest that it has shown."""
    kind = ProblemKind(problem.kind)
    rows = WebhookRequest.objects.unsettled(
        Outcome.QUARANTINED if kind == ProblemKind.QUARANTINE else Outcome.REJECTED
    ).filter(subscription=problem.subscription_id, uid__lte=UUID(problem.evidence))
    failed = Q(verification=VerificationState.FAILED)
    if kind == ProblemKind.REJECTED_REQUESTS:
        rows = rows.filter(failed)
    elif kind == ProblemKind.BLOCKED_REQUESTS:
        rows = rows.exclude(failed)
    rows.update(dismissed_at=timezone.now())


@source(ProblemKind.BACKLOG)
def backlog(now: datetime) -> Iterator[Cause]:
    """Find accepted requests that have been pending for too long."""
    oldest = WebhookRequest.objects.unprocessed(older_than=BACKLOG_AGE).only("received_at").first()
    if oldest is not None:
        yield Cause(
            kind=ProblemKind.BACKLOG,
            subject=INSTALLATION,
            severity=Severity.WARNING,
            message="Accepted requests are stored, but they have not been processed.",
            since=oldest.received_at,
        )


@source(ProblemKind.SPOOL)
def receiver_spool(now: datetime) -> Iterator[Cause]:
    """Find hosts on whose disk requests wait for the database, or whose spool could not store any.

    Each host reports its spool every second. Only a person knows whether a host that stopped reporting will return.
    """
    for heartbeat in Heartbeat.objects.filter(name__startswith=SPOOL_HEARTBEAT_PREFIX):
        host = heartbeat.name.removeprefix(SPOOL_HEARTBEAT_PREFIX)
        if heartbeat.at > now - HOST_TIMEOUT:
            message, action, evidence = heartbeat.detail, "", ""
        else:
            message = f"{heartbeat.detail} Last reported at {readable_time(heartbeat.at)}."
            action, evidence = HOST_GONE_ACTION, heartbeat.at.isoformat()
        yield Cause(
            kind=ProblemKind.SPOOL,
            subject=INSTALLATION,
            name=host,
            severity=Severity.WARNING,
            message=f"On {host}: {message}",
            action=action,
            evidence=evidence,
        )


@source(ProblemKind.SILENT)
def silent(now: datetime) -> Iterator[Cause]:
    """Find subscriptions that `events.monitoring.silence` has found silent."""
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
    requests: QuerySet[WebhookRequest], condition: Q
) -> Iterator[tuple[Subscription, Sequence[WebhookRequest]]]:
    """Yield the subscriptions that have such requests, each with its newest ones, newest first.

    This reads one index entry for each subscription and the newest MAX_COUNTED requests, so its cost is bounded.
    """
    of_subscription = requests.filter(subscription=OuterRef("pk"))
    rows = (
        Subscription.objects.filter(condition, Exists(of_subscription))
        .select_related("account")
        .only("uid", "name", "last_event_at", "account__uid")
    )
    subscriptions = {row.pk: row for row in rows}
    by_subscription: defaultdict[int, list[WebhookRequest]] = defaultdict(list)
    newest = requests.filter(subscription__in=subscriptions).only(*COLUMNS) if subscriptions else requests.none()
    for request in newest.order_by("-pk")[:MAX_COUNTED]:
        by_subscription[request.subscription_id].append(request)
    for pk, row in subscriptions.items():
        newest_of_row = by_subscription[pk] or list(requests.filter(subscription=pk).only(*COLUMNS).order_by("-pk")[:1])
        if newest_of_row:  # otherwise it has just been reprocessed or deleted
            yield row, newest_of_row


def _count_text(requests: Sequence[WebhookRequest], most: int = MAX_COUNTED) -> str:
    count = len(requests)
    more = " or more" if count >= min(most, MAX_COUNTED) else ""
    return f"{count}{more} request{'s' if count > 1 else ''}"


def _sample(request: WebhookRequest) -> dict[str, object]:
    """Return a sample without the body, which only those who may read requests can see."""
    return {
        "request": str(request.uid),
        "method": request.method,
        "from": request.remote_addr,
        "size": request.size,
        "reason": request.reason or request.verification_detail,
    }
