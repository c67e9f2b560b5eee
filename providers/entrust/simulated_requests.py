"""Parse and check the requests that the simulated Entrust API receives."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from providers.sandbox.calls import InvalidControlInput

MAX_EXPIRY_DAYS = 1000
PROPERTIES = ("callbackUrl", "events", "name", "enabled", "expiry")
# The sandbox's control calls also accept our names of these properties.
API_NAMES: Mapping[str, str] = {"expiry_days": "expiry", "callback_url": "callbackUrl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookProperties:
    """The checked properties of a webhook, as a client sent them; None if a property was not sent."""

    url: str
    events: list[dict[str, str]]
    name: str | None
    enabled: bool | None
    expiry: int | None


class ApiError(Exception):
    """An error that the simulated server returns, with its body; `parameter` is the invalid property."""

    def __init__(self, status: int, code: str, message: str, parameter: str = "", problem: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.parameter = parameter
        parameters = [{"name": parameter, "message": problem}] if parameter else []
        self.body = {"errorCode": code, "errorMessage": message, "parameters": parameters}


def parse_object(body: bytes) -> dict[str, object]:
    """Parse a JSON object. Raises ApiError."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_request", "The body is not a JSON object")
    return value


def parse_properties(
    body: Mapping[str, object], *, supports_name: bool, accepts: Callable[[str], bool]
) -> WebhookProperties:
    """Check the properties of a webhook. Raises ApiError for the first invalid one.

    `supports_name`: the name is required, otherwise it is an unknown property. `accepts` is `WebhookSender.accepts`.
    """
    known = [name for name in PROPERTIES if name != "name" or supports_name]
    for unknown in (name for name in body if name not in known):
        raise ApiError(400, "invalid_request", "The request is invalid", unknown, "unrecognized field")
    name = body.get("name")
    if supports_name and not (isinstance(name, str) and name.strip()):
        raise _invalid("name", "is required")
    enabled, expiry = body.get("enabled"), body.get("expiry")
    if enabled is not None and not isinstance(enabled, bool):
        raise _invalid("enabled", "must be true or false")
    if expiry is not None and (
        not isinstance(expiry, int) or isinstance(expiry, bool) or not 0 <= expiry <= MAX_EXPIRY_DAYS
    ):
        raise _invalid("expiry", f"must be a number from 0 to {MAX_EXPIRY_DAYS}")
    return WebhookProperties(
        url=_parse_url(body.get("callbackUrl"), accepts),
        events=_parse_events(body.get("events")),
        name=name if isinstance(name, str) else None,
        enabled=enabled,
        expiry=expiry,
    )


def parse_test_url(body: bytes, *, supports_url: bool, accepts: Callable[[str], bool]) -> str | None:
    """Return the `callbackUrl` of a test call, whose body is optional. Raises ApiError."""
    properties = parse_object(body) if body else {}
    for unknown in (name for name in properties if name != "callbackUrl" or not supports_url):
        raise ApiError(400, "invalid_request", "The request is invalid", unknown, "unrecognized field")
    return _parse_url(properties["callbackUrl"], accepts) if "callbackUrl" in properties else None


def api_properties(config: Mapping[str, object]) -> dict[str, object]:
    """Return the properties of a control call under the API's names. Raises InvalidControlInput for an unknown one."""
    changes = {API_NAMES.get(key, key): value for key, value in config.items()}
    for name in changes:
        if name not in PROPERTIES:
            raise InvalidControlInput(f"config.{name}: there is no such property")
    return changes


def _parse_url(url: object, accepts: Callable[[str], bool]) -> str:
    if not isinstance(url, str) or not url:
        raise _invalid("callbackUrl", "is required")
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False

    if not usable or not url.isascii() or not accepts(url):
        raise _invalid("callbackUrl", "must be a URL that begins with https://")
    return url


def _parse_events(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list):  # an empty one means all events
        raise _invalid("events", "must be a list")
    events: list[dict[str, str]] = []
    for index, item in enumerate(value):
        name, text = (item.get("type"), item.get("filter")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not name.strip():
            raise _invalid(f"events[{index}].type", "is required")
        if text is not None and not isinstance(text, str):
            raise _invalid(f"events[{index}].filter", "must be text")
        events.append({"id": str(uuid.uuid4()), "type": name, **({"filter": text} if text is not None else {})})
    return events


def _invalid(name: str, problem: str) -> ApiError:
    return ApiError(400, "invalid_request", "The request is invalid", name, problem)
