"""Verify and parse Egnyte MSP's webhook requests.

Source: Egnyte's "MSP Webhooks Receiver specification". It describes the fields of one event type only. For the others
just `event_type` is required, and the field names of the documented type are tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest
from providers.contract.event_fields import (
    MAX_ACTOR,
    MAX_RESOURCE,
    MAX_TYPE,
    clean_text,
    first_text,
    parse_time,
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
from providers.egnyte_msp.event_types import EVENT_TYPES
from providers.egnyte_msp.payloads import field_errors

_BY_NAME = {item.name: item for item in EVENT_TYPES}
# Fields that may name the resource, by resource type. Only `nfr_domain_name` and `reseller_code` are documented.
_RESOURCE_KEYS: Mapping[str | None, tuple[str, ...]] = {
    "nfr_domain": ("nfr_domain_name",),
    "trial": ("trial_domain_name", "domain_name", "domain", "tenant_name"),
    "invoice": ("invoice_number", "invoice_id", "invoice"),
    "user": ("user_email", "user_name", "username"),
}
_RESELLER_KEYS = ("reseller_code", "company_name")
_ACTOR_KEYS = ("event_created_by", "email")


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, expected: str) -> Verification:
    """Look for a shared secret in the values of all headers.

    It should come in the header named `expected`. Other headers are accepted as well: after a change of the name,
    Egnyte sends the old header until the change is registered there.
    """
    matches = find_shared_secrets(request.headers, secrets)
    secret_headers = tuple(dict.fromkeys(match.header for match in matches))
    if not matches:
        return Verification(
            VerificationResult.FAILED, _failure_reason(request, secrets, expected), None, secret_headers
        )
    newest = min(matches, key=lambda match: match.secret_index)
    return Verification(VerificationResult.VERIFIED, _detail(newest, expected), newest.secret_index, secret_headers)


def _detail(match: HeaderMatch, expected: str) -> str:
    text = f"The header {match.header} contains the secret."
    return text if match.header.lower() == expected.lower() else f"{text} It was expected in {expected}."


def _failure_reason(request: InboundRequest, secrets: Sequence[str], expected: str) -> str:
    return missing_secret_reason(request.headers, secrets, expected)


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """Return the events of a request: one object, or an array of them (which the specification does not mention).

    An empty body, `{}` and `[]` are pings. Raises UnreadableRequest when the body has none of these forms.
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
    return [value] if value else []


def _parse_element(element: object) -> ParsedEvent | str:
    """Return the event, or the reason why the element cannot be read."""
    if not isinstance(element, dict):
        return "The element is not an object."
    name = clean_text(element.get("event_type"), limit=MAX_TYPE + 1)
    if name is None:
        return "`event_type` is missing or not a string."
    if len(name) > MAX_TYPE:
        return f"`event_type` is longer than {MAX_TYPE} characters."
    errors = field_errors(name, element)
    if errors:
        return errors
    event_type = _BY_NAME.get(name)
    resource_type = event_type.resource_type if event_type else None
    return ParsedEvent(
        type=name,
        action=event_type.action if event_type else Action.OTHER,
        data=element,
        # There is no event ID. Two different events differ at least in `transaction_timestamp`, and a retransmission
        # has the same content, whatever the order of its keys.
        dedup_key="content:" + json_digest(element),
        resource_type=resource_type,
        resource=first_text(element, (*_RESOURCE_KEYS.get(resource_type, ()), *_RESELLER_KEYS), limit=MAX_RESOURCE),
        actor=first_text(element, _ACTOR_KEYS, limit=MAX_ACTOR),
        occurred_at=parse_time(element.get("transaction_timestamp")),
    )
