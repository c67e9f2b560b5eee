"""Egnyte Connect's webhook requests: is it from them, and what happened.

Source: Egnyte's "webhooks receiver" page. The fields inside `data` are not specified there; their names are taken from
the Events API (egnyte/python-egnyte) and from what consumers have seen, so several are tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain

from providers.contract.capabilities import Action, EventType
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    UnreadableElement,
    Verification,
    VerificationResult,
    load_json,
    time_from_number,
)
from providers.contract.signatures import HeaderMatch, find_shared_secrets
from providers.digests import json_digest
from providers.egnyte_connect.event_types import EVENT_TYPES

MAX_EVENTS = 100_000  # in one request; more would be no batch but an attack on our memory
MAX_KEY = 255
MAX_TYPE = 100
MAX_ACTOR = 255
MAX_RESOURCE = 2000

_BY_NAME = {item.name: item for item in EVENT_TYPES if not item.wildcard}
_RESOURCE_TYPES = {  # for types that are not in our list
    "link": "link",
    "comment": "comment",
    "meta": "metadata",
    "workflow": "workflow",
    "group": "group",
    "permission": "folder",
    "user": "user",
}
# Where it ended up comes before where it came from.
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
    "sourcePath",
    "source_path",
    "oldPath",
)
_NAME_KEYS = ("newGroupName", "groupName", "group_name", "workflowName", "name", "displayName")
_FOLDER_KEYS = ("isFolder", "is_folder", "folder")
_ACTOR_KEYS = ("email", "username", "displayName", "id")
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,9})?", re.ASCII)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # what a text column cannot hold


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, only: str | None, expected: str) -> Verification:
    """Looks for a shared secret among the headers: in all of them, or in the one named `only`.

    `proof_headers` names every header that carries a secret, also one in which it is not accepted.
    `expected` is the header in which it should come, for the explanation of a failure.
    """
    carrying = find_shared_secrets(request.headers, secrets)
    accepted = [match for match in carrying if only is None or match.header.lower() == only.lower()]
    proof = tuple(dict.fromkeys(match.header for match in carrying))
    if accepted:
        best = min(accepted, key=lambda match: match.secret_index)
        return Verification(
            VerificationResult.VERIFIED, f"The secret came in the header {best.header}.", best.secret_index, proof
        )
    return Verification(VerificationResult.FAILED, _why(request, secrets, carrying, expected), None, proof)


def _why(request: InboundRequest, secrets: Sequence[str], carrying: Sequence[HeaderMatch], expected: str) -> str:
    if not any(secrets):
        return "No secret is known for this subscription."
    if carrying:
        return (
            f"The secret came in the header {carrying[0].header}, but this account accepts it only in {expected}"
            " (setting only_header)."
        )
    if any(name.lower() == expected.lower() for name, _ in request.headers):
        return f"The header {expected} carries another value, perhaps an older secret; no other header has it either."
    return f"None of the {len(request.headers)} headers carries the secret; {expected} is not among them."


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """The events of a request: an array, a single object, or `{"events": [...]}`.

    An empty body, `{}`, `[]` and an empty `events` are pings. An element without event type is unreadable, the others
    are not held up by it. Raises UnreadableRequest when there are no elements to look at.
    """
    if not request.body.strip():
        return Parsed(ping=True)
    elements = _elements(load_json(request.body))
    if not elements:
        return Parsed(ping=True)
    if len(elements) > MAX_EVENTS:
        raise UnreadableRequest(f"The body holds more than {MAX_EVENTS} elements.")
    events: list[ParsedEvent] = []
    unreadable: list[UnreadableElement] = []
    for index, element in enumerate(elements):
        found = _read(element)
        if isinstance(found, str):
            unreadable.append(UnreadableElement(index, found))
        else:
            events.append(found)
    return Parsed(tuple(events), tuple(unreadable))


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


def _read(element: object) -> ParsedEvent | str:
    """The event, or why the element is none."""
    if not isinstance(element, dict):
        return "The element is not an object."
    name = _text(element.get("eventType"), limit=MAX_TYPE + 1)
    if name is None:
        return "`eventType` is missing or not a text."
    if len(name) > MAX_TYPE:
        return f"`eventType` is longer than {MAX_TYPE} characters."
    known = _BY_NAME.get(name)
    inner = element.get("data")
    data: Mapping[str, object] = inner if isinstance(inner, dict) else {}
    event_id = _identifier(element.get("eventId"))
    return ParsedEvent(
        type=name,
        action=known.action if known else Action.OTHER,
        data=element,
        dedup_key=_dedup_key(element, event_id),
        provider_event_id=_text(event_id, limit=MAX_KEY),
        resource_type=_resource_type(name, known, data),
        resource=_resource(data),
        actor=_actor(element.get("user")),
        occurred_at=_time(element.get("timestamp")),
    )


def _identifier(value: object) -> str | None:
    """An id as it was sent; a number is one, too."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _dedup_key(element: Mapping[str, object], event_id: str | None) -> str:
    if event_id is None:
        # While a webhook is replaced, the old and the new one both deliver: their ids are not part of what happened.
        return "content:" + json_digest({key: value for key, value in element.items() if key != "webhookId"})
    domain = _identifier(element.get("domain")) or ""
    key = f"{domain}:{event_id}"
    if len(key) <= MAX_KEY and key.isprintable() and ":" not in domain:
        return key
    return "id:" + json_digest([domain, event_id])


def _resource_type(name: str, known: EventType | None, data: Mapping[str, object]) -> str | None:
    if known and known.resource_type:
        return known.resource_type
    group = name.partition(":")[0]
    if group != "fs":
        return _RESOURCE_TYPES.get(group)
    flag = next((data[key] for key in _FOLDER_KEYS if isinstance(data.get(key), bool)), None)
    return None if flag is None else "folder" if flag else "file"


def _resource(data: Mapping[str, object]) -> str | None:
    inner = [value for value in data.values() if isinstance(value, dict)][:20]
    candidates = chain(
        (data.get(key) for key in _PATH_KEYS),
        (item.get(key) for key in _PATH_KEYS for item in inner),
        (data.get(key) for key in _NAME_KEYS),
    )
    return next((text for value in candidates if (text := _text(value, limit=MAX_RESOURCE))), None)


def _actor(user: object) -> str | None:
    if not isinstance(user, dict):
        return _text(user, limit=MAX_ACTOR)
    found = (_text(_identifier(user.get(key)), limit=MAX_ACTOR) for key in _ACTOR_KEYS)
    return next((text for text in found if text), None)


def _time(value: object) -> datetime | None:
    """Seconds or milliseconds, as a number or a text; the unit is not specified."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return time_from_number(value)


def _text(value: object, *, limit: int) -> str | None:
    """A non-empty text that can be stored and shown; None for anything else."""
    if not isinstance(value, str):
        return None
    return _UNSTORABLE.sub("\ufffd", value.strip()[:limit]) or None
