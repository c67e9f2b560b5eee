"""Carries one message to people: by e-mail, or to a webhook as Slack and its like take it."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from providers.accounts.session import address_guard
from providers.contract.errors import ProviderError, Refused, Throttled
from providers.contract.http import MASK, Http
from providers.contract.responses import ProviderResponse, retry_after
from providers.db.encryption import Undecryptable
from subscriptions.models import Channel, ChannelKind

SECONDS = 10.0
MOST_WORDS = 300  # of what a server answered
NOT_SENT_FOR_REAL = ("console", "dummy")


class DeliveryFailed(Exception):
    """The message did not get there, and why, for a person; secrets are masked. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def deliver(channel: Channel, *, subject: str, text: str) -> str:
    """Sends it now and says how that went. Raises DeliveryFailed. Never call it inside a transaction."""
    if channel.kind == ChannelKind.EMAIL:
        return _mail(channel, subject, text)
    return _post(channel, f"*{_slack(subject)}*\n{_slack(text)}")


def _mail(channel: Channel, subject: str, text: str) -> str:
    if not channel.recipients:
        raise DeliveryFailed("The channel has no recipients.")
    if settings.EMAIL_BACKEND.rpartition(".backends.")[2].startswith(NOT_SENT_FOR_REAL):
        raise DeliveryFailed("EMAIL_URL is not set, so no e-mail can be sent.")
    server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        connection = get_connection(timeout=SECONDS)
        EmailMessage(subject, text, to=channel.recipients, connection=connection).send()
    except smtplib.SMTPRecipientsRefused as error:
        refused = "; ".join(f"{who} ({_answer(code, words)})" for who, (code, words) in error.recipients.items())
        raise DeliveryFailed(_masked(f"The mail server {server} refused the recipients: {refused}.")) from None
    except smtplib.SMTPAuthenticationError as error:
        answer = _answer(error.smtp_code, error.smtp_error)
        raise DeliveryFailed(_masked(f"The mail server {server} refused the login ({answer}).")) from None
    except smtplib.SMTPResponseException as error:
        answer = _answer(error.smtp_code, error.smtp_error)
        raise DeliveryFailed(_masked(f"The mail server {server} refused the message ({answer}).")) from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise DeliveryFailed(_masked(f"The mail server {server} {_trouble(error)}.")) from None
    return f"The mail server took it for {', '.join(channel.recipients)}."


def _post(channel: Channel, text: str) -> str:
    url = _url_of(channel)
    parts = urlsplit(url)
    secrets = [part for part in (parts.path.strip("/"), *parts.path.split("/"), parts.query) if len(part) > 7]
    host = parts.netloc.rpartition("@")[2]

    def refused(answer: ProviderResponse) -> ProviderError:
        words = answer.body[:MOST_WORDS].decode("utf-8", "replace").strip()
        message = f"{host} answered {answer.status}" + (f": {words}" if words else "") + "."
        if answer.status in (429, 503):
            return Throttled(message, status=answer.status, retry_after=retry_after(answer))
        if 300 <= answer.status < 400:
            message = f"{host} answered {answer.status}, a redirect; redirects are not followed."
        return Refused(message, status=answer.status)

    try:
        with Http(guard=address_guard(), secrets=(url, *secrets), deadline=time.monotonic() + SECONDS) as http:
            answer = http.call("POST", url, json_body={"text": text}, read_error=refused)
    except ProviderError as error:
        raise DeliveryFailed(error.message, retry_after=error.retry_after) from None
    return f"{host} answered {answer.status}."


def _url_of(channel: Channel) -> str:
    try:
        url = str(channel.url)
    except Undecryptable as error:  # where it was not read with the row
        raise DeliveryFailed(str(error)) from None
    if not url:
        raise DeliveryFailed("The channel has no address.")
    return url


def _slack(text: str) -> str:
    """Without what Slack would take for a mention or a link; a provider's words may hold anything."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _trouble(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return "was not found; check its name in EMAIL_URL"
        case TimeoutError():
            return f"did not answer within {SECONDS:.0f} s"
        case ConnectionRefusedError():
            return "refused the connection"
        case ssl.SSLError():
            return f"could not be talked to by TLS ({error.reason or error})"
        case smtplib.SMTPServerDisconnected():
            return "broke the connection off"
        case _:
            return f"could not be used ({type(error).__name__}: {error})"


def _answer(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"{code} {' '.join(text.split())[:MOST_WORDS]}"


def _masked(text: str) -> str:
    password = settings.EMAIL_HOST_PASSWORD
    return text.replace(password, MASK) if password else text
