"""Verify and parse Egnyte Connect's webhook requests.

Source: Egnyte's "webhooks receiver" page. It does not specify the fields inside `data`. Their names here come from the
Events API (egnyte/python-egnyte) and from observed events, so several are tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from providers.contract.capabilities import Action, EventType
from providers.contract.errors import UnreadableRequest
from providers.contract.event_fields import (
    MAX_ACTOR,
    MAX_EVENT_ID,
    MAX_RESOURCE,
    MAX_TYPE,
    clean_text,
    first_text,
    parse_time,
    read_id,
)
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    Verification,
    VerificationResult,
    is_empty,
    load_batch,
    parse_elements,
)
from providers.contract.signatures import HeaderMatch, find_shared_secrets, missing_secret_reason
from providers.digests import json_digest
from providers.egnyte_connect.event_types import EVENT_TYPES

_BY_NAME = {item.name: item for item in EVENT_TYPES if not item.wildcard}
_RESOURCE_TYPES = {  # by group, for event types that are not in our list
    "link": "link",
    "comment": "comment",
    "meta": "metadata",
    "workflow": "workflow",
    "group": "group",
    "permission": "folder",
    "user": "user",
}
_PATH_KEYS = (
    "targetPath",
    "target_path",
    "path",
    "filePath",
    "file_path",
    "folderPath",
    "folder_path",
    "destinationPath",
    "newPath",
)
_SOURCE_KEYS = ("sourcePath", "source_path", "oldPath", "old_path")  # where it was before a move, or was copied from
_NAME_KEYS = ("newGroupName", "groupName", "group_name", "workflowName", "name", "displayName")
_OLD_NAME_KEYS = ("oldName", "old_name", "oldGroupName", "old_group_name", "previousName")
_FOLDER_KEYS = ("isFolder", "is_folder", "folder")
_ACTOR_KEYS = ("email", "username", "displayName", "id")
MAX_NESTED_OBJECTS = 20  # objects inside `data` that are searched for a path


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, only: str | None, expected: str) -> Verification:
    """Look for a shared secret in the headers: in all of them, or only in the one named `only`.

    `proof_headers` of the result names every header that carries a secret, even one where it is not accepted.
    `expected` is the header that should carry it, for the explanation of a failure.
    """
    matches = find_shared_secrets(request.headers, secrets)
    accepted = [match for match in matches if only is None or match.header.lower() == only.lower()]
    secret_headers = tuple(dict.fromkeys(match.header for match in matches))
    if not accepted:
        reason = _failure_reason(request, secrets, matches, expected)
        return Verification(VerificationResult.FAILED, reason, None, secret_headers)
    newest = min(accepted, key=lambda match: match.secret_index)
    detail = f"The header {newest.header} contains the secret."
    return Verification(VerificationResult.VERIFIED, detail, newest.secret_index, secret_headers)


def _failure_reason(
    request: InboundRequest, secrets: Sequence[str], matches: Sequence[HeaderMatch], expected: str
) -> str:
    if matches:
        return (
            f"The header {matches[0].header} contains the secret, but this account accepts it only in {expected}"
            " (setting only_header)."
        )
    return missing_secret_reason(request.headers, secrets, expected)


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """Return the events of a request: an array, a single object, or `{"events": [...]}`.

    An empty body, `{}`, `[]` and an empty `events` are pings. An element without an event type is unreadable. Raises
    UnreadableRequest when the body has none of these forms.
    """
    if is_empty(request.body):
        return Parsed(ping=True)
    value, flawed = load_batch(request.body)
    return parse_elements(_elements(value), _parse_element, flawed=flawed)


def _elements(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UnreadableRequest("The JSON is neither an object nor a list.")
    if "events" not in value or "eventType" in value:
        return [value] if value else []
    if not isinstance(value["events"], list):
        raise UnreadableRequest("`events` is not a list.")
    return value["events"]


def _parse_element(element: object) -> ParsedEvent | str:
    """Return the event, or the reason why the element cannot be read."""
    if not isinstance(element, dict):
        return "The element is not an object."
    name = clean_text(element.get("eventType"), limit=MAX_TYPE + 1)
    if name is None:
        return "`eventType` is missing or not a string."
    if len(name) > MAX_TYPE:
        return f"`eventType` is longer than {MAX_TYPE} characters."
    event_type = _BY_NAME.get(name)
    inner = element.get("data")
    data: Mapping[str, object] = inner if isinstance(inner, dict) else {}
    event_id = read_id(element.get("eventId"))
    return ParsedEvent(
        type=name,
        action=event_type.action if event_type else Action.OTHER,
        data=element,
        dedup_key=_dedup_key(element, event_id),
        provider_event_id=clean_text(event_id, limit=MAX_EVENT_ID),
        resource_type=_resource_type(name, event_type, data),
        resource=(resource := _path(data, _PATH_KEYS) or _path(data, _SOURCE_KEYS) or _name(data, _NAME_KEYS)),
        previous_resource=_previous(data, resource),
        actor=_actor(element.get("user")),
        occurred_at=parse_time(element.get("timestamp")),  # Egnyte does not specify the format
    )


def _dedup_key(element: Mapping[str, object], event_id: str | None) -> str:
    if event_id is None:
        # While a webhook is being replaced, the old and the new one both deliver, so their IDs must not count.
        return "content:" + json_digest({key: value for key, value in element.items() if key != "webhookId"})
    domain = read_id(element.get("domain")) or ""
    key = f"{domain}:{event_id}"
    if len(key) <= MAX_EVENT_ID and key.isprintable() and ":" not in domain:
        return key
    return "id:" + json_digest([domain, event_id])


def _resource_type(name: str, event_type: EventType | None, data: Mapping[str, object]) -> str | None:
    if event_type and event_type.resource_type:
        return event_type.resource_type
    group = name.partition(":")[0]
    if group != "fs":
        return _RESOURCE_TYPES.get(group)
    is_folder = next((data[key] for key in _FOLDER_KEYS if isinstance(data.get(key), bool)), None)
    return None if is_folder is None else "folder" if is_folder else "file"


def _path(data: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """Return the first text of these fields, in the data itself or else in an object inside it."""
    nested = [value for value in data.values() if isinstance(value, dict)][:MAX_NESTED_OBJECTS]
    candidates = chain((data.get(key) for key in keys), (item.get(key) for key in keys for item in nested))
    return next((text for value in candidates if (text := clean_text(value, limit=MAX_RESOURCE))), None)


def _name(data: Mapping[str, object], keys: Sequence[str]) -> str | None:
    return next((text for key in keys if (text := clean_text(data.get(key), limit=MAX_RESOURCE))), None)


def _previous(data: Mapping[str, object], resource: str | None) -> str | None:
    """Return the source of a move, a copy or a rename."""
    previous = _path(data, _SOURCE_KEYS) or _name(data, _OLD_NAME_KEYS)
    return None if previous == resource else previous


def _actor(user: object) -> str | None:
    if not isinstance(user, dict):
        return clean_text(user, limit=MAX_ACTOR)
    return first_text(user, _ACTOR_KEYS, limit=MAX_ACTOR)
