"""Allow connections only to public addresses and to addresses in the settings."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import create_connection

from providers.contract.errors import (
    AddressRefused,
)


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Allows public addresses, addresses in `networks`, and exactly the (address, port) pairs in `endpoints`."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    endpoints: frozenset[tuple[str, int]] = frozenset()

    def check(self, address: str, port: int) -> None:
        """Raise AddressRefused for an address that is neither public nor allowed."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        if (str(ip), port) in self.endpoints or any(ip in network for network in self.networks):
            return
        if not ip.is_global or ip.is_multicast:
            raise AddressRefused(
                f"{ip} is not a public address, so it is not called. To allow it, add it to ALLOW_PRIVATE_NETWORKS."
            )


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

        def connect(connection: HTTPConnection) -> socket.socket:
            host, port = connection.host, connection.port
            try:
                results = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise urllib3.exceptions.NewConnectionError(connection, f"{host} was not found: {error}") from None
            addresses = [str(item[4][0]) for item in results]
            for address in addresses:
                guard.check(address, port)
            last_error: OSError | None = None
            for address in addresses:
                try:
                    return create_connection(
                        (address, port), connection.timeout, connection.source_address, connection.socket_options
                    )
                except TimeoutError:
                    raise urllib3.exceptions.ConnectTimeoutError(connection, f"{host} did not answer") from None
                except OSError as error:
                    last_error = error
            raise urllib3.exceptions.NewConnectionError(connection, f"{host} could not be reached: {last_error}")

        class GuardedHTTPConnection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self)

        class GuardedHTTPSConnection(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connect(self)

        class GuardedHTTPPool(urllib3.HTTPConnectionPool):
            ConnectionCls = GuardedHTTPConnection

        class GuardedHTTPSPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = GuardedHTTPSConnection

        self.poolmanager.pool_classes_by_scheme = {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}
