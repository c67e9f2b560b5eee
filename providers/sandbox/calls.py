"""API calls to the sandbox and its responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

HUGE_RESPONSE_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP call to the sandbox. Header names are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def json_object(self) -> dict[str, object] | None:
        """Return the body as a JSON object; None if it is anything else."""
        try:
            value: object = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def bearer_token(self) -> str | None:
        """Return the token of `Authorization: Bearer ...`; None if there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. `body` is JSON to encode, bytes to send unchanged, or None for an empty body."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return the bytes of the body."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No response: the connection is closed after that many seconds."""

    seconds: float = 0.0


class InvalidControlInput(ValueError):
    """A control call has invalid input. The message starts with the field."""
