"""Reads what Egnyte's API answers: summaries, details, the identity, and refusals. No shape is taken for granted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from providers.base import Identity, RemoteSubscription, time_from_number
from providers.egnyte_connect.event_types import ALL_EVENTS, without_covered
from providers.errors import AuthenticationFailed, BadAnswer, LimitReached, PermissionMissing, ProviderError, Throttled
from providers.http import Answer, error_for, retry_after

SCOPE = "Egnyte.webhooks"

# Seconds to stay away when Egnyte throttles without saying for how long.
WAIT_PER_SECOND_LIMIT = 2.0
WAIT_UNKNOWN_LIMIT = 30.0
WAIT_DAY_LIMIT = 3600.0

MAX_WORDS = 500

# Egnyte's names of what we sent, and ours.
_FIELDS = {
    "url": "callback_url",
    "eventType": "event_types",
    "path": "paths",
    "authHeader": "secret",
    "authHeaderValue": "secret",
    "status": "enabled",
}
_LISTS = frozenset({"eventType", "path"})
_FIELD = re.compile(rf"\b({'|'.join(_FIELDS)})\b(?:[\[.](\d{{1,3}})\]?)?")
_TEXT_KEYS = ("message", "errorMessage", "msg", "description")
_DETAIL_KEYS = ("details", "detail")
_LIST_KEYS = ("Errors", "errors", "formErrors")


# -- Registrations -------------------------------------------------------------------------------------------------


def read_summary(value: object) -> RemoteSubscription:
    """A remote subscription from `{webhookId, expires, status}`; URL and config stay unknown. Raises BadAnswer."""
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
        raise BadAnswer("The provider's list of webhooks is no list.")
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
        raise BadAnswer("The provider's description of a webhook is no JSON object.")
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


def _wrong(key: str, what: str) -> BadAnswer:
    return BadAnswer(f"In the provider's answer `{key}` {what}.")


# -- Identity ------------------------------------------------------------------------------------------------------


def read_identity(answer: Answer) -> Identity:
    """Whose token it is, from `{clientId, username, domain, scopes}`; warns when the scope is not among them."""
    item = answer.json_object()
    facts: dict[str, object] = {
        key: value for key in ("clientId", "username", "domain") if isinstance(value := item.get(key), str) and value
    }
    if not facts:
        raise BadAnswer("The provider's whoami answer names neither client nor user nor domain.", status=answer.status)
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


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that Egnyte says is wrong; `field` is our name for the field, where it names one."""

    words: str
    field: str | None


def read_error(answer: Answer) -> ProviderError:
    """The error that an unexpected answer means; see `read_complaints` for the bodies."""
    status = answer.status
    throttled = _read_throttling(answer)
    if throttled:
        return throttled
    complaints = read_complaints(_json_or_none(answer))
    words = "; ".join(dict.fromkeys(item.words for item in complaints))[:MAX_WORDS]
    said = f" Egnyte says: {words}" if words else ""
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
    field = next((item.field for item in complaints if item.field), None)
    return error_for(answer, words or None, field=field)


def _read_throttling(answer: Answer) -> Throttled | None:
    # Older answers are a 403 with Mashery's header, newer ones a 429 (egnyte/integrations-cookbook, throttling.md).
    mashery = answer.headers.get("X-Mashery-Error-Code", "").upper()
    if answer.status != 429 and not (answer.status == 403 and "_OVER_" in mashery):
        return None
    if mashery.endswith("_OVER_RATE") or _day_quota_used_up(answer):
        which, wait = "calls per day", WAIT_DAY_LIMIT
    elif mashery.endswith("_OVER_QPS"):
        which, wait = "calls per second", WAIT_PER_SECOND_LIMIT
    else:
        which, wait = "calls", WAIT_UNKNOWN_LIMIT
    seconds = retry_after(answer) or wait
    return Throttled(
        f"Egnyte's limit of {which} is reached; the next call may be made in {math.ceil(seconds)} s.",
        status=answer.status,
        retry_after=seconds,
    )


def _day_quota_used_up(answer: Answer) -> bool:
    allotted = answer.headers.get("X-Accesstoken-Quota-Allotted", "").strip()
    used = answer.headers.get("X-Accesstoken-Quota-Current", "").strip()
    return _is_count(allotted) and _is_count(used) and int(used) >= int(allotted)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _json_or_none(answer: Answer) -> object:
    try:
        value: object = answer.json()
    except BadAnswer:
        return None
    return value


def read_complaints(body: object) -> tuple[Complaint, ...]:
    """Everything that an error body says, whichever of Egnyte's envelopes it uses.

    Known are `{code, message, details}`, `{message}`, `{errorMessage}`, `{Errors: [{description, code}]}`,
    `{errors: [...]}`, `{formErrors: [{code, msg}]}` and `{inputErrors: {field: [{code, msg}]}}`
    (egnyte/python-egnyte, beplatform/egnyte-go-sdk). Anything else yields nothing.
    """
    return tuple(_complaints(body, None, depth=4)) if isinstance(body, dict) else ()


def _complaints(value: object, field: str | None, *, depth: int) -> Iterator[Complaint]:
    if isinstance(value, str) and value.strip():
        yield Complaint(value.strip(), field or _field_in(value))
    elif isinstance(value, list) and depth:
        for item in value[:20]:
            yield from _complaints(item, field, depth=depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _from_object(value, field, depth=depth - 1)


def _from_object(value: Mapping[str, object], field: str | None, *, depth: int) -> Iterator[Complaint]:
    named = value.get("field")
    field = field or (_field_in(named) if isinstance(named, str) else None)
    words = _words(value)
    if words:
        yield Complaint(words, field or _field_in(words))
    for key in _LIST_KEYS:
        yield from _complaints(value.get(key), field, depth=depth)
    by_field = value.get("inputErrors")
    if isinstance(by_field, dict):
        for name, item in by_field.items():
            yield from _complaints(item, _field_in(name) or field, depth=depth)


def _words(value: Mapping[str, object]) -> str:
    text = next((found for key in _TEXT_KEYS if isinstance(found := value.get(key), str) and found.strip()), "")
    more = next((found for key in _DETAIL_KEYS if isinstance(found := value.get(key), str) and found.strip()), "")
    code = value.get("code")
    words = " - ".join(dict.fromkeys(part.strip() for part in (text, more) if part))
    if isinstance(code, str | int) and not isinstance(code, bool) and str(code).strip():
        words = f"{words} ({code})" if words else str(code)
    return words


def _field_in(text: str) -> str | None:
    found = _FIELD.search(text)
    if not found:
        return None
    name, index = found.groups()
    return f"{_FIELDS[name]}.{index}" if index and name in _LISTS else _FIELDS[name]
