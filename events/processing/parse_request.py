"""Parse a stored request with its plug-in: from bytes to the event rows and the outcome to write."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.conf import settings

from events.models import Outcome
from events.processing.event_insert import EventRow, event_row
from events.processing.pending_request import PendingRequest
from events.storage.columns import column_text
from events.storage.decompress import decompress_body
from events.storage.request_row import MAX_REASON
from providers.contract.errors import UnreadableRequest
from providers.contract.parsing import Parsed

logger = logging.getLogger(__name__)

MAX_UNREADABLE_LISTED = 10  # elements named in the reason


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """The events that the plug-in read from a request, and the outcome.

    If `outcome` is None, the database decides it: `duplicate` if every event is stored already, else `processed`.
    """

    events: tuple[EventRow, ...] = ()
    outcome: Outcome | None = None
    reason: str = ""


def parse(request: PendingRequest) -> ParsedRequest:
    """Parse the request. Never raises: what cannot be parsed is quarantined with the reason.

    Call this outside any transaction, since a plug-in may take long.
    """
    try:
        inbound = decompress_body(request.inbound(), limit=settings.MAX_BODY_BYTES)
        parsed = request.subscription.account.plugin.parse(inbound)
        return _parsed_request(request, parsed)
    except UnreadableRequest as error:
        return ParsedRequest(outcome=Outcome.QUARANTINED, reason=column_text(str(error), MAX_REASON))
    except Exception as error:
        logger.exception("Request %s could not be parsed", request.uid)
        return quarantined("Parsing failed", error)


def quarantined(summary: str, error: Exception) -> ParsedRequest:
    """Return the result for a request that is quarantined because of an unexpected exception."""
    reason = f"{summary}: {type(error).__name__}: {error}. See the log for details; reprocess the request after a fix."
    return ParsedRequest(outcome=Outcome.QUARANTINED, reason=column_text(reason, MAX_REASON))


def _parsed_request(request: PendingRequest, parsed: Parsed) -> ParsedRequest:
    events = tuple(
        event_row(
            event,
            account_id=request.account_id,
            subscription_id=request.subscription_id,
            request_id=request.pk,
            provider=request.subscription.account.provider,
            received_at=request.received_at,
        )
        for event in parsed.events
    )
    if parsed.unreadable:
        return ParsedRequest(events, Outcome.QUARANTINED, _unreadable_reason(parsed))
    return ParsedRequest(events, None if events else Outcome.PING)


def _unreadable_reason(parsed: Parsed) -> str:
    listed = " ".join(f"Element {item.index}: {item.reason}" for item in parsed.unreadable[:MAX_UNREADABLE_LISTED])
    total = len(parsed.unreadable) + len(parsed.events)
    return column_text(f"{len(parsed.unreadable)} of {total} elements cannot be parsed. {listed}", MAX_REASON)
