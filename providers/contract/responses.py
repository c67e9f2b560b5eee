"""A provider response, and the error that its status stands for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from providers.contract import strict_json
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
)

MAX_RETRY_AFTER = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """A provider's answer."""

    status: int
    headers: Mapping[str, str]  # names are case-insensitive
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON. Raises InvalidResponse when it is none."""
        try:
            return strict_json.loads(self.body)
        except ValueError:
            # Not quoted: the body may hold a secret, and only `Http` knows how to mask it.
            kind = self.headers.get("Content-Type") or "no content type"
            raise self.bad(f"something that is not JSON ({kind})") from None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises InvalidResponse when it is none."""
        value = self.json()
        if not isinstance(value, dict):
            raise self.bad("JSON that is no object")
        return value

    def bad(self, what: str) -> InvalidResponse:
        """The error for an answer that cannot be right. With a good status, the call may have taken effect."""
        return InvalidResponse(
            f"The provider answered {self.status} with {what}.",
            status=self.status,
            outcome_unknown=200 <= self.status < 300,
        )


ErrorReader = Callable[[ProviderResponse], ProviderError | None]


def error_for(answer: ProviderResponse, message: str | None = None, *, field: str | None = None) -> ProviderError:
    """The general rule from status to error, for answers that a plug-in does not read in its own way."""
    status = answer.status
    text = message or _message(answer)
    said = f"the provider answered {status}" + (f": {text.removesuffix('.')}" if text else "")
    if 300 <= status < 400:
        target = answer.headers.get("Location", "nowhere")
        return InvalidResponse(
            f"The provider answered {status}, a redirect to {target}; redirects are not followed. Check the address.",
            status=status,
        )
    if status == 401:
        return AuthenticationFailed(f"The credentials were refused ({said}). Enter new ones.", status=status)
    if status == 403:
        return PermissionMissing(f"A permission is missing ({said}).", status=status)
    if status in (404, 410):
        return NotFound(f"Not found ({said}).", status=status)
    if status == 409:
        return LimitReached(f"A conflict or a limit ({said}).", status=status, field=field)
    if status in (429, 503) and (status == 429 or retry_after(answer) is not None):
        return Throttled(f"Too many calls ({said}).", status=status, retry_after=retry_after(answer))
    if status >= 500 or status == 408:
        return Unavailable(f"The provider is in trouble ({said}).", status=status, outcome_unknown=status != 501)
    if 400 <= status < 500:
        return Refused(f"Refused ({said}).", status=status, field=field)
    return InvalidResponse(f"An unexpected status ({said}).", status=status, outcome_unknown=True)


def retry_after(answer: ProviderResponse) -> float | None:
    """Seconds from a Retry-After header (a number or a date), at most a day; None without a usable one."""
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    if seconds != seconds:  # NaN
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _message(answer: ProviderResponse) -> str:
    return excerpt(answer.body).strip()


def excerpt(body: bytes, length: int = 300) -> str:
    """Return the first `length` bytes as text, with replacement characters for what is not UTF-8."""
    return body[:length].decode("utf-8", "replace")
