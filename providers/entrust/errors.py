"""Map Entrust's error responses to provider errors.

Source: the OpenAPI document of Entrust's Administration API (schema ErrorInfo).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from providers.contract.error_bodies import MAX_MESSAGE, ErrorBody, error_object
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    PermissionMissing,
    ProviderError,
    Refused,
)
from providers.contract.responses import ProviderResponse, error_for

MAX_PARAMETERS = 20

# Entrust's names of the fields that we send, and our names for them
_FIELDS = {"callbackUrl": "callback_url", "events": "events", "expiry": "expiry_days"}
_FIELD = re.compile(rf"\b({'|'.join(_FIELDS)})\b(?:\[?\.?(\d{{1,3}})\]?)?(?:\.(type|filter)\b)?")
_UNKNOWN_PROPERTY = re.compile(
    r"(?:unrecogni[sz]ed|unknown|unexpected|unsupported) (?:json )?(?:field|property|parameter|attribute)"
    r"|unrecogni[sz]edproperty|unknown_?(?:field|property)|additional propert|not (?:a )?recogni[sz]ed",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"\b(?:limit|quota|too many|maximum (?:number|of))\b", re.IGNORECASE)


class UnknownProperty(Refused):
    """The server does not know a property that we sent, because its version predates the property."""


def read_login_error(response: ProviderResponse) -> ProviderError:
    """Return the error for a failed authenticate call."""
    body = _read_error_body(response)
    if response.status in (400, 401, 403):
        return AuthenticationFailed(
            "Entrust refused the application ID or the shared secret. Enter the credentials of an Administration API"
            f" application that is enabled.{_quote(body)}",
            status=response.status,
        )
    if response.status == 404:
        return InvalidResponse("There is no Entrust API at this host. Check the host name.", status=response.status)
    return error_for(response, body.message or None)


def read_error(response: ProviderResponse, permission: str) -> ProviderError:
    """Return the error for a failed webhook call; `permission` is the one that the call requires."""
    status, body = response.status, _read_error_body(response)
    if status == 401:
        return AuthenticationFailed(
            f"Entrust refused the access token. Check that the application is enabled.{_quote(body)}", status=status
        )
    if status == 403:
        return PermissionMissing(
            f"Entrust denied this call: the role of the Administration API application needs {permission}."
            f"{_quote(body)}",
            status=status,
        )
    if status == 409 or (status == 400 and _LIMIT.search(body.message)):
        return LimitReached(
            "Entrust cannot add another webhook, or reports a conflict. A customer may have 20 active webhooks."
            f"{_quote(body)}",
            status=status,
            field=body.field,
        )
    if status == 400 and _UNKNOWN_PROPERTY.search(body.message):
        return UnknownProperty(f"Refused.{_quote(body)}", status=status, field=body.field)
    return error_for(response, body.message or None, field=body.field)


def _read_error_body(response: ProviderResponse) -> ErrorBody:
    """Read `{errorCode, errorMessage, parameters}`; any other body gives an empty message.

    A parameter is an object with name and message, or a text. Its name comes first, so it determines the field.
    """
    body = error_object(response)
    message, code, parameters = body.get("errorMessage"), body.get("errorCode"), body.get("parameters")
    names = _texts([_parameter(item) for item in parameters] if isinstance(parameters, list) else ())
    text = " - ".join([*_texts([message]), *([", ".join(names)] if names else [])])
    if isinstance(code, str) and code.strip():
        text = f"{text} ({code.strip()})" if text else code.strip()
    text = text[:MAX_MESSAGE]
    return ErrorBody(text, next((field for part in (*names, text) if (field := _find_field(part))), None))


def _quote(body: ErrorBody) -> str:
    """Return the message as a sentence to append to ours; empty if there is none."""
    return f" Entrust's message: {body.message}" if body.message else ""


def _parameter(value: object) -> object:
    """Return a parameter as text: `{"name": "callbackUrl", "message": "is odd"}` becomes `callbackUrl: is odd`."""
    if not isinstance(value, dict):
        return value
    return ": ".join(_texts([value.get("name"), value.get("message")]))


def _texts(values: Sequence[object]) -> list[str]:
    return [value.strip() for value in values[:MAX_PARAMETERS] if isinstance(value, str) and value.strip()]


def _find_field(text: str) -> str | None:
    """Return our dotted name for the first field that a text mentions: `events[3].type` becomes `events.3.type`."""
    match = _FIELD.search(text)
    if not match:
        return None
    name, index, column = match.groups()
    field = _FIELDS[name]
    if field != "events" or index is None:
        return field
    return f"events.{index}" + (f".{column}" if column else "")
