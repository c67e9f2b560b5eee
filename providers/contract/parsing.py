"""Inbound requests, the result of their verification, and the events parsed from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from providers.contract import strict_json
from providers.contract.capabilities import Action
from providers.contract.errors import UnreadableRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundRequest:
    """One HTTP call to a callback URL, unmodified.

    `url` is the callback URL as registered, without query. While it is being changed, `former_urls` are the URLs that
    the provider may still call.
    """

    method: str
    url: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    received_at: datetime
    former_urls: tuple[str, ...] = ()


class VerificationResult(StrEnum):
    """The result of a verification. FAILED means a wrong signature; NOT_VERIFIABLE means that none is expected."""

    VERIFIED = "verified"
    FAILED = "failed"
    NOT_VERIFIABLE = "not_verifiable"


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of a verification.

    `secret_index` tells which of the accepted secrets matched. `proof_headers` names the headers whose values must not
    be stored in clear.
    """

    result: VerificationResult
    detail: str
    secret_index: int | None = None
    proof_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedEvent:
    """One normalized event. `data` is the element as the provider sent it.

    `previous_resource` is where the resource was before a move or a rename, or what it was copied from.
    """

    type: str
    action: Action
    data: object
    dedup_key: str  # unique within the subscription; equal for a retransmission
    provider_event_id: str | None = None
    resource_type: str | None = None
    resource: str | None = None
    previous_resource: str | None = None
    actor: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnreadableElement:
    """One element of a batch that cannot be read."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The content of a request. A ping or an empty call has no elements, and `ping` is true."""

    events: tuple[ParsedEvent, ...] = ()
    unreadable: tuple[UnreadableElement, ...] = ()
    ping: bool = False


MAX_ELEMENTS = 100_000  # in one request, to limit the memory that it takes


def parse_elements(
    elements: Sequence[object], read: Callable[[object], ParsedEvent | str], *, flawed: bool = False
) -> Parsed:
    """Parse each element of a batch. An empty batch is a ping.

    `read` returns the event, or the reason why the element cannot be read. One unreadable element does not affect the
    others. `flawed` tells that `load_batch` found parts that are not JSON; the elements that contain them are
    unreadable. Raises UnreadableRequest for more than MAX_ELEMENTS.
    """
    if len(elements) > MAX_ELEMENTS:
        raise UnreadableRequest(f"The body holds more than {MAX_ELEMENTS} elements.")
    events: list[ParsedEvent] = []
    unreadable: list[UnreadableElement] = []
    for index, element in enumerate(elements):
        result = (find_flaw(element) if flawed else None) or read(element)
        if isinstance(result, str):
            unreadable.append(UnreadableElement(index, result))
        else:
            events.append(result)
    return Parsed(tuple(events), tuple(unreadable), ping=not elements)


MAX_JSON_DEPTH = strict_json.MAX_DEPTH


def load_json(body: bytes) -> object:
    """Parse untrusted bytes as strict JSON. Raises UnreadableRequest for anything else.

    UTF-8, UTF-16 and UTF-32 are read, with any number of byte order marks. Refused are a wrong encoding, wrong syntax,
    NaN, infinite numbers, integers of more than 308 digits, and nesting deeper than MAX_JSON_DEPTH.
    """
    try:
        return strict_json.loads(body)
    except UnicodeDecodeError:
        raise UnreadableRequest("The body is not UTF-8.") from None
    except strict_json.TooDeepError:
        raise UnreadableRequest("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise UnreadableRequest(f"The body is not JSON: {error}") from None


def load_batch(body: bytes) -> tuple[object, bool]:
    """Parse a JSON body of several events, and return whether parts of it are not JSON.

    In place of such a part is an object that is neither a text nor a number, a list or an object: `parse_elements` and
    `find_flaw` find it. Raises UnreadableRequest if the body as a whole cannot be parsed.
    """
    try:
        return load_json(body), False
    except UnreadableRequest:
        try:
            return strict_json.loads_with_flaws(body), True
        except ValueError:
            pass
        raise


def find_flaw(element: object) -> str | None:
    """Return why an element of `load_batch` is not JSON; None if it is."""
    return strict_json.find_flaw(element)


_EMPTY = re.compile(rb"(?:\s|\xef\xbb\xbf|\xff\xfe|\xfe\xff)*+")


def is_empty(body: bytes) -> bool:
    """Return whether a body contains nothing but white space and byte order marks."""
    return _EMPTY.fullmatch(body) is not None
