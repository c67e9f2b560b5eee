"""Parse SideDrawer's responses: webhooks and lists of webhooks.

Only the fields of a webhook are published. For everything else (the field of the ID, a status, the envelope of lists)
several likely forms are accepted, and values that cannot be read are omitted instead of guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from providers.contract.base import RemoteSubscription
from providers.contract.equivalence import read_enabled
from providers.contract.errors import (
    InvalidResponse,
)
from providers.contract.event_fields import parse_iso_time, time_from_number
from providers.contract.response_fields import (
    invalid_field,
    is_usable_id,
    lenient_text,
    read_entries,
    unmasked_secret,
)
from providers.contract.signatures import same
from providers.sidedrawer.schemas import SideDrawerSettings

MAX_ID = 2**63
REGISTERED = "registered"  # the status of a webhook without a status field

# Names of boolean fields that mean enabled
_ENABLED_KEYS = ("enabled", "active", "isEnabled", "isActive")


# -- Webhooks ------------------------------------------------------------------------------------------------------


def read_webhook(
    value: object, settings: SideDrawerSettings, *, secret: str | None = None, expected_id: str | None = None
) -> RemoteSubscription:
    """Return the webhook of a JSON object, also inside `data`.

    Raises InvalidResponse for an unusable ID, an invalid expiry, and an ID other than `expected_id`.
    """
    item = _unwrap(value, settings)
    remote_id = _remote_id(item, settings)
    if expected_id is not None and remote_id != expected_id:
        raise InvalidResponse(f"SideDrawer returned another webhook than the requested {expected_id}.")
    status, enabled = _status(item)
    shown = _shown_secret(item)
    return RemoteSubscription(
        remote_id=remote_id,
        status=status,
        enabled=enabled,
        expires_at=_expiry(item.get("expirationDateTime")),
        url=lenient_text(item.get("notificationUrl")) or None,
        config=_config(item),
        secret_matches=same(shown, secret) if shown and secret else None,
        shown_secret=None if secret else shown,
    )


def read_webhooks(items: Iterable[object], settings: SideDrawerSettings) -> Iterator[RemoteSubscription]:
    """Yield the webhooks of one page of a list. Raises InvalidResponse."""
    return read_entries(
        items, lambda item: read_webhook(item, settings), lambda item: _remote_id(_unwrap(item, settings), settings)
    )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next` refers to the next page: a URL, a query or a cursor."""

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
        # A webhook that is missed would be registered again.
        raise InvalidResponse("SideDrawer's list of webhooks has more pages, but no usable `nextPage`.")
    return Page(tuple(items), str(following).strip())


def _unwrap(value: object, settings: SideDrawerSettings) -> dict[str, object]:
    if isinstance(value, dict):
        inner = value.get("data")
        if isinstance(inner, dict) and not any(value.get(name) for name in settings.id_fields):
            return inner
        return value
    raise InvalidResponse("SideDrawer's description of a webhook is not a JSON object.")


def _remote_id(item: Mapping[str, object], settings: SideDrawerSettings) -> str:
    for name in settings.id_fields:
        value = item.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_ID:
            return str(value)

        if is_usable_id(value):
            return value
    raise InvalidResponse(
        f"A webhook in SideDrawer's response has no ID in the fields {', '.join(settings.id_fields)};"
        f" it has {', '.join(sorted(map(str, item))[:20]) or 'no fields'}. Enter the field of the ID in the account's"
        " setting id_fields."
    )


def _status(item: Mapping[str, object]) -> tuple[str, bool]:
    """Return the status and whether the webhook is enabled. Without a status field it is assumed to be enabled."""
    status = lenient_text(item.get("status"))
    if status:
        return status[:50], read_enabled(status) is not False
    for name in _ENABLED_KEYS:
        value = item.get(name)
        if isinstance(value, bool):
            return f"{name}: {str(value).lower()}", value
    return REGISTERED, True


def _expiry(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    moment = parse_iso_time(value)
    if moment is None and isinstance(value, int | float) and not isinstance(value, bool):
        moment = time_from_number(value)
    if moment is None:
        raise invalid_field("expirationDateTime", "is not a time")
    return moment


def _config(item: Mapping[str, object]) -> dict[str, object]:
    """Return the readable fields of the config in canonical form."""
    config: dict[str, object] = {}
    if resource := lenient_text(item.get("resource")):
        config["resource"] = resource.strip("/")
    if modification := lenient_text(item.get("modificationType")):
        config["modification_type"] = modification.lower()
    if connection := lenient_text(item.get("connectionType")):
        config["connection_type"] = connection.upper()
    for key, name in (("brandCode", "brand_code"), ("notificationMessages", "notification_messages")):
        if key in item and isinstance(item[key], str | None):
            config[name] = lenient_text(item[key]) or None
    retries = item.get("maxRetries")
    if isinstance(retries, int | float) and not isinstance(retries, bool) and retries == int(retries or 0):
        config["max_retries"] = int(retries)
    return config


def _shown_secret(item: Mapping[str, object]) -> str | None:
    """Return the integrity key; None if it is hidden or masked."""
    return unmasked_secret(item.get("integrityKey"))
