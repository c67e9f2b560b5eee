"""Forwarding headers are trusted only from TRUSTED_PROXIES."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from config.web.proxies import TrustedProxies


def received_request(remote: str, **headers: str) -> HttpRequest:
    """Return the request as a view sees it."""
    requests: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        requests.append(request)
        return HttpResponse()

    TrustedProxies(view)(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers))
    return requests[0]


@pytest.fixture(autouse=True)
def _proxy(settings: Any) -> None:
    settings.TRUSTED_PROXIES = (ipaddress.ip_network("10.0.0.0/8"),)
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("::ffff:10.0.0.1", "198.51.100.7, ::ffff:10.0.0.2", "198.51.100.7"),
        ("::ffff:192.0.2.1", "198.51.100.7", "::ffff:192.0.2.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, [2001:db8::7]:4711, 10.0.0.2:80", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_the_client_address_comes_from_a_trusted_proxy(remote: str, forwarded: str, client: str) -> None:
    assert received_request(remote, x_forwarded_for=forwarded).META["REMOTE_ADDR"] == client


def test_only_a_trusted_proxy_can_declare_https() -> None:
    assert received_request("10.0.0.1", x_forwarded_proto="https").is_secure()
    assert not received_request("192.0.2.1", x_forwarded_proto="https").is_secure()


def test_without_trusted_proxies_forwarding_headers_are_ignored(settings: Any) -> None:
    settings.TRUSTED_PROXIES = ()
    request = received_request("10.0.0.1", x_forwarded_for="198.51.100.7", x_forwarded_proto="https")
    assert request.META["REMOTE_ADDR"] == "10.0.0.1"
    assert not request.is_secure()
