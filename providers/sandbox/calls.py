"""TODO: say what is here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

HUGE_ANSWER_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP call to the simulated server. Header names are in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    def bearer_token(self) -> str | None:
        """The token of `Authorization: Bearer ...`, or None."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer. `body` is JSON to encode, bytes to send as they are, or None for an empty body."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body's bytes."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No answer at all: the connection is closed after so many seconds."""

    seconds: float = 0.0


class InvalidControlInput(ValueError):
    """A control call asked for something impossible. The message starts with the field."""
