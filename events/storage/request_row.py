"""The row that stores an inbound call, as values that the database and the spool take unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from events.models import Outcome
from events.storage.bulk_insert import BYTES, NUMBER, TIME, Target
from events.storage.bulk_insert import UUID as UUID_TYPE
from events.storage.columns import column_json, column_text
from providers.contract.masking import contains_secret
from providers.contract.parsing import InboundRequest, Verification, VerificationResult
from providers.db.fields import EncryptedJSONField
from providers.db.ids import new_id

HEADER_MASK = "***"
MAX_REASON = 2000  # characters
_encrypt_json = EncryptedJSONField().get_prep_value


@dataclass(slots=True, kw_only=True)
class InboundCall:
    """A verified call that is to be stored.

    `size` is that of the body as it was sent; `truncated` means that `inbound` holds less. `sensitive_headers` are the
    lower-case names of headers that may hold a secret even if the verification failed. `network_refusal` is the reason
    why the sender's address is not allowed; empty if it is allowed. It rejects the call even if verification succeeded.
    Header values that contain one of `secrets` are stored encrypted.
    """

    subscription_id: int
    account_id: int
    sensitive_headers: frozenset[str]
    inbound: InboundRequest
    verification: Verification
    remote_addr: str
    size: int
    truncated: bool = False
    network_refusal: str = ""
    secrets: Sequence[str] = ()

    @property
    def accepted(self) -> bool:
        """Whether the call is authentic and its address allowed."""
        return not self.network_refusal and self.verification.result is not VerificationResult.FAILED

    @property
    def refusal(self) -> str:
        """Why the call is not accepted."""
        failed = self.verification.result is VerificationResult.FAILED
        return " ".join(filter(None, (self.network_refusal, self.verification.detail if failed else "")))


class RequestRow(NamedTuple):
    """The columns of a request, except its primary key.

    The ID is assigned on arrival, so that storing a request twice leaves one row.
    """

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


def to_row(call: InboundCall) -> RequestRow:
    """Return the row that stores the call."""
    inbound, verification = call.inbound, call.verification
    outcome = initial_outcome(call)
    headers, sealed_headers = mask_headers(call)
    return RequestRow(
        uid=new_id(),
        account_id=call.account_id,
        subscription_id=call.subscription_id,
        method=inbound.method,
        received_at=inbound.received_at,
        remote_addr=column_text(call.remote_addr, 64),
        headers=column_json(headers),
        sealed_headers=_encrypt_json(sealed_headers) or "",
        query=column_text(inbound.query),
        body=inbound.body,
        size=call.size,
        verification=verification.result.value,
        verification_detail=column_text(verification.detail, MAX_REASON),
        outcome=outcome.value,
        reason=initial_reason(call, outcome),
        processed_at=None if outcome is Outcome.RECEIVED else inbound.received_at,
        repeated_keys="[]",
    )


def initial_outcome(call: InboundCall) -> Outcome:
    """Return the outcome of the request before it is normalized."""
    if not call.accepted:
        return Outcome.REJECTED
    return Outcome.TRUNCATED if call.truncated else Outcome.RECEIVED


def initial_reason(call: InboundCall, outcome: Outcome) -> str:
    """Return why the request will not be normalized; empty if it will be."""
    if outcome is Outcome.REJECTED:
        return column_text(call.refusal, MAX_REASON)
    if outcome is Outcome.TRUNCATED:
        return f"The body is too large. Its first {len(call.inbound.body)} bytes are stored."
    return ""


def mask_headers(call: InboundCall) -> tuple[list[tuple[str, str]], Mapping[str, str]]:
    """Return the headers with secret values masked, and the values to store encrypted, by their index.

    Those are needed to verify a rejected request again. The secret that authenticated an accepted request is not
    stored.
    """
    authenticating = {name.lower() for name in call.verification.proof_headers}
    headers: list[tuple[str, str]] = []
    sealed: dict[str, str] = {}
    for index, (name, value) in enumerate(call.inbound.headers):
        lower = name.lower()
        authenticates = lower in authenticating
        if authenticates or lower in call.sensitive_headers or contains_secret(value, call.secrets):
            headers.append((name, HEADER_MASK))
            if not (authenticates and call.accepted):
                sealed[str(index)] = value
        else:
            headers.append((name, value))
    return headers, sealed


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
