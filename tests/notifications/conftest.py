"""Fixtures of the notification tests: a clock, a channel, and a transport that delivers nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import time_machine
from django.core import mail
from django.utils import timezone

from subscriptions.models import Channel, ChannelKind, Severity
from subscriptions.notifications import dispatch, transports
from subscriptions.problems import detector
from tests.harness.fake_check import FakeCheck


class FakeTransport:
    """Replaces delivery: records the subjects, or raises the error that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        self.error: BaseException | None = None
        monkeypatch.setattr(dispatch, "deliver", self.deliver)

    def deliver(self, channel: Channel, *, subject: str, text: str) -> str:
        if isinstance(self.error, transports.DeliveryFailed):
            raise self.error
        self.sent.append(subject)
        if self.error:
            raise self.error
        return "Sent."


def send_due() -> list[str]:
    """Detect problems, send what is due, and return the subjects of the emails."""
    detector.detect()
    mail.outbox.clear()
    dispatch.notify_all()
    return [str(message.subject) for message in mail.outbox]


def report_several(fake_check: FakeCheck, *severities: Severity) -> None:
    causes = []
    for number, severity in enumerate(severities):
        fake_check.report(severity=severity, name=f"n{number}", message=f"Cause {number}.")
        causes += fake_check.causes
    fake_check.causes = causes


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def channel(db: None, clock: time_machine.Traveller) -> Channel:
    return Channel.objects.create(name="Ops", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    return FakeTransport(monkeypatch)
