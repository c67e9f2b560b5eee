"""Outcomes and verifications in words, for the person who looks at a request."""

from __future__ import annotations

from events.models import Outcome, VerificationState, WebhookRequest

OUTCOMES: dict[str, str] = {
    Outcome.RECEIVED: "It is stored, and its events are about to be read out of it.",
    Outcome.PROCESSED: "Its events were read and stored.",
    Outcome.DUPLICATE: "Everything in it had come before; it was counted, and nothing is sent on twice.",
    Outcome.QUARANTINED: "It came from the provider, but cannot be read as a whole. It waits here and loses nothing; "
    "process it again once the reason is gone.",
    Outcome.REJECTED: "It did not prove that it comes from the provider, or came from where no calls are taken from, "
    "so it was answered 401 and nothing was read. If its secret is known by now, or its address allowed, it can be "
    "verified again and released.",
    Outcome.TRUNCATED: "The body was larger than is kept; only its beginning is here, so no event could be read.",
    Outcome.PING: "The provider only tried whether we answer; it carried no event.",
}
VERIFICATIONS: dict[str, str] = {
    VerificationState.VERIFIED: "It proved that it comes from the provider.",
    VerificationState.FAILED: "The proof was missing or wrong.",
    VerificationState.NOT_VERIFIABLE: "This provider sends no proof; only the unguessable callback URL stands for it.",
}
READ_AGAIN = "Read again: events that are there stay as they are, missing ones appear, and nothing is counted twice."
# What happens when it is processed again
AGAIN: dict[str, str] = {
    **dict.fromkeys((Outcome.RECEIVED, Outcome.PROCESSED, Outcome.DUPLICATE, Outcome.PING), READ_AGAIN),
    Outcome.QUARANTINED: "Read again: its events appear if it can be read by now, else it stays where it is.",
    Outcome.REJECTED: "Verified again: released and read if its secret is known and its address allowed by now, else "
    "it stays rejected.",
    Outcome.TRUNCATED: "Left as it is: only the beginning of its body is here.",
}
PROCESS_AGAIN = "Process again"
RELEASE = "Verify again and release"


def reprocess_label(request: WebhookRequest) -> str | None:
    """What the button says; None when doing it again would change nothing."""
    if request.outcome == Outcome.TRUNCATED:
        return None
    return RELEASE if request.outcome == Outcome.REJECTED else PROCESS_AGAIN


def after_reprocessing(before: str, request: WebhookRequest) -> tuple[bool, str]:
    """Whether it went well, and what to tell."""
    if request.outcome == Outcome.REJECTED:
        return False, f"It is still rejected: {request.reason}"
    if request.outcome == Outcome.QUARANTINED:
        return False, f"It still cannot be read: {request.reason}"
    released = "Released: it" if before == Outcome.REJECTED else "It"
    return True, f"{released} is {Outcome(request.outcome).label.lower()} now. {OUTCOMES[request.outcome]}"
