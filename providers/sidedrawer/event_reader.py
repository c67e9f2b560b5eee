"""Derive events from SideDrawer's notifications, whose format is not published.

Fields are searched under several likely names: in the element itself, in an envelope such as `event`, and in the entity
that the event is about, such as `data`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from providers.contract.capabilities import Action
from providers.contract.event_fields import MAX_ACTOR, MAX_RESOURCE, clean_text, parse_time
from providers.contract.parsing import (
    ParsedEvent,
)
from providers.digests import json_digest
from providers.sidedrawer.event_types import EVENT_TYPES, KINDS
from providers.sidedrawer.resources import kind_of

MAX_MODIFICATION = 40  # characters of an unknown modification
MAX_SPLIT = 200  # characters of a text that is split into words
UNKNOWN = "unknown"

Object = Mapping[str, object]

_BY_NAME = {item.name: item for item in EVENT_TYPES}
_VERBS: Mapping[str, str] = {
    **dict.fromkeys(("create", "created", "creation", "add", "added", "insert", "inserted"), "create"),
    **dict.fromkeys(("update", "updated", "change", "changed", "modify", "modified", "edit", "edited"), "update"),
    **dict.fromkeys(("delete", "deleted", "deletion", "remove", "removed"), "delete"),
}
_KIND_WORDS: Mapping[str, str] = {
    **{name.replace("-", ""): name for name in KINDS},
    "drawer": "sidedrawer",
    "folder": "record",
    "files": "file",
    "document": "file",
    "plan": "plan-request",
    "item": "plan-item",
    "licence": "license",
}
_KIND_OF_ID: tuple[tuple[str, str], ...] = (  # the most specific ID first
    ("licenseId", "license"),
    ("planItemId", "plan-item"),
    ("planRequestId", "plan-request"),
    ("fileId", "file"),
    ("inboxId", "inbox"),
    ("recordId", "record"),
    ("sidedrawerId", "sidedrawer"),
)
_ENVELOPES = ("event", "notification")
_ENTITIES = ("data", "payload", "entity", "item")
_MODIFICATIONS = ("modificationType", "modification", "changeType", "action", "operation")
_NAMES = ("eventType", "eventName", "event", "type")
_PATHS = ("resource", "resourcePath", "path")
_KINDS = ("resourceType", "entityType", "objectType", "entity", "resource", "object", "kind")
_TIMES = (
    "modificationDateTime", "modificationDate", "eventDateTime", "eventTime", "timestamp", "occurredAt", "dateTime",
    "updatedAt", "modifiedAt",
)  # fmt: skip
_ACTORS = ("openId", "userId", "user", "actor", "modifiedBy", "updatedBy", "createdBy")
_ACTOR_KEYS = ("email", "openId", "username", "name", "id")
_TITLES = ("name", "fileName", "title", "caption", "id", "_id")
_OWN_IDS = ("eventId", "notificationId", "deliveryId", "messageId")
_WEBHOOK_IDS = frozenset({"webhookId", "webhookSubscriptionId"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def has_event_fields(value: Object) -> bool:
    """Return whether an object has a field of an event, so that it is not the wrapper of a list or of ciphertext."""
    return any(name in value for name in (*_MODIFICATIONS, *_PATHS))


def has_declared_type(value: Object) -> bool:
    """Return whether the event type of an object is a declared one."""
    return _type(_Scopes.of(value)) in _BY_NAME


def read_event(element: Object, key: str) -> ParsedEvent:
    """Return the event of an element, with `key` as its deduplication key."""
    scopes = _Scopes.of(element)
    kind = _kind(scopes)
    name = _type(scopes)
    declared = _BY_NAME.get(name)
    return ParsedEvent(
        type=name,
        action=declared.action if declared else Action.OTHER,
        data=element,
        dedup_key=key,
        resource_type=KINDS[kind].resource_type if kind else None,
        resource=_resource(scopes),
        actor=_actor(scopes),
        occurred_at=_time(scopes.everywhere),
    )


@dataclass(frozen=True, slots=True)
class _Scopes:
    """The objects in which fields are searched: those about the event, and those about its entity."""

    envelope: tuple[Object, ...]
    entity: tuple[Object, ...]

    @classmethod
    def of(cls, element: Object) -> _Scopes:
        envelope = (element, *_inner((element,), _ENVELOPES))
        return cls(envelope, tuple(_inner(envelope, _ENTITIES)))

    @property
    def everywhere(self) -> tuple[Object, ...]:
        return (*self.envelope, *self.entity)


def _inner(scopes: Sequence[Object], names: Sequence[str]) -> Iterator[Object]:
    for scope in scopes:
        for name in names:
            value = scope.get(name)
            if isinstance(value, dict):
                yield value


def _texts(scopes: Sequence[Object], names: Sequence[str]) -> Iterator[str]:
    """Yield the non-empty strings of these fields, in the order of the names."""
    for name in names:
        for scope in scopes:
            value = scope.get(name)
            if isinstance(value, str) and value.strip():
                yield value.strip()


def _words(text: str) -> list[str]:
    """Split a text into words: `planRequest.created`, `PLAN_REQUEST_CREATED` and `plan-request created` are equal."""
    return [word.lower() for word in _WORD.findall(text[:MAX_SPLIT])]


def _modification(scopes: _Scopes) -> str:
    """Return create, update or delete; else the text of the first field; else `unknown`."""
    texts = [*_texts(scopes.everywhere, _MODIFICATIONS), *_texts(scopes.envelope, _NAMES)]
    for text in texts:
        verb = next((_VERBS[word] for word in reversed(_words(text)) if word in _VERBS), None)
        if verb:
            return verb
    return "-".join(_words(texts[0]))[:MAX_MODIFICATION] or UNKNOWN if texts else UNKNOWN


def _type(scopes: _Scopes) -> str:
    return f"{_kind(scopes) or UNKNOWN}.{_modification(scopes)}"


def _kind(scopes: _Scopes) -> str | None:
    """Return the kind from a resource path, else from a word, else from the most specific ID."""
    for path in _texts(scopes.everywhere, _PATHS):
        kind = kind_of(path)
        if kind:
            return kind
    for text in (*_texts(scopes.everywhere, _KINDS), *_texts(scopes.envelope, (*_NAMES, *_MODIFICATIONS))):
        word = "".join(word for word in _words(text) if word not in _VERBS)
        if word in _KIND_WORDS:
            return _kind_of_word(word, scopes)
    kinds = (kind for name, kind in _KIND_OF_ID if any(scope.get(name) for scope in scopes.everywhere))
    return next(kinds, None)


def _kind_of_word(word: str, scopes: _Scopes) -> str:
    if word != "network":
        return _KIND_WORDS[word]
    if any(scope.get("recordId") for scope in scopes.everywhere):
        return "record-network"
    return "sidedrawer-network" if any(scope.get("sidedrawerId") for scope in scopes.everywhere) else "network"


def _resource(scopes: _Scopes) -> str | None:
    path = next((path.strip("/") for path in _texts(scopes.everywhere, _PATHS) if path.strip("/").count("/")), None)
    return clean_text(path or next(_texts(scopes.entity or scopes.envelope, _TITLES), ""), limit=MAX_RESOURCE)


def _actor(scopes: _Scopes) -> str | None:
    for name in _ACTORS:
        for scope in scopes.envelope:
            value = scope.get(name)
            text = next(_texts((value,), _ACTOR_KEYS), "") if isinstance(value, dict) else value
            if actor := clean_text(text, limit=MAX_ACTOR):
                return actor
    return None


def _time(scopes: Sequence[Object]) -> datetime | None:
    candidates = (parse_time(scope[name]) for name in _TIMES for scope in scopes if name in scope)
    return next((moment for moment in candidates if moment), None)


def dedup_key(element: Object, received_at: datetime) -> str:
    """Return a hash of the content, without the IDs of the webhook: while it is replaced, both webhooks deliver.

    Content without a time or an ID of its own may legitimately repeat, so the day of receipt (UTC) is added for it. The
    key depends on the request alone, so this is approximate: a retransmission after midnight is a second event, and a
    second change with equal content on the same day is treated as a retransmission.
    """
    content = {name: value for name, value in element.items() if name not in _WEBHOOK_IDS}
    digest = json_digest(content)
    scopes = _Scopes.of(element)
    if _time(scopes.everywhere) or any(scope.get(name) for scope in scopes.envelope for name in _OWN_IDS):
        return f"body:{digest}"
    return f"body:{digest}@{received_at.astimezone(UTC):%Y-%m-%d}"
