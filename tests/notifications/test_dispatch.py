"""The messages of channels and their timing: grouped, limited in frequency, with reminders and resolutions."""

from __future__ import annotations

from datetime import timedelta

import time_machine
from django.core import mail

from subscriptions.models import Channel, ChannelKind, Problem, Severity
from subscriptions.problems import detector
from tests.harness.fake_check import FakeCheck
from tests.notifications.conftest import report_several, send_due

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_a_problem_is_reported_once_after_its_minimum_duration(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report()
    assert send_due() == []
    clock.shift(61)
    assert send_due() == ["New: Copied installation"]
    body = mail.outbox[0].body
    assert "Warning: Copied installation" in body
    assert "It is a copy." in body
    assert "Next: If this installation has moved" in body
    assert "/admin/subscriptions/problem/" in body
    clock.shift(HOUR)
    assert send_due() == []


def test_a_critical_problem_is_reported_at_once_even_within_the_interval(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report()
    detector.detect()
    clock.shift(61)
    assert len(send_due()) == 1
    report_several(fake_check, Severity.CRITICAL)
    assert send_due() == ["Critical: Copied installation"], "the first critical problem is reported at once"
    report_several(fake_check, Severity.CRITICAL, Severity.CRITICAL)
    assert send_due() == [], "the next one waits for the interval"
    clock.shift(9 * MINUTE)
    assert send_due() == []
    clock.shift(MINUTE)
    assert len(send_due()) == 1


def test_many_problems_are_one_message(fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller) -> None:
    report_several(fake_check, *[Severity.WARNING] * 30, Severity.CRITICAL)
    detector.detect()
    clock.shift(61)
    assert send_due() == ["Problems: 31 new (1 critical)"]
    body = mail.outbox[0].body
    assert body.index("Critical:") < body.index("Warning:")
    assert "... and 11 more" in body


def test_a_resolved_problem_is_reported_after_the_interval(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    assert len(send_due()) == 1
    fake_check.clear()
    clock.shift(5 * MINUTE)
    assert send_due() == []
    clock.shift(5 * MINUTE)
    assert send_due() == ["Resolved: Copied installation"]
    assert "after 5 min" in mail.outbox[0].body
    clock.shift(HOUR)
    assert send_due() == []


def test_a_channel_without_recoveries_reports_no_resolutions(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    Channel.objects.update(recoveries=False)
    fake_check.report(severity=Severity.CRITICAL)
    send_due()
    fake_check.clear()
    clock.shift(HOUR)
    assert send_due() == []
    fake_check.report(severity=Severity.CRITICAL)
    assert send_due() == ["Critical: Copied installation"]
    assert "Reopened:" in mail.outbox[0].body


def test_a_higher_severity_is_reported_again(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report()
    detector.detect()
    clock.shift(61)
    send_due()
    fake_check.report(severity=Severity.CRITICAL)
    assert send_due() == ["Critical: Copied installation"]
    assert "More severe:" in mail.outbox[0].body


def test_problems_below_the_minimum_severity_are_not_reported(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    Channel.objects.update(min_severity=Severity.CRITICAL)
    fake_check.report()
    detector.detect()
    clock.shift(HOUR)
    assert send_due() == []
    fake_check.report(severity=Severity.CRITICAL)
    assert send_due() == ["Critical: Copied installation"]


def test_a_problem_that_opened_and_resolved_between_messages_is_reported(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    report_several(fake_check, Severity.CRITICAL)
    assert len(send_due()) == 1
    clock.shift(MINUTE)
    report_several(fake_check, Severity.CRITICAL, Severity.WARNING)
    assert send_due() == []
    clock.shift(2 * MINUTE)
    report_several(fake_check, Severity.CRITICAL)
    assert send_due() == []
    clock.shift(10 * MINUTE)
    assert send_due() == ["Opened and resolved: Copied installation"]
    assert "after 2 min" in mail.outbox[0].body
    clock.shift(HOUR)
    assert send_due() == []


def test_a_short_problem_is_not_reported(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report()
    detector.detect()
    clock.shift(20)
    fake_check.clear()
    detector.detect()
    clock.shift(HOUR)
    assert send_due() == []


def test_a_new_channel_does_not_report_resolved_problems(fake_check: FakeCheck, clock: time_machine.Traveller) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    clock.shift(HOUR)
    fake_check.clear()
    detector.detect()
    clock.shift(HOUR)
    Channel.objects.create(name="New", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])
    assert send_due() == []


def test_all_open_problems_are_in_one_reminder_after_a_day(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    report_several(fake_check, Severity.CRITICAL)
    send_due()
    clock.shift(HOUR)
    report_several(fake_check, Severity.CRITICAL, Severity.CRITICAL)
    send_due()
    clock.shift(22 * HOUR)
    assert send_due() == []
    clock.shift(HOUR)
    assert send_due() == ["Problems: 2 still open"]
    clock.shift(23 * HOUR)
    assert send_due() == []
    clock.shift(HOUR)
    assert send_due() == ["Problems: 2 still open"]


def test_an_acknowledged_problem_has_no_reminders_but_its_resolution_is_reported(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    send_due()
    detector.acknowledge(Problem.objects.get(), by="staff:ann")
    clock.shift(48 * HOUR)
    assert send_due() == []
    fake_check.clear()
    assert send_due() == ["Resolved: Copied installation"]


def test_a_channel_without_reminder_interval_sends_no_reminders(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    Channel.objects.update(remind_every=None)
    fake_check.report(severity=Severity.CRITICAL)
    send_due()
    clock.shift(30 * 24 * HOUR)
    assert send_due() == []


def test_a_clock_set_back_does_not_delay_messages(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    send_due()
    clock.shift(-5 * HOUR)
    report_several(fake_check, Severity.WARNING)
    detector.detect()
    clock.shift(61)
    assert len(send_due()) == 1


def test_a_disabled_channel_sends_nothing(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller
) -> None:
    Channel.objects.update(enabled=False)
    fake_check.report(severity=Severity.CRITICAL)
    assert send_due() == []
