"""A call as its row will be: what is kept of it, in values that a database and a file can take as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from events.models import Outcome
from events.storage.bulk_insert import BYTES, NUMBER, TIME, Target
from events.storage.bulk_insert import UUID as UUID_TYPE
from events.storage.columns import column_json, column_text
from providers.contract.parsing import InboundRequest, Verification, VerificationResult
from providers.db.fields import EncryptedJSONField
from providers.db.ids import new_id

MARKER = "***"
MAX_REASON = 2000
_as_secret = EncryptedJSONField().get_prep_value


@dataclass(slots=True, kw_only=True)
class InboundCall:
    """A call that is to be kept. `size` is that of the body as it was sent; `truncated`: more than is in `inbound`.
    `sensitive` are the lower-case names of headers that may carry a secret even when the proof failed. `elsewhere`:
    why it is refused for where it came from, whatever it proved."""

    subscription_id: int
    account_id: int
    sensitive: frozenset[str]
    inbound: InboundRequest
    verification: Verification
    remote_addr: str
    size: int
    truncated: bool = False
    elsewhere: str = ""

    @property
    def accepted(self) -> bool:
        """Whether it counts as the provider's."""
        return not self.elsewhere and self.verification.result is not VerificationResult.FAILED

    @property
    def refusal(self) -> str:
        """Why it does not."""
        failed = self.verification.result is VerificationResult.FAILED
        return " ".join(filter(None, (self.elsewhere, self.verification.detail if failed else "")))


class RequestRow(NamedTuple):
    """The columns of a request, all but its number. The id is given here, on arrival: storing the same one twice
    leaves one."""

    uid: UUID
    account_id: int
    subscription_id: int
    method: str
    received_at: datetime
    remote_addr: str
    headers: str
    sealed_headers: str
    query: str
    body: bytes
    size: int
    verification: str
    verification_detail: str
    outcome: str
    reason: str
    processed_at: datetime | None
    repeated_keys: str


def to_row(arrival: InboundCall) -> RequestRow:
    """What is kept of a call."""
    inbound, verification = arrival.inbound, arrival.verification
    outcome = first_outcome(arrival)
    headers, sealed = kept_headers(arrival)
    return RequestRow(
        uid=new_id(),
        account_id=arrival.account_id,
        subscription_id=arrival.subscription_id,
        method=inbound.method,
        received_at=inbound.received_at,
        remote_addr=column_text(arrival.remote_addr, 64),
        headers=column_json(headers),
        sealed_headers=_as_secret(sealed) or "",
        query=column_text(inbound.query),
        body=inbound.body,
        size=arrival.size,
        verification=verification.result.value,
        verification_detail=column_text(verification.detail, MAX_REASON),
        outcome=outcome.value,
        reason=first_reason(arrival, outcome),
        processed_at=None if outcome is Outcome.RECEIVED else inbound.received_at,
        repeated_keys="[]",
    )


def first_outcome(arrival: InboundCall) -> Outcome:
    """What it counts as until its events are read."""
    if not arrival.accepted:
        return Outcome.REJECTED
    return Outcome.TRUNCATED if arrival.truncated else Outcome.RECEIVED


def first_reason(arrival: InboundCall, outcome: Outcome) -> str:
    """Why it is not read."""
    if outcome is Outcome.REJECTED:
        return column_text(arrival.refusal, MAX_REASON)
    if outcome is Outcome.TRUNCATED:
        return f"The body is too large; its first {len(arrival.inbound.body)} bytes are kept."
    return ""


def kept_headers(arrival: InboundCall) -> tuple[list[tuple[str, str]], Mapping[str, str]]:
    """The headers with markers for secrets, and the encrypted half: what may be a secret but proved nothing. It is
    needed to verify a rejected request again."""
    proof = {name.lower() for name in arrival.verification.proof_headers}
    headers: list[tuple[str, str]] = []
    sealed: dict[str, str] = {}
    for index, (name, value) in enumerate(arrival.inbound.headers):
        lower = name.lower()
        is_proof = lower in proof
        if is_proof or lower in arrival.sensitive:
            headers.append((name, MARKER))
            if not (is_proof and arrival.accepted):
                sealed[str(index)] = value
        else:
            headers.append((name, value))
    return headers, sealed


# -- Into the table ----------------------------------------------------------------------------------------------------

REQUESTS = Target(
    "events_webhookrequest",
    RequestRow._fields,
    {
        "uid": UUID_TYPE,
        **dict.fromkeys(("account_id", "subscription_id", "size"), NUMBER),
        **dict.fromkeys(("received_at", "processed_at"), TIME),
        "body": BYTES,
    },
)
