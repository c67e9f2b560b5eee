"""A call as its row will be: what is kept of it, in values that a database and a file can take as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from events.columns import column_text
from events.models import Outcome
from providers.base import InboundRequest, Verification, VerificationResult
from providers.fields import EncryptedJSONField
from providers.ids import new_id

MARKER = "***"
MAX_REASON = 2000
_as_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_as_secret = EncryptedJSONField().get_prep_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
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


class KeptRequest(NamedTuple):
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


def kept(arrival: Arrival) -> KeptRequest:
    """What is kept of a call."""
    inbound, verification = arrival.inbound, arrival.verification
    outcome = first_outcome(arrival)
    headers, sealed = kept_headers(arrival)
    return KeptRequest(
        uid=new_id(),
        account_id=arrival.account_id,
        subscription_id=arrival.subscription_id,
        method=inbound.method,
        received_at=inbound.received_at,
        remote_addr=column_text(arrival.remote_addr, 64),
        headers=_as_text(headers),
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


def first_outcome(arrival: Arrival) -> Outcome:
    """What it counts as until its events are read."""
    if not arrival.accepted:
        return Outcome.REJECTED
    return Outcome.TRUNCATED if arrival.truncated else Outcome.RECEIVED


def first_reason(arrival: Arrival, outcome: Outcome) -> str:
    """Why it is not read."""
    if outcome is Outcome.REJECTED:
        return column_text(arrival.refusal, MAX_REASON)
    if outcome is Outcome.TRUNCATED:
        return f"The body is too large; its first {len(arrival.inbound.body)} bytes are kept."
    return ""


def kept_headers(arrival: Arrival) -> tuple[list[tuple[str, str]], Mapping[str, str]]:
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

TABLE = "events_webhookrequest"
COLUMNS = KeptRequest._fields
# In one array for each column; their types as PostgreSQL calls them.
POSTGRES_TYPES = {
    "uid": "uuid",
    **dict.fromkeys(("account_id", "subscription_id", "size"), "bigint"),
    **dict.fromkeys(("received_at", "processed_at"), "timestamptz"),
    "body": "bytea",
}


def insert(connection: BaseDatabaseWrapper, rows: Sequence[KeptRequest]) -> None:
    """Inserts them by one statement, each unless it is there already. Raises Django's database errors, and ValueError
    or OverflowError for a value that cannot even be sent."""
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors:
        if connection.vendor == "postgresql":
            _insert_postgres(raw, rows)
        else:
            # Straight to the library: Django's cursor would rewrite a statement of this length each time.
            raw.execute(_sqlite_statement(len(rows)), [value for row in rows for value in _sqlite_values(row)])


def most_rows(connection: BaseDatabaseWrapper) -> int:
    """How many fit into one statement."""
    if connection.vendor == "postgresql":
        return 1000
    import sqlite3

    connection.ensure_connection()
    raw: Any = connection.connection
    limit: int = raw.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return min(1000, limit // len(COLUMNS))


def _insert_postgres(raw: Any, rows: Sequence[KeptRequest]) -> None:
    import psycopg

    with psycopg.Cursor(raw) as cursor:  # binds on the server; Django's own would write each body as text
        cursor.execute(_postgres_statement(), [list(column) for column in zip(*rows, strict=True)], prepare=True)


@lru_cache(maxsize=1)
def _postgres_statement() -> str:
    arrays = ", ".join(f"%b::{POSTGRES_TYPES.get(name, 'text')}[]" for name in COLUMNS)
    names = ", ".join(COLUMNS)
    return f"INSERT INTO {TABLE} ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT (uid) DO NOTHING"  # noqa: S608  # names only


@lru_cache(maxsize=64)
def _sqlite_statement(count: int) -> str:
    row = "(" + ", ".join("?" * len(COLUMNS)) + ")"
    names = ", ".join(COLUMNS)
    return f"INSERT INTO {TABLE} ({names}) VALUES {', '.join([row] * count)} ON CONFLICT (uid) DO NOTHING"  # noqa: S608  # names only


def _sqlite_values(row: KeptRequest) -> tuple[Any, ...]:
    """As Django writes them there: ids as hexadecimal text, times as text in UTC."""
    return (
        row.uid.hex,
        row.account_id,
        row.subscription_id,
        row.method,
        _sqlite_time(row.received_at),
        *row[5:15],
        None if row.processed_at is None else _sqlite_time(row.processed_at),
        row.repeated_keys,
    )


def _sqlite_time(moment: datetime) -> str:
    return str(moment.astimezone(UTC).replace(tzinfo=None))
