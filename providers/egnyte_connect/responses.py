"""Read the responses of Egnyte's API: webhooks, the identity, and errors. Every field is checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from providers.contract.base import Identity, RemoteSubscription
from providers.contract.equivalence import read_enabled
from providers.contract.error_bodies import ErrorBodyReader
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    PermissionMissing,
    ProviderError,
)
from providers.contract.event_fields import time_from_number
from providers.contract.mashery import read_throttling
from providers.contract.response_fields import (
    invalid_field,
    pick_texts,
    read_entries,
    read_list,
    read_object,
    read_remote_id,
    read_required_text,
    read_text,
    read_texts,
)
from providers.contract.responses import ProviderResponse, error_for
from providers.egnyte_connect.event_types import canonical_types

SCOPE = "Egnyte.webhooks"

# Egnyte's names of the fields that we send, and ours.
_ERROR_BODIES = ErrorBodyReader(
    {
        "url": "callback_url",
        "eventType": "event_types",
        "path": "paths",
        "authHeader": "secret",
        "authHeaderValue": "secret",
        "status": "enabled",
    },
    lists=frozenset({"eventType", "path"}),
)


# -- Webhooks ------------------------------------------------------------------------------------------------------


def read_summary(value: object) -> RemoteSubscription:
    """Return the remote subscription of `{webhookId, expires, status}`, without URL and config.

    Raises InvalidResponse.
    """
    item = read_object(value)
    status = read_required_text(item, "status")
    return RemoteSubscription(
        remote_id=read_remote_id(item, "webhookId"),
        status=status,
        enabled=read_enabled(status) is True,
        expires_at=_expiry(item),
    )


def read_summaries(value: object) -> tuple[RemoteSubscription, ...]:
    """Return the webhooks of a list call. Raises InvalidResponse."""
    return tuple(
        read_entries(read_list(value), read_summary, lambda item: read_remote_id(read_object(item), "webhookId"))
    )


def read_url(details: Mapping[str, object]) -> str | None:
    """Return the callback URL; None if this version of the API does not show it."""
    return read_text(details, "url")


def read_config(details: Mapping[str, object]) -> dict[str, object]:
    """Return the canonical config. A webhook without event types gets all events (beplatform/egnyte-go-sdk).

    A field that the response lacks is unknown.
    """
    config = canonical(read_texts(details, "eventType") or [], (read_text(details, "path") or "").split(","))
    shown = {"event_types": "eventType" in details, "paths": "path" in details}
    return {name: value for name, value in config.items() if shown[name]}


def canonical(event_types: list[str] | tuple[str, ...], paths: list[str] | tuple[str, ...]) -> dict[str, object]:
    """Return the config in canonical form.

    Values are sorted and unique, types are as in `canonical_types`, and paths have no final slash.
    """
    trimmed = (path.strip() for path in paths)
    return {
        "event_types": canonical_types(name.strip() for name in event_types if name.strip()),
        "paths": sorted({path.rstrip("/") or "/" for path in trimmed if path}),
    }


def _expiry(item: Mapping[str, object]) -> datetime | None:
    value = item.get("expires")
    if value is None or (value == 0 and not isinstance(value, bool)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise invalid_field("expires", "is not a time")
    moment = time_from_number(value)
    if moment is None:
        raise invalid_field("expires", "is not a time")
    return moment


# -- Identity ------------------------------------------------------------------------------------------------------


def read_identity(response: ProviderResponse) -> Identity:
    """Return the owner of the token from `{clientId, username, domain, scopes}`.

    The warning names the webhook scope if it is missing.
    """
    item = response.json_object()
    facts = pick_texts(item, ("clientId", "username", "domain"))
    if not facts:
        raise InvalidResponse(
            "The provider's whoami response names neither client nor user nor domain.", status=response.status
        )
    scopes = _scopes(item.get("scopes"))
    if scopes:
        facts["scopes"] = scopes
    missing = bool(scopes) and SCOPE.lower() not in (scope.lower() for scope in scopes)
    warning = f"The token's scopes do not include {SCOPE}; registering webhooks may be refused." if missing else None
    return Identity(facts=facts, warning=warning)


def _scopes(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [scope for scope in value if isinstance(scope, str)] if isinstance(value, list) else []


# -- Errors --------------------------------------------------------------------------------------------------------


def read_error(response: ProviderResponse) -> ProviderError:
    """Return the error for a response with an unexpected status."""
    status = response.status
    throttled = read_throttling(response, provider="Egnyte")
    if throttled:
        return throttled
    body = _ERROR_BODIES.read(response)
    quote = f" Egnyte says: {body.message}" if body.message else ""
    if status == 401:
        return AuthenticationFailed(
            "Egnyte refused the access token. Tokens expire, and are revoked when the password changes."
            f" Enter a new one.{quote}",
            status=status,
        )
    if status == 403:
        return PermissionMissing(
            f"Egnyte does not permit this. The token needs the scope {SCOPE}, and only administrators of the domain"
            f" may register webhooks.{quote}",
            status=status,
        )
    if status == 409:
        return LimitReached(
            "Egnyte reports a conflict or has reached its limit of webhooks. The limit applies per application and"
            f" domain, so two accounts here may share it.{quote}",
            status=status,
        )
    return error_for(response, body.message or None, field=body.field)
