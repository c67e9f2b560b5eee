"""Egnyte MSP's webhook requests: is it from them, and what happened.

Source: Egnyte's "MSP Webhooks Receiver specification". It describes the fields of one event type only; for the others
just `event_type` is taken for granted, and the names that stand in the documented one are tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    UnreadableElement,
    Verification,
    VerificationResult,
    load_json,
)
from providers.contract.signatures import HeaderMatch, find_shared_secrets
from providers.digests import json_digest
from providers.egnyte_msp.event_types import EVENT_TYPES
from providers.egnyte_msp.payloads import complaint_about, read_time

MAX_EVENTS = 100_000  # in one request; more would be no batch but an attack on our memory
MAX_TYPE = 100
MAX_ACTOR = 255
MAX_RESOURCE = 2000

_BY_NAME = {item.name: item for item in EVENT_TYPES}
# Where the name of what it is about may stand. Only `nfr_domain_name` and `reseller_code` are documented.
_RESOURCE_KEYS: Mapping[str | None, tuple[str, ...]] = {
    "nfr_domain": ("nfr_domain_name",),
    "trial": ("trial_domain_name", "domain_name", "domain", "tenant_name"),
    "invoice": ("invoice_number", "invoice_id", "invoice"),
    "user": ("user_email", "user_name", "username"),
}
_RESELLER_KEYS = ("reseller_code", "company_name")
_ACTOR_KEYS = ("event_created_by", "email")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # what a text column cannot hold


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, expected: str) -> Verification:
    """Looks for a shared secret among the values of all headers.

    It should come in the header named `expected`. Others count as well: until a changed name has reached Egnyte, events
    come under the old one, and it is the value that proves them.
    """
    carrying = find_shared_secrets(request.headers, secrets)
    proof = tuple(dict.fromkeys(match.header for match in carrying))
    if not carrying:
        return Verification(VerificationResult.FAILED, _why(request, secrets, expected), None, proof)
    best = min(carrying, key=lambda match: match.secret_index)
    return Verification(VerificationResult.VERIFIED, _how(best, expected), best.secret_index, proof)


def _how(match: HeaderMatch, expected: str) -> str:
    said = f"The secret came in the header {match.header}."
    return said if match.header.lower() == expected.lower() else f"{said} It was expected in {expected}."


def _why(request: InboundRequest, secrets: Sequence[str], expected: str) -> str:
    if not any(secrets):
        return "No secret is known for this subscription."
    if any(name.lower() == expected.lower() for name, _ in request.headers):
        return f"The header {expected} carries another value, perhaps an older secret; no other header has it either."
    return f"None of the {len(request.headers)} headers carries the secret; {expected} is not among them."


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """The events of a request: one object, or an array of them (which the specification does not mention).

    An empty body, `{}` and `[]` are pings. An element that cannot be read does not hold up the others. Raises
    UnreadableRequest when there are no elements to look at.
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
    return [value] if value else []


def _read(element: object) -> ParsedEvent | str:
    """The event, or why the element is none."""
    if not isinstance(element, dict):
        return "The element is not an object."
    name = _text(element.get("event_type"), limit=MAX_TYPE + 1)
    if name is None:
        return "`event_type` is missing or not a text."
    if len(name) > MAX_TYPE:
        return f"`event_type` is longer than {MAX_TYPE} characters."
    complaint = complaint_about(name, element)
    if complaint:
        return complaint
    known = _BY_NAME.get(name)
    resource_type = known.resource_type if known else None
    return ParsedEvent(
        type=name,
        action=known.action if known else Action.OTHER,
        data=element,
        dedup_key=_content_key(element),
        resource_type=resource_type,
        resource=_first(element, (*_RESOURCE_KEYS.get(resource_type, ()), *_RESELLER_KEYS), limit=MAX_RESOURCE),
        actor=_first(element, _ACTOR_KEYS, limit=MAX_ACTOR),
        occurred_at=read_time(element.get("transaction_timestamp")),
    )


def _content_key(element: Mapping[str, object]) -> str:
    """There is no event id. Two equal events differ in `transaction_timestamp` at least, so the whole content counts;
    a retransmission is equal in everything, whatever the order of its keys."""
    return f"content:{json_digest(element)}"


def _first(element: Mapping[str, object], keys: tuple[str, ...], *, limit: int) -> str | None:
    return next((text for key in keys if (text := _text(_identifier(element.get(key)), limit=limit))), None)


def _identifier(value: object) -> object:
    """A number may be a name, too, such as that of an invoice."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text(value: object, *, limit: int) -> str | None:
    """A non-empty text that can be stored and shown; None for anything else."""
    if not isinstance(value, str):
        return None
    return _UNSTORABLE.sub("\ufffd", value.strip()[:limit]) or None
