"""Delivery of one message by email or to a webhook that takes Slack's format."""

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
from providers.contract.http import Http
from providers.contract.masking import SecretMask
from providers.contract.responses import ProviderResponse, retry_after
from providers.contract.sanitize import sanitize_text
from providers.db.encryption import Undecryptable
from providers.names import single_line
from subscriptions.models import Channel, ChannelKind

TIMEOUT_SECONDS = 10.0
MAX_RESPONSE_LENGTH = 300  # characters of a server's response that are shown
NON_SENDING_BACKENDS = ("console", "dummy")


class DeliveryFailed(Exception):
    """The message was not delivered. The text says why, with secrets masked. `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def deliver(channel: Channel, *, subject: str, text: str) -> str:
    """Send a message now and return a sentence about the result. Raises DeliveryFailed.

    Do not call it inside a transaction: it waits for a server.
    """
    subject, text = sanitize_text(subject), sanitize_text(text)
    subject = single_line(subject)  # names that were stored before they were checked, and texts of providers
    if channel.kind == ChannelKind.EMAIL:
        return _mail(channel, subject, text)
    return _post(channel, f"*{_slack(subject)}*\n{_slack(text)}")


def _mail(channel: Channel, subject: str, text: str) -> str:
    if not channel.recipients:
        raise DeliveryFailed("The channel has no recipients.")
    if settings.EMAIL_BACKEND.rpartition(".backends.")[2].startswith(NON_SENDING_BACKENDS):
        raise DeliveryFailed("EMAIL_URL is not set, so email cannot be sent.")
    server = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        connection = get_connection(timeout=TIMEOUT_SECONDS)
        EmailMessage(subject, text, to=channel.recipients, connection=connection).send()
    except smtplib.SMTPRecipientsRefused as error:
        refused = "; ".join(
            f"{recipient} ({_response_text(code, text)})" for recipient, (code, text) in error.recipients.items()
        )
        raise DeliveryFailed(_masked(f"The mail server {server} refused the recipients: {refused}.")) from None
    except smtplib.SMTPAuthenticationError as error:
        answer = _response_text(error.smtp_code, error.smtp_error)
        raise DeliveryFailed(_masked(f"The mail server {server} refused the login ({answer}).")) from None
    except smtplib.SMTPResponseException as error:
        answer = _response_text(error.smtp_code, error.smtp_error)
        raise DeliveryFailed(_masked(f"The mail server {server} refused the message ({answer}).")) from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise DeliveryFailed(_masked(f"The mail server {server} {_error_text(error)}.")) from None
    return f"Accepted by the mail server for {', '.join(channel.recipients)}."


def _post(channel: Channel, text: str) -> str:
    url = _url_of(channel)
    parts = urlsplit(url)
    secrets = [part for part in (parts.path.strip("/"), *parts.path.split("/"), parts.query) if len(part) > 7]
    host = parts.netloc.rpartition("@")[2]

    def read_error(response: ProviderResponse) -> ProviderError:
        body = response.body[:MAX_RESPONSE_LENGTH].decode("utf-8", "replace").strip()
        message = f"{host} responded with {response.status}" + (f": {body}" if body else "") + "."
        if response.status in (429, 503):
            return Throttled(message, status=response.status, retry_after=retry_after(response))
        if 300 <= response.status < 400:
            message = f"{host} responded with {response.status}, a redirect. Redirects are not followed."
        return Refused(message, status=response.status)

    try:
        with Http(guard=address_guard(), secrets=(url, *secrets), deadline=time.monotonic() + TIMEOUT_SECONDS) as http:
            response = http.call("POST", url, json_body={"text": text}, read_error=read_error)
    except ProviderError as error:
        raise DeliveryFailed(error.message, retry_after=error.retry_after) from None
    return f"{host} responded with {response.status}."


def _url_of(channel: Channel) -> str:
    try:
        url = str(channel.url)
    except Undecryptable as error:  # the URL is deferred and read only here
        raise DeliveryFailed(str(error)) from None
    if not url:
        raise DeliveryFailed("The channel has no webhook URL.")
    return url


def _slack(text: str) -> str:
    """Escape what Slack reads as a mention or a link; texts of providers may contain anything."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _error_text(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return "was not found; check the host name in EMAIL_URL"
        case TimeoutError():
            return f"did not respond within {TIMEOUT_SECONDS:.0f} s"
        case ConnectionRefusedError():
            return "refused the connection"
        case ssl.SSLError():
            return f"failed the TLS handshake ({error.reason or error})"
        case smtplib.SMTPServerDisconnected():
            return "closed the connection"
        case _:
            return f"could not be used ({type(error).__name__}: {error})"


def _response_text(code: int, response: bytes | str) -> str:
    text = _masked(response.decode("utf-8", "replace") if isinstance(response, bytes) else response)
    return f"{code} {' '.join(text.split())[:MAX_RESPONSE_LENGTH]}"


def _masked(text: str) -> str:
    return SecretMask([settings.EMAIL_HOST_PASSWORD]).text(text)
