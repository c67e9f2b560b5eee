"""Allow connections only to public addresses and to addresses in the settings.

The list of addresses that are not public is our own, because Python's `is_global` differs between patch releases and
passes addresses that contain a private IPv4 address.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import create_connection

from providers.contract.errors import AddressRefused

PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")  # everything else is private, reserved or deprecated
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's platform services, the same address in every virtual network
        "2001::/23",  # IETF protocols, such as Teredo, which contains an IPv4 address
        "2001:db8::/32", "3fff::/20",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Allows public addresses, addresses in `networks`, and exactly the (address, port) pairs in `endpoints`.

    Public addresses are called through TLS only, because every call carries a secret.
    """

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    endpoints: frozenset[tuple[str, int]] = frozenset()

    def check(self, address: str, port: int, *, encrypted: bool = True) -> None:
        """Raise AddressRefused for an address that is neither public nor allowed."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        if (str(ip), port) in self.endpoints or any(ip in network for network in self.networks):
            return
        if not _is_public(ip):
            raise AddressRefused(
                f"{ip} is not a public address, so it is not called. To allow it, add it to ALLOW_PRIVATE_NETWORKS."
            )
        if not encrypted:
            raise AddressRefused(
                f"Secrets are not sent to {ip} unencrypted. Use https://, or add it to ALLOW_PRIVATE_NETWORKS."
            )


def _is_public(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is public; one that contains an IPv4 address (NAT64, 6to4) counts as that address."""
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else ip.sixtofour
        if embedded is not None:
            return _is_public(embedded)
        if ip not in PUBLIC_IPV6:
            return False
    return not any(ip in network for network in NOT_PUBLIC)


def _resolve(host: str, port: int, seconds: float | None) -> list[str]:
    """Return the addresses of a host. Raises TimeoutError; the resolver itself has no time limit."""
    results: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            results.put([str(item[4][0]) for item in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)])
        except (OSError, UnicodeError) as error:  # raised again in the thread of the caller
            results.put(error)

    threading.Thread(target=look_up, name="dns", daemon=True).start()
    try:
        found = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


class GuardedAdapter(HTTPAdapter):
    """Connects only to addresses that the guard allows.

    The host is resolved once, so a second DNS lookup cannot return another address (DNS rebinding).
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Replace the pools' connection classes with guarded ones."""
        super().init_poolmanager(*args, **kwargs)
        guard = self._guard

        def connect(connection: HTTPConnection, *, encrypted: bool) -> socket.socket:
            host, port = connection.host, connection.port
            seconds = connection.timeout
            stop = None if seconds is None else time.monotonic() + seconds
            try:
                addresses = _resolve(host, port, seconds)
            except TimeoutError:
                raise urllib3.exceptions.ConnectTimeoutError(connection, f"{host} was not found in time") from None
            except (OSError, UnicodeError) as error:
                raise urllib3.exceptions.NewConnectionError(connection, f"{host} was not found: {error}") from None
            for address in addresses:
                guard.check(address, port, encrypted=encrypted)
            last_error: OSError | None = None
            for address in addresses:
                left = None if stop is None else max(stop - time.monotonic(), 0.001)
                try:
                    return create_connection(
                        (address, port), left, connection.source_address, connection.socket_options
                    )
                except TimeoutError:
                    raise urllib3.exceptions.ConnectTimeoutError(connection, f"{host} did not answer") from None
                except OSError as error:
                    last_error = error
            raise urllib3.exceptions.NewConnectionError(connection, f"{host} could not be reached: {last_error}")

        class GuardedHTTPConnection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self, encrypted=False)

        class GuardedHTTPSConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self, encrypted=True)

        class GuardedHTTPPool(urllib3.HTTPConnectionPool):
            ConnectionCls = GuardedHTTPConnection

        class GuardedHTTPSPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = GuardedHTTPSConnection

        self.poolmanager.pool_classes_by_scheme = {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}
