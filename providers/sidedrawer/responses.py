"""Reads what SideDrawer's API answers: webhooks, lists of them, refusals.

Only the fields of a webhook are published. Everything else (the id's field, a status, the envelope of lists, error
bodies) is read in every way that is likely, and what could not be read is left out instead of guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from providers.contract.base import RemoteSubscription
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    PermissionMissing,
    ProviderError,
    Throttled,
    Unsupported,
)
from providers.contract.event_fields import time_from_number
from providers.contract.responses import ProviderResponse, error_for, retry_after
from providers.contract.signatures import same
from providers.sidedrawer.schemas import SideDrawerSettings

WAIT_IF_UNSAID = 30.0  # seconds to stay away after a 429 that does not say for how long
MAX_WORDS = 500
MOST_ID = 2**63
REGISTERED = "registered"  # shown as the status of a webhook that has no status field

# Words in a status field, and names of yes-or-no fields, that would mean that it is switched off
_OFF = frozenset(
    {"inactive", "disabled", "suspended", "paused", "stopped", "off", "blocked", "failed", "cancelled", "canceled",
     "expired", "deleted", "revoked"}
)  # fmt: skip
_SWITCHES = ("enabled", "active", "isEnabled", "isActive")
_FIELDS: Mapping[str, str] = {  # their names of what we sent, and ours
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


# -- Webhooks ------------------------------------------------------------------------------------------------------


def read_webhook(
    value: object, settings: SideDrawerSettings, *, secret: str | None = None, asked_for: str | None = None
) -> RemoteSubscription:
    """Return the webhook of a JSON object, also inside `data`.

    Raises InvalidResponse for an unusable ID, an invalid expiry, and an ID other than the requested one."""
    item = _unwrap(value, settings)
    remote_id = _remote_id(item, settings)
    if asked_for is not None and remote_id != asked_for:
        raise InvalidResponse(f"SideDrawer was asked about webhook {asked_for} and answered about another one.")
    status, enabled = _status(item)
    shown = _shown_secret(item)
    return RemoteSubscription(
        remote_id=remote_id,
        status=status,
        enabled=enabled,
        expires_at=_expiry(item.get("expirationDateTime")),
        url=_text(item.get("notificationUrl")),
        config=_config(item),
        secret_matches=same(shown, secret) if shown and secret else None,
        shown_secret=None if secret else shown,
    )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next` is what the answer says about the next one: an address or a cursor."""

    items: tuple[object, ...]
    next: str | None


def read_page(value: object) -> Page:
    """Return the page from a bare list or from SideDrawer's `{data, hasMore, nextPage}`. Raises InvalidResponse."""
    if isinstance(value, list):
        return Page(tuple(value), None)
    items = value.get("data") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(items, list):
        raise InvalidResponse(
            "SideDrawer's list of webhooks is neither a list nor an object with a list in `data`."
            " Check the account's setting collection_path."
        )
    following = value.get("nextPage")
    if not value.get("hasMore", bool(following)):
        return Page(tuple(items), None)
    if isinstance(following, bool) or not isinstance(following, str | int) or not str(following).strip():
        # A webhook that is overlooked would be registered a second time.
        raise InvalidResponse("SideDrawer's list of webhooks has more pages, but does not say where (`nextPage`).")
    return Page(tuple(items), str(following).strip())


def _unwrap(value: object, settings: SideDrawerSettings) -> dict[str, object]:
    if isinstance(value, dict):
        inner = value.get("data")
        if isinstance(inner, dict) and not any(value.get(name) for name in settings.id_fields):
            return inner
        return value
    raise InvalidResponse("SideDrawer's description of a webhook is no JSON object.")


def _remote_id(item: Mapping[str, object], settings: SideDrawerSettings) -> str:
    for name in settings.id_fields:
        value = item.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST_ID:
            return str(value)
        # It becomes part of a URL path, in which dots alone would climb.
        if isinstance(value, str) and value.strip(" .") and value.isprintable() and len(value) <= 200:
            return value
    raise InvalidResponse(
        f"A webhook in SideDrawer's answer has its id in none of the fields {', '.join(settings.id_fields)};"
        f" it has {', '.join(sorted(map(str, item))[:20]) or 'no fields'}. Name the field in the account's setting"
        " id_fields."
    )


def _status(item: Mapping[str, object]) -> tuple[str, bool]:
    """Their word and whether it is switched on. Without any status field it is taken to be on."""
    word = _text(item.get("status"))
    if word:
        return word[:50], word.strip().lower() not in _OFF
    for name in _SWITCHES:
        value = item.get(name)
        if isinstance(value, bool):
            return f"{name}: {str(value).lower()}", value
    return REGISTERED, True


def _expiry(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment: datetime | None = None
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = time_from_number(value)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise InvalidResponse("In SideDrawer's answer `expirationDateTime` is no time.")
    return moment


def _config(item: Mapping[str, object]) -> dict[str, object]:
    """The canonical config, as far as it is there and readable."""
    config: dict[str, object] = {}
    if resource := _text(item.get("resource")):
        config["resource"] = resource.strip("/")
    if modification := _text(item.get("modificationType")):
        config["modification_type"] = modification.lower()
    if connection := _text(item.get("connectionType")):
        config["connection_type"] = connection.upper()
    for theirs in ("brandCode", "notificationMessages"):
        if theirs in item and isinstance(item[theirs], str | None):
            config[_FIELDS[theirs]] = _text(item[theirs])
    retries = item.get("maxRetries")
    if isinstance(retries, int | float) and not isinstance(retries, bool) and retries == int(retries or 0):
        config["max_retries"] = int(retries)
    return config


def _shown_secret(item: Mapping[str, object]) -> str | None:
    """The integrity key; None where it is hidden or masked."""
    shown = _text(item.get("integrityKey"))
    return None if shown and "*" in shown else shown


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


# -- Refusals ------------------------------------------------------------------------------------------------------


def read_error(answer: ProviderResponse) -> ProviderError:
    """The error that an unexpected answer means. The statuses are those that SideDrawer documents for all its calls."""
    status = answer.status
    words, field = _complaint(answer)
    said = f" SideDrawer says: {words}" if words else ""
    if status == 401:
        return AuthenticationFailed(
            "SideDrawer refused the access token; it may have expired. Enter a new one, or client id and client secret,"
            f" with which tokens are renewed here.{said}",
            status=status,
        )
    if status == 403:
        return PermissionMissing(
            "SideDrawer does not permit this: only who belongs to the tenant or subscription may register webhooks"
            f" there.{said}",
            status=status,
        )
    if status in (405, 501):
        return Unsupported(f"SideDrawer has no such call ({status}).{said}", status=status)
    if status == 429:
        seconds = retry_after(answer) or WAIT_IF_UNSAID
        return Throttled(f"SideDrawer wants no calls for {seconds:.0f} s.{said}", status=status, retry_after=seconds)
    return error_for(answer, words or None, field=field)


def _complaint(answer: ProviderResponse) -> tuple[str, str | None]:
    """What an error body says in words, and our name for the field that it is about."""
    try:
        body = answer.json()
    except InvalidResponse:
        return "", None
    found = list(dict.fromkeys(_complaints(body, None, depth=4)))
    words = "; ".join(dict.fromkeys(text for text, _ in found))[:MAX_WORDS]
    return words, next((field for _, field in found if field), None)


def _complaints(value: object, field: str | None, *, depth: int) -> Iterator[tuple[str, str | None]]:
    if isinstance(value, str) and value.strip():
        yield value.strip(), field or _field_in(value)
    elif isinstance(value, list) and depth:
        for item in value[:20]:
            yield from _complaints(item, field, depth=depth - 1)
    elif isinstance(value, dict) and depth:
        yield from _from_object(value, field, depth=depth - 1)


def _from_object(value: Mapping[str, object], field: str | None, *, depth: int) -> Iterator[tuple[str, str | None]]:
    named = next((name for key in _NAME_KEYS if isinstance(name := value.get(key), str)), "")
    field = _field_in(named) or field
    nested = [value[key] for key in _LIST_KEYS if isinstance(value.get(key), list | dict)]
    text = next((found for key in _TEXT_KEYS if isinstance(found := value.get(key), str) and found.strip()), "")
    if text and not nested:
        yield text.strip(), field or _field_in(text)
    for item in nested:
        if isinstance(item, dict) and not any(key in item for key in (*_TEXT_KEYS, *_LIST_KEYS)):
            item = list(item.values())[:20]  # {"isUrl": "notificationUrl must be a URL"}
        yield from _complaints(item, field, depth=depth)


def _field_in(text: str) -> str | None:
    return next((ours for theirs, ours in _FIELDS.items() if theirs.lower() in text.lower()), None)
