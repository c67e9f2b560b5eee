"""The WSGI entry to the receiver, in front of Django, so that webhooks avoid the framework's overhead.

It calls the same function as the view, so checks, responses and stored requests are the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.core.handlers.wsgi import WSGIRequest

from config.web.bypass_middleware import RECEIVER_PREFIX
from config.web.deferred_response import NO_CONTENT
from config.web.proxies import set_origin
from events.receiver.handler import HookRequest, respond
from providers.rest.problems import Problem

# A request that queries a hanging database holds its thread. Other requests get this many of the web process's threads
# (config/web/granian.py) at once; the rest stay free for webhooks.
MAX_OTHER_REQUESTS = 20
# A thread cannot be interrupted while it waits for a body that never comes. So only some requests may have one.
MAX_OTHER_BODIES = 10
WAIT_SECONDS = 1.0  # that a request waits for a free thread, as long as most of them are quick
ALWAYS_ANSWERED = ("/livez", "/livez/")  # uses neither database nor network
BUSY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "busy",
    "Too many requests are waiting for the database or a provider. Try again in a moment.",
    headers={"Retry-After": "1"},
)
STATUS_LINES = {item.value: f"{item.value} {item.phrase}" for item in HTTPStatus}

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ReceiverEntry:
    """A WSGI application that answers /hooks/ and passes everything else to the wrapped application."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._free = threading.BoundedSemaphore(MAX_OTHER_REQUESTS)
        self._free_for_bodies = threading.BoundedSemaphore(MAX_OTHER_BODIES)
        self._started: dict[object, float] = {}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Return the response body of the receiver or of the wrapped application."""
        path: str = environ.get("PATH_INFO", "")
        if not path.startswith(RECEIVER_PREFIX):
            return self._pass_on(path, environ, start_response)
        set_origin(environ)
        result = respond(
            HookRequest(environ["REQUEST_METHOD"], path[len(RECEIVER_PREFIX) :].removesuffix("/"), environ)
        )
        start_response(STATUS_LINES[result.status], [NO_CONTENT, *result.headers])
        return []  # granian sends a list in one piece

    def _pass_on(self, path: str, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if path in ALWAYS_ANSWERED:
            return self._application(environ, start_response)
        if not _has_body(environ):
            return self._pass_on_if_free(environ, start_response)
        if not self._free_for_bodies.acquire(timeout=0 if self._most_are_slow() else WAIT_SECONDS):
            return _busy(environ, start_response)
        try:
            return self._pass_on_if_free(environ, start_response)
        finally:
            self._free_for_bodies.release()

    def _pass_on_if_free(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if not self._free.acquire(timeout=0 if self._most_are_slow() else WAIT_SECONDS):
            return _busy(environ, start_response)
        key = object()
        self._started[key] = time.monotonic()
        try:
            return self._application(environ, start_response)
        finally:
            del self._started[key]
            self._free.release()

    def _most_are_slow(self) -> bool:
        """Return whether most requests under way are slow, so that waiting for a free thread is pointless."""
        slow_since = time.monotonic() - WAIT_SECONDS
        return sum(started < slow_since for started in list(self._started.values())) >= MAX_OTHER_REQUESTS // 2


def _has_body(environ: dict[str, Any]) -> bool:
    return environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ


def _busy(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    busy = BUSY.response(WSGIRequest(environ))
    start_response(STATUS_LINES[busy.status_code], [*busy.items(), ("Content-Length", str(len(busy.content)))])
    return (busy.content,)
