"""Texts that explain outcomes and verification results on the page of a request."""

from __future__ import annotations

from events.models import Outcome, VerificationState, WebhookRequest

OUTCOMES: dict[str, str] = {
    Outcome.RECEIVED: "Stored, and not processed yet.",
    Outcome.PROCESSED: "Its events were parsed and stored.",
    Outcome.DUPLICATE: "All its events were stored before. They are counted as duplicates and not delivered again.",
    Outcome.QUARANTINED: "The request is authentic, but it cannot be parsed completely. Nothing is lost: reprocess it "
    "once the cause is fixed.",
    Outcome.REJECTED: "Authentication failed, or the remote address is not in the allowed networks. The request was "
    "answered 401 and not parsed. If its secret or address is accepted now, it can be verified again and released. If "
    "it is authentic all the same, accept it after reading it.",
    Outcome.TRUNCATED: "The body exceeded the size limit. Only its beginning is stored, so no event could be parsed.",
    Outcome.PING: "The provider checked whether the callback URL answers. The request carries no event.",
}
VERIFICATIONS: dict[str, str] = {
    VerificationState.VERIFIED: "The request comes from the provider.",
    VerificationState.FAILED: "The signature or secret was missing or wrong.",
    VerificationState.NOT_VERIFIABLE: "This provider signs no requests. Only the unguessable callback URL protects it.",
}
PARSED_AGAIN = (
    "Parsed again. Existing events stay as they are, missing ones are added, and no duplicate is counted twice."
)
# What reprocessing does, by the outcome before it
REPROCESSING: dict[str, str] = {
    **dict.fromkeys((Outcome.RECEIVED, Outcome.PROCESSED, Outcome.DUPLICATE, Outcome.PING), PARSED_AGAIN),
    Outcome.QUARANTINED: "Parsed again. Its events are added if it can be parsed now; otherwise it stays quarantined.",
    Outcome.REJECTED: "Verified again. Released and parsed if its secret and address are accepted now; otherwise "
    "it stays rejected.",
    Outcome.TRUNCATED: "Skipped: only the beginning of its body is stored.",
}
REPROCESS = "Reprocess"
RELEASE = "Verify again and release"


def reprocess_label(request: WebhookRequest) -> str | None:
    """Return the label of the reprocess button; None if reprocessing would change nothing."""
    if request.outcome == Outcome.TRUNCATED:
        return None
    return RELEASE if request.outcome == Outcome.REJECTED else REPROCESS


def reprocess_message(before: str, request: WebhookRequest) -> tuple[bool, str]:
    """Return whether reprocessing succeeded, and the message to show. `before` is the outcome before it."""
    if request.outcome == Outcome.REJECTED:
        return False, f"Still rejected: {request.reason}"
    if request.outcome == Outcome.QUARANTINED:
        return False, f"Still quarantined: {request.reason}"
    done = "Released" if before == Outcome.REJECTED else "Reprocessed"
    return True, f"{done}. New outcome: {Outcome(request.outcome).label.lower()}. {OUTCOMES[request.outcome]}"
