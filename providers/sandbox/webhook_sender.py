"""Send the sandbox's webhooks to callback URLs, as a provider's server does.

Unlike `providers.contract.http` there is no address guard and no rate limit. Redirects are not followed, and only the
status is read.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

CONNECT_TIMEOUT_SECONDS = 3.0
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One HTTP call to a callback URL."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendResult:
    """The outcome of a webhook call: the status, or None and the failure."""

    status: int | None
    failure: str | None = None


class WebhookSender:
    """Sends webhooks. `redirected` maps an origin to the one to connect to instead; path and Host do not change."""

    def __init__(self, redirected: Mapping[str, str] | None = None) -> None:
        self._redirected = {origin_of(source): origin_of(target) for source, target in (redirected or {}).items()}
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._closed = False

    def accepts(self, url: str) -> bool:
        """Return whether a simulator should accept this callback URL.

        Providers require HTTPS. The sandbox also accepts plain HTTP to this machine and to redirected origins.
        """
        parts = urlsplit(url)
        if parts.scheme == "https":
            return True
        return parts.scheme == "http" and (_is_loopback(parts.hostname or "") or origin_of(url) in self._redirected)

    def send(self, call: WebhookCall, *, timeout: float) -> SendResult:
        """Make one call. `timeout` is in seconds, for each wait on the network."""
        parts = urlsplit(call.url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            connection = _connection(self._redirected.get(origin_of(call.url), origin_of(call.url)), timeout)
        except ValueError as error:
            return SendResult(None, f"not a usable URL: {error}")
        try:
            self._connect(connection, timeout)
            connection.request(call.method, target, call.body, {"Host": parts.netloc, **call.headers})
            return SendResult(connection.getresponse().status)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            return SendResult(None, f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def close(self) -> None:
        """Abort calls in progress, so that no thread waits for a receiver that does not respond."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
        for connection in connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, AttributeError):
                continue  # it has just ended

    def _connect(self, connection: http.client.HTTPConnection, timeout: float) -> None:
        connection.connect()
        connection.sock.settimeout(timeout)
        with self._lock:
            if self._closed:
                raise OSError("the sandbox is closing")
            self._open.add(connection)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, always with the port, so that equal origins are equal strings.

    A port that is not a number is kept; connecting to it fails later.
    """
    parts = urlsplit(url)
    has_port = parts.netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")[1]
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}" if has_port else f"{parts.scheme}://{host}:{DEFAULT_PORTS.get(parts.scheme, 0)}"


def _connection(origin: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(origin)
    if not parts.hostname:
        raise ValueError("no host")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=min(CONNECT_TIMEOUT_SECONDS, timeout))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
