"""Read fields of provider responses. A value of the wrong type raises InvalidResponse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard, TypeVar

from providers.contract.base import RemoteSubscription
from providers.contract.equivalence import is_masked
from providers.contract.errors import InvalidResponse

MAX_REMOTE_ID = 200  # characters
UNREADABLE = "unreadable"  # the status of an entry of which only the ID could be read

T = TypeVar("T")


def invalid_field(key: str, problem: str) -> InvalidResponse:
    """Return the error for a field with an unusable value; `problem` continues the sentence: "is not a string"."""
    return InvalidResponse(f"In the provider's response, `{key}` {problem}.")


def read_object(value: object) -> Mapping[str, object]:
    """Return the JSON object that describes one webhook. Raises InvalidResponse."""
    if not isinstance(value, dict):
        raise InvalidResponse("The provider's description of a webhook is not a JSON object.")
    return value


def read_list(value: object) -> list[object]:
    """Return the JSON list of webhooks of a list call. Raises InvalidResponse."""
    if not isinstance(value, list):
        raise InvalidResponse("The provider's list of webhooks is not a list.")
    return value


def read_entries(
    items: Iterable[object], read: Callable[[object], T], read_id: Callable[[object], str]
) -> Iterator[T | RemoteSubscription]:
    """Yield what `read` returns for each entry of a list, or a partial registration for one that it cannot read.

    One odd entry, perhaps of somebody else's webhook, must not hide all the others. An entry without a usable ID is
    left out, unless none has one: then the ID is probably in another field. Raises InvalidResponse.
    """
    error: InvalidResponse | None = None
    found = False
    for item in items:
        try:
            entry: T | RemoteSubscription = read(item)
        except InvalidResponse as unreadable:
            try:
                entry = RemoteSubscription(remote_id=read_id(item), status=UNREADABLE, enabled=True, partial=True)
            except InvalidResponse:
                error = error or unreadable
                continue
        found = True
        yield entry
    if error is not None and not found:
        raise error


def is_usable_id(value: object) -> TypeGuard[str]:
    """Return whether a value is a remote ID that is safe to use in a URL path."""
    # An ID of dots alone would name a parent folder in the path.
    return isinstance(value, str) and bool(value.strip(" .")) and value.isprintable() and len(value) <= MAX_REMOTE_ID


def read_remote_id(fields: Mapping[str, object], key: str) -> str:
    """Return a remote ID that is safe to use in a URL path. Raises InvalidResponse."""
    value = fields.get(key)
    if not is_usable_id(value):
        raise invalid_field(key, "is not a usable ID")
    return value


def read_text(fields: Mapping[str, object], key: str) -> str | None:
    """Return a string; None if it is absent, null or empty. Raises InvalidResponse for any other type."""
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise invalid_field(key, "is not a string")
    return value or None


def lenient_text(value: object) -> str:
    """Return a string, stripped; an empty string for any other type."""
    return value.strip() if isinstance(value, str) else ""


def read_required_text(fields: Mapping[str, object], key: str) -> str:
    """Return a non-empty string. Raises InvalidResponse."""
    value = read_text(fields, key)
    if value is None:
        raise invalid_field(key, "is missing")
    return value


def read_texts(fields: Mapping[str, object], key: str) -> list[str] | None:
    """Return a list of strings; None if it is absent or null. Raises InvalidResponse for any other type."""
    value = fields.get(key)
    if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise invalid_field(key, "is not a list of strings")
    return value


def pick_texts(fields: Mapping[str, object], keys: Sequence[str]) -> dict[str, object]:
    """Return those of the fields that hold a non-empty string, for the facts of an identity."""
    return {key: value for key in keys if isinstance(value := fields.get(key), str) and value}


def unmasked_secret(value: object) -> str | None:
    """Return a secret that a response shows; None if it is absent, empty or masked."""
    return value.strip() or None if isinstance(value, str) and not is_masked(value) else None
