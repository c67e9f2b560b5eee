"""Delivery of one message by email and by webhook."""

from __future__ import annotations

import json
import smtplib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar
from unittest import mock

import pytest
from django.core.mail import EmailMessage
from pytest_django import Settings

from subscriptions.models import Channel, ChannelKind
from subscriptions.notifications import transports


class Server(BaseHTTPRequestHandler):
    """The receiver of a chat webhook, which responds with `status`."""

    status: ClassVar[int] = 200
    received: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received.append(json.loads(body))
        self.send_response(type(self).status)
        if type(self).status == 302:
            self.send_header("Location", "http://127.0.0.1/elsewhere")
        self.end_headers()
        self.wfile.write(f"no_service for {self.path}".encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    Server.received, Server.status = [], 200
    with HTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        settings.SANDBOX_URL = (
            f"http://127.0.0.1:{running.server_port}"  # the address guard permits exactly this address
        )
        yield f"http://127.0.0.1:{running.server_port}/services/T000/B000/top-secret-part"
        running.shutdown()
        thread.join()


def webhook(url: str) -> Channel:
    return Channel(name="Chat", kind=ChannelKind.WEBHOOK, url=url)


def test_an_email_with_half_a_character_is_sent(settings: Settings, mailoutbox: list[EmailMessage]) -> None:
    channel = Channel(name="Mail", kind=ChannelKind.EMAIL, recipients=["a@example.test"])
    transports.deliver(channel, subject="New: \ud83d", text="cut \udc00")
    assert (mailoutbox[0].subject, mailoutbox[0].body) == ("New: \ufffd", "cut \ufffd")
    assert mailoutbox[0].message().as_bytes()


@pytest.mark.slow
def test_a_webhook_receives_escaped_slack_text(server: str) -> None:
    detail = transports.deliver(webhook(server), subject="New: A", text="<!channel> a & b")
    assert detail.endswith(" responded with 200.")
    assert Server.received == [{"text": "*New: A*\n&lt;!channel&gt; a &amp; b"}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, "responded with 404: no_service"), (302, "Redirects are not followed"), (503, "responded with 503")],
)
def test_a_webhook_error_shows_the_response_without_the_secret(server: str, status: int, expected: str) -> None:
    Server.status = status
    with pytest.raises(transports.DeliveryFailed, match=expected) as failed:
        transports.deliver(webhook(server), subject="s", text="t")
    assert "top-secret-part" not in str(failed.value)
    assert len(Server.received) == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9/x", "not a public address"),
        ("http://169.254.169.254/latest/meta-data", "not a public address"),
        ("https://nowhere.invalid/x", "could not be reached"),
        ("", "no webhook URL"),
    ],
)
def test_a_webhook_url_that_cannot_be_called_is_an_error(url: str, expected: str) -> None:
    with pytest.raises(transports.DeliveryFailed, match=expected):
        transports.deliver(webhook(url), subject="s", text="t")


def email() -> Channel:
    return Channel(name="Ops", kind=ChannelKind.EMAIL, recipients=["ops@example.com"])


def test_email_without_a_server_is_an_error(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    with pytest.raises(transports.DeliveryFailed, match="EMAIL_URL is not set"):
        transports.deliver(email(), subject="s", text="t")
    with pytest.raises(transports.DeliveryFailed, match="no recipients"):
        transports.deliver(Channel(kind=ChannelKind.EMAIL), subject="s", text="t")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (smtplib.SMTPAuthenticationError(535, b"bad pa55word-of-ours"), r"refused the login \(535 bad \*\*\*\)"),
        (smtplib.SMTPRecipientsRefused({"ops@example.com": (550, b"unknown")}), r"ops@example.com \(550 unknown\)"),
        (smtplib.SMTPDataError(554, b"spam"), "refused the message"),
        (smtplib.SMTPServerDisconnected("closed"), "closed the connection"),
        (ConnectionRefusedError(), "refused the connection"),
        (TimeoutError(), "did not respond within 10 s"),
        (OSError("no route"), "no route"),
        (ValueError("a header"), "a header"),
    ],
)
def test_a_mail_server_error_is_shown_without_the_password(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    settings.EMAIL_HOST_PASSWORD = "pa55word-of-ours"
    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", fail)
    with pytest.raises(transports.DeliveryFailed, match=expected):
        transports.deliver(email(), subject="s", text="t")


def test_the_password_at_the_place_where_an_answer_is_cut_is_masked_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_HOST_PASSWORD = "pa55word-of-ours"
    answer = b"x" * (transports.MAX_RESPONSE_LENGTH - 6) + b"pa55word-of-ours"
    fail = mock.Mock(side_effect=smtplib.SMTPDataError(554, answer))
    monkeypatch.setattr("django.core.mail.message.EmailMessage.send", fail)
    with pytest.raises(transports.DeliveryFailed) as caught:
        transports.deliver(email(), subject="s", text="t")
    assert "pa55" not in str(caught.value)
