"""Failed deliveries, killed processes and concurrent workers: nothing is lost, and nothing is sent twice at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from providers.models import HistoryEntry
from providers.names import is_visible
from subscriptions.models import (
    Channel,
    ChannelKind,
    Message,
    NotifiedProblem,
    Problem,
    ProblemKind,
    Severity,
    SubjectType,
)
from subscriptions.notifications import dispatch, messages, transports
from subscriptions.problems import checks, detector
from tests.harness.fake_check import FakeCheck
from tests.harness.fake_provider import run_concurrently
from tests.notifications.conftest import FakeTransport, send_due

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_a_failed_delivery_is_retried_with_growing_delays(
    fake_check: FakeCheck, channel: Channel, transport: FakeTransport, clock: time_machine.Traveller
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    transport.error = transports.DeliveryFailed("hooks.example.com answered 500.")
    pauses = []
    for _ in range(9):
        assert dispatch.notify_all() == 0
        channel.refresh_from_db()
        assert channel.retry_at
        pauses.append((channel.retry_at - timezone.now()).total_seconds())
        assert dispatch.notify_all() == 0  # too early: nothing is tried
        clock.shift(pauses[-1])
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert channel.last_error == "hooks.example.com answered 500."
    assert set(Message.objects.values_list("status", flat=True)) == {"failed"}
    assert detector.detect(set(ProblemKind)).opened == 0, "only the fake check is registered"
    assert [cause.message for cause in checks.installation.channels(timezone.now())] == [
        "The channel Ops cannot deliver messages: hooks.example.com answered 500."
    ]
    transport.error = None
    assert dispatch.notify_all() == 1
    channel.refresh_from_db()
    assert (channel.failures, channel.last_error, channel.retry_at) == (0, "", None)
    assert list(checks.installation.channels(timezone.now())) == []


def test_retry_after_of_the_receiver_is_respected(
    fake_check: FakeCheck, channel: Channel, transport: FakeTransport, clock: time_machine.Traveller
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    transport.error = transports.DeliveryFailed("Too many.", retry_after=300)
    dispatch.notify_all()
    channel.refresh_from_db()
    assert channel.retry_at == timezone.now() + timedelta(seconds=300)


class Killed(BaseException):
    """Simulate the end of the process."""


def test_a_process_killed_after_sending_sends_again(
    fake_check: FakeCheck,
    channel: Channel,
    transport: FakeTransport,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    transport.error = Killed()
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "release", lambda *_: None)  # a killed process releases nothing
        with pytest.raises(Killed):
            dispatch.notify_all()
    transport.error = None
    assert Message.objects.get().status == "sending"
    assert dispatch.notify_all() == 0, "the claim of the killed process still holds"
    clock.shift(dispatch.CLAIM_SECONDS + 1)
    assert dispatch.notify_all() == 1
    assert len(transport.sent) == 2
    assert sorted(Message.objects.values_list("status", flat=True)) == ["sent", "unknown"]
    clock.shift(HOUR)
    assert dispatch.notify_all() == 0


def test_a_process_killed_before_sending_loses_nothing(
    fake_check: FakeCheck,
    channel: Channel,
    transport: FakeTransport,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: object, **__: object) -> str:
        raise Killed

    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "deliver", killed)
        patch.setattr(Channel, "release", lambda *_: None)
        with pytest.raises(Killed):
            dispatch.notify_all()
    clock.shift(dispatch.CLAIM_SECONDS + 1)
    assert dispatch.notify_all() == 1
    assert transport.sent == ["Critical: Copied installation"]


def test_a_claim_that_expired_while_sending_records_nothing(
    fake_check: FakeCheck, channel: Channel, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    deliver = transport.deliver

    def slow(row: Channel, *, subject: str, text: str) -> str:
        Channel.objects.update(claimed_by="another worker")
        return deliver(row, subject=subject, text=text)

    monkeypatch.setattr(dispatch, "deliver", slow)
    dispatch.notify_all()
    assert not NotifiedProblem.objects.exists()


def test_concurrent_workers_send_one_message(
    committed_fake_check: FakeCheck, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    transport = FakeTransport(monkeypatch)
    Channel.objects.create(name="Ops", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])
    committed_fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    in_transaction: list[bool] = []
    deliver = transport.deliver

    def check_and_deliver(row: Channel, *, subject: str, text: str) -> str:
        in_transaction.append(transaction.get_connection().in_atomic_block)
        return deliver(row, subject=subject, text=text)

    monkeypatch.setattr(dispatch, "deliver", check_and_deliver)
    sent = run_concurrently(*[dispatch.notify_all] * 6)
    assert sum(sent) == 1
    assert len(transport.sent) == 1
    assert in_transaction == [False], "no network call within a transaction"


def test_only_the_newest_messages_are_kept(
    fake_check: FakeCheck, channel: Channel, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MAX_MESSAGES", 3)
    for _ in range(6):
        dispatch.send_test(channel, by="staff:ann")
    assert Message.objects.count() == 3


def test_a_channel_that_cannot_be_decrypted_does_not_stop_the_others(
    fake_check: FakeCheck, channel: Channel, settings: Settings, clock: time_machine.Traveller
) -> None:
    broken = Channel.objects.create(name="Chat", kind=ChannelKind.WEBHOOK, url="https://hooks.example.com/x")
    Channel.objects.filter(pk=broken.pk).update(url="secret")
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_channel SET url = 'no token' WHERE id = %s", [broken.pk])
    fake_check.report(severity=Severity.CRITICAL)
    assert len(send_due()) == 1
    assert "ENCRYPTION_KEYS" in Channel.objects.defer("url").get(pk=broken.pk).last_error


def test_a_test_message_returns_its_result_and_is_logged(
    channel: Channel, transport: FakeTransport, clock: time_machine.Traveller
) -> None:
    assert dispatch.send_test(channel, by="staff:ann") == (True, "Sent.")
    Channel.objects.update(failures=4, retry_at=timezone.now() + HOUR, last_error="x")
    transport.error = transports.DeliveryFailed("No.")
    assert dispatch.send_test(channel, by="staff:ann") == (False, "No.")
    assert channel.failures == 4, "a failed test message does not count as a failure"
    transport.error = None
    dispatch.send_test(channel, by="staff:ann")
    assert (channel.failures, channel.retry_at) == (0, None)
    assert [message.status for message in Message.objects.order_by("pk")] == ["sent", "failed", "sent"]
    assert {entry.action for entry in HistoryEntry.objects.all()} == {"tested"}
    assert transport.sent == [messages.TEST_SUBJECT] * 2


@pytest.mark.parametrize("name", ["Acme\nBcc: x@example.com", "Acme\r\n\r\nbody", "\u202eAcme\u200b"])
def test_an_unusual_name_does_not_stop_the_mail(
    fake_check: FakeCheck, channel: Channel, clock: time_machine.Traveller, name: str
) -> None:
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    Problem.objects.update(subject_name=name, subject_type=SubjectType.ACCOUNT)
    mail.outbox.clear()
    assert dispatch.notify_all() == 1
    assert is_visible(str(mail.outbox[0].subject))
    assert "Acme" in str(mail.outbox[0].subject)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ZeroDivisionError()])
def test_an_unexpected_error_of_one_channel_does_not_hold_up_the_others(
    fake_check: FakeCheck,
    channel: Channel,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    other = Channel.objects.create(name="Other", kind=ChannelKind.EMAIL, recipients=["other@example.com"])
    sent: list[int] = []

    def deliver(to: Channel, **_: str) -> str:
        if to == channel:
            raise error
        sent.append(to.pk)
        return "Sent."

    monkeypatch.setattr(dispatch, "deliver", deliver)
    fake_check.report(severity=Severity.CRITICAL)
    detector.detect()
    for _ in range(checks.rows.MIN_FAILURES):
        dispatch.notify_all()
        clock.shift(dispatch.MAX_RETRY + MINUTE)
    assert sent == [other.pk]
    [cause] = checks.installation.channels(timezone.now())
    assert type(error).__name__ in cause.message


def test_a_channel_that_failed_comes_after_the_others(
    channel: Channel, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    Channel.objects.create(name="Other", kind=ChannelKind.EMAIL, recipients=["other@example.com"])
    Channel.objects.filter(pk=channel.pk).update(failures=1)
    order: list[str] = []

    def notify(item: Channel) -> bool:
        order.append(item.name)
        return True

    monkeypatch.setattr(dispatch, "notify", notify)
    dispatch.notify_all()
    assert order == ["Other", "Ops"]


def test_a_channel_that_fails_is_shown_on_the_home_page(channel: Channel, admin_client: Client) -> None:
    Channel.objects.update(failures=checks.rows.MIN_FAILURES, last_error="no route")
    detector.detect()
    assert "cannot deliver messages: no route" in admin_client.get("/admin/").content.decode()
