"""The sandbox: every provider's simulator on one loopback port, with the control API. Independent of Django."""

from __future__ import annotations

import importlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from providers.sandbox.base import AnySimulator
from providers.sandbox.calls import Call, NoResponse, Response
from providers.sandbox.control import CONTROL_PATH, Control, ControlError
from providers.sandbox.webhook_sender import WebhookSender

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
DEMO_EVENTS_PER_MINUTE = 40.0  # per login under `manage.py sandbox`
MAX_BODY_BYTES = 1024 * 1024
MAX_SLEEP_SECONDS = 0.5  # so that a changed system clock takes effect soon
CLOSE_TIMEOUT_SECONDS = 5.0  # for calls in progress to end


class Sandbox:
    """All simulators on one port, in threads of this process.

        with Sandbox(port=0) as sandbox:
            sandbox.url, sandbox.logins(slug)

    `stream_per_minute` is the initial rate of events per login (0 = none). `retry_delays` (seconds) replaces each
    provider's own schedule. `seed` makes the sample events repeatable, but not their IDs. `deliver_to` maps an origin
    of callback URLs to the one to connect to instead.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        seed: int | None = None,
        stream_per_minute: float = 0.0,
        lease_seconds: float = 90.0,
        retry_delays: Sequence[float] | None = None,
        deliver_to: Mapping[str, str] | None = None,
    ) -> None:
        self._port = port
        self._seed = seed
        self._per_minute = stream_per_minute
        self._options: dict[str, object] = {"lease_seconds": lease_seconds}
        if retry_delays is not None:
            self._options["retry_delays"] = tuple(float(delay) for delay in retry_delays)
        self._deliver_to = dict(deliver_to or {})

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen and serve. Raises OSError if the port is not available."""
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._sender = WebhookSender(self._deliver_to)
        self._server = _Server((HOST, self._port), self.respond, self._closing)
        self.url = f"http://{HOST}:{self._server.server_port}"
        with ExitStack() as undo:
            undo.callback(self._server.server_close)
            self.simulators = {kind.slug: self._simulator(kind) for kind in find_simulators()}
            undo.pop_all()
        self._control = Control(self.simulators)
        self._threads = [
            threading.Thread(target=self._server.serve_until_closing, daemon=True),
            threading.Thread(target=self._work, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop immediately: abort calls and deliveries in progress, then end every thread."""
        self._closing.set()
        self._wake.set()
        socket.create_connection((HOST, self._server.server_port)).close()  # so that it looks whether it is to close
        self._sender.close()
        for thread in self._threads:
            thread.join()
        self._server.hang_up()
        self._server.server_close()
        for simulator in self.simulators.values():
            simulator.close()

    def logins(self, slug: str) -> list[dict[str, Any]]:
        """Return the logins of one provider, as `GET /_sandbox/` lists them: spare first, then demo."""
        return self._control.logins(slug)

    def respond(self, call: Call) -> Response | NoResponse:
        """Return the response of the control API or of the provider that the call is for."""
        if call.path == CONTROL_PATH or call.path.startswith(CONTROL_PATH + "/"):
            return self._control.respond(call)
        candidates = [simulator for simulator in self.simulators.values() if simulator.serves_path(call.path)]
        if not candidates:
            return Response(404, {"error": f"No provider has the path {call.path}."})
        # Two providers of one vendor may share a path; then the credentials select one.
        return next((item for item in candidates if item.login_of(call)), candidates[0]).respond(call)

    def _simulator(self, kind: type[AnySimulator]) -> AnySimulator:
        return kind(
            self.url,
            sender=self._sender,
            options=self._options,
            per_minute=self._per_minute,
            seed=self._seed,
            wake=self._wake.set,
        )

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            due_at = min((simulator.run_due() for simulator in self.simulators.values()), default=0.0)
            self._wake.wait(min(max(due_at - time.time(), 0.01), MAX_SLEEP_SECONDS))


def find_simulators() -> list[type[AnySimulator]]:
    """Return the simulator of every provider folder that has one, in the order of the folder names."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.parent.glob("*/simulator.py"))
    return [importlib.import_module(f"providers.{folder}.simulator").simulator for folder in folders]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], respond: Callable[[Call], Response | NoResponse], closing: threading.Event
    ) -> None:
        self.respond = respond
        self.closing = closing
        self._connections: set[Any] = set()
        self._ended = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without http.server's reverse DNS lookup, which can take seconds on an offline machine."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def serve_until_closing(self) -> None:
        """Serve calls. Unlike `serve_forever`, end at the next connection without having to look again and again."""
        while not self.closing.is_set():
            self.handle_request()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether to serve this connection."""
        return not self.closing.is_set()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._ended:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._ended:
            self._connections.discard(request)
            self._ended.notify_all()

    def hang_up(self) -> None:
        """Close every connection and wait until its thread has ended."""
        with self._ended:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client closed it first
            self._ended.wait_for(lambda: not self._connections, timeout=CLOSE_TIMEOUT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        """Serve a connection to its end. A client that disconnects is not an error."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        outcome: Response | NoResponse
        try:
            outcome = self.server.respond(self._read_call())
        except ControlError as error:
            outcome = error.response
            self.close_connection = True  # the body may not have been read
        except Exception:
            log.exception("the sandbox failed to respond to %s %s", self.command, self.path)
            outcome = Response(500, {"error": "The sandbox failed; see its log."})
        if isinstance(outcome, NoResponse):
            self.server.closing.wait(outcome.seconds)
            self.close_connection = True
            return
        self._send_response(outcome)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _read_call(self) -> Call:
        if self.headers.get("Transfer-Encoding"):
            raise ControlError(411, "A Content-Length is needed.")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise ControlError(400, "The Content-Length is not a number.")
        if int(length) > MAX_BODY_BYTES:
            raise ControlError(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        parts = urlsplit(self.path)
        return Call(
            method=self.command,
            path=parts.path,
            query=parts.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(length)),
        )

    def _send_response(self, response: Response) -> None:
        content = response.content()
        self.send_response(response.status)
        if response.status != 204:
            if content:  # an empty response has no content type
                self.send_header("Content-Type", "text/html" if content.startswith(b"<") else "application/json")
            self.send_header("Content-Length", str(len(content)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and response.status != 204:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Write to our log instead of standard error."""
        log.debug(format, *args)
