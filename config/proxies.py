"""Who is asking, when a reverse proxy stands between."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from config.direct import GetResponse

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
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in settings.TRUSTED_PROXIES)


def client_address(forwarded_for: str, *, proxy: str) -> str:
    """The last address in X-Forwarded-For that is not a proxy of ours; those before it can be made up by the client."""
    for address in reversed([part.strip() for part in forwarded_for.split(",")]):
        if not is_trusted(address):
            return address if _is_address(address) else proxy
    return proxy


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
