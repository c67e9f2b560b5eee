"""Django's WSGI handler, as the web server calls it: webhooks bypass the middleware and the request signals."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_started

from config.web.bypass_middleware import ReceiverWSGIHandler
from events.models import WebhookRequest
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET


@pytest.fixture
def started_paths() -> Iterator[list[str]]:
    """Record the paths for which Django sent the signal `request_started`."""
    paths: list[str] = []

    def record(environ: dict[str, Any], **_: object) -> None:
        paths.append(environ["PATH_INFO"])

    request_started.connect(record)
    yield paths
    request_started.disconnect(record)


def call(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[str, dict[str, str], bytes]:
    """Return status, headers and content."""
    responses: list[tuple[str, dict[str, str]]] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "any.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        **headers,
    }
    content = ReceiverWSGIHandler()(environ, lambda status, headers: responses.append((status, dict(headers))))
    return (*responses[0], b"".join(content))


def test_a_webhook_is_stored_and_answered(hook: Subscription, started_paths: list[str]) -> None:
    path = f"/hooks/{hook.token}"
    assert call("POST", path, b"{}", HTTP_X_SECRET=SECRET) == ("200 OK", {"Content-Length": "0"}, b"")
    assert call("POST", path + "/", b"{}") == ("401 Unauthorized", {"Content-Length": "0"}, b"")
    assert call("DELETE", path)[:2] == ("405 Method Not Allowed", {"Content-Length": "0", "Allow": "GET, HEAD, POST"})
    assert WebhookRequest.objects.count() == 2
    assert started_paths == []


@pytest.mark.usefixtures("db")
def test_a_path_below_hooks_without_a_token_is_not_found(started_paths: list[str]) -> None:
    assert call("POST", "/hooks/unknown") == ("404 Not Found", {"Content-Length": "0"}, b"")
    for path in ("/hooks/", "/hooks/a/b"):
        status, headers, content = call("GET", path)
        assert (status, int(headers["Content-Length"])) == ("404 Not Found", len(content))
    assert started_paths == []


def test_other_paths_are_handled_by_django(started_paths: list[str]) -> None:
    assert call("GET", "/livez")[0] == "200 OK"
    assert started_paths == ["/livez"]
