"""The sandbox: every provider's simulator on one loopback port, with a control API. No Django here.

    GET  /_sandbox/                          the logins: two per provider, first "spare", then "demo"
    POST /_sandbox/<slug>/emit               {"event_type"?, "count"?, "duplicate"?, "bad_signature"?, "remote_id"?}
    POST /_sandbox/<slug>/stream             {"per_minute"}; events that happen by themselves, 0 = quiet
    POST /_sandbox/<slug>/faults             {"status" | "timeout" | "drop" | "redirect" | "garbage" | "huge", "times"},
                                             see `providers.sandbox.tenant.Fault`
    POST /_sandbox/<slug>/clock              {"advance_seconds"}
    POST /_sandbox/<slug>/options            the simulator's own knobs, see its options model
    POST /_sandbox/<slug>/remote/<remote_id> {"status"? | "deleted"? | "config"?}
    GET  /_sandbox/<slug>/state

Each is about both logins of the provider; an extra key `login` ("spare" or "demo"; in a GET a query parameter) narrows
it to one. Answers are JSON; errors are `{"error": "field: what is wrong"}` with 400, 404 or 405.
"""

from __future__ import annotations

import importlib
import json
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
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from providers.sandbox.base import AnySimulator
from providers.sandbox.calls import Call, InvalidControlInput, NoResponse, Response
from providers.sandbox.tenant import Fault, LoginName
from providers.sandbox.webhook_sender import WebhookSender

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
CONTROL = "/_sandbox"
DEMO_EVENTS_PER_MINUTE = 40.0  # events per minute and login under `manage.py sandbox`
MAX_BODY_BYTES = 1024 * 1024
MAX_SLEEP_SECONDS = 0.5  # seconds; so that a step of the clock is soon noticed
CLOSE_TIMEOUT_SECONDS = 5.0  # seconds that calls under way get to end


class ControlRequest(BaseModel):
    """Base of the control calls' bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    login: LoginName | None = None


class EmitRequest(ControlRequest):
    """What to send now."""

    event_type: str | None = Field(default=None, min_length=1, max_length=200, strict=True)
    count: int = Field(default=1, ge=1, le=10_000, strict=True)
    duplicate: bool = Field(default=False, strict=True)
    bad_signature: bool = Field(default=False, strict=True)
    remote_id: str | None = Field(default=None, strict=True)


class StreamRequest(ControlRequest):
    """How lively it is."""

    per_minute: float = Field(ge=0, le=60_000, allow_inf_nan=False, strict=True)


class ClockRequest(ControlRequest):
    """How much time passes."""

    advance_seconds: float = Field(ge=0, le=10 * 365 * 86400, allow_inf_nan=False, strict=True)


class RemoteRequest(ControlRequest):
    """What somebody does behind our back."""

    status: str | None = Field(default=None, strict=True)
    deleted: bool = Field(default=False, strict=True)
    config: dict[str, object] | None = None


M = TypeVar("M", bound=BaseModel)


class ControlError(Exception):
    """A control call that cannot be done."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reply = Response(status, {"error": message}, headers or {})


class Control:
    """The control API over a set of simulators."""

    def __init__(self, simulators: Mapping[str, AnySimulator]) -> None:
        self._simulators = simulators

    def respond(self, call: Call) -> Response:
        """Answers one control call."""
        try:
            return Response(200, self._answer(call))
        except ControlError as error:
            return error.reply
        except InvalidControlInput as error:
            return Response(400, {"error": str(error)})

    def _answer(self, call: Call) -> object:
        match [unquote(part) for part in call.path.removeprefix(CONTROL).split("/") if part]:
            case []:
                _only(call, "GET")
                return {"providers": [entry for slug in self._simulators for entry in self.logins(slug)]}
            case [slug, "state"]:
                simulator = self._simulator(slug)
                _only(call, "GET")
                login = parse_qs(call.query).get("login", [None])[0]
                order = _read(ControlRequest, json.dumps({"login": login}).encode())
                return simulator.state(simulator.select_tenants(order.login))
            case [slug, "remote", remote_id]:
                simulator = self._simulator(slug)
                _only(call, "POST")
                return self._change_remote(simulator, remote_id, _read(RemoteRequest, call.body))
            case [slug, ("emit" | "stream" | "faults" | "clock" | "options") as what]:
                simulator = self._simulator(slug)
                _only(call, "POST")
                answer: object = getattr(self, f"_{what}")(simulator, call.body)
                return answer
        raise ControlError(404, f"There is nothing at {call.path}.")

    def logins(self, slug: str) -> list[dict[str, object]]:
        """How to log in at one provider: the spare login first, then the demo one. Raises ControlError (404)."""
        simulator = self._simulator(slug)
        return [
            {
                "slug": slug,
                "login": tenant.login.value,
                "base_url": simulator.base_url,
                "settings": dict(tenant.account.settings),
                "credentials": dict(tenant.account.credentials),
            }
            for tenant in simulator.tenants.values()
        ]

    def _simulator(self, slug: str) -> AnySimulator:
        if slug not in self._simulators:
            raise ControlError(404, f"There is no provider {slug!r}; known are {', '.join(self._simulators)}.")
        return self._simulators[slug]

    def _emit(self, simulator: AnySimulator, body: bytes) -> object:
        order = _read(EmitRequest, body)
        tenants = simulator.select_tenants(order.login)
        if order.event_type in simulator.wildcards:
            raise InvalidControlInput("event_type: a wildcard is only for subscribing")
        if order.remote_id is not None and not simulator.has_hook(tenants, order.remote_id):
            raise ControlError(404, f"remote_id: there is no webhook {order.remote_id!r}.")
        deliveries = simulator.emit(tenants, **order.model_dump(exclude={"login"}))
        return {"deliveries": [delivery.summary() for delivery in deliveries]}

    def _stream(self, simulator: AnySimulator, body: bytes) -> object:
        order = _read(StreamRequest, body)
        simulator.set_stream(simulator.select_tenants(order.login), order.per_minute)
        return {"per_minute": order.per_minute}

    def _faults(self, simulator: AnySimulator, body: bytes) -> object:
        login, fields = _split_login(body)
        fault = _read(Fault, json.dumps(fields).encode())
        simulator.add_fault(simulator.select_tenants(login), fault)
        return {"times": fault.times}

    def _clock(self, simulator: AnySimulator, body: bytes) -> object:
        order = _read(ClockRequest, body)
        simulator.age(simulator.select_tenants(order.login), order.advance_seconds)
        return {"advanced_seconds": order.advance_seconds}

    def _options(self, simulator: AnySimulator, body: bytes) -> object:
        login, changes = _split_login(body)
        tenants = simulator.select_tenants(login)
        try:
            simulator.set_options(tenants, changes)
        except ValidationError as error:
            raise InvalidControlInput(_complaints(error)) from None
        return {tenant.login: tenant.options.model_dump(mode="json") for tenant in tenants}

    def _change_remote(self, simulator: AnySimulator, remote_id: str, order: RemoteRequest) -> object:
        if order.status is None and order.config is None and not order.deleted:
            raise InvalidControlInput("status, deleted or config: one of them is needed")
        changes = order.model_dump(exclude={"login"})
        try:
            return simulator.change_remote(simulator.select_tenants(order.login), remote_id, **changes)
        except KeyError:
            raise ControlError(404, f"There is no webhook {remote_id!r}.") from None


class Sandbox:
    """All simulators behind one port, in threads of this process.

        with Sandbox(port=0) as sandbox:
            sandbox.url, sandbox.logins(slug)

    `stream_per_minute` is the rate per login at the start (0 = quiet). `retry_delays` (seconds) replaces each
    provider's own schedule. `seed` makes the stories repeatable, but not the ids. `deliver_to` maps an origin of
    callback URLs to the one that is connected to in its place.
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
        """Listens and serves. Raises OSError when the port cannot be had."""
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
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True),
            threading.Thread(target=self._work, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stops at once: calls and deliveries under way are broken off, then every thread ends."""
        self._closing.set()
        self._wake.set()
        self._server.shutdown()
        self._sender.close()
        self._server.hang_up()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for simulator in self.simulators.values():
            simulator.close()

    def logins(self, slug: str) -> list[dict[str, Any]]:
        """How to log in at one provider, as `GET /_sandbox/` says it: spare first, then demo."""
        return self._control.logins(slug)

    def respond(self, call: Call) -> Response | NoResponse:
        """Answers one HTTP call: the control API, or the provider that the call is for."""
        if call.path == CONTROL or call.path.startswith(CONTROL + "/"):
            return self._control.respond(call)
        candidates = [simulator for simulator in self.simulators.values() if simulator.serves_path(call.path)]
        if not candidates:
            return Response(404, {"error": f"No provider has {call.path}."})
        # Two providers of one vendor may share a path; the credentials tell whose call it is.
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
    """The simulator of every provider folder that has one, in the order of the folders' names."""
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
        """Without http.server's reverse DNS look-up, which can take seconds on a machine that is offline."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

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
        """Ends every connection and waits until the threads have noticed."""
        with self._ended:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the client was faster
            self._ended.wait_for(lambda: not self._connections, timeout=CLOSE_TIMEOUT_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        """Serves a connection to its end; a client that goes away is no error."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def _serve(self) -> None:
        outcome: Response | NoResponse
        try:
            outcome = self.server.respond(self._read_call())
        except ControlError as error:
            outcome = error.reply
            self.close_connection = True  # there may be a body that was not read
        except Exception:
            log.exception("the sandbox failed to answer %s %s", self.command, self.path)
            outcome = Response(500, {"error": "The sandbox failed; see its log."})
        if isinstance(outcome, NoResponse):
            self.server.closing.wait(outcome.seconds)
            self.close_connection = True
            return
        self._reply(outcome)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _read_call(self) -> Call:
        if self.headers.get("Transfer-Encoding"):
            raise ControlError(411, "A Content-Length is needed.")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise ControlError(400, "The Content-Length is no number.")
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

    def _reply(self, reply: Response) -> None:
        content = reply.content()
        self.send_response(reply.status)
        if reply.status != 204:
            self.send_header("Content-Type", "text/html" if content.startswith(b"<") else "application/json")
            self.send_header("Content-Length", str(len(content)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Into our log instead of standard error."""
        log.debug(format, *args)


def _only(call: Call, method: str) -> None:
    if call.method != method:
        raise ControlError(405, f"{call.path} takes {method} only.", {"Allow": method})


def _read(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise InvalidControlInput(_complaints(error)) from None


def _split_login(body: bytes) -> tuple[LoginName | None, dict[str, object]]:
    """The login, and the fields that belong to another model."""
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise InvalidControlInput("The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise InvalidControlInput("The body must be a JSON object.")
    return _read(ControlRequest, json.dumps({"login": fields.pop("login", None)}).encode()).login, fields


def _complaints(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(part for part in (".".join(str(step) for step in item["loc"]), item["msg"]) if part)
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )
