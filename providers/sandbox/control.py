"""The control API of the sandbox.

    GET  /_sandbox/                          the logins: two per provider, first "spare", then "demo"
    POST /_sandbox/<slug>/emit               {"event_type"?, "count"?, "duplicate"?, "bad_signature"?, "remote_id"?}
    POST /_sandbox/<slug>/stream             {"per_minute"}; the rate of random events, 0 = none
    POST /_sandbox/<slug>/faults             {"status" | "timeout" | "drop" | "redirect" | "garbage" | "huge", "times"},
                                             see `providers.sandbox.tenant.Fault`
    POST /_sandbox/<slug>/clock              {"advance_seconds"}
    POST /_sandbox/<slug>/options            the simulator's own options, see its options model
    POST /_sandbox/<slug>/remote/<remote_id> {"status"? | "deleted"? | "config"?}
    GET  /_sandbox/<slug>/state

Each call affects both logins of the provider; an extra key `login` ("spare" or "demo"; a query parameter in a GET)
selects one. Responses are JSON; errors are `{"error": "field: message"}` with 400, 404 or 405.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qs, unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from providers.sandbox.base import AnySimulator
from providers.sandbox.calls import Call, InvalidControlInput, Response
from providers.sandbox.tenant import Fault, LoginName

CONTROL_PATH = "/_sandbox"


class ControlRequest(BaseModel):
    """Base of the bodies of control calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    login: LoginName | None = None


class EmitRequest(ControlRequest):
    """Events to send now."""

    event_type: str | None = Field(default=None, min_length=1, max_length=200, strict=True)
    count: int = Field(default=1, ge=1, le=10_000, strict=True)
    duplicate: bool = Field(default=False, strict=True)
    bad_signature: bool = Field(default=False, strict=True)
    remote_id: str | None = Field(default=None, strict=True)


class StreamRequest(ControlRequest):
    """The rate of random events."""

    per_minute: float = Field(ge=0, le=60_000, allow_inf_nan=False, strict=True)


class ClockRequest(ControlRequest):
    """How far to advance deadlines."""

    advance_seconds: float = Field(ge=0, le=10 * 365 * 86400, allow_inf_nan=False, strict=True)


class RemoteRequest(ControlRequest):
    """A change made directly at the provider."""

    status: str | None = Field(default=None, strict=True)
    deleted: bool = Field(default=False, strict=True)
    config: dict[str, object] | None = None


M = TypeVar("M", bound=BaseModel)


class ControlError(Exception):
    """A control call failed; `response` describes why."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = Response(status, {"error": message}, headers or {})


class Control:
    """The control API over a set of simulators."""

    def __init__(self, simulators: Mapping[str, AnySimulator]) -> None:
        self._simulators = simulators

    def respond(self, call: Call) -> Response:
        """Return the response to a control call."""
        try:
            return Response(200, self._dispatch(call))
        except ControlError as error:
            return error.response
        except InvalidControlInput as error:
            return Response(400, {"error": str(error)})

    def _dispatch(self, call: Call) -> object:
        match [unquote(part) for part in call.path.removeprefix(CONTROL_PATH).split("/") if part]:
            case []:
                _require_method(call, "GET")
                return {"providers": [entry for slug in self._simulators for entry in self.logins(slug)]}
            case [slug, "state"]:
                simulator = self._simulator(slug)
                _require_method(call, "GET")
                login = parse_qs(call.query).get("login", [None])[0]
                request = _read(ControlRequest, json.dumps({"login": login}).encode())
                return simulator.state(simulator.select_tenants(request.login))
            case [slug, "remote", remote_id]:
                simulator = self._simulator(slug)
                _require_method(call, "POST")
                return self._change_remote(simulator, remote_id, _read(RemoteRequest, call.body))
            case [slug, ("emit" | "stream" | "faults" | "clock" | "options") as command]:
                simulator = self._simulator(slug)
                _require_method(call, "POST")
                result: object = getattr(self, f"_{command}")(simulator, call.body)
                return result
        raise ControlError(404, f"There is nothing at {call.path}.")

    def logins(self, slug: str) -> list[dict[str, object]]:
        """Return the logins of one provider, the spare one first, then the demo one. Raises ControlError (404)."""
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
            raise ControlError(404, f"There is no provider {slug!r}. Known providers: {', '.join(self._simulators)}.")
        return self._simulators[slug]

    def _emit(self, simulator: AnySimulator, body: bytes) -> object:
        request = _read(EmitRequest, body)
        tenants = simulator.select_tenants(request.login)
        if request.event_type in simulator.wildcards:
            raise InvalidControlInput("event_type: a wildcard can only be subscribed to")
        if request.remote_id is not None and not simulator.has_hook(tenants, request.remote_id):
            raise ControlError(404, f"remote_id: there is no webhook {request.remote_id!r}.")
        deliveries = simulator.emit(tenants, **request.model_dump(exclude={"login"}))
        return {"deliveries": [delivery.summary() for delivery in deliveries]}

    def _stream(self, simulator: AnySimulator, body: bytes) -> object:
        request = _read(StreamRequest, body)
        simulator.set_stream(simulator.select_tenants(request.login), request.per_minute)
        return {"per_minute": request.per_minute}

    def _faults(self, simulator: AnySimulator, body: bytes) -> object:
        login, fields = _split_login(body)
        fault = _read(Fault, json.dumps(fields).encode())
        simulator.add_fault(simulator.select_tenants(login), fault)
        return {"times": fault.times}

    def _clock(self, simulator: AnySimulator, body: bytes) -> object:
        request = _read(ClockRequest, body)
        simulator.age(simulator.select_tenants(request.login), request.advance_seconds)
        return {"advanced_seconds": request.advance_seconds}

    def _options(self, simulator: AnySimulator, body: bytes) -> object:
        login, changes = _split_login(body)
        tenants = simulator.select_tenants(login)
        try:
            simulator.set_options(tenants, changes)
        except ValidationError as error:
            raise InvalidControlInput(_error_text(error)) from None
        return {tenant.login: tenant.options.model_dump(mode="json") for tenant in tenants}

    def _change_remote(self, simulator: AnySimulator, remote_id: str, request: RemoteRequest) -> object:
        if request.status is None and request.config is None and not request.deleted:
            raise InvalidControlInput("status, deleted or config: one of them is required")
        changes = request.model_dump(exclude={"login"})
        try:
            return simulator.change_remote(simulator.select_tenants(request.login), remote_id, **changes)
        except KeyError:
            raise ControlError(404, f"There is no webhook {remote_id!r}.") from None


def _require_method(call: Call, method: str) -> None:
    if call.method != method:
        raise ControlError(405, f"{call.path} accepts only {method}.", {"Allow": method})


def _read(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise InvalidControlInput(_error_text(error)) from None


def _split_login(body: bytes) -> tuple[LoginName | None, dict[str, object]]:
    """Return the login, and the fields of another model."""
    try:
        fields = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise InvalidControlInput("The body is not JSON.") from None
    if not isinstance(fields, dict):
        raise InvalidControlInput("The body must be a JSON object.")
    return _read(ControlRequest, json.dumps({"login": fields.pop("login", None)}).encode()).login, fields


def _error_text(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(part for part in (".".join(str(step) for step in item["loc"]), item["msg"]) if part)
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )
