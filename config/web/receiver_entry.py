"""The second door to the receiver: in front of Django, which then costs a webhook nothing.

The same function answers as behind the view, so the checks, the answers and what is kept are the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.core.handlers.wsgi import WSGIRequest

from config.web.bypass_middleware import HOOKS
from config.web.deferred_answer import NO_CONTENT
from config.web.proxies import set_origin
from events.receiver.handler import Call, answer
from providers.rest.problems import Problem

# Whoever asks a database that hangs holds a thread until it goes on. Some are left to the webhooks.
PAGES = 20  # of the threads that `manage.py up` starts (config/web/granian.py) may do anything else at once
PATIENCE = 1.0  # seconds for a turn, while those that have one are quick
UNLIMITED = ("/livez", "/livez/")  # it asks nobody
BUSY = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "busy",
    "Many calls wait for the database or a provider already. Try again in a moment.",
    headers={"Retry-After": "1"},
)
STATUS = {item.value: f"{item.value} {item.phrase}" for item in HTTPStatus}

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class HookDoor:
    """A WSGI application that answers what is below /hooks/, and passes on all else."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._free = threading.BoundedSemaphore(PAGES)
        self._begun: dict[object, float] = {}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """The receiver's answer, or the application's."""
        path: str = environ.get("PATH_INFO", "")
        if not path.startswith(HOOKS):
            return self._pass_on(path, environ, start_response)
        set_origin(environ)
        found = answer(Call(environ["REQUEST_METHOD"], path[len(HOOKS) :].removesuffix("/"), environ))
        start_response(STATUS[found.status], [NO_CONTENT, *found.headers])
        return []  # a list, which granian sends at once

    def _pass_on(self, path: str, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if path in UNLIMITED:
            return self._application(environ, start_response)
        if not self._free.acquire(timeout=0 if self._hang() else PATIENCE):
            busy = BUSY.response(WSGIRequest(environ))
            start_response(STATUS[busy.status_code], [*busy.items(), ("Content-Length", str(len(busy.content)))])
            return (busy.content,)
        turn = object()
        self._begun[turn] = time.monotonic()
        try:
            return self._application(environ, start_response)
        finally:
            del self._begun[turn]
            self._free.release()

    def _hang(self) -> bool:
        """Whether most of those that have a turn have had it for long: then nobody waits for one."""
        before = time.monotonic() - PATIENCE
        return sum(begun < before for begun in list(self._begun.values())) > PAGES // 2
