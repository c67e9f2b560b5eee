"""The client's address behind reverse proxies."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from config.web.bypass_middleware import GetResponse

ADDRESS_WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]{1,5}|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
FORWARDING_HEADERS = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")


class TrustedProxies:
    """Trust forwarding headers from TRUSTED_PROXIES only, and set REMOTE_ADDR to the client that they name.

    Forwarding headers from other addresses are removed, because they could claim any address and HTTPS.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Correct the request's origin and call the next middleware."""
        set_origin(request.META)
        return self.get_response(request)


def set_origin(environ: dict[str, Any]) -> None:
    """Correct REMOTE_ADDR in a WSGI environment and remove forwarding headers that are not trusted."""
    if not settings.TRUSTED_PROXIES or not is_trusted(environ.get("REMOTE_ADDR", "")):
        for name in FORWARDING_HEADERS:
            environ.pop(name, None)
    elif "HTTP_X_FORWARDED_FOR" in environ:
        environ["REMOTE_ADDR"] = client_address(environ["HTTP_X_FORWARDED_FOR"], proxy=environ["REMOTE_ADDR"])


def is_trusted(address: str) -> bool:
    """Return whether the address belongs to TRUSTED_PROXIES."""
    ip = _parse_address(address)
    # A server that listens on :: shows IPv4 as ::ffff:192.0.2.1.
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip is not None and any(ip in network or (mapped or ip) in network for network in settings.TRUSTED_PROXIES)


def client_address(forwarded_for: str, *, proxy: str) -> str:
    """Return the last address in X-Forwarded-For that is not a trusted proxy; the client can forge those before it."""
    for part in reversed(forwarded_for.split(",")):
        address = _without_port(part.strip())
        if not is_trusted(address):
            return address if _parse_address(address) else proxy
    return proxy


def _without_port(part: str) -> str:
    """Remove the client's port, which some proxies add: 192.0.2.1:443, [fd00::1]:443."""
    match = ADDRESS_WITH_PORT.fullmatch(part)
    return (match["v6"] or match["v4"]) if match else part


def _parse_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address, or None if the text is not one."""
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
