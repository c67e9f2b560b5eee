"""Parse and check Entrust's responses: webhooks and access tokens.

Source: the OpenAPI document of Entrust's Administration API (schemas Webhook, WebhookEvent).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from providers.contract.base import RemoteSubscription
from providers.contract.equivalence import read_enabled
from providers.contract.errors import (
    InvalidResponse,
)
from providers.contract.event_fields import parse_iso_time
from providers.contract.response_fields import (
    invalid_field,
    read_entries,
    read_list,
    read_object,
    read_remote_id,
    read_text,
)
from providers.contract.responses import ProviderResponse
from providers.entrust.event_types import EVENT_TYPES
from providers.entrust.schemas import MAX_EXPIRY_DAYS

SECONDS_A_DAY = 86400
ALL_EVENTS = frozenset((item.name, None) for item in EVENT_TYPES)


# -- Webhooks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as Entrust returns it.

    `token` is present only in the response to the registration. `expires_at` is None if the webhook never expires, and
    not in the future if it has expired.
    """

    id: str
    callback_url: str | None
    enabled: bool
    expired: bool
    expires_at: datetime | None
    shows_expiry: bool  # whether the response has the field of the expiry
    events: tuple[tuple[str, str | None], ...] | None  # type and filter, unchanged; None if the response has none
    name: str | None
    token: str | None = field(repr=False)

    def to_remote(self) -> RemoteSubscription:
        """Return the webhook without its token, in the form of the contract.

        Entrust does not return the number of days that were requested, so `expiry_days` is known only if it is 0.
        """
        config: dict[str, object] = {}
        if self.events is not None:
            config["events"] = canonical_events(self.events)
        if self.expires_at is None and self.shows_expiry:
            config["expiry_days"] = 0
        return RemoteSubscription(
            remote_id=self.id,
            status="expired" if self.expired else "enabled" if self.enabled else "disabled",
            enabled=self.enabled and not self.expired,
            expires_at=self.expires_at,
            url=self.callback_url,
            config=config,
        )

    def days_left(self, now: datetime) -> int:
        """Return the `expiry` (in days) that keeps the current expiry, rounded up; 0 if the webhook never expires."""
        if self.expires_at is None:
            return 0
        days = math.ceil((self.expires_at - now).total_seconds() / SECONDS_A_DAY)
        return min(max(days, 1), MAX_EXPIRY_DAYS)


def read_webhook(value: object) -> Webhook:
    """Parse a webhook. Raises InvalidResponse."""
    item = read_object(value)
    expired = _boolean(item, "expired", absent=False)
    expires_at = _expiry(item.get("expiryDate"))
    if expired:
        # Entrust's flag takes precedence over the date, which has no time zone.
        now = datetime.now(UTC)
        expires_at = min(expires_at or now, now)
    return Webhook(
        id=read_remote_id(item, "id"),
        callback_url=read_text(item, "callbackUrl"),
        enabled=_boolean(item, "enabled", absent=True),
        expired=expired,
        expires_at=expires_at,
        shows_expiry="expiryDate" in item,
        events=_events(item["events"]) if "events" in item else None,
        name=read_text(item, "name"),
        token=read_text(item, "token"),
    )


def read_webhooks(value: object) -> tuple[RemoteSubscription, ...]:
    """Parse the response to the list call, without the tokens. Raises InvalidResponse."""
    return tuple(
        read_entries(
            read_list(value),
            lambda item: read_webhook(item).to_remote(),
            lambda item: read_remote_id(read_object(item), "id"),
        )
    )


def canonical_events(events: Iterable[tuple[str, str | None]]) -> list[dict[str, object]]:
    """Return unique, sorted events with their filters in canonical JSON, so that equivalent lists are equal.

    Every known type without a filter means all events, which an empty list stands for.
    """
    pairs = {(name.strip(), _canonical_filter(text)) for name, text in events}
    if pairs >= ALL_EVENTS:
        return []
    return [{"type": name, "filter": text} for name, text in sorted(pairs, key=lambda pair: (pair[0], pair[1] or ""))]


def _canonical_filter(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text.strip()  # a foreign webhook; our filters are always JSON


def _events(value: object) -> tuple[tuple[str, str | None], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid_field("events", "is not a list of objects")
    pairs = [(item.get("type"), item.get("filter")) for item in value]
    if not all(isinstance(name, str) and (text is None or isinstance(text, str)) for name, text in pairs):
        raise invalid_field("events", "has a type or a filter that is not a string")
    return tuple(pairs)


def _boolean(item: Mapping[str, object], key: str, *, absent: bool) -> bool:
    value = item.get(key)
    flag = absent if value is None else read_enabled(value)
    if flag is None:
        raise invalid_field(key, "is not a boolean")
    return flag


def _expiry(value: object) -> datetime | None:
    if value is None:
        return None
    moment = parse_iso_time(value)
    if moment is None:
        raise invalid_field("expiryDate", "is not a time")
    return moment


# -- Access tokens -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token and its expiry; None if the expiry could not be read, and the token is not cached."""

    token: str = field(repr=False)
    expires_at: datetime | None


def read_access_token(response: ProviderResponse) -> AccessToken:
    """Parse the response to the authenticate call. Raises InvalidResponse."""
    item = response.json_object()
    token = item.get("authToken")
    # The token is sent in a header.
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise InvalidResponse("The provider's response to the login has no usable authToken.", status=response.status)
    return AccessToken(token, parse_iso_time(item.get("expirationTime")))
