"""Reads what Entrust's API answers: webhooks, access tokens and refusals. No shape is taken for granted.

Source: the OpenAPI document of Entrust's Administration API (schemas Webhook, WebhookEvent, ErrorInfo).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from providers.contract.base import RemoteSubscription
from providers.contract.errors import (
    AuthenticationFailed,
    BadAnswer,
    LimitReached,
    PermissionMissing,
    ProviderError,
    Refused,
)
from providers.contract.responses import Answer, error_for
from providers.entrust.schemas import MAX_EXPIRY_DAYS

SECONDS_A_DAY = 86400
MAX_WORDS = 500
MAX_PARAMETERS = 20

# Entrust's names of what we sent, and ours.
_FIELDS = {"callbackUrl": "callback_url", "events": "events", "expiry": "expiry_days"}
_FIELD = re.compile(rf"\b({'|'.join(_FIELDS)})\b(?:\[?\.?(\d{{1,3}})\]?)?(?:\.(type|filter)\b)?")
_UNKNOWN_PROPERTY = re.compile(
    r"(?:unrecogni[sz]ed|unknown|unexpected|unsupported) (?:json )?(?:field|property|parameter|attribute)"
    r"|unrecogni[sz]edproperty|unknown_?(?:field|property)|additional propert|not (?:a )?recogni[sz]ed",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"\b(?:limit|quota|too many|maximum (?:number|of))\b", re.IGNORECASE)


class UnknownProperty(Refused):
    """The server does not know a property that we sent: it is older than that property."""


# -- Webhooks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as Entrust shows it. `token` is there only in the answer that creates it; `expires_at` is None when it
    never expires, and never later than now when it has expired."""

    id: str
    callback_url: str | None
    enabled: bool
    expired: bool
    expires_at: datetime | None
    events: tuple[tuple[str, str | None], ...]  # type and filter, as they stand
    name: str | None
    token: str | None = field(repr=False)

    def as_remote(self) -> RemoteSubscription:
        """In our words. How many days were asked for is not shown by Entrust, except that it is none.

        The token is left out: it is new to us only when we have just registered.
        """
        config: dict[str, object] = {"events": canonical_events(self.events)}
        if self.expires_at is None:
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
        """For an `expiry` that keeps what it has, rounded up to whole days: 0 when it never expires."""
        if self.expires_at is None:
            return 0
        days = math.ceil((self.expires_at - now).total_seconds() / SECONDS_A_DAY)
        return min(max(days, 1), MAX_EXPIRY_DAYS)


def read_webhook(value: object) -> Webhook:
    """A webhook from its JSON. Raises BadAnswer."""
    if not isinstance(value, dict):
        raise BadAnswer("The provider's description of a webhook is no JSON object.")
    expired = _flag(value, "expired", absent=False)
    expires_at = _expiry(value.get("expiryDate"))
    if expired:
        # Their clock decides, also where it and ours, or the missing time zone, disagree.
        now = datetime.now(UTC)
        expires_at = min(expires_at or now, now)
    return Webhook(
        id=_id(value.get("id")),
        callback_url=_text(value, "callbackUrl"),
        enabled=_flag(value, "enabled", absent=None),
        expired=expired,
        expires_at=expires_at,
        events=_events(value.get("events")),
        name=_text(value, "name"),
        token=_text(value, "token"),
    )


def read_webhooks(value: object) -> tuple[Webhook, ...]:
    """The list call's answer. One odd entry spoils it all: one that is overlooked would be registered twice."""
    if not isinstance(value, list):
        raise BadAnswer("The provider's list of webhooks is no list.")
    return tuple(read_webhook(item) for item in value)


def canonical_events(events: Iterable[tuple[str, str | None]]) -> list[dict[str, object]]:
    """Types with filters in which equal meanings are equal: unique, sorted, filters written in one way."""
    pairs = {(name.strip(), _canonical_filter(text)) for name, text in events}
    return [{"type": name, "filter": text} for name, text in sorted(pairs, key=lambda pair: (pair[0], pair[1] or ""))]


def _canonical_filter(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text.strip()  # not ours; ours are JSON


def _events(value: object) -> tuple[tuple[str, str | None], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _wrong("events", "is no list of objects")
    pairs = [(item.get("type"), item.get("filter")) for item in value]
    if not all(isinstance(name, str) and (text is None or isinstance(text, str)) for name, text in pairs):
        raise _wrong("events", "has a type or a filter that is no text")
    return tuple(pairs)


def _id(value: object) -> str:
    # It becomes part of a URL path, in which dots alone would climb.
    if not isinstance(value, str) or not value.strip(" .") or not value.isprintable() or len(value) > 200:
        raise _wrong("id", "is no usable id")
    return value


def _flag(item: Mapping[str, object], key: str, *, absent: bool | None) -> bool:
    value = item.get(key)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, bool):
        raise _wrong(key, "is neither true nor false")
    return value


def _text(item: Mapping[str, object], key: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise _wrong(key, "is no text")
    return value or None


def _expiry(value: object) -> datetime | None:
    if value is None:
        return None
    moment = read_time(value)
    if moment is None:
        raise _wrong("expiryDate", "is no time")
    return moment


def _wrong(key: str, what: str) -> BadAnswer:
    return BadAnswer(f"In the provider's answer `{key}` {what}.")


def read_time(value: object) -> datetime | None:
    """An ISO 8601 time, in UTC where it has no offset (as `expiryDate`); None for anything else."""
    if not isinstance(value, str) or not 8 <= len(value) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# -- Access tokens -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Access:
    """An access token and its end; None where that could not be read, and the token is not kept."""

    token: str = field(repr=False)
    expires_at: datetime | None


def read_access(answer: Answer) -> Access:
    """The authenticate call's answer. Raises BadAnswer."""
    item = answer.json_object()
    token = item.get("authToken")
    # It goes into a header.
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise BadAnswer("The provider's answer to the login has no usable authToken.", status=answer.status)
    return Access(token, read_time(item.get("expirationTime")))


# -- Refusals ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error body says; `field` is our name for the field, where it names one."""

    words: str
    field: str | None


def read_login_error(answer: Answer) -> ProviderError:
    """Why a login failed."""
    complaint = _read_complaint(answer)
    if answer.status in (400, 401, 403):
        return AuthenticationFailed(
            "Entrust refused the application ID or the shared secret. Enter those of an Administration API application"
            f" that is enabled.{_said(complaint)}",
            status=answer.status,
        )
    if answer.status == 404:
        return BadAnswer("There is no Entrust API at this host. Check the host name.", status=answer.status)
    return error_for(answer, complaint.words or None)


def read_error(answer: Answer, permission: str) -> ProviderError:
    """The error that an unexpected answer means. `permission` is what the call needs of the application's role."""
    status = answer.status
    complaint = _read_complaint(answer)
    if status == 401:
        return AuthenticationFailed(
            f"Entrust refused the access. Check that the application is enabled.{_said(complaint)}", status=status
        )
    if status == 403:
        return PermissionMissing(
            f"Entrust does not permit this: the role of the Administration API application needs {permission}."
            f"{_said(complaint)}",
            status=status,
        )
    if status == 409 or (status == 400 and _LIMIT.search(complaint.words)):
        return LimitReached(
            "Entrust has no room for another webhook, or sees a conflict. A customer may have 20 active webhooks."
            f"{_said(complaint)}",
            status=status,
            field=complaint.field,
        )
    if status == 400 and _UNKNOWN_PROPERTY.search(complaint.words):
        return UnknownProperty(f"Refused.{_said(complaint)}", status=status, field=complaint.field)
    return error_for(answer, complaint.words or None, field=complaint.field)


def _said(complaint: Complaint) -> str:
    return f" Entrust says: {complaint.words}" if complaint.words else ""


def _read_complaint(answer: Answer) -> Complaint:
    """`{errorCode, errorMessage, parameters}`; other bodies say nothing."""
    try:
        body: object = answer.json()
    except BadAnswer:
        body = None
    if not isinstance(body, dict):
        return Complaint("", None)
    message, code, parameters = body.get("errorMessage"), body.get("errorCode"), body.get("parameters")
    named = _texts(parameters if isinstance(parameters, list) else ())
    words = " - ".join([*_texts([message]), *([", ".join(named)] if named else [])])
    if isinstance(code, str) and code.strip():
        words = f"{words} ({code.strip()})" if words else code.strip()
    words = words[:MAX_WORDS]
    return Complaint(words, next((found for text in (*named, words) if (found := _field_in(text))), None))


def _texts(values: Sequence[object]) -> list[str]:
    return [value.strip() for value in values[:MAX_PARAMETERS] if isinstance(value, str) and value.strip()]


def _field_in(text: str) -> str | None:
    found = _FIELD.search(text)
    if not found:
        return None
    name, index, column = found.groups()
    ours = _FIELDS[name]
    if ours != "events" or index is None:
        return ours
    return f"events.{index}" + (f".{column}" if column else "")
