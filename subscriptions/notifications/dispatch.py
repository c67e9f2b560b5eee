"""Tells people of problems through the channels: grouped, not too often, again while they stay, and when they are over.

Level-triggered like the rest: no queue of messages, but for each channel and problem what was told last. What differs
from how things are now is told in one message. It is committed before it is sent, and what it told only after the
answer: whoever dies in between tells it again, and never twice at once, since a channel is claimed. Nothing is lost:
what was not told still differs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
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
from subscriptions.notifications.messages import News, Notice
from subscriptions.notifications.transports import DeliveryFailed, deliver
from subscriptions.problems.checks.rows import MIN_FAILURES

logger = logging.getLogger(__name__)

CHANNEL = "channel"  # the word that the history uses
HELD_FOR = timedelta(minutes=1)  # what is not critical is told once it has held for that long
CLAIM_SECONDS = 120  # longer than all time-outs of one message
RETRY_FIRST, RETRY_LONGEST = timedelta(seconds=30), timedelta(hours=1)
MARGIN = timedelta(minutes=1)  # what was written by a transaction that ended late
CATCH_UP_EVERY = timedelta(hours=1)
MESSAGES_KEPT = 50  # of each channel


def notify_all() -> int:
    """Lets each channel say what it has to say now. Returns how many messages were sent."""
    return sum(notify(channel) for channel in _readable_channels())


def notify(channel: Channel) -> bool:
    """Sends what there is to tell, if it is time. True when a message went out. Failures are written down."""
    started = timezone.now()
    found = _news(channel)
    if not found:
        _catch_up(channel, started)
    if not _time_to_tell(channel, found):
        return False
    holder = new_holder()
    if not channel.claim(holder, CLAIM_SECONDS):
        return False
    try:
        channel.refresh_from_db()
        now = timezone.now()
        found = _news(channel)
        return _time_to_tell(channel, found) and _tell(channel, holder, found, now)
    finally:
        channel.release(holder)


def try_out(channel: Channel, *, by: str) -> tuple[bool, str]:
    """Sends a test message now: whether it got there, and in words how that went."""
    message = _begin(channel, messages.TEST_SUBJECT, messages.test_text(), is_test=True)
    try:
        detail = deliver(channel, subject=message.subject, text=message.text)
        ok = True
    except DeliveryFailed as error:
        ok, detail = False, str(error)
    with transaction.atomic():
        _end(message, MessageStatus.SENT if ok else MessageStatus.FAILED, "" if ok else detail)
        if ok:  # what waits for another try need not wait any longer
            Channel.objects.filter(pk=channel.pk, failures__gt=0).update(failures=0, last_error="", retry_at=None)
        log.note(by, "tested", CHANNEL, subject_id=channel.uid, name=channel.name, after={"ok": ok})
    channel.refresh_from_db()
    return ok, detail


def _catch_up(channel: Channel, now: datetime) -> None:
    """Nothing that has ended until now is to be told; so it need not be read again."""
    if channel.caught_up_at < now - CATCH_UP_EVERY:
        Channel.objects.filter(pk=channel.pk, caught_up_at__lt=now - MARGIN).update(caught_up_at=now - MARGIN)


def _readable_channels() -> Iterator[Channel]:
    """Those that are switched on. One that no encryption key opens says so on its page."""
    for pk in list(Channel.objects.filter(enabled=True).order_by("pk").values_list("pk", flat=True)):
        try:
            channel = Channel.objects.filter(pk=pk).first()
        except Undecryptable as error:
            rows = Channel.objects.filter(pk=pk).exclude(last_error=str(error))
            if rows.update(last_error=str(error), failures=MIN_FAILURES):
                logger.error("Channel %s cannot be used: %s", pk, error)
            continue
        if channel is not None:
            yield channel


# -- What there is to tell ---------------------------------------------------------------------------------------------


def _news(channel: Channel) -> list[Notice]:
    """How things are now, as far as it differs from what the channel was told."""
    now = timezone.now()
    wanted = Problem.objects.filter(severity__in=channel.severities)
    active = wanted.filter(state__in=ACTIVE)
    passed = wanted.filter(state=ProblemState.RESOLVED, changed_at__gt=channel.caught_up_at)
    rows = {row.pk: row for row in [*_with_account(active), *_with_account(passed)]}
    told = {item.problem_id: item for item in channel.notified.filter(Q(resolved=False) | Q(problem__in=list(rows)))}
    missing = [pk for pk in told if pk not in rows]  # told as open, and resolved or milder since
    rows |= {row.pk: row for row in _with_account(Problem.objects.filter(pk__in=missing))}
    found = [Notice(news, row) for row in rows.values() if (news := _news_of(row, told.get(row.pk), channel, now))]
    return found + _reminders(channel, rows, told, {item.problem.pk for item in found}, now)


def _with_account(rows: QuerySet[Problem]) -> QuerySet[Problem]:
    return rows.select_related("account").defer("account__credentials", "account__settings", "sample")


def _news_of(row: Problem, told: NotifiedProblem | None, channel: Channel, now: datetime) -> News | None:
    known = told is not None and told.reopened == row.reopened
    if row.state == ProblemState.RESOLVED:
        return _news_of_resolved(row, told, known, channel)
    if told is not None and known:
        worse = Severity(row.severity).rank > Severity(told.severity).rank
        return News.GRAVER if worse and row.severity in channel.severities else None
    if row.severity not in channel.severities or row.state == ProblemState.ACKNOWLEDGED:
        return None
    if row.severity != Severity.CRITICAL and not has_elapsed(row.changed_at, HELD_FOR, now):
        return None
    return News.BACK if row.reopened else News.NEW


def _news_of_resolved(row: Problem, told: NotifiedProblem | None, known: bool, channel: Channel) -> News | None:
    if told is not None and not told.resolved:
        return News.OVER  # also when it came back in between: to whoever was told, it has ended now
    if known or row.resolved_at is None or not channel.recoveries:
        return None
    lasted = row.resolved_at - row.opened_at
    unseen = row.severity == Severity.CRITICAL or lasted >= HELD_FOR
    by_itself = not row.acknowledged_at and row.resolved_by == SCHEDULER
    return News.PASSED if unseen and by_itself and row.changed_at > channel.caught_up_at else None


def _reminders(
    channel: Channel,
    rows: Mapping[int, Problem],
    told: Mapping[int, NotifiedProblem],
    fresh: set[int],
    now: datetime,
) -> list[Notice]:
    """When it is time for one, all that are open are told again, so that reminders come together."""
    if channel.remind_every is None:
        return []
    still = [
        (row, told[pk])
        for pk, row in rows.items()
        if row.state == ProblemState.OPEN and pk in told and pk not in fresh and row.reopened == told[pk].reopened
    ]
    if not any(has_elapsed(item.notified_at, channel.remind_every, now) for _, item in still):
        return []
    return [Notice(News.STILL, row) for row, _ in still]


def _time_to_tell(channel: Channel, found: Sequence[Notice]) -> bool:
    """Not while an earlier failure is waited for, and at most once in `every`; a critical one goes at once, but those
    not more often than that either."""
    now = timezone.now()
    if not channel.enabled or not [item for item in found if _worth_a_message(item, channel)]:
        return False
    if channel.failures and still_waits(channel.retry_at, RETRY_LONGEST * 24, now):
        return False
    if channel.sent_at is None or has_elapsed(channel.sent_at, channel.every, now):
        return True
    return _is_urgent(found) and (channel.alarmed_at is None or has_elapsed(channel.alarmed_at, channel.every, now))


def _worth_a_message(notice: Notice, channel: Channel) -> bool:
    """A recovery is only written down where nobody wants to hear of it."""
    return channel.recoveries or notice.news is not News.OVER


def _is_urgent(found: Sequence[Notice]) -> bool:
    return any(item.severity is Severity.CRITICAL and item.news in (News.NEW, News.BACK, News.GRAVER) for item in found)


# -- Telling it --------------------------------------------------------------------------------------------------------


def _tell(channel: Channel, holder: str, found: Sequence[Notice], now: datetime) -> bool:
    told = [item for item in found if _worth_a_message(item, channel)]
    message = _begin(channel, messages.subject_of(told), messages.text_of(told))
    try:
        deliver(channel, subject=message.subject, text=message.text)
    except DeliveryFailed as error:
        _note_failure(channel, holder, message, error)
        return False
    with transaction.atomic():
        mine = Channel.objects.filter(pk=channel.pk, claimed_by=holder)
        values: dict[str, object] = {"sent_at": now, "caught_up_at": now - MARGIN}
        if _is_urgent(told):
            values["alarmed_at"] = now
        if not mine.update(**values, failures=0, last_error="", retry_at=None):
            # Our claim ended while we sent: somebody else may be telling the same. Nothing is written down as told.
            logger.warning("Lost the claim on channel %s while sending.", channel.uid)
            return True
        _end(message, MessageStatus.SENT)
        _remember(channel, found, now)
    return True


def _begin(channel: Channel, subject: str, text: str, *, is_test: bool = False) -> Message:
    """The message as a row, before it is sent. What a dead process left open is closed."""
    open_ones = channel.messages.filter(status=MessageStatus.SENDING)
    if not is_test:
        open_ones.update(
            status=MessageStatus.UNKNOWN,
            error="The process stopped before the answer was written down; what it told is told again.",
            finished_at=timezone.now(),
        )
    message = Message.objects.create(channel=channel, subject=subject[:300], text=text, is_test=is_test)
    oldest = channel.messages.order_by("-pk").values_list("pk", flat=True)[MESSAGES_KEPT:].first()
    channel.messages.filter(pk__lte=oldest or 0).delete()
    return message


def _end(message: Message, status: MessageStatus, error: str = "") -> None:
    Message.objects.filter(pk=message.pk).update(status=status, error=error, finished_at=timezone.now())


@transaction.atomic
def _note_failure(channel: Channel, holder: str, message: Message, error: DeliveryFailed) -> None:
    failures = channel.failures + 1
    pause = min(RETRY_FIRST * 2 ** min(failures - 1, 10), RETRY_LONGEST)
    pause = max(pause, timedelta(seconds=error.retry_after or 0))
    Channel.objects.filter(pk=channel.pk, claimed_by=holder).update(
        failures=failures, last_error=str(error), retry_at=timezone.now() + pause
    )
    _end(message, MessageStatus.FAILED, str(error))
    logger.warning("Channel %s could not be told (try %d): %s", channel.uid, failures, error)


def _remember(channel: Channel, found: Sequence[Notice], now: datetime) -> None:
    NotifiedProblem.objects.bulk_create(
        [
            NotifiedProblem(
                channel=channel,
                problem=item.problem,
                reopened=item.problem.reopened,
                severity=item.problem.severity,
                resolved=item.news in (News.OVER, News.PASSED),
                notified_at=now,
            )
            for item in found
        ],
        update_conflicts=True,
        unique_fields=["channel", "problem"],
        update_fields=["reopened", "severity", "resolved", "notified_at"],
        batch_size=100,
    )
