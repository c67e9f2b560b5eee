"""Telling people: grouped, not too often, again while it stays, when it is over; and dying at any point."""

from __future__ import annotations

import json
import smtplib
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
import time_machine
from django.core import mail
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from providers.models import HistoryEntry
from subscriptions.models import Channel, ChannelKind, Message, NotifiedProblem, Problem, ProblemKind, Severity
from subscriptions.notifications import dispatch, messages, transports
from subscriptions.problems import checks, detector
from tests.harness.fake_provider import run_concurrently
from tests.problems.test_detector import Facts, facts, shared_facts

__all__ = ["facts", "shared_facts"]  # fixtures

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def channel(db: None, clock: time_machine.Traveller) -> Channel:
    return Channel.objects.create(name="Ops", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])


def tell() -> list[str]:
    """A pass, a chance to speak, and the subjects of what was sent."""
    detector.detect()
    mail.outbox.clear()
    dispatch.notify_all()
    return [str(message.subject) for message in mail.outbox]


def say_several(facts: Facts, *severities: Severity) -> None:
    found = []
    for number, severity in enumerate(severities):
        facts.say(severity=severity, name=f"n{number}", message=f"Cause {number}.")
        found += facts.causes
    facts.causes = found


# -- What is told, and when ------------------------------------------------------------------------------------------


def test_what_opens_is_told_once_it_has_held_and_once_only(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    facts.say()
    assert tell() == []
    clock.shift(61)
    assert tell() == ["New: Clone"]
    body = mail.outbox[0].body
    assert "Warning: Clone" in body
    assert "It is a copy." in body
    assert "Next: If this installation has moved" in body
    assert "/admin/subscriptions/problem/" in body
    clock.shift(HOUR)
    assert tell() == []


def test_a_critical_one_is_told_at_once_also_within_the_pause(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    facts.say()
    detector.detect()
    clock.shift(61)
    assert len(tell()) == 1
    say_several(facts, Severity.CRITICAL)
    assert tell() == ["Critical: Clone"], "the first critical one does not wait"
    say_several(facts, Severity.CRITICAL, Severity.CRITICAL)
    assert tell() == [], "the next one waits for its turn"
    clock.shift(9 * MINUTE)
    assert tell() == []
    clock.shift(MINUTE)
    assert len(tell()) == 1


def test_many_are_one_message(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    say_several(facts, *[Severity.WARNING] * 30, Severity.CRITICAL)
    detector.detect()
    clock.shift(61)
    assert tell() == ["Problems: 31 new (1 critical)"]
    body = mail.outbox[0].body
    assert body.index("Critical:") < body.index("Warning:")
    assert "... and 11 more" in body


def test_what_is_over_is_told_after_the_pause(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    facts.say(severity=Severity.CRITICAL)
    assert len(tell()) == 1
    facts.nothing()
    clock.shift(5 * MINUTE)
    assert tell() == []
    clock.shift(5 * MINUTE)
    assert tell() == ["Over: Clone"]
    assert "after 5 min" in mail.outbox[0].body
    clock.shift(HOUR)
    assert tell() == []


def test_recoveries_can_be_left_out(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    Channel.objects.update(recoveries=False)
    facts.say(severity=Severity.CRITICAL)
    tell()
    facts.nothing()
    clock.shift(HOUR)
    assert tell() == []
    facts.say(severity=Severity.CRITICAL)
    assert tell() == ["Critical: Clone"]
    assert "Came back:" in mail.outbox[0].body


def test_graver_is_told_again(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    facts.say()
    detector.detect()
    clock.shift(61)
    tell()
    facts.say(severity=Severity.CRITICAL)
    assert tell() == ["Critical: Clone"]
    assert "Became graver:" in mail.outbox[0].body


def test_the_least_severity_counts(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    Channel.objects.update(min_severity=Severity.CRITICAL)
    facts.say()
    detector.detect()
    clock.shift(HOUR)
    assert tell() == []
    facts.say(severity=Severity.CRITICAL)
    assert tell() == ["Critical: Clone"]


def test_what_came_and_went_meanwhile_is_told_as_such(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    say_several(facts, Severity.CRITICAL)
    assert len(tell()) == 1
    clock.shift(MINUTE)
    say_several(facts, Severity.CRITICAL, Severity.WARNING)
    assert tell() == []
    clock.shift(2 * MINUTE)
    say_several(facts, Severity.CRITICAL)
    assert tell() == []
    clock.shift(10 * MINUTE)
    assert tell() == ["Came and went: Clone"]
    assert "after 2 min" in mail.outbox[0].body
    clock.shift(HOUR)
    assert tell() == []


def test_what_lasted_a_moment_is_not_told(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    facts.say()
    detector.detect()
    clock.shift(20)
    facts.nothing()
    detector.detect()
    clock.shift(HOUR)
    assert tell() == []


def test_old_stories_are_not_told_to_a_new_channel(facts: Facts, clock: time_machine.Traveller) -> None:
    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    clock.shift(HOUR)
    facts.nothing()
    detector.detect()
    clock.shift(HOUR)
    Channel.objects.create(name="New", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])
    assert tell() == []


def test_still_open_is_told_again_after_a_day_for_all_together(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    say_several(facts, Severity.CRITICAL)
    tell()
    clock.shift(HOUR)
    say_several(facts, Severity.CRITICAL, Severity.CRITICAL)
    tell()
    clock.shift(22 * HOUR)
    assert tell() == []
    clock.shift(HOUR)
    assert tell() == ["Problems: 2 still open"]
    clock.shift(23 * HOUR)
    assert tell() == []
    clock.shift(HOUR)
    assert tell() == ["Problems: 2 still open"]


def test_what_is_acknowledged_reminds_nobody_but_its_end_is_told(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    facts.say(severity=Severity.CRITICAL)
    tell()
    detector.acknowledge(Problem.objects.get(), by="staff:ann")
    clock.shift(48 * HOUR)
    assert tell() == []
    facts.nothing()
    assert tell() == ["Over: Clone"]


def test_no_reminders_where_none_are_wanted(facts: Facts, channel: Channel, clock: time_machine.Traveller) -> None:
    Channel.objects.update(remind_every=None)
    facts.say(severity=Severity.CRITICAL)
    tell()
    clock.shift(30 * 24 * HOUR)
    assert tell() == []


def test_a_clock_that_was_set_back_silences_nobody(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    facts.say(severity=Severity.CRITICAL)
    tell()
    clock.shift(-5 * HOUR)
    say_several(facts, Severity.WARNING)
    detector.detect()
    clock.shift(61)
    assert len(tell()) == 1


def test_a_channel_that_is_switched_off_says_nothing(
    facts: Facts, channel: Channel, clock: time_machine.Traveller
) -> None:
    Channel.objects.update(enabled=False)
    facts.say(severity=Severity.CRITICAL)
    assert tell() == []


# -- Failing and dying -----------------------------------------------------------------------------------------------


class Carrier:
    """Stands for the way to people."""

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


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> Carrier:
    return Carrier(monkeypatch)


def test_a_failure_is_shown_and_tried_again_with_growing_pauses(
    facts: Facts, channel: Channel, carrier: Carrier, clock: time_machine.Traveller
) -> None:
    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    carrier.error = transports.DeliveryFailed("hooks.example.com answered 500.")
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
    assert detector.detect(set(ProblemKind)).opened == 0, "only the source of the tests is there"
    assert [cause.message for cause in checks.installation.channels(timezone.now())] == [
        "The channel Ops cannot deliver messages: hooks.example.com answered 500."
    ]
    carrier.error = None
    assert dispatch.notify_all() == 1
    channel.refresh_from_db()
    assert (channel.failures, channel.last_error, channel.retry_at) == (0, "", None)
    assert list(checks.installation.channels(timezone.now())) == []


def test_a_later_retry_that_the_receiver_asks_for_is_kept(
    facts: Facts, channel: Channel, carrier: Carrier, clock: time_machine.Traveller
) -> None:
    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    carrier.error = transports.DeliveryFailed("Too many.", retry_after=300)
    dispatch.notify_all()
    channel.refresh_from_db()
    assert channel.retry_at == timezone.now() + timedelta(seconds=300)


class Killed(BaseException):
    """The process ends here."""


def test_killed_between_sending_and_writing_it_down_it_is_told_again(
    facts: Facts, channel: Channel, carrier: Carrier, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    carrier.error = Killed()
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "release", lambda *_: None)  # a dead process releases nothing
        with pytest.raises(Killed):
            dispatch.notify_all()
    carrier.error = None
    assert Message.objects.get().status == "sending"
    assert dispatch.notify_all() == 0, "the dead process's claim still holds"
    clock.shift(dispatch.CLAIM_SECONDS + 1)
    assert dispatch.notify_all() == 1
    assert len(carrier.sent) == 2
    assert sorted(Message.objects.values_list("status", flat=True)) == ["sent", "unknown"]
    clock.shift(HOUR)
    assert dispatch.notify_all() == 0


def test_killed_before_sending_nothing_is_lost(
    facts: Facts, channel: Channel, carrier: Carrier, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> str:
        raise Killed

    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "deliver", killed)
        patch.setattr(Channel, "release", lambda *_: None)
        with pytest.raises(Killed):
            dispatch.notify_all()
    clock.shift(dispatch.CLAIM_SECONDS + 1)
    assert dispatch.notify_all() == 1
    assert carrier.sent == ["Critical: Clone"]


def test_a_claim_that_ended_meanwhile_writes_nothing_down(
    facts: Facts, channel: Channel, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts.say(severity=Severity.CRITICAL)
    detector.detect()
    deliver = carrier.deliver

    def slow(row: Channel, *, subject: str, text: str) -> str:
        Channel.objects.update(claimed_by="somebody else")
        return deliver(row, subject=subject, text=text)

    monkeypatch.setattr(dispatch, "deliver", slow)
    dispatch.notify_all()
    assert not NotifiedProblem.objects.exists()


def test_many_workers_at_once_send_one_message(
    shared_facts: Facts, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    carrier = Carrier(monkeypatch)
    Channel.objects.create(name="Ops", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])
    shared_facts.say(severity=Severity.CRITICAL)
    detector.detect()
    in_transaction: list[bool] = []
    deliver = carrier.deliver

    def watched(row: Channel, *, subject: str, text: str) -> str:
        in_transaction.append(transaction.get_connection().in_atomic_block)
        return deliver(row, subject=subject, text=text)

    monkeypatch.setattr(dispatch, "deliver", watched)
    sent = run_concurrently(*[dispatch.notify_all] * 6)
    assert sum(sent) == 1
    assert len(carrier.sent) == 1
    assert in_transaction == [False], "no network call within a transaction"


def test_messages_are_kept_for_a_while(
    facts: Facts, channel: Channel, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MESSAGES_KEPT", 3)
    for _ in range(6):
        dispatch.try_out(channel, by="staff:ann")
    assert Message.objects.count() == 3


def test_a_channel_that_no_key_opens_says_so_and_hinders_no_other(
    facts: Facts, channel: Channel, settings: Settings, clock: time_machine.Traveller
) -> None:
    broken = Channel.objects.create(name="Chat", kind=ChannelKind.WEBHOOK, url="https://hooks.example.com/x")
    Channel.objects.filter(pk=broken.pk).update(url="secret")
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE subscriptions_channel SET url = 'no token' WHERE id = %s", [broken.pk])
    facts.say(severity=Severity.CRITICAL)
    assert len(tell()) == 1
    assert "ENCRYPTION_KEYS" in Channel.objects.defer("url").get(pk=broken.pk).last_error


# -- The ways out ----------------------------------------------------------------------------------------------------


class Server(BaseHTTPRequestHandler):
    """A webhook's receiver that answers as told."""

    status: ClassVar[int] = 200
    got: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).got.append(json.loads(body))
        self.send_response(type(self).status)
        if type(self).status == 302:
            self.send_header("Location", "http://127.0.0.1/elsewhere")
        self.end_headers()
        self.wfile.write(f"no_service for {self.path}".encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    Server.got, Server.status = [], 200
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        settings.SANDBOX_URL = f"http://127.0.0.1:{running.server_port}"  # lets the guard pass exactly this address
        yield f"http://127.0.0.1:{running.server_port}/services/T000/B000/top-secret-part"
        running.shutdown()
        thread.join()


def webhook(url: str) -> Channel:
    return Channel(name="Chat", kind=ChannelKind.WEBHOOK, url=url)


def test_a_webhook_gets_what_slack_takes(server: str) -> None:
    detail = transports.deliver(webhook(server), subject="New: A", text="<!channel> a & b")
    assert detail.endswith(" answered 200.")
    assert Server.got == [{"text": "*New: A*\n&lt;!channel&gt; a &amp; b"}]


@pytest.mark.parametrize(
    ("status", "words"), [(404, "answered 404: no_service"), (302, "redirects are not followed"), (503, "answered 503")]
)
def test_what_a_webhook_answers_is_told_without_its_secret(server: str, status: int, words: str) -> None:
    Server.status = status
    with pytest.raises(transports.DeliveryFailed, match=words) as failed:
        transports.deliver(webhook(server), subject="s", text="t")
    assert "top-secret-part" not in str(failed.value)
    assert len(Server.got) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9/x", "not a public address"),
        ("http://169.254.169.254/latest/meta-data", "not a public address"),
        ("https://nowhere.invalid/x", "could not be reached"),
        ("", "no address"),
    ],
)
def test_an_address_that_must_not_or_cannot_be_called(url: str, words: str) -> None:
    with pytest.raises(transports.DeliveryFailed, match=words):
        transports.deliver(webhook(url), subject="s", text="t")


def email() -> Channel:
    return Channel(name="Ops", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])


def test_e_mail_without_a_server_is_no_success(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    with pytest.raises(transports.DeliveryFailed, match="EMAIL_URL is not set"):
        transports.deliver(email(), subject="s", text="t")
    with pytest.raises(transports.DeliveryFailed, match="no recipients"):
        transports.deliver(Channel(kind=ChannelKind.EMAIL), subject="s", text="t")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (smtplib.SMTPAuthenticationError(535, b"bad pa55word-of-ours"), r"refused the login \(535 bad \*\*\*\)"),
        (smtplib.SMTPRecipientsRefused({"ops@example.com": (550, b"unknown")}), r"ops@example.com \(550 unknown\)"),
        (smtplib.SMTPDataError(554, b"spam"), "refused the message"),
        (smtplib.SMTPServerDisconnected("closed"), "broke the connection off"),
        (ConnectionRefusedError(), "refused the connection"),
        (TimeoutError(), "did not answer within 10 s"),
        (OSError("no route"), "no route"),
        (ValueError("a header"), "a header"),
    ],
)
def test_what_the_mail_server_says_is_told_exactly(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    settings.EMAIL_HOST_PASSWORD = "pa55word-of-ours"
    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", fail)
    with pytest.raises(transports.DeliveryFailed, match=words):
        transports.deliver(email(), subject="s", text="t")


def test_the_test_button_says_how_it_went_and_is_written_down(
    channel: Channel, carrier: Carrier, clock: time_machine.Traveller
) -> None:
    assert dispatch.try_out(channel, by="staff:ann") == (True, "Sent.")
    Channel.objects.update(failures=4, retry_at=timezone.now() + HOUR, last_error="x")
    carrier.error = transports.DeliveryFailed("No.")
    assert dispatch.try_out(channel, by="staff:ann") == (False, "No.")
    assert channel.failures == 4, "what waits is not forgotten"
    carrier.error = None
    dispatch.try_out(channel, by="staff:ann")
    assert (channel.failures, channel.retry_at) == (0, None)
    assert [message.status for message in Message.objects.order_by("pk")] == ["sent", "failed", "sent"]
    assert {entry.action for entry in HistoryEntry.objects.all()} == {"tested"}
    assert carrier.sent == [messages.TEST_SUBJECT] * 2
