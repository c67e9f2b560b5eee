"""The response to an API call, and the error that its status means."""

from __future__ import annotations

import re
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

MAX_RETRY_AFTER_SECONDS = 24 * 3600.0
LONGEST_BELIEVED_SECONDS = 100 * 366 * 24 * 3600.0
MAX_DATE = 100  # characters
_SECONDS = re.compile(r"-?\d{1,10}(\.\d{0,9})?", re.ASCII)
MAX_EXCERPT_BYTES = 300


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """A provider's response to an API call."""

    status: int
    headers: Mapping[str, str]  # names are case-insensitive
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body as JSON. Raises InvalidResponse."""
        try:
            return strict_json.loads(self.body)
        except ValueError:
            # The body is not quoted: it may hold a secret, and only `Http` knows how to mask it.
            kind = self.headers.get("Content-Type") or "no content type"
            raise self.invalid(f"something that is not JSON ({kind})") from None

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises InvalidResponse."""
        value = self.json()
        if not isinstance(value, dict):
            raise self.invalid("JSON that is not an object")
        return value

    def invalid(self, content: str) -> InvalidResponse:
        """Return the error for a response with unusable content. With a 2xx status, the call may have taken effect."""
        return InvalidResponse(
            f"The provider answered {self.status} with {content}.",
            status=self.status,
            outcome_unknown=200 <= self.status < 300,
        )


ErrorReader = Callable[[ProviderResponse], ProviderError | None]


def error_for(response: ProviderResponse, message: str | None = None, *, field: str | None = None) -> ProviderError:
    """Return the error that a status generally means, for responses that a plug-in does not interpret itself."""
    status = response.status
    text = message or excerpt(response.body).strip()
    reply = f"the provider answered {status}" + (f": {text.removesuffix('.')}" if text else "")
    if 300 <= status < 400:
        target = response.headers.get("Location", "no address")
        return InvalidResponse(
            f"The provider answered {status}, a redirect to {target}; redirects are not followed. Check the address.",
            status=status,
        )
    if status == 401:
        return AuthenticationFailed(f"The credentials were refused ({reply}). Enter new ones.", status=status)
    if status == 403:
        return PermissionMissing(f"A permission is missing ({reply}).", status=status)
    if status in (404, 410):
        return NotFound(f"Not found ({reply}).", status=status)
    if status == 409:
        return LimitReached(f"The provider reports a conflict or a limit ({reply}).", status=status, field=field)
    if status in (429, 503) and (status == 429 or retry_after(response) is not None):
        return Throttled(f"Too many calls ({reply}).", status=status, retry_after=retry_after(response))
    if status >= 500 or status == 408:
        return Unavailable(f"The provider has a problem ({reply}).", status=status, outcome_unknown=status != 501)
    if 400 <= status < 500:
        return Refused(f"Refused ({reply}).", status=status, field=field)
    return InvalidResponse(f"An unexpected status ({reply}).", status=status, outcome_unknown=True)


def retry_after(response: ProviderResponse) -> float | None:
    """Return the seconds of a Retry-After header (a number or a date), at most a day; None without a usable one.

    A wait of centuries, such as `inf` or thousands of digits, is a mistake and not obeyed even for a day.
    """
    value = response.headers.get("Retry-After", "").strip()
    try:
        if _SECONDS.fullmatch(value):
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value[:MAX_DATE]).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if seconds <= LONGEST_BELIEVED_SECONDS else None


def excerpt(body: bytes, length: int = MAX_EXCERPT_BYTES) -> str:
    """Return the first `length` bytes as text, with replacement characters for invalid UTF-8."""
    return body[:length].decode("utf-8", "replace")
