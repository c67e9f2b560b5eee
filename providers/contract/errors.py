"""Errors of calls to a provider. The class says what to do next, so callers never inspect status codes.

    ProviderError
      AddressRefused         the address guard does not allow the address           permanent
      AuthenticationFailed   the credentials are refused                            permanent until they change
      PermissionMissing      the credentials are valid, but lack a permission       permanent until granted
      Refused                the provider refuses the request (perhaps a field)     permanent until the config changes
        LimitReached         no more subscriptions are allowed, or a conflict       retried slowly
      NotFound               the remote subscription does not exist                 the plan decides
      Unsupported            the provider has no such call                          permanent
      Throttled              too many calls; `retry_after` says when to retry       temporary
      CallsPaused            the circuit is open, so nothing was sent               temporary
      Unavailable            timeout, 5xx, network failure                          temporary
        DeadlineExceeded     the caller's deadline passed                           temporary
      PluginFailed           a bug in Hookkeeper                                    retried slowly
      InvalidResponse        a redirect, broken JSON, a wrong shape, too large      temporary

Two more errors are not about calls: `InvalidInput` (settings, credentials or config that our schema refuses) and
`UnreadableRequest` (an inbound request that a plug-in cannot read).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from providers.contract.sanitize import sanitize_text


class ProviderError(Exception):
    """A call to a provider failed.

    `message` is for people and says what to do if we know it. `field` names the config field that the provider
    rejected (dotted, as in `paths.3`). `retry_after` is in seconds. `outcome_unknown` is true if the call may have
    taken effect although there is no usable response: the remote state must be read before the call is repeated.
    """

    code: ClassVar[str] = "provider_error"
    permanent: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        message = sanitize_text(message)  # it may quote the provider
        super().__init__(message)
        self.message = message
        self.field = field
        self.status = status
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown


class AddressRefused(ProviderError):
    """The address guard does not allow the host; nothing was sent."""

    code = "address_refused"
    permanent = True


class AuthenticationFailed(ProviderError):
    """The provider refuses the credentials. No more calls are made until they change."""

    code = "authentication_failed"
    permanent = True


class PermissionMissing(ProviderError):
    """The credentials are valid, but lack a permission; the message names it if the provider does.

    `whole_account` is set where nothing works without that permission, such as the one to list webhooks.
    """

    code = "permission_missing"
    permanent = True
    whole_account = False


class Refused(ProviderError):
    """The provider refuses the request; the same call would be refused again."""

    code = "refused"
    permanent = True


class LimitReached(Refused):
    """The provider allows no further subscription, or it conflicts with another. Removing one resolves this."""

    code = "limit_reached"


class NotFound(ProviderError):
    """The remote subscription does not exist."""

    code = "not_found"
    permanent = True


class Unsupported(ProviderError):
    """The provider has no call for this, as declared in its capabilities."""

    code = "not_supported"
    permanent = True


class Throttled(ProviderError):
    """Too many calls. Raised by our own rate limiter (nothing was sent) or for the provider's response."""

    code = "throttled"


class CallsPaused(ProviderError):
    """The account's circuit is open, so nothing was sent. `cause` is the code of the error that opened it."""

    code = "calls_paused"

    def __init__(self, message: str, *, cause: str, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.cause = cause


class Unavailable(ProviderError):
    """Timeout, network failure or 5xx. A retry may succeed."""

    code = "unavailable"


class DeadlineExceeded(Unavailable):
    """The caller's deadline passed before the provider's timeout; this says nothing about the provider."""


class PluginFailed(ProviderError):
    """Our own code failed, not the provider. The log has the traceback."""

    code = "internal_error"
    permanent = True


class InvalidResponse(ProviderError):
    """A response that the API should never send: a redirect, broken JSON, an unexpected structure, too many bytes."""

    code = "bad_answer"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field. `field` is dotted (`paths.3`), or empty if the whole input is meant."""

    field: str
    code: str
    message: str


class InvalidInput(ValueError):
    """Settings, credentials or config do not match the provider's schema."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{e.field}: {e.message}" if e.field else e.message for e in self.errors))


class UnreadableRequest(ValueError):
    """An inbound request cannot be read at all; it is quarantined with this message."""
