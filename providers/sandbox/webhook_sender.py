"""Carries the sandbox's webhooks to callback URLs: one HTTP call each, as a provider's server would make it.

Unlike `providers.contract.http` this is the other side: nothing is guarded and nothing is limited, redirects are not
followed,
and only the status counts.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

CONNECT_TIMEOUT = 3.0
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
    """How a call went: the status that came back, or None and what kept it from coming."""

    status: int | None
    failure: str | None = None


class WebhookSender:
    """Sends webhooks. `instead` maps an origin to the one that is connected to in its place (path and Host stay)."""

    def __init__(self, instead: Mapping[str, str] | None = None) -> None:
        self._instead = {origin_of(source): origin_of(target) for source, target in (instead or {}).items()}
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._closed = False

    def rewrites(self, url: str) -> bool:
        """Whether calls to this URL go to another origin."""
        return origin_of(url) in self._instead

    def accepts(self, url: str) -> bool:
        """Return whether a simulator should accept this callback URL.

        Providers require HTTPS. The sandbox also accepts plain HTTP to this machine and to redirected origins.
        """
        parts = urlsplit(url)
        if parts.scheme == "https":
            return True
        return parts.scheme == "http" and (_is_loopback(parts.hostname or "") or self.rewrites(url))

    def send(self, call: WebhookCall, *, timeout: float) -> SendResult:
        """Makes one call. `timeout` is in seconds, for each wait on the network."""
        parts = urlsplit(call.url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            connection = _connection(self._instead.get(origin_of(call.url), origin_of(call.url)), timeout)
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
        """Breaks off what is under way, so that nobody waits for a receiver that does not answer."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
        for connection in connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, AttributeError):
                continue  # it has just ended by itself

    def _connect(self, connection: http.client.HTTPConnection, timeout: float) -> None:
        connection.connect()
        connection.sock.settimeout(timeout)
        with self._lock:
            if self._closed:
                raise OSError("the sandbox is closing")
            self._open.add(connection)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, with the port always written, so that equal origins are equal texts.

    A port that is no number is left as it stands; connecting to it fails later.
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
    return kind(parts.hostname, parts.port, timeout=min(CONNECT_TIMEOUT, timeout))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
