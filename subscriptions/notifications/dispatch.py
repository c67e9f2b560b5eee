"""Sending notifications: what each channel reports, and when.

Dispatch is level-triggered: there is no queue. For each channel and problem the last reported state is stored
(`NotifiedProblem`), and whatever differs from the current state goes into one message. The message is committed before
it is sent, and the reported state after the server's response. So a crash in between sends the message again, nothing
is lost, and the claim on the channel prevents two processes from sending at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from providers.audit import log
from providers.audit.actors import SCHEDULER
from providers.db.claims import new_holder
from providers.db.encryption import Undecryptable
from providers.times import has_elapsed, still_waits
from subscriptions.models import (
    ACTIVE,
    Channel,
    Message,
    MessageStatus,
    NotifiedProblem,
    Problem,
    ProblemState,
    Severity,
)
from subscriptions.notifications import messages
from subscriptions.notifications.messages import URGENT_KINDS, Notice, NoticeKind
from subscriptions.notifications.transports import DeliveryFailed, deliver
from subscriptions.problems.checks.rows import MIN_FAILURES

logger = logging.getLogger(__name__)

HISTORY_KIND = "channel"  # the subject type in the audit trail
MIN_DURATION = timedelta(minutes=1)  # a problem that is not critical is reported only after it
CLAIM_SECONDS = 120  # longer than all timeouts of one message together
FIRST_RETRY, MAX_RETRY = timedelta(seconds=30), timedelta(hours=1)
LATE_COMMIT_MARGIN = timedelta(minutes=1)  # for changes whose transaction committed late
CATCH_UP_INTERVAL = timedelta(hours=1)
MAX_MESSAGES = 50  # kept per channel


def notify_all() -> int:
    """Send what each channel has to report now. Return the number of messages.

    Channels that failed come last, because they may take long to fail again. No error of one holds up the others.
    """
    return sum(map(_notify_alone, _readable_channels()))


def _notify_alone(channel: Channel) -> bool:
    try:
        return notify(channel)
    except Exception as error:
        logger.exception("Channel %s failed", channel.uid)
        Channel.objects.filter(pk=channel.pk).update(
            failures=F("failures") + 1,
            last_error=f"An internal error occurred ({type(error).__name__}); it was logged.",
            retry_at=timezone.now() + MAX_RETRY,
        )
        return False


def notify(channel: Channel) -> bool:
    """Send what a channel has to report, if it is time. Return whether a message was sent.

    A failure is stored on the channel, which is retried later.
    """
    started = timezone.now()
    notices = _pending_notices(channel)
    if not notices:
        _catch_up(channel, started)
    if not _is_time_to_send(channel, notices):
        return False
    holder = new_holder()
    if not channel.claim(holder, CLAIM_SECONDS):
        return False
    try:
        channel.refresh_from_db()
        now = timezone.now()
        notices = _pending_notices(channel)
        return _is_time_to_send(channel, notices) and _send(channel, holder, notices, now)
    finally:
        channel.release(holder)


def send_test(channel: Channel, *, by: str) -> tuple[bool, str]:
    """Send a test message now. Return whether it was delivered, and a sentence about the result."""
    message = _create_message(channel, messages.TEST_SUBJECT, messages.test_text(), is_test=True)
    try:
        detail = deliver(channel, subject=message.subject, text=message.text)
        ok = True
    except DeliveryFailed as error:
        ok, detail = False, str(error)
    with transaction.atomic():
        _finish_message(message, MessageStatus.SENT if ok else MessageStatus.FAILED, "" if ok else detail)
        if ok:  # a pending retry is made at once
            Channel.objects.filter(pk=channel.pk, failures__gt=0).update(failures=0, last_error="", retry_at=None)
        log.record(by, "tested", HISTORY_KIND, subject_id=channel.uid, name=channel.name, after={"ok": ok})
    channel.refresh_from_db()
    return ok, detail


def _catch_up(channel: Channel, now: datetime) -> None:
    """Record that no notice about the problems resolved until now is pending, so that they are not queried again."""
    if channel.caught_up_at < now - CATCH_UP_INTERVAL:
        Channel.objects.filter(pk=channel.pk, caught_up_at__lt=now - LATE_COMMIT_MARGIN).update(
            caught_up_at=now - LATE_COMMIT_MARGIN
        )


def _readable_channels() -> Iterator[Channel]:
    """Yield the enabled channels. For one that no key decrypts, store and log the error."""
    for pk in list(Channel.objects.filter(enabled=True).order_by("failures", "pk").values_list("pk", flat=True)):
        try:
            channel = Channel.objects.filter(pk=pk).first()
        except Undecryptable as error:
            rows = Channel.objects.filter(pk=pk).exclude(last_error=str(error))
            if rows.update(last_error=str(error), failures=MIN_FAILURES):
                logger.error("Channel %s cannot be used: %s", pk, error)
            continue
        if channel is not None:
            yield channel


# -- What to report, and when ------------------------------------------------------------------------------------------


def _pending_notices(channel: Channel) -> list[Notice]:
    """Return the differences between the problems now and what the channel has reported, and due reminders."""
    now = timezone.now()
    relevant = Problem.objects.filter(severity__in=channel.severities)
    active = relevant.filter(state__in=ACTIVE)
    recently_resolved = relevant.filter(state=ProblemState.RESOLVED, changed_at__gt=channel.caught_up_at)
    rows = {row.pk: row for row in [*_with_account(active), *_with_account(recently_resolved)]}
    reported = {
        item.problem_id: item for item in channel.notified.filter(Q(resolved=False) | Q(problem__in=list(rows)))
    }
    missing = [pk for pk in reported if pk not in rows]  # reported as open, and since resolved or less severe
    rows |= {row.pk: row for row in _with_account(Problem.objects.filter(pk__in=missing))}
    notices = [
        Notice(kind, row) for row in rows.values() if (kind := _kind_of(row, reported.get(row.pk), channel, now))
    ]
    return notices + _reminders(channel, rows, reported, {item.problem.pk for item in notices}, now)


def _with_account(rows: QuerySet[Problem]) -> QuerySet[Problem]:
    return rows.select_related("account").defer("account__credentials", "account__settings", "sample")


def _kind_of(row: Problem, reported: NotifiedProblem | None, channel: Channel, now: datetime) -> NoticeKind | None:
    known = reported is not None and reported.reopened == row.reopened
    if row.state == ProblemState.RESOLVED:
        return _kind_of_resolved(row, reported, known, channel)
    if reported is not None and known:
        worse = Severity(row.severity).rank > Severity(reported.severity).rank
        return NoticeKind.MORE_SEVERE if worse and row.severity in channel.severities else None
    if row.severity not in channel.severities or row.state == ProblemState.ACKNOWLEDGED:
        return None
    if row.severity != Severity.CRITICAL and not has_elapsed(row.changed_at, MIN_DURATION, now):
        return None
    return NoticeKind.REOPENED if row.reopened else NoticeKind.NEW


def _kind_of_resolved(
    row: Problem, reported: NotifiedProblem | None, known: bool, channel: Channel
) -> NoticeKind | None:
    if reported is not None and not reported.resolved:
        return NoticeKind.RESOLVED  # even if it reopened in between: for the recipients it ends now
    if known or row.resolved_at is None or not channel.recoveries:
        return None
    lasted = row.resolved_at - row.opened_at
    relevant = row.severity == Severity.CRITICAL or lasted >= MIN_DURATION
    automatic = not row.acknowledged_at and row.resolved_by == SCHEDULER
    return NoticeKind.PASSED if relevant and automatic and row.changed_at > channel.caught_up_at else None


def _reminders(
    channel: Channel,
    rows: Mapping[int, Problem],
    reported: Mapping[int, NotifiedProblem],
    fresh: set[int],
    now: datetime,
) -> list[Notice]:
    """Return reminders of all open problems once one of them is due, so that they come in one message."""
    if channel.remind_every is None:
        return []
    open_rows = [
        (row, reported[pk])
        for pk, row in rows.items()
        if row.state == ProblemState.OPEN
        and pk in reported
        and pk not in fresh
        and row.reopened == reported[pk].reopened
    ]
    if not any(has_elapsed(item.notified_at, channel.remind_every, now) for _, item in open_rows):
        return []
    return [Notice(NoticeKind.REMINDER, row) for row, _ in open_rows]


def _is_time_to_send(channel: Channel, notices: Sequence[Notice]) -> bool:
    """Return whether to send now: at most once per interval, and not before the retry of a failed message.

    An urgent message is sent ahead of the interval, but urgent ones also at most once per interval.
    """
    now = timezone.now()
    if not channel.enabled or not [item for item in notices if _is_worth_a_message(item, channel)]:
        return False
    if channel.failures and still_waits(channel.retry_at, MAX_RETRY * 24, now):
        return False
    if channel.sent_at is None or has_elapsed(channel.sent_at, channel.every, now):
        return True
    return _is_urgent(notices) and (channel.alarmed_at is None or has_elapsed(channel.alarmed_at, channel.every, now))


def _is_worth_a_message(notice: Notice, channel: Channel) -> bool:
    """Return whether a notice justifies a message. Without `recoveries`, a resolved problem is only recorded."""
    return channel.recoveries or notice.kind is not NoticeKind.RESOLVED


def _is_urgent(notices: Sequence[Notice]) -> bool:
    return any(item.severity is Severity.CRITICAL and item.kind in URGENT_KINDS for item in notices)


# -- Sending -----------------------------------------------------------------------------------------------------------


def _send(channel: Channel, holder: str, notices: Sequence[Notice], now: datetime) -> bool:
    shown = [item for item in notices if _is_worth_a_message(item, channel)]
    message = _create_message(channel, messages.subject_line(shown), messages.body_text(shown))
    try:
        deliver(channel, subject=message.subject, text=message.text)
    except DeliveryFailed as error:
        _note_failure(channel, holder, message, error)
        return False
    with transaction.atomic():
        claimed = Channel.objects.filter(pk=channel.pk, claimed_by=holder)
        values: dict[str, object] = {"sent_at": now, "caught_up_at": now - LATE_COMMIT_MARGIN}
        if _is_urgent(shown):
            values["alarmed_at"] = now
        if not claimed.update(**values, failures=0, last_error="", retry_at=None):
            # The claim expired while sending, so another process may be sending the same. Record nothing as reported.
            logger.warning("Lost the claim on channel %s while sending.", channel.uid)
            return True
        _finish_message(message, MessageStatus.SENT)
        _record_reported(channel, notices, now)
    return True


def _create_message(channel: Channel, subject: str, text: str, *, is_test: bool = False) -> Message:
    """Store a message before it is sent. Close messages that a killed process left open."""
    open_ones = channel.messages.filter(status=MessageStatus.SENDING)
    if not is_test:
        open_ones.update(
            status=MessageStatus.UNKNOWN,
            error="The process stopped before the result was stored. The content is sent again.",
            finished_at=timezone.now(),
        )
    message = Message.objects.create(channel=channel, subject=subject[:300], text=text, is_test=is_test)
    oldest = channel.messages.order_by("-pk").values_list("pk", flat=True)[MAX_MESSAGES:].first()
    channel.messages.filter(pk__lte=oldest or 0).delete()
    return message


def _finish_message(message: Message, status: MessageStatus, error: str = "") -> None:
    Message.objects.filter(pk=message.pk).update(status=status, error=error, finished_at=timezone.now())


@transaction.atomic
def _note_failure(channel: Channel, holder: str, message: Message, error: DeliveryFailed) -> None:
    failures = channel.failures + 1
    delay = min(FIRST_RETRY * 2 ** min(failures - 1, 10), MAX_RETRY)
    delay = max(delay, timedelta(seconds=error.retry_after or 0))
    Channel.objects.filter(pk=channel.pk, claimed_by=holder).update(
        failures=failures, last_error=str(error), retry_at=timezone.now() + delay
    )
    _finish_message(message, MessageStatus.FAILED, str(error))
    logger.warning("Channel %s failed (attempt %d): %s", channel.uid, failures, error)


def _record_reported(channel: Channel, notices: Sequence[Notice], now: datetime) -> None:
    NotifiedProblem.objects.bulk_create(
        [
            NotifiedProblem(
                channel=channel,
                problem=item.problem,
                reopened=item.problem.reopened,
                severity=item.problem.severity,
                resolved=item.kind in (NoticeKind.RESOLVED, NoticeKind.PASSED),
                notified_at=now,
            )
            for item in notices
        ],
        update_conflicts=True,
        unique_fields=["channel", "problem"],
        update_fields=["reopened", "severity", "resolved", "notified_at"],
        batch_size=100,
    )
