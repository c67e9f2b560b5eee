"""Reads what Egnyte's MSP API answers: registrations, the identity, and refusals. No shape is taken for granted."""

from __future__ import annotations

from collections.abc import Mapping

from providers.contract.base import Identity, RemoteSubscription
from providers.contract.error_bodies import ComplaintReader
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    PermissionMissing,
    ProviderError,
    Refused,
)
from providers.contract.mashery import read_throttling
from providers.contract.responses import ProviderResponse, error_for
from providers.egnyte_msp.event_types import canonical

# Egnyte writes the one in its answers' description and the other in its requests' schema; we read both everywhere.
EVENT_TYPES_FIELDS = ("event_types", "eventTypes")

# Egnyte's names of what we sent, and ours.
_COMPLAINTS = ComplaintReader(
    {
        "webhook_url": "callback_url",
        "event_types": "event_types",
        "eventTypes": "event_types",
        "auth_header": "auth_header_name",
        "auth_header_value": "secret",
    },
    lists=frozenset(EVENT_TYPES_FIELDS),
)


# -- Registrations -------------------------------------------------------------------------------------------------


def read_summary(value: object) -> RemoteSubscription:
    """A remote subscription from `{webhook_id, status}`; URL and config stay unknown. Raises InvalidResponse."""
    if not isinstance(value, dict):
        raise InvalidResponse("The provider's description of a webhook is no JSON object.")
    status = value.get("status")
    if not isinstance(status, str) or not status:
        raise _wrong("status", "is no text")
    return RemoteSubscription(
        remote_id=_remote_id(value.get("webhook_id")),
        status=status,
        enabled=status.strip().lower() == "enabled",
    )


def read_summaries(value: object) -> tuple[RemoteSubscription, ...]:
    """The list call's answer. One odd entry spoils it all: an id that is overlooked would be registered twice."""
    if not isinstance(value, list):
        raise InvalidResponse("The provider's list of webhooks is no list.")
    return tuple(read_summary(item) for item in value)


def read_url(details: Mapping[str, object]) -> str | None:
    """The callback URL; None where it is not shown."""
    url = details.get("webhook_url")
    if url is not None and not isinstance(url, str):
        raise _wrong("webhook_url", "is no text")
    return url or None


def read_config(details: Mapping[str, object]) -> dict[str, object]:
    """The canonical config of a webhook's description, in either spelling; empty where neither is there."""
    for key in EVENT_TYPES_FIELDS:
        names = details.get(key)
        if names is None:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _wrong(key, "is no list of texts")
        return canonical(names)
    return {}


def shown_in_clear(value: object) -> str | None:
    """What an answer shows of an auth header; None when it is absent, empty or masked."""
    return value.strip() or None if isinstance(value, str) and "*" not in value else None


def check_deleted(answer: ProviderResponse) -> None:
    """Raises InvalidResponse when a delete call was answered with `{"success": false}`. Any other yes is one."""
    try:
        body = answer.json()
    except InvalidResponse:
        return
    if isinstance(body, dict) and body.get("success") is False:
        raise InvalidResponse(
            "Egnyte answered that the webhook was not deleted, and gave no reason.", status=answer.status
        )


def _remote_id(value: object) -> str:
    # It becomes part of a URL path, in which dots alone would climb.
    if not isinstance(value, str) or not value.strip(" .") or not value.isprintable() or len(value) > 200:
        raise _wrong("webhook_id", "is no usable id")
    return value


def _wrong(key: str, what: str) -> InvalidResponse:
    return InvalidResponse(f"In the provider's answer `{key}` {what}.")


# -- Identity ------------------------------------------------------------------------------------------------------


def read_identity(answer: ProviderResponse) -> Identity:
    """Whose token it is, from `{clientId, username, domain, scopes}`. No scope is known that the MSP API would need."""
    item = answer.json_object()
    facts: dict[str, object] = {
        key: value for key in ("clientId", "username", "domain") if isinstance(value := item.get(key), str) and value
    }
    if not facts:
        raise InvalidResponse(
            "The provider's whoami answer names neither client nor user nor domain.", status=answer.status
        )
    scopes = item.get("scopes")
    if isinstance(scopes, list) and scopes:
        facts["scopes"] = [scope for scope in scopes if isinstance(scope, str)]
    return Identity(facts=facts)


# -- Refusals ------------------------------------------------------------------------------------------------------


def read_error(answer: ProviderResponse) -> ProviderError:
    """The error that an unexpected answer means. Bodies are `{message, code}`; Egnyte's other ones are read, too."""
    status = answer.status
    throttled = read_throttling(answer, provider="Egnyte")
    if throttled:
        return throttled
    complaint = _COMPLAINTS.read(answer)
    said = f" Egnyte says: {complaint.words}" if complaint.words else ""
    if status == 401:
        return AuthenticationFailed(
            "Egnyte refused the access token. Tokens expire, and are revoked when the password changes;"
            f" enter a new one.{said}",
            status=status,
        )
    if status == 403:
        return PermissionMissing(
            "Egnyte does not permit this. Only approved MSP partners may use this API, with a token of an MSP"
            " application and a user of the NFR domain whose e-mail address is also that of the MSP portal."
            f"{said}",
            status=status,
        )
    if status == 409:
        return LimitReached(
            "Egnyte has no room for another webhook, or sees a conflict. The number is limited per application and"
            f" NFR domain, so two accounts here may share the limit.{said}",
            status=status,
        )
    error = error_for(answer, complaint.words or None, field=complaint.field)
    if isinstance(error, Refused) and complaint.field == "event_types":
        error.message += " If Egnyte knows the field by its other name, change the account setting event_types_field."
    return error
