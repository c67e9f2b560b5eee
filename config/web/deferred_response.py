"""Deferred responses: another thread sends the response after the WSGI application has returned.

WSGI has no such feature; granian's request object allows it. A thread that waits for a commit costs two thread
switches per request and cannot serve another one meanwhile. With granian, the receiver's thread continues with the next
request, and the commit thread sends the response. With any other server, or an incompatible version of granian, threads
wait for the commit (`events.receiver.group_commit`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from events.receiver.handler import DEFERRED_RESPONSE_KEY

NO_CONTENT = ("Content-Length", "0")

Serve = Callable[[Any, Any], Any]


class GranianDeferredResponse:
    """Wrap granian's protocol object of one request. Pass on the application's response unless it was deferred."""

    __slots__ = ("_detached", "_protocol")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._detached = False

    def detach(self) -> None:
        """Ignore what the application returns. `send` sends the response, or has sent it already."""
        self._detached = True

    def send(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Send a response without a body, from any thread. Only the first one counts; none if the client is gone."""
        self._protocol.response_bytes(status, [NO_CONTENT, *headers], b"")

    def response_bytes(self, *response: Any) -> None:
        """Receive the application's response from granian, as one piece."""
        if not self._detached:
            self._protocol.response_bytes(*response)

    def response_iter(self, *response: Any) -> None:
        """Receive the application's response from granian, as an iterator."""
        if not self._detached:
            self._protocol.response_iter(*response)


def defer_responses() -> None:
    """Enable deferred responses in granian's worker process, before it wraps the application. Do nothing elsewhere."""
    server: Any = sys.modules.get("granian.server.mp")
    wrap = getattr(server, "_wsgi_call_wrap", None)
    if wrap is not None:
        server._wsgi_call_wrap = lambda *application: _with_deferred_response(wrap(*application))  # noqa: SLF001  # no public way


def _with_deferred_response(serve: Serve) -> Serve:
    def with_deferred(protocol: Any, scope: Any) -> Any:
        if not isinstance(scope, dict):
            return serve(protocol, scope)
        deferred = scope[DEFERRED_RESPONSE_KEY] = GranianDeferredResponse(protocol)
        return serve(deferred, scope)

    return with_deferred
