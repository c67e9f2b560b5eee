"""An answer that another thread gives, after the application has returned: WSGI has no way to say that, granian has.

A thread that waits for a commit costs two switches of threads a call, and can take no other call meanwhile. So where
granian serves, the receiver's thread goes on to the next call, and the writer's gives the answer after the commit.
Anywhere else, and where a later granian should work in another way, threads wait as before
(`events.receiver.group_commit`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from events.receiver.handler import DEFERRED

NO_CONTENT = ("Content-Length", "0")

Serve = Callable[[Any, Any], Any]


class Deferred:
    """granian's side of one call. Until it is left, it passes on what the application answers."""

    __slots__ = ("_left", "_protocol")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._left = False

    def leave(self) -> None:
        """What the application returns will not be sent: `give` follows, or was called already."""
        self._left = True

    def give(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Answers, without a body. From any thread; only the first one counts, and none when the client has gone."""
        self._protocol.response_bytes(status, [NO_CONTENT, *headers], b"")

    def response_bytes(self, *answer: Any) -> None:
        """Called by granian with what the application returned."""
        if not self._left:
            self._protocol.response_bytes(*answer)

    def response_iter(self, *answer: Any) -> None:
        """Called by granian with what the application returned, if it is no list."""
        if not self._left:
            self._protocol.response_iter(*answer)


def defer_answers() -> None:
    """Call it in granian's worker process before it wraps the application. Elsewhere it does nothing."""
    server: Any = sys.modules.get("granian.server.mp")
    wrap = getattr(server, "_wsgi_call_wrap", None)
    if wrap is not None:
        server._wsgi_call_wrap = lambda *application: _deferring(wrap(*application))  # noqa: SLF001  # no public way


def _deferring(serve: Serve) -> Serve:
    def with_deferred(protocol: Any, scope: Any) -> Any:
        if not isinstance(scope, dict):
            return serve(protocol, scope)
        deferred = scope[DEFERRED] = Deferred(protocol)
        return serve(deferred, scope)

    return with_deferred
