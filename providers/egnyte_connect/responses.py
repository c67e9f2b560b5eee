"""Reads what Egnyte's API answers: summaries, details, the identity, and refusals. No shape is taken for granted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from providers.contract.base import Identity, RemoteSubscription
from providers.contract.error_bodies import ComplaintReader
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    PermissionMissing,
    ProviderError,
)
from providers.contract.event_fields import time_from_number
from providers.contract.mashery import read_throttling
from providers.contract.responses import ProviderResponse, error_for
from providers.egnyte_connect.event_types import ALL_EVENTS, without_covered

SCOPE = "Egnyte.webhooks"

# Egnyte's names of what we sent, and ours.
_COMPLAINTS = ComplaintReader(
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


# -- Registrations -------------------------------------------------------------------------------------------------


def read_summary(value: object) -> RemoteSubscription:
    """Return the remote subscription of `{webhookId, expires, status}`, without URL and config."""
    item = _object(value)
    status = item.get("status")
    if not isinstance(status, str) or not status:
        raise _wrong("status", "is no text")
    return RemoteSubscription(
        remote_id=_remote_id(item.get("webhookId")),
        status=status,
        enabled=status.strip().lower() == "enabled",
        expires_at=_expiry(item.get("expires")),
    )


def read_summaries(value: object) -> tuple[RemoteSubscription, ...]:
    """The list call's answer. One odd entry spoils it all: an id that is overlooked would be registered twice."""
    if not isinstance(value, list):
        raise InvalidResponse("The provider's list of webhooks is no list.")
    return tuple(read_summary(item) for item in value)


def read_url(details: Mapping[str, object]) -> str | None:
    """The callback URL; None where this version of the API does not show it."""
    url = details.get("url")
    if url is not None and not isinstance(url, str):
        raise _wrong("url", "is no text")
    return url or None


def read_config(details: Mapping[str, object]) -> dict[str, object]:
    """The canonical config of a details answer. A webhook without event types gets all of them
    (beplatform/egnyte-go-sdk)."""
    names = details.get("eventType")
    path = details.get("path")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise _wrong("eventType", "is no list of texts")
    if path is not None and not isinstance(path, str):
        raise _wrong("path", "is no text")
    return canonical(names or ALL_EVENTS, (path or "").split(","))


def canonical(event_types: list[str] | tuple[str, ...], paths: list[str] | tuple[str, ...]) -> dict[str, object]:
    """The config in which equal meanings are equal: sorted, unique, without what a wildcard covers, without the
    final slash of a path."""
    trimmed = (path.strip() for path in paths)
    return {
        "event_types": without_covered(name.strip() for name in event_types if name.strip()),
        "paths": sorted({path.rstrip("/") or "/" for path in trimmed if path}),
    }


def shown_in_clear(value: object) -> str | None:
    """What an answer shows of an auth header; None when it is absent, empty or masked."""
    return value.strip() or None if isinstance(value, str) and "*" not in value else None


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidResponse("The provider's description of a webhook is no JSON object.")
    return value


def _remote_id(value: object) -> str:
    # It becomes part of a URL path, in which dots alone would climb.
    if not isinstance(value, str) or not value.strip(" .") or not value.isprintable() or len(value) > 200:
        raise _wrong("webhookId", "is no usable id")
    return value


def _expiry(value: object) -> datetime | None:
    if value is None or (value == 0 and not isinstance(value, bool)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _wrong("expires", "is no time")
    moment = time_from_number(value)
    if moment is None:
        raise _wrong("expires", "is no time")
    return moment


def _wrong(key: str, what: str) -> InvalidResponse:
    return InvalidResponse(f"In the provider's answer `{key}` {what}.")


# -- Identity ------------------------------------------------------------------------------------------------------


def read_identity(answer: ProviderResponse) -> Identity:
    """Whose token it is, from `{clientId, username, domain, scopes}`; warns when the scope is not among them."""
    item = answer.json_object()
    facts: dict[str, object] = {
        key: value for key in ("clientId", "username", "domain") if isinstance(value := item.get(key), str) and value
    }
    if not facts:
        raise InvalidResponse(
            "The provider's whoami answer names neither client nor user nor domain.", status=answer.status
        )
    scopes = _scopes(item.get("scopes"))
    if scopes:
        facts["scopes"] = scopes
    missing = bool(scopes) and SCOPE.lower() not in (scope.lower() for scope in scopes)
    warning = f"The token's scopes do not name {SCOPE}; registering webhooks may be refused." if missing else None
    return Identity(facts=facts, warning=warning)


def _scopes(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [scope for scope in value if isinstance(scope, str)] if isinstance(value, list) else []


# -- Refusals ------------------------------------------------------------------------------------------------------


def read_error(answer: ProviderResponse) -> ProviderError:
    """The error that an unexpected answer means."""
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
            f"Egnyte does not permit this. The token needs the scope {SCOPE}, and only administrators of the domain"
            f" may register webhooks.{said}",
            status=status,
        )
    if status == 409:
        return LimitReached(
            "Egnyte has no room for another webhook, or sees a conflict. The number is limited per application and"
            f" domain, so two accounts here may share the limit.{said}",
            status=status,
        )
    return error_for(answer, complaint.words or None, field=complaint.field)
