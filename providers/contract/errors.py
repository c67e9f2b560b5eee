"""What can go wrong when we talk to a provider. The class carries the decision; nobody inspects status codes.

    ProviderError
      AddressRefused         the address guard does not let us call that address   permanent
      AuthenticationFailed   the credentials are refused                           permanent until they change
      PermissionMissing      the credentials are good, but lack a right            permanent until granted
      Refused                the provider refuses what we asked (a field)          permanent until the config changes
        LimitReached         no more subscriptions (or a conflict) there           tried again slowly
      NotFound               that remote subscription is not there (any more)      the plan decides
      Unsupported            the provider has no such call                         permanent
      Throttled              too many calls; `retry_after` says when               temporary
      CallsPaused            the account's calls rest; nothing was sent            temporary
      Unavailable            time-out, 5xx, network                                temporary
        DeadlineExceeded            our own time for it was over                          temporary
      PluginFailed           a bug of ours                                         tried again slowly
      InvalidResponse              a redirect, broken JSON, a wrong shape, too large     temporary

Two more are not about calls: `InvalidInput` (settings, credentials or config that our own schema refuses) and
`UnreadableRequest` (an inbound request that a plug-in cannot read).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from providers.contract.sanitize import sanitize_text


class ProviderError(Exception):
    """A call to a provider failed.

    `message` is for a person and says what to do where we know it. `field` names the config field that the provider
    complained about (dotted, as in `paths.3`). `retry_after` is in seconds. `outcome_unknown` is true when the call
    may have taken effect although we have no answer: a plan must look before it repeats it.
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
    """The address guard refused the host; nothing was sent."""

    code = "address_refused"
    permanent = True


class AuthenticationFailed(ProviderError):
    """The provider does not accept the credentials. Stop calling until they change."""

    code = "authentication_failed"
    permanent = True


class PermissionMissing(ProviderError):
    """The credentials work, but lack a right; the message names it where the provider does.

    `whole_account` is set by whoever knows that nothing goes without that right, such as that to list."""

    code = "permission_missing"
    permanent = True
    whole_account = False


class Refused(ProviderError):
    """The provider understood and refuses; the same call would be refused again."""

    code = "refused"
    permanent = True


class LimitReached(Refused):
    """No room for another subscription, or a conflict with one that exists. Heals when something is removed."""

    code = "limit_reached"


class NotFound(ProviderError):
    """The remote subscription is not there."""

    code = "not_found"
    permanent = True


class Unsupported(ProviderError):
    """The provider has no call for this; declared in its capabilities."""

    code = "not_supported"
    permanent = True


class Throttled(ProviderError):
    """Too many calls. Raised by our own limiter (nothing was sent) or for the provider's answer."""

    code = "throttled"


class CallsPaused(ProviderError):
    """The account's calls rest, so nothing was sent. `cause` is the code of the error that they rest for."""

    code = "calls_paused"

    def __init__(self, message: str, *, cause: str, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.cause = cause


class Unavailable(ProviderError):
    """Time-out, network failure or 5xx. Worth trying again."""

    code = "unavailable"


class DeadlineExceeded(Unavailable):
    """Whoever called could not wait as long as the provider may take; that tells nothing about the provider."""


class PluginFailed(ProviderError):
    """Not the provider: our own code failed. The log has the traceback."""

    code = "internal_error"
    permanent = True


class InvalidResponse(ProviderError):
    """An answer that cannot be one of this API: a redirect, broken JSON, a wrong shape, too many bytes."""

    code = "bad_answer"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint about one field; `field` is dotted (`paths.3`), empty for the whole."""

    field: str
    code: str
    message: str


class InvalidInput(ValueError):
    """Settings, credentials or config that the provider's schema refuses."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{e.field}: {e.message}" if e.field else e.message for e in self.errors))


class UnreadableRequest(ValueError):
    """An inbound request that cannot be read at all; it goes to quarantine with this reason, losing nothing."""
