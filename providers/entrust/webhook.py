"""Verify and parse Entrust's webhook requests.

Sources: Entrust's pages on webhooks and on their signatures (RFC 9421, hmac-sha256, the webhook's token as key, label
`sig`, covering method, target URI and content digest). They do not say which bytes form the key: setting `key_form`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from providers.contract.capabilities import Action
from providers.contract.event_fields import (
    MAX_ACTOR,
    MAX_EVENT_ID,
    MAX_RESOURCE,
    MAX_RESOURCE_TYPE,
    MAX_TYPE,
    clean_text,
    first_text,
    parse_time,
    read_id,
)
from providers.contract.http_signatures import Policy, verify_hmac
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    Verification,
    VerificationResult,
    is_empty,
    load_json,
)
from providers.contract.signature_components import Message, SignatureRefused
from providers.contract.signatures import find_hmac_sha256
from providers.digests import json_digest
from providers.entrust.event_types import EVENT_TYPES, RESOURCE_TYPES

REQUIRED_COMPONENTS = ("@method", "@target-uri", "content-digest")
OUR_HEADERS = frozenset({"content-digest", "signature-input", "signature"})
BODY_SIGNATURE = "x-sha2-signature"  # of Entrust's servers before RFC 9421
_SIGNATURE_NAME = re.compile(r"sign|hmac|sha\d|digest", re.IGNORECASE)
MAX_NAME, MAX_NAMES = 60, 5  # characters of a header's name, and names in a reason
UNTYPED = "untyped"  # our type for a payload without an event type, such as that of the test call

MAX_FORMER_URLS = 3

_BY_NAME = {item.name: item for item in EVENT_TYPES}

KeyForm = Literal["auto", "text", "base64"]


# -- Verification --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """One interpretation of a secret as a signing key."""

    secret_index: int
    form: str
    value: bytes = field(repr=False)


def verify(
    request: InboundRequest, secrets: Sequence[str], *, key_form: KeyForm, max_age: int, accept_body_signature: bool
) -> Verification:
    """Check the content digest and the signature; `max_age` is in seconds, 0 for any age. Never raises.

    `accept_body_signature`: the HMAC of the body in BODY_SIGNATURE is enough. Otherwise the reason only mentions it.

    The signed target URI is the callback URL as registered (or, while it is being changed, a former one) with the
    query as received; the Host header is never used. No header is secret: a signature fits one body.
    """
    keys = list(_keys(secrets, key_form))
    if not keys:
        return Verification(VerificationResult.FAILED, "This subscription has no secret.")
    policy = Policy(REQUIRED_COMPONENTS, timedelta(seconds=max_age) if max_age else None, must_be_dated=False)
    reason = ""
    for target_uri in _target_uris(request):
        message = Message(method=request.method, target_uri=target_uri, headers=request.headers, body=request.body)
        try:
            match = verify_hmac(message, [key.value for key in keys], policy, request.received_at)
        except SignatureRefused as error:
            reason = reason or str(error)
            continue
        key = keys[match.key_index]
        detail = f"The signature {match.label} is valid; its key is the token {key.form}."
        return Verification(VerificationResult.VERIFIED, detail, key.secret_index)
    return _body_signature(request, keys, reason, accepted=accept_body_signature)


def _body_signature(request: InboundRequest, keys: Sequence[Key], reason: str, *, accepted: bool) -> Verification:
    """Return the verification by the older signature, for a request whose RFC 9421 signature failed for `reason`."""
    presented = [(name, value) for name, value in request.headers if name.lower() == BODY_SIGNATURE]
    if not presented:
        return Verification(VerificationResult.FAILED, reason + _other_signatures(request.headers))
    match = next(iter(find_hmac_sha256(presented, request.body, [key.value for key in keys])), None)
    if match is None:
        detail = f"{reason} {BODY_SIGNATURE} does not contain the HMAC-SHA256 of the body under the token."
        return Verification(VerificationResult.FAILED, detail)
    key = keys[match.secret_index]
    found = f"The header {BODY_SIGNATURE} contains the HMAC-SHA256 of the body ({match.form})"
    if accepted:
        return Verification(VerificationResult.VERIFIED, f"{found}; its key is the token {key.form}.", key.secret_index)
    detail = f"{reason} {found}: an older server signed it. To accept it, use the setting accept_body_signature."
    return Verification(VerificationResult.FAILED, detail)


def _other_signatures(headers: Sequence[tuple[str, str]]) -> str:
    """Return a sentence with the names of other headers that may contain a signature; empty if there are none."""
    names = dict.fromkeys(name for name, _ in headers if _SIGNATURE_NAME.search(name))
    others = [name[:MAX_NAME] for name in names if name.lower() not in OUR_HEADERS][:MAX_NAMES]
    return f" These headers may contain another signature: {', '.join(others)}." if others else ""


def _target_uris(request: InboundRequest) -> Iterator[str]:
    """Yield the URLs that may have been signed. A server does not tell an empty query (`?`) from none."""
    for url in (request.url, *request.former_urls[-MAX_FORMER_URLS:]):
        yield f"{url}?{request.query}" if request.query else url
        if not request.query:
            yield f"{url}?"


def _keys(secrets: Sequence[str], form: KeyForm) -> Iterator[Key]:
    for index, secret in enumerate(secrets):
        if form != "base64" and secret:
            yield Key(index, "as text", secret.encode("utf-8", "surrogatepass"))
        decoded = _decode(secret) if form != "text" else b""
        if decoded:
            yield Key(index, "decoded from base64", decoded)


def _decode(secret: str) -> bytes:
    """Decode a token from base64 or base64url, with or without padding; return nothing if it is neither.

    Entrust's samples of newer tokens begin with `whsec_`, the prefix of base64 keys in Standard Webhooks.
    """
    text = secret.removeprefix("whsec_").rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """Return the event of a request.

    An empty body, `{}`, `[]` and `null` are pings. JSON without an event type, which the test call may send, is an
    event of the type `untyped`. Raises UnreadableRequest if the body is not JSON.
    """
    if is_empty(request.body):
        return Parsed(ping=True)
    value = load_json(request.body)
    if value in (None, {}, []):
        return Parsed(ping=True)
    element: Mapping[str, object] = value if isinstance(value, dict) else {}
    return Parsed((_event(element, value, request.received_at),))


def _event(element: Mapping[str, object], value: object, received_at: datetime) -> ParsedEvent:
    name = _type(element.get("type"))
    declared = _BY_NAME.get(name)
    inner = element.get("data")
    data: Mapping[str, object] = inner if isinstance(inner, dict) else {}
    event_id = read_id(element.get("id"))
    return ParsedEvent(
        type=name,
        action=declared.action if declared else Action.OTHER,
        data=value,
        dedup_key=_dedup_key(event_id, value, received_at),
        provider_event_id=clean_text(event_id, limit=MAX_EVENT_ID),
        resource_type=declared.resource_type if declared else _resource_type(data.get("entityType")),
        resource=first_text(data, ("entityName", "entityId", "resourceName"), limit=MAX_RESOURCE),
        actor=first_text(data, ("subjectName", "subject"), limit=MAX_ACTOR),
        occurred_at=parse_time(element.get("eventTime")),
    )


def _type(value: object) -> str:
    name = clean_text(value, limit=MAX_TYPE + 1)
    return name if name is not None and len(name) <= MAX_TYPE else UNTYPED


def _dedup_key(event_id: str | None, value: object, received_at: datetime) -> str:
    if event_id is None:
        # Only a test payload may have no ID. It may be the same each time, and each test must give an event.
        return "content:" + json_digest([value, received_at.isoformat()])
    if len(event_id) <= MAX_EVENT_ID and event_id.isprintable() and ":" not in event_id:
        return event_id
    return "id:" + json_digest(event_id)


def _resource_type(value: object) -> str | None:
    name = clean_text(value, limit=MAX_RESOURCE_TYPE)
    return RESOURCE_TYPES.get(name.upper(), name.lower()) if name else None
