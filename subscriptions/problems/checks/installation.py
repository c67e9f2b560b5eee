"""Checks of this installation: its public URL, its processes, and its notification channels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from providers.dashboard.formatting import sentences
from providers.times import readable_time
from subscriptions.lifecycle import trusted_clock
from subscriptions.models import Channel, Heartbeat, Problem, ProblemKind, Severity
from subscriptions.planning.steps import Wait
from subscriptions.problems.checks.rows import MIN_FAILURES, undeleted_subscriptions
from subscriptions.problems.registry import INSTALLATION, Cause, NotKnownYet, dismissal, source

DOWN_AFTER = timedelta(seconds=60)  # without a heartbeat
SAMPLE_SIZE = 10
SHORT_JUMP = timedelta(days=7)  # of the clock; the installation was probably off

_started = time.monotonic()


@source(ProblemKind.CLONE)
def moved_public_url(now: datetime) -> Iterator[Cause]:
    """Find subscriptions that were registered with a public URL other than the current one; one problem for all."""
    rows = undeleted_subscriptions().filter(waiting_for=Wait.ADDRESS).order_by("pk")
    moved = list(rows.only("uid", "name", "account__uid", "account__name", "callback_url"))
    if not moved:
        return
    number = f"{len(moved)} subscriptions were" if len(moved) > 1 else "one subscription was"
    yield Cause(
        kind=ProblemKind.CLONE,
        subject=INSTALLATION,
        severity=Severity.CRITICAL,
        message=f"PUBLIC_URL is {settings.PUBLIC_URL}, but {number} registered with another address, such as "
        f"{_origin(moved[0].callback_url)}. Nothing is changed at the providers until you confirm the address.",
        count=len(moved),
        sample={"subscriptions": [str(row) for row in moved[:SAMPLE_SIZE]]},
    )


@source(ProblemKind.CLOCK)
def untrusted_clock(now: datetime) -> Iterator[Cause]:
    """Find a clock that is not trusted. The comparison also stores the time while it is."""
    doubt = trusted_clock.check()
    if doubt is not None:
        yield Cause(
            kind=ProblemKind.CLOCK,
            subject=INSTALLATION,
            severity=Severity.INFO if doubt.jump < SHORT_JUMP else Severity.WARNING,
            message=doubt.message,
            since=doubt.since,
        )


@dismissal(ProblemKind.CLOCK)
def trust_clock(problem: Problem) -> None:
    """Trust the clock, because a person resolved the problem."""
    trusted_clock.trust(timezone.now())


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@source(ProblemKind.WORKER_DOWN, ProblemKind.SCHEDULER_DOWN)
def heartbeats(now: datetime) -> Iterator[Cause]:
    """Find processes without a recent heartbeat.

    Raises NotKnownYet just after a start, when no process has had the time for a heartbeat.
    """
    beats = dict(Heartbeat.objects.filter(name__in=("worker", "scheduler")).values_list("name", "at"))
    silent = [name for name in ("scheduler", "worker") if name not in beats or now - beats[name] > DOWN_AFTER]
    if silent and time.monotonic() - _started < DOWN_AFTER.total_seconds():
        raise NotKnownYet
    if "scheduler" in silent:
        yield Cause(
            kind=ProblemKind.SCHEDULER_DOWN,
            subject=INSTALLATION,
            severity=Severity.CRITICAL,
            message=f"Nothing is renewed or repaired: no heartbeat from the scheduler {_since(beats, 'scheduler')}.",
            since=beats.get("scheduler"),
        )
    if "worker" in silent:
        scheduler_runs = "scheduler" not in silent
        yield Cause(
            kind=ProblemKind.WORKER_DOWN,
            subject=INSTALLATION,
            severity=Severity.WARNING if scheduler_runs else Severity.CRITICAL,
            message=sentences(
                f"No worker processes tasks: no heartbeat {_since(beats, 'worker')}.",
                "The scheduler runs, so the message broker may be down. Work continues without it."
                if scheduler_runs
                else "",
            ),
            since=beats.get("worker"),
        )


def _since(beats: dict[str, datetime], name: str) -> str:
    return f"since {readable_time(beats[name])}" if name in beats else "yet"


@source(ProblemKind.NOTIFYING)
def channels(now: datetime) -> Iterator[Cause]:
    """Find notification channels that fail. The other channels report it."""
    for channel in Channel.objects.filter(enabled=True, failures__gte=MIN_FAILURES).only("uid", "name", "last_error"):
        yield Cause(
            kind=ProblemKind.NOTIFYING,
            subject=INSTALLATION,
            severity=Severity.WARNING,
            name=str(channel.uid),
            message=f"The channel {channel.name} cannot deliver messages: {channel.last_error}",
        )
