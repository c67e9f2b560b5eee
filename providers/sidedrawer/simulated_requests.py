"""Parse and check the requests that the simulated SideDrawer API receives."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from providers.sandbox.calls import Response
from providers.sidedrawer.simulated_webhook import MODIFICATIONS, RESOURCES, WebhookConfig

FIELDS = (
    "modificationType", "connectionType", "notificationUrl", "resource", "expirationDateTime", "brandCode",
    "notificationMessages", "integrityKey", "maxRetries",
)  # fmt: skip
# The sandbox's control calls also accept our names of these fields.
API_NAMES: Mapping[str, str] = {
    "callback_url": "notificationUrl",
    "resource": "resource",
    "modification_type": "modificationType",
    "connection_type": "connectionType",
    "brand_code": "brandCode",
    "notification_messages": "notificationMessages",
    "max_retries": "maxRetries",
}


class ApiError(Exception):
    """An error that the simulated server returns; `fields` are messages by field."""

    def __init__(self, status: int, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.fields = dict(fields or {})

    def response(self) -> Response:
        """Return the error in the format of SideDrawer's framework: one text, or a list of messages."""
        messages = [f"{name} {problem}" for name, problem in self.fields.items()]
        return error_response(self.status, messages or str(self))


def error_response(status: int, message: object) -> Response:
    """Return an error in the format of SideDrawer's framework."""
    return Response(status, {"statusCode": status, "message": message})


def parse_object(body: bytes) -> dict[str, object]:
    """Parse a JSON object. Raises ApiError."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "Unexpected token in JSON") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body must be an object")
    return value


def parse_config(
    body: Mapping[str, object], *, tenant_id: str, modification_case: str, accepts: Callable[[str], bool]
) -> WebhookConfig:
    """Check a whole webhook. Raises ApiError with a message for each invalid field.

    `modification_case` is `lower`, `capitalised` or `any`. `accepts` is `WebhookSender.accepts`.
    """
    template, expires_at = _template_of(body.get("resource")), _parse_time(body.get("expirationDateTime"))
    errors = {**_field_errors(body, modification_case), **_connection_errors(body, accepts)}
    if errors or template is None or expires_at is None:
        raise ApiError(400, "Bad Request", errors)
    resource = str(body["resource"])
    if resource.startswith("tenant/") and resource.split("/")[1] != tenant_id:
        raise ApiError(403, "You do not belong to this tenant")
    return WebhookConfig(
        modification_type=str(body["modificationType"]),
        resource=resource,
        template=template,
        expires_at=expires_at,
        connection_type=str(body.get("connectionType") or "HTTP"),
        notification_url=_text(body.get("notificationUrl")),
        brand_code=_text(body.get("brandCode")),
        notification_messages=_text(body.get("notificationMessages")),
        integrity_key=_text(body.get("integrityKey")),
        max_retries=int(str(body.get("maxRetries") or 0)),
    )


def _field_errors(body: Mapping[str, object], modification_case: str) -> dict[str, str]:
    errors = {name: "should not exist" for name in body if name not in FIELDS}
    if not _is_modification(body.get("modificationType"), modification_case):
        errors["modificationType"] = "must be one of the following values: create, delete, update, any"
    if _template_of(body.get("resource")) is None:
        errors["resource"] = "is not a known resource path"
    retries = body.get("maxRetries") or 0
    if type(retries) is not int or not 0 <= retries <= 100:
        errors["maxRetries"] = "must be a number between 0 and 100"
    expires_at = _parse_time(body.get("expirationDateTime"))
    if expires_at is None or expires_at <= time.time():
        errors["expirationDateTime"] = "must be a valid ISO 8601 date string in the future"
    for name in ("brandCode", "notificationMessages", "integrityKey"):
        if not isinstance(body.get(name), str | None):
            errors[name] = "must be a string"
    return errors


def _connection_errors(body: Mapping[str, object], accepts: Callable[[str], bool]) -> dict[str, str]:
    connection, url = body.get("connectionType") or "HTTP", body.get("notificationUrl")
    errors: dict[str, str] = {}
    if connection not in ("HTTP", "SOCKET"):
        errors["connectionType"] = "must be one of the following values: HTTP, SOCKET"
    if connection == "HTTP" and not url:
        errors["notificationUrl"] = "should not be empty"
    elif url and not _is_usable(url, accepts):
        errors["notificationUrl"] = "must be an HTTPS URL address"
    if connection == "SOCKET" and not body.get("notificationMessages"):
        errors["notificationMessages"] = "should not be empty"
    return errors


def _is_usable(url: object, accepts: Callable[[str], bool]) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and accepts(url)


def _template_of(resource: object) -> str | None:
    if not isinstance(resource, str):
        return None
    patterns = {template: re.sub(r"\\\{\w+\\\}", "[^/{}]+", re.escape(template)) for template in RESOURCES}
    return next((template for template, pattern in patterns.items() if re.fullmatch(pattern, resource)), None)


def _is_modification(value: object, case: str) -> bool:
    if not isinstance(value, str) or value.lower() not in (*MODIFICATIONS, "any"):
        return False
    lower = value.lower()
    return case == "any" or value == (lower if case == "lower" else lower.capitalize())


def _parse_time(value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment and moment.tzinfo else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
