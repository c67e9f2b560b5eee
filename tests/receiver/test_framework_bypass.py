"""Django and REST framework cannot reject or lose a webhook; headers and addresses are read correctly."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from django.test import Client
from pytest_django import Settings

from events.models import WebhookRequest
from events.receiver import handler
from subscriptions.models import Subscription
from tests.harness.receiving import hook_path, is_empty_200, post_hook

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("accept", ["application/xml", "text/html", "nonsense", ""])
def test_any_accept_header_is_accepted(hook_client: Client, hook: Subscription, accept: str) -> None:
    assert is_empty_200(post_hook(hook_client, hook, headers={"Accept": accept}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "content_type", ["application/xml", "multipart/form-data", "text/plain; charset=nonsense", "", "\xff"]
)
def test_any_content_type_is_accepted(hook_client: Client, hook: Subscription, content_type: str) -> None:
    assert is_empty_200(post_hook(hook_client, hook, b"--x\r\nnot multipart", content_type=content_type))
    assert bytes(WebhookRequest.objects.get().body) == b"--x\r\nnot multipart"


def test_query_parameter_format_is_ignored(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(post_hook(hook_client, hook, path=hook_path(hook) + "?format=xml"))
    assert WebhookRequest.objects.get().query == "format=xml"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("host", ["evil.example", "under_score.example", "a b", ""])
def test_any_host_header_is_accepted(
    hook_client: Client, hook: Subscription, settings: Settings, host: str, debug: bool
) -> None:
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = ["only.example"]
    assert hook_client.get("/admin/login/", headers={"Host": "evil.example"}).status_code == 400
    assert is_empty_200(post_hook(hook_client, hook, headers={"Host": host}))
    assert post_hook(hook_client, hook, path="/hooks/unknown", headers={"Host": host}).status_code == 404


@pytest.mark.parametrize("ending", ["", "/"])
def test_requests_are_not_redirected_to_https(
    hook_client: Client, hook: Subscription, settings: Settings, ending: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert hook_client.get("/admin/login/").status_code == 301
    assert is_empty_200(post_hook(hook_client, hook, path=hook_path(hook) + ending))


def test_upload_limits_of_django_do_not_apply(hook_client: Client, hook: Subscription, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1
    form_type = "application/x-www-form-urlencoded"
    assert hook_client.post("/admin/login/", data="a=" + "x" * 99, content_type=form_type).status_code == 400
    form = b"a=1&b=2&c=" + b"x" * 5000
    assert is_empty_200(post_hook(hook_client, hook, form, content_type=form_type))
    assert bytes(WebhookRequest.objects.get().body) == form


def test_no_csrf_check_and_no_session(hook_client: Client, hook: Subscription) -> None:
    hook_client.handler.enforce_csrf_checks = True
    response = post_hook(hook_client, hook, headers={"Cookie": "sessionid=whatever", "Origin": "https://evil.example"})
    assert is_empty_200(response)
    assert not response.cookies
    assert set(response.headers) == {"Content-Length"}


def test_receiver_is_not_in_the_api_documentation() -> None:
    assert handler.HookView.schema is None


def test_process_environment_is_not_read_as_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(handler.PROCESS_ENVIRONMENT, "HTTP_PROXY", "http://user:password@proxy")
    environ = {
        "HTTP_PROXY": "http://user:password@proxy",
        "HTTP_X_A_B": "1",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "",
        "PATH": "/bin",
        "wsgi.version": (1, 0),
    }
    assert handler.read_headers(environ) == (("X-A-B", "1"), ("Content-Type", "text/plain"))
    assert handler.read_headers({"HTTP_PROXY": "sent by a client"}) == (("Proxy", "sent by a client"),)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\xc3\x84.pdf", "Ä.pdf"),
        ("\xc4.pdf", "Ä.pdf"),
        ("\xe2\x82\xac", "€"),
        ("\xc3\x84\xc4", "\xc3\x84\xc4"),
        ("€", "€"),
    ],
)
def test_header_values_are_read_as_utf_8_or_latin_1(value: str, text: str) -> None:
    assert handler.read_headers({"HTTP_X_PATH": value}) == (("X-Path", text),)


def test_headers_are_stored_in_order_and_as_text(hook_client: Client, hook: Subscription) -> None:
    post_hook(hook_client, hook, headers={"X-B": "\xc3\x84", "X-A": "\xc4", "X-Files-Path": "a"})
    headers = dict(WebhookRequest.objects.get().headers)
    assert [(name, headers[name]) for name in headers if name in ("X-A", "X-B", "X-Files-Path")] == [
        ("X-B", "Ä"),
        ("X-A", "Ä"),
        ("X-Files-Path", "a"),
    ]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("10.0.0.0/8",), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.0/8",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.0/8", "10.0.0.0/8"), "made-up, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
    ],
)
def test_forwarded_address_is_used_only_from_trusted_proxies(
    hook_client: Client, hook: Subscription, settings: Settings, proxies: tuple[str, ...], forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = tuple(ip_network(item) for item in proxies)
    assert is_empty_200(post_hook(hook_client, hook, headers={"X-Forwarded-For": forwarded}))
    assert WebhookRequest.objects.get().remote_addr == address
