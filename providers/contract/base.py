"""The plug-in contract: the class that each provider implements, and the values that it exchanges.

The contract and the plug-ins do not import Django. Times are aware `datetime`s in UTC. All values
passed between the core and a plug-in are frozen dataclasses or pydantic models.
"""

from __future__ import annotations

import secrets as random_secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, NoReturn, TypeVar
from urllib.parse import urlsplit

from providers.contract.capabilities import Capabilities, EventType, Proof, RateLimit
from providers.contract.equivalence import canonical_url
from providers.contract.errors import Refused, Unsupported
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.sanitize import sanitize_json, sanitize_text
from providers.contract.schemas import SubscriptionConfig
from providers.contract.session import C, ProviderSession, S

MAX_STATUS = 50  # characters of a provider's own status


F = TypeVar("F", bound=SubscriptionConfig)


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of the credentials. `facts` are shown to staff; `warning` names a scope that seems missing."""

    facts: Mapping[str, object]
    warning: str | None = None

    def __post_init__(self) -> None:
        """Sanitize what the provider sent, because it is stored."""
        object.__setattr__(self, "facts", sanitize_json(self.facts))
        object.__setattr__(self, "warning", sanitize_json(self.warning))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Generic[F]):
    """What to register at the provider."""

    callback_url: str
    config: F
    secret: str | None  # None if the provider creates it or none is needed
    enabled: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSubscription:
    """A subscription as the provider reports it.

    `url` and `config` are None if the response did not contain them. `config` is canonical (see `Provider.canonical`)
    and holds only the fields that could be read. `secret_matches` is None if it is unknown. `shown_secret` is the
    inbound secret that the response shows (empty if none is set), for the caller to compare. `new_secret` is set only
    by the register call of a provider that creates the secret itself.
    """

    remote_id: str
    status: str  # the provider's own status
    enabled: bool
    expires_at: datetime | None = None
    url: str | None = None
    config: Mapping[str, object] | None = None
    secret_matches: bool | None = None
    shown_secret: str | None = field(default=None, repr=False)
    new_secret: str | None = field(default=None, repr=False)
    partial: bool = False  # of this entry of a list only the ID could be read

    def __post_init__(self) -> None:
        """Sanitize what the provider sent, because it is stored and shown."""
        object.__setattr__(self, "status", sanitize_text(self.status)[:MAX_STATUS])
        object.__setattr__(self, "url", None if self.url is None else canonical_url(sanitize_text(self.url)))
        object.__setattr__(self, "config", sanitize_json(self.config))


@dataclass(frozen=True, slots=True)
class TestResult:
    """The result of a test call."""

    __test__ = False  # not a pytest class

    ok: bool
    detail: str

    def __post_init__(self) -> None:
        """Sanitize the detail, because it may quote the provider."""
        object.__setattr__(self, "detail", sanitize_text(self.detail))


@dataclass(frozen=True, slots=True)
class SecretHint:
    """How to authenticate a request manually: for the kind `header`, send `header: value`."""

    kind: Proof
    header: str | None
    value: str | None = field(repr=False)


class Provider(ABC, Generic[S, C, F]):
    """A provider. A plug-in subclasses this and exposes one instance as `provider` in its package."""

    # -- Declarations --------------------------------------------------------------------------------------------

    slug: ClassVar[str]
    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    event_types: ClassVar[tuple[EventType, ...]]
    settings_model: type[S]
    credentials_model: type[C]
    config_model: type[F]
    # JSON keys whose values are masked anywhere in a request or response
    secret_keys: ClassVar[frozenset[str]] = frozenset()
    # How a person registers a `manual` subscription at the provider, one sentence per step
    manual_steps: ClassVar[tuple[str, ...]] = ()

    # -- Required methods; every API call may raise ProviderError-----------------------------------------------------

    @abstractmethod
    def origin(self, settings: S) -> str:
        """Return scheme, host and port of the provider's own API; see `api_origin` for `base_url`."""

    @abstractmethod
    def register(self, session: ProviderSession[S, C], registration: Registration[F]) -> RemoteSubscription:
        """Create a remote subscription."""

    @abstractmethod
    def delete(self, session: ProviderSession[S, C], remote_id: str) -> None:
        """Delete a remote subscription. Raises NotFound."""

    @abstractmethod
    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: S) -> Verification:
        """Decide whether a request comes from the provider. `secrets` are those accepted now, newest first.

        Never raises, and compares in constant time.
        """

    @abstractmethod
    def parse(self, request: InboundRequest) -> Parsed:
        """Return the events of a request. Raises UnreadableRequest if nothing can be read."""

    # -- Methods required by the declared capabilities------------------------------------------------------------

    def identify(self, session: ProviderSession[S, C]) -> Identity:
        """Check the credentials and return their owner. By default this makes a list call, which returns no owner."""
        self.list_remote(session)
        return Identity(facts={})

    def list_remote(self, session: ProviderSession[S, C]) -> tuple[RemoteSubscription, ...]:
        """Return all subscriptions that are visible with these credentials, ours and foreign."""
        self._unsupported("list")

    def read_remote(
        self, session: ProviderSession[S, C], remote_id: str, secret: str | None = None
    ) -> RemoteSubscription:
        """Return one remote subscription with URL and config. Raises NotFound.

        `secret`, if we know it, is only compared with what the provider shows (`secret_matches`).
        """
        self._unsupported("read")

    def update(
        self, session: ProviderSession[S, C], remote_id: str, registration: Registration[F]
    ) -> RemoteSubscription:
        """Change a remote subscription in place and return the result as read back. Raises NotFound."""
        self._unsupported("update")

    def renew(
        self, session: ProviderSession[S, C], remote_id: str, registration: Registration[F]
    ) -> RemoteSubscription:
        """Request a longer lease and return the result as read back, with the granted expiry."""
        return self.update(session, remote_id, registration)

    def set_enabled(self, session: ProviderSession[S, C], remote_id: str, enabled: bool) -> RemoteSubscription:
        """Enable or disable a remote subscription."""
        self._unsupported("set status")

    def test(self, session: ProviderSession[S, C], remote_id: str, registration: Registration[F]) -> TestResult:
        """Ask the provider to send a test webhook."""
        self._unsupported("test")

    # -- Methods with a default ---------------------------------------------------------------------------------

    def canonical(self, config: F) -> dict[str, object]:
        """Return the config as JSON in which equal meanings have equal values, for comparison by field."""
        return config.model_dump(mode="json")

    def merge_credentials(self, stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        """Return the stored credentials merged with the entered ones, before validation.

        They are merged by key, unless one form of authentication replaces another.
        """
        return {**stored, **given}

    def fixed_end_field(self, config: F) -> str | None:
        """Return the field that fixes the time at which the registration ends, if it is set: it is not renewed then."""
        return None

    def warnings(self, config: F) -> tuple[str, ...]:
        """Return warnings about a valid config, one sentence each; they are shown on the subscription's page."""
        return ()

    def rate_limit(self, settings: S) -> RateLimit:
        """Return the rate limits of this account."""
        return self.capabilities.rate_limit

    def new_secret(self) -> str:
        """Return a new secret that authenticates inbound requests, for providers where Hookkeeper creates it."""
        return "hk_" + random_secrets.token_urlsafe(32)

    def secret_hint(self, settings: S, secret: str | None) -> SecretHint:
        """Return how a person can authenticate a request manually."""
        return SecretHint(kind=self.capabilities.proof, header=None, value=secret)

    def sensitive_headers(self, settings: S) -> frozenset[str]:
        """Return lower-case names of inbound headers that may carry a secret even if verification fails."""
        return frozenset({"authorization", "authentication", "proxy-authorization", "cookie"})

    def credential_origins(self, settings: S) -> tuple[str, ...]:
        """Return the origins to which calls send credentials. If they change, the credentials must be entered again.

        A plug-in that sends credentials to another host as well, such as a login server, adds that one.
        """
        return (self.api_origin(settings),)

    # -- Methods that plug-ins do not override -------------------------------------------------------------------

    def api_origin(self, settings: S) -> str:
        """Return the origin of the API: the account's `base_url` if set, else the provider's own host."""
        return settings.base_url or self.origin(settings)

    def require_usable_url(self, settings: S, callback_url: str) -> None:
        """Raise Refused, before any call, for a callback URL without HTTPS at a provider that requires it.

        With a `base_url`, the server is a sandbox or a gateway and decides itself.
        """
        if self.capabilities.requires_https and not settings.base_url and urlsplit(callback_url).scheme != "https":
            raise Refused(
                f"{self.name} calls only HTTPS addresses, and the callback URL begins with"
                f" {urlsplit(callback_url).scheme}://. Set PUBLIC_URL to the HTTPS address of this installation.",
                field="callback_url",
            )

    @property
    def single_event_types(self) -> tuple[EventType, ...]:
        """Return the event types that can be received: all but the wildcards."""
        return tuple(item for item in self.event_types if not item.wildcard)

    def event_type(self, name: str) -> EventType | None:
        """Return the declared event type of that name; None if it is unknown."""
        return next((item for item in self.event_types if item.name == name and not item.wildcard), None)

    def _unsupported(self, call: str) -> NoReturn:
        raise Unsupported(f"{self.name} has no {call} call.")


AnyProvider = Provider[Any, Any, Any]
