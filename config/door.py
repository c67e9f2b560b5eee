"""The second door to the receiver: in front of Django, which then costs a webhook nothing.

The same function answers as behind the view, so the checks, the answers and what is kept are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from config.proxies import set_origin
from events.receiver import Call, answer

PREFIX = "/hooks/"
NO_CONTENT = ("Content-Length", "0")
STATUS = {item.value: f"{item.value} {item.phrase}" for item in HTTPStatus}

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class HookDoor:
    """A WSGI application that answers what is below /hooks/, and passes on all else."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """The receiver's answer, or the application's."""
        path: str = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return self._application(environ, start_response)
        set_origin(environ)
        found = answer(Call(environ["REQUEST_METHOD"], path[len(PREFIX) :].removesuffix("/"), environ))
        start_response(STATUS[found.status], [NO_CONTENT, *found.headers])
        return ()
