"""Read the responses of Egnyte's MSP API: webhooks, the identity, and errors. Every field is checked."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.base import Identity, RemoteSubscription
from providers.contract.equivalence import read_enabled
from providers.contract.error_bodies import ErrorBodyReader
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    PermissionMissing,
    ProviderError,
    Refused,
)
from providers.contract.mashery import read_throttling
from providers.contract.response_fields import (
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
from providers.egnyte_msp.event_types import canonical

# Egnyte documents the first name for responses and the second for requests. We read both everywhere.
EVENT_TYPES_FIELDS = ("event_types", "eventTypes")

# Egnyte's names of the fields that we send, and ours.
_ERROR_BODIES = ErrorBodyReader(
    {
        "webhook_url": "callback_url",
        "event_types": "event_types",
        "eventTypes": "event_types",
        "auth_header": "auth_header_name",
        "auth_header_value": "secret",
    },
    lists=frozenset(EVENT_TYPES_FIELDS),
)


# -- Webhooks ------------------------------------------------------------------------------------------------------


def read_summary(value: object) -> RemoteSubscription:
    """Return the remote subscription of `{webhook_id, status}`, without URL and config. Raises InvalidResponse."""
    item = read_object(value)
    status = read_required_text(item, "status")
    return RemoteSubscription(
        remote_id=read_remote_id(item, "webhook_id"),
        status=status,
        enabled=read_enabled(status) is True,
    )


def read_summaries(value: object) -> tuple[RemoteSubscription, ...]:
    """Return the webhooks of a list call. Raises InvalidResponse."""
    return tuple(
        read_entries(read_list(value), read_summary, lambda item: read_remote_id(read_object(item), "webhook_id"))
    )


def read_url(details: Mapping[str, object]) -> str | None:
    """Return the callback URL; None if it is not shown."""
    return read_text(details, "webhook_url")


def read_config(details: Mapping[str, object]) -> dict[str, object]:
    """Return the canonical config, from either spelling of the field; empty if neither is present."""
    for key in EVENT_TYPES_FIELDS:
        names = read_texts(details, key)
        if names is not None:
            return canonical(names)
    return {}


def check_deleted(response: ProviderResponse) -> None:
    """Raise InvalidResponse if a delete call returned `{"success": false}`; any other body means success."""
    try:
        body = response.json()
    except InvalidResponse:
        return
    if isinstance(body, dict) and body.get("success") is False:
        raise InvalidResponse(
            "Egnyte reported that the webhook was not deleted, without a reason.", status=response.status
        )


# -- Identity ------------------------------------------------------------------------------------------------------


def read_identity(response: ProviderResponse) -> Identity:
    """Return the owner of the token from `{clientId, username, domain, scopes}`.

    No scope is known to be required by the MSP API, so there is no warning.
    """
    item = response.json_object()
    facts = pick_texts(item, ("clientId", "username", "domain"))
    if not facts:
        raise InvalidResponse(
            "The provider's whoami response names neither client nor user nor domain.", status=response.status
        )
    scopes = item.get("scopes")
    if isinstance(scopes, list) and scopes:
        facts["scopes"] = [scope for scope in scopes if isinstance(scope, str)]
    return Identity(facts=facts)


# -- Errors --------------------------------------------------------------------------------------------------------


def read_error(response: ProviderResponse) -> ProviderError:
    """Return the error for a response with an unexpected status.

    Bodies are `{message, code}`; the forms of Egnyte's other APIs are read as well.
    """
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
            "Egnyte does not permit this. Only approved MSP partners may use this API, with a token of an MSP"
            " application for a user of the NFR domain whose email address is also that of the MSP portal."
            f"{quote}",
            status=status,
        )
    if status == 409:
        return LimitReached(
            "Egnyte reports a conflict or has reached its limit of webhooks. The limit applies per application and"
            f" NFR domain, so two accounts here may share it.{quote}",
            status=status,
        )
    error = error_for(response, body.message or None, field=body.field)
    if isinstance(error, Refused) and body.field == "event_types":
        error.message += " If Egnyte expects the other name of the field, change the setting event_types_field."
    return error
