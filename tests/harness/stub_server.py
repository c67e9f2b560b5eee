"""A scriptable HTTP server that records the calls it receives."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Scripted:
    """One response of a StubServer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Scripted:
        """Return a response with a JSON body."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


@dataclass(frozen=True, slots=True)
class Received:
    """One call to a StubServer."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class StubServer(AbstractContextManager["StubServer"]):
    """An HTTP server on a free loopback port. It sends the scripted responses in turn, then empty 200s."""

    def __init__(self) -> None:
        self.responses: deque[Scripted] = deque()
        self.received: list[Received] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self._server.server_port)).close()  # the server waits for a connection
        self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        # serve_forever would take a while to notice that it is to end, in each of hundreds of tests.
        while not self._closing:
            self._server.handle_request()

    def say(self, *responses: Scripted) -> None:
        """Queue responses."""
        self.responses.extend(responses)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.received.append(Received(self.command, self.path, tuple(self.headers.items()), body))
                response = stub.responses.popleft() if stub.responses else Scripted()
                try:
                    self.send_response(response.status)
                    for name, value in response.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(response.body)))
                    self.end_headers()
                    self.wfile.write(response.body)
                except ConnectionError:
                    self.close_connection = True  # the caller closed it early

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler
