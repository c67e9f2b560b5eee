"""Who is asking, when a reverse proxy stands between."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from config.web.bypass_middleware import GetResponse

WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]{1,5}|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST")


class TrustedProxies:
    """Believes forwarding headers of TRUSTED_PROXIES only, and sets REMOTE_ADDR to the client that they name.

    From anybody else those headers are removed, since they could claim any address and https.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Passes the request on, with its origin set right."""
        set_origin(request.META)
        return self.get_response(request)


def set_origin(environ: dict[str, Any]) -> None:
    """Does that to a WSGI environment."""
    if not settings.TRUSTED_PROXIES or not is_trusted(environ.get("REMOTE_ADDR", "")):
        for name in FORWARDED:
            environ.pop(name, None)
    elif "HTTP_X_FORWARDED_FOR" in environ:
        environ["REMOTE_ADDR"] = client_address(environ["HTTP_X_FORWARDED_FOR"], proxy=environ["REMOTE_ADDR"])


def is_trusted(address: str) -> bool:
    """Whether the address belongs to one of TRUSTED_PROXIES."""
    ip = _read(address)
    # A server that listens on :: shows IPv4 as ::ffff:192.0.2.1.
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return ip is not None and any(ip in network or (mapped or ip) in network for network in settings.TRUSTED_PROXIES)


def client_address(forwarded_for: str, *, proxy: str) -> str:
    """The last address in X-Forwarded-For that is not a proxy of ours; those before it can be made up by the client."""
    for part in reversed(forwarded_for.split(",")):
        address = _without_port(part.strip())
        if not is_trusted(address):
            return address if _read(address) else proxy
    return proxy


def _without_port(part: str) -> str:
    """Some proxies name the client's port as well: 192.0.2.1:443, [fd00::1]:443."""
    found = WITH_PORT.fullmatch(part)
    return (found["v6"] or found["v4"]) if found else part


def _read(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address; None when it is none."""
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None
