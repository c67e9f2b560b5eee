"""Map SideDrawer's error responses to provider errors.

The statuses are those that SideDrawer documents for all its calls. Error bodies are not published, so the usual
formats are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from providers.contract.error_bodies import MAX_MESSAGE
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    PermissionMissing,
    ProviderError,
    Throttled,
    Unsupported,
)
from providers.contract.responses import ProviderResponse, error_for, retry_after

DEFAULT_WAIT_SECONDS = 30.0  # after a 429 without Retry-After

# SideDrawer's names of the fields that we send, and our names
_FIELDS: Mapping[str, str] = {
    "modificationType": "modification_type",
    "connectionType": "connection_type",
    "notificationUrl": "callback_url",
    "resource": "resource",
    "expirationDateTime": "lifetime_days",
    "brandCode": "brand_code",
    "notificationMessages": "notification_messages",
    "integrityKey": "secret",
    "maxRetries": "max_retries",
}
_TEXT_KEYS = ("message", "errorMessage", "error_description", "detail", "description", "msg", "error")
_LIST_KEYS = ("message", "errors", "details", "validationErrors", "constraints")
_NAME_KEYS = ("property", "field", "path")


def read_error(response: ProviderResponse) -> ProviderError:
    """Return the error for an unexpected response."""
    status = response.status
    message, field = _read_error_body(response)
    quote = f" SideDrawer's message: {message}" if message else ""
    if status == 401:
        return AuthenticationFailed(
            "SideDrawer refused the access token, which may have expired. Enter a new one, or a client ID and client"
            f" secret, with which Hookkeeper renews tokens automatically.{quote}",
            status=status,
        )
    if status == 403:
        return PermissionMissing(
            "SideDrawer denied this call: only members of the tenant or subscription can register webhooks there."
            f"{quote}",
            status=status,
        )
    if status in (405, 501):
        return Unsupported(f"SideDrawer does not have this call ({status}).{quote}", status=status)
    if status == 429:
        seconds = retry_after(response) or DEFAULT_WAIT_SECONDS
        return Throttled(
            f"SideDrawer's rate limit is reached; the next call may be made in {seconds:.0f} s.{quote}",
            status=status,
            retry_after=seconds,
        )
    return error_for(response, message or None, field=field)


def _read_error_body(response: ProviderResponse) -> tuple[str, str | None]:
    """Return the message of an error body, and our name for the field that it is about."""
    try:
        body = response.json()
    except InvalidResponse:
        return "", None
    messages = list(dict.fromkeys(_messages(body, None, depth=4)))
    message = "; ".join(dict.fromkeys(text for text, _ in messages))[:MAX_MESSAGE]
    return message, next((field for _, field in messages if field), None)


def _messages(value: object, field: str | None, *, depth: int) -> Iterator[tuple[str, str | None]]:
    """Yield the messages of an error body with our names for their fields."""
    if isinstance(value, str) and value.strip():
        yield value.strip(), field or _find_field(value)
    elif isinstance(value, list) and depth:
        for item in value[:20]:
            yield from _messages(item, field, depth=depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _from_object(value, field, depth=depth - 1)


def _from_object(value: Mapping[str, object], field: str | None, *, depth: int) -> Iterator[tuple[str, str | None]]:
    name = next((name for key in _NAME_KEYS if isinstance(name := value.get(key), str)), "")
    field = _find_field(name) or field
    nested = [value[key] for key in _LIST_KEYS if isinstance(value.get(key), list | dict)]
    text = next((text for key in _TEXT_KEYS if isinstance(text := value.get(key), str) and text.strip()), "")
    if text and not nested:
        yield text.strip(), field or _find_field(text)
    for item in nested:
        if isinstance(item, dict) and not any(key in item for key in (*_TEXT_KEYS, *_LIST_KEYS)):
            item = list(item.values())[:20]  # {"isUrl": "notificationUrl must be a URL"}
        yield from _messages(item, field, depth=depth)


def _find_field(text: str) -> str | None:
    return next((field for name, field in _FIELDS.items() if name.lower() in text.lower()), None)
