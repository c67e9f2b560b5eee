"""Verify and parse SideDrawer's webhook requests.

SideDrawer publishes only that the header `integrityHash` contains the HMAC-SHA256 of the event. The encoding of the
hash and the format of the body are not published, so all likely ones are accepted (see `event_reader`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import (
    InboundRequest,
    Parsed,
    ParsedEvent,
    UnreadableElement,
    Verification,
    VerificationResult,
    find_flaw,
    is_empty,
    load_batch,
)
from providers.contract.signatures import HmacMatch, find_hmac_sha256
from providers.sidedrawer import encrypted_body
from providers.sidedrawer.compact_json import to_compact_json
from providers.sidedrawer.event_reader import dedup_key, has_declared_type, has_event_fields, read_event

MAX_EVENTS = 10_000  # in one request


ENCRYPTED_DETAIL = (
    " The body looks encrypted, so the hash may be that of the plain event. It cannot be compared until SideDrawer's"
    " encryption is known; the request is kept and can be released by hand."
)


class EncryptedBody(UnreadableRequest):
    """The body looks encrypted."""


# -- Verification --------------------------------------------------------------------------------------------------


def verify(request: InboundRequest, secrets: Sequence[str], *, header: str, accept_compact: bool) -> Verification:
    """Compare the hash in `header` with the HMAC-SHA256 of the body under each secret. Never raises.

    `accept_compact`: if the body itself does not match, try the body serialized as compact JSON.
    """
    matches = find_hmac_sha256(request.headers, request.body, secrets)
    match, hashed = _newest_match(matches, header), "body"
    present = any(name.lower() == header.lower() for name, _ in request.headers)
    if match is None and accept_compact and present and (compact := to_compact_json(request.body)) is not None:
        match = _newest_match(find_hmac_sha256(request.headers, compact, secrets), header)
        hashed = "body as compact JSON"
    if match:
        return Verification(
            VerificationResult.VERIFIED,
            f"The header {match.header} contains the HMAC-SHA256 of the {hashed} ({match.form}).",
            match.secret_index,
            (match.header,),
        )
    return Verification(VerificationResult.FAILED, _failure_detail(matches, secrets, header, present, request))


def _newest_match(matches: Sequence[HmacMatch], header: str) -> HmacMatch | None:
    """Return the match in that header with the newest secret."""
    named = (match for match in matches if match.header.lower() == header.lower())
    return min(named, key=lambda match: match.secret_index, default=None)


def _failure_detail(
    matches: Sequence[HmacMatch], secrets: Sequence[str], header: str, present: bool, request: InboundRequest
) -> str:
    if not any(secrets):
        return "This subscription has no integrity key."
    if matches:
        return (
            f"The header {matches[0].header} contains the valid hash: enter it in the account's setting"
            " integrity_header."
        )
    if present:
        detail = f"The header {header} does not contain the HMAC-SHA256 of the body under the integrity key."
        return detail + (ENCRYPTED_DETAIL if _is_encrypted(request) else "")
    return f"There is no header {header}: the webhook may have been registered without the integrity key."


def _is_encrypted(request: InboundRequest) -> bool:
    try:
        parse(request)
    except EncryptedBody:
        return True
    except UnreadableRequest:
        return False
    return False


# -- Parsing -------------------------------------------------------------------------------------------------------


def parse(request: InboundRequest) -> Parsed:
    """Return the events of a request: one object, a list of objects, or a list inside `events` or `data`.

    An empty body, `{}` and `[]` are pings. Unreadable elements of a list are returned as such. Raises UnreadableRequest
    for a body that looks encrypted or contains no objects.
    """
    if is_empty(request.body):
        return Parsed(ping=True)
    value, flawed = _load(request.body)
    elements = _elements(value)
    if not elements:
        return Parsed(ping=True)
    _refuse_ciphertext(encrypted_body.form_of_list(elements))
    if len(elements) > MAX_EVENTS:
        raise UnreadableRequest(f"The body holds more than {MAX_EVENTS} elements.")
    events: list[ParsedEvent] = []
    unreadable: list[UnreadableElement] = []
    occurrences: Counter[str] = Counter()
    for index, element in enumerate(elements):
        if flawed and (flaw := find_flaw(element)):
            unreadable.append(UnreadableElement(index, flaw))
            continue
        if not isinstance(element, dict) or not element:
            unreadable.append(UnreadableElement(index, "The element is not an object with fields."))
            continue
        key = dedup_key(element, request.received_at)
        occurrences[key] += 1
        # Two equal elements in one request are two events; a retransmission repeats both.
        events.append(read_event(element, key if occurrences[key] == 1 else f"{key}#{occurrences[key]}"))
    return Parsed(tuple(events), tuple(unreadable))


def _load(body: bytes) -> tuple[object, bool]:
    try:
        value, flawed = load_batch(body)
    except UnreadableRequest:
        _refuse_ciphertext(encrypted_body.form_of_bytes(body))
        raise
    if isinstance(value, str):
        _refuse_ciphertext(encrypted_body.form_of_text(value))
    if isinstance(value, dict) and not has_event_fields(value) and not has_declared_type(value):
        _refuse_ciphertext(encrypted_body.form_of_object(value))
    return value, flawed


def _refuse_ciphertext(form: str | None) -> None:
    if form:
        raise EncryptedBody(encrypted_body.REASON.format(form=form))


def _elements(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UnreadableRequest("The JSON is neither an object nor a list.")
    for name in ("events", "data"):
        inner = value.get(name)
        if isinstance(inner, list) and not has_event_fields(value):
            return inner
    return [value] if value else []
