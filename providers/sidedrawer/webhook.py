"""SideDrawer's webhook requests: is it from them, and what happened.

Published is only that a header `integrityHash` holds the HMAC-SHA256 of the event. How the hash is written and what the
body looks like is not: both are read in every likely way (see `event_types` for the names that events get here).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.event_fields import time_from_number
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    UnreadableElement,
    Verification,
    VerificationResult,
    load_json,
)
from providers.contract.signatures import HmacMatch, find_hmac_sha256
from providers.digests import json_digest
from providers.sidedrawer import encrypted_body
from providers.sidedrawer.event_types import EVENT_TYPES, KINDS
from providers.sidedrawer.resources import kind_of

MAX_EVENTS = 10_000  # in one request
MAX_WORD = 40
MAX_TEXT = 200
MAX_RESOURCE = 2000
MAX_ACTOR = 255
UNKNOWN = "unknown"
MAX_PLAIN_DIGITS = 21  # before the point, in a number that JavaScript prints without exponent
MAX_LEADING_ZEROS = 6  # likewise, with the one before the point
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_SURROGATE = re.compile("[\ud800-\udfff]")

Object = Mapping[str, object]


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, header: str, compact_too: bool) -> Verification:
    """Compares the hash in `header` with the HMAC-SHA256 of the body under each secret.

    `compact_too`: if the body's bytes do not fit, try the body written anew as compact JSON. Never raises.
    """
    matches = find_hmac_sha256(request.headers, request.body, secrets)
    found, what = _best(matches, header), "body"
    present = any(name.lower() == header.lower() for name, _ in request.headers)
    if found is None and compact_too and present and (compact := _compact(request.body)) is not None:
        found = _best(find_hmac_sha256(request.headers, compact, secrets), header)
        what = "body written as compact JSON"
    if found:
        return Verification(
            VerificationResult.VERIFIED,
            f"The header {found.header} holds the HMAC-SHA256 of the {what} ({found.form}).",
            found.secret_index,
            (found.header,),
        )
    return Verification(VerificationResult.FAILED, _why(matches, secrets, header, present))


def _best(matches: Sequence[HmacMatch], header: str) -> HmacMatch | None:
    """The match in that header with the newest secret."""
    named = (match for match in matches if match.header.lower() == header.lower())
    return min(named, key=lambda match: match.secret_index, default=None)


def _compact(body: bytes) -> bytes | None:
    """The body as JavaScript's JSON.stringify(JSON.parse(body)) would write it; None when it is no JSON."""
    try:
        value = load_json(body)
    except UnreadableRequest:
        return None
    return _stringify(value).encode()


def _stringify(value: object) -> str:
    """Unlike Python: numbers are doubles, keys that are array indexes come first, lone surrogates are escaped."""
    if isinstance(value, dict):
        indexes = sorted((key for key in value if _is_index(key)), key=int)
        keys = [*indexes, *(key for key in value if not _is_index(key))] if indexes else value
        return "{" + ",".join([f"{_stringify(key)}:{_stringify(value[key])}" for key in keys]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_stringify(item) for item in value]) + "]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _is_index(key: str) -> bool:
    return bool(_INDEX.fullmatch(key)) and int(key) < 2**32 - 1


def _number(value: float) -> str:
    """As JavaScript prints it: the shortest digits that give the same double, with an exponent only from 1e21 and below
    1e-6. What is too large for a double is Infinity there, which JSON writes as null."""
    try:
        double = float(value)
    except OverflowError:
        return "null"
    if not double:
        return "0"
    sign, all_digits, exponent = Decimal(repr(double)).as_tuple()
    point = len(all_digits) + int(exponent)  # where the decimal point stands within the digits
    digits = "".join(map(str, all_digits)).rstrip("0")
    if len(digits) <= point <= MAX_PLAIN_DIGITS:
        text = digits.ljust(point, "0")
    elif 0 < point <= MAX_PLAIN_DIGITS:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -MAX_LEADING_ZEROS < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"
    return "-" + text if sign else text


def _why(matches: Sequence[HmacMatch], secrets: Sequence[str], header: str, present: bool) -> str:
    if not any(secrets):
        return "No integrity key is known for this subscription."
    if matches:
        return (
            f"The right hash came in the header {matches[0].header}: name it in the account's setting integrity_header."
        )
    if present:
        return f"The header {header} does not hold the HMAC-SHA256 of the body under the integrity key."
    return f"There is no header {header}: the webhook may have been registered without the integrity key."


# -- Parsing -------------------------------------------------------------------------------------------------------

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
_IDS: tuple[tuple[str, str], ...] = (  # the id that is the most special tells the kind
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
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # what a text column cannot hold


def parse(request: InboundRequest) -> Parsed:
    """The events of a request: one object, a list of them, or a list inside `events` or `data`.

    An empty body, `{}` and `[]` are pings. What looks encrypted, and what has no objects, raises UnreadableRequest
    with the reason; of a list, the readable elements are returned and the others named.
    """
    if not request.body.strip():
        return Parsed(ping=True)
    elements = _elements(_load(request.body))
    if not elements:
        return Parsed(ping=True)
    _refuse_ciphertext(encrypted_body.form_of_list(elements))
    if len(elements) > MAX_EVENTS:
        raise UnreadableRequest(f"The body holds more than {MAX_EVENTS} elements.")
    events: list[ParsedEvent] = []
    unreadable: list[UnreadableElement] = []
    times_seen: Counter[str] = Counter()
    for index, element in enumerate(elements):
        if not isinstance(element, dict) or not element:
            unreadable.append(UnreadableElement(index, "The element is not an object with fields."))
            continue
        key = _dedup_key(element, request.received_at)
        times_seen[key] += 1
        # Two equal elements in one request are two events; a retransmission repeats both.
        events.append(_event(element, key if times_seen[key] == 1 else f"{key}#{times_seen[key]}"))
    return Parsed(tuple(events), tuple(unreadable))


def _load(body: bytes) -> object:
    try:
        value = load_json(body)
    except UnreadableRequest:
        _refuse_ciphertext(encrypted_body.form_of_bytes(body))
        raise
    if isinstance(value, str):
        _refuse_ciphertext(encrypted_body.form_of_text(value))
    if isinstance(value, dict) and not _is_recognised(value) and _type(_Scopes.of(value)) not in _BY_NAME:
        _refuse_ciphertext(encrypted_body.form_of_object(value))
    return value


def _refuse_ciphertext(form: str | None) -> None:
    if form:
        raise UnreadableRequest(encrypted_body.REASON.format(form=form))


def _elements(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UnreadableRequest("The JSON is neither an object nor a list.")
    for name in ("events", "data"):
        inner = value.get(name)
        if isinstance(inner, list) and not _is_recognised(value):
            return inner
    return [value] if value else []


def _is_recognised(value: Object) -> bool:
    return any(name in value for name in (*_MODIFICATIONS, *_PATHS))


def _event(element: Object, dedup_key: str) -> ParsedEvent:
    scopes = _Scopes.of(element)
    kind = _kind(scopes)
    name = _type(scopes)
    known = _BY_NAME.get(name)
    return ParsedEvent(
        type=name,
        action=known.action if known else Action.OTHER,
        data=element,
        dedup_key=dedup_key,
        resource_type=KINDS[kind].resource_type if kind else None,
        resource=_resource(scopes),
        actor=_actor(scopes),
        occurred_at=_time(scopes.everywhere),
    )


@dataclass(frozen=True, slots=True)
class _Scopes:
    """Where to look for a field: what tells about the event, and what tells about the thing that it happened to."""

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
    """The non-empty texts in these fields, by the order of the names."""
    for name in names:
        for scope in scopes:
            value = scope.get(name)
            if isinstance(value, str) and value.strip():
                yield value.strip()


def _words(text: str) -> list[str]:
    """`planRequest.created`, `PLAN_REQUEST_CREATED` and `plan-request created` are the same three words."""
    return [word.lower() for word in _WORD.findall(text[:MAX_TEXT])]


def _modification(scopes: _Scopes) -> str:
    """create, update or delete; else the word that stands there; else `unknown`."""
    said = [*_texts(scopes.everywhere, _MODIFICATIONS), *_texts(scopes.envelope, _NAMES)]
    for text in said:
        verb = next((_VERBS[word] for word in reversed(_words(text)) if word in _VERBS), None)
        if verb:
            return verb
    return "-".join(_words(said[0]))[:MAX_WORD] or UNKNOWN if said else UNKNOWN


def _type(scopes: _Scopes) -> str:
    return f"{_kind(scopes) or UNKNOWN}.{_modification(scopes)}"


def _kind(scopes: _Scopes) -> str | None:
    """From a resource path, else from a word, else from the most special id."""
    for path in _texts(scopes.everywhere, _PATHS):
        kind = kind_of(path)
        if kind:
            return kind
    for text in (*_texts(scopes.everywhere, _KINDS), *_texts(scopes.envelope, (*_NAMES, *_MODIFICATIONS))):
        word = "".join(word for word in _words(text) if word not in _VERBS)
        if word in _KIND_WORDS:
            return _kind_of_word(word, scopes)
    ids = (kind for name, kind in _IDS if any(scope.get(name) for scope in scopes.everywhere))
    return next(ids, None)


def _kind_of_word(word: str, scopes: _Scopes) -> str:
    if word != "network":
        return _KIND_WORDS[word]
    if any(scope.get("recordId") for scope in scopes.everywhere):
        return "record-network"
    return "sidedrawer-network" if any(scope.get("sidedrawerId") for scope in scopes.everywhere) else "network"


def _resource(scopes: _Scopes) -> str | None:
    path = next((path.strip("/") for path in _texts(scopes.everywhere, _PATHS) if path.strip("/").count("/")), None)
    return _storable(path or next(_texts(scopes.entity or scopes.envelope, _TITLES), ""), limit=MAX_RESOURCE)


def _actor(scopes: _Scopes) -> str | None:
    for name in _ACTORS:
        for scope in scopes.envelope:
            value = scope.get(name)
            text = next(_texts((value,), _ACTOR_KEYS), "") if isinstance(value, dict) else value
            if isinstance(text, str) and (found := _storable(text, limit=MAX_ACTOR)):
                return found
    return None


def _time(scopes: Sequence[Object]) -> datetime | None:
    candidates = (_moment(scope[name]) for name in _TIMES for scope in scopes if name in scope)
    return next((moment for moment in candidates if moment), None)


def _moment(value: object) -> datetime | None:
    """ISO 8601, or Unix seconds or milliseconds. A time without offset is taken as UTC."""
    if isinstance(value, str) and len(value) <= 50:
        try:
            moment = datetime.fromisoformat(value.strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    return time_from_number(value)


def _dedup_key(element: Object, received_at: datetime) -> str:
    """The content's hash. While a webhook is replaced, the old and the new one both deliver: their ids do not count.

    Content without a time or an id of its own may rightly come again, so for that the day of arrival (UTC) counts as
    well. A key that follows from the request alone cannot look back over the last hours, so both ends are rough: a
    retransmission after midnight is a second event, and a second change with the same content on one day is taken for
    a retransmission.
    """
    content = {name: value for name, value in element.items() if name not in _WEBHOOK_IDS}
    digest = json_digest(content)
    scopes = _Scopes.of(element)
    if _time(scopes.everywhere) or any(scope.get(name) for scope in scopes.envelope for name in _OWN_IDS):
        return f"body:{digest}"
    return f"body:{digest}@{received_at.astimezone(UTC):%Y-%m-%d}"


def _storable(text: str, *, limit: int) -> str | None:
    return _UNSTORABLE.sub("\ufffd", text.strip()[:limit]) or None
