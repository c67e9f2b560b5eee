"""The plug-in contract: what a provider declares and does.

No Django here and in the plug-ins. Times are aware `datetime`s in UTC; a naive one is a bug. Everything that crosses a
border is a frozen dataclass or a pydantic model.
"""

from __future__ import annotations

import secrets as random_secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from providers.contract.capabilities import Capabilities, EventType, Proof, RateLimit
from providers.contract.errors import Unsupported
from providers.contract.parsing import InboundRequest, Parsed, Verification
from providers.contract.sanitize import sanitize_json, sanitize_text
from providers.contract.schemas import SubscriptionConfig
from providers.contract.session import C, ProviderSession, S

MAX_STATUS = 50  # characters of a provider's own word for a status


F = TypeVar("F", bound=SubscriptionConfig)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials these are. `facts` are shown to staff; `warning` is a scope that seems missing."""

    facts: Mapping[str, object]
    warning: str | None = None

    def __post_init__(self) -> None:
        """They are kept, so they must be such that they can."""
        object.__setattr__(self, "facts", sanitize_json(self.facts))
        object.__setattr__(self, "warning", sanitize_json(self.warning))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Generic[F]):
    """What is to be registered at the provider."""

    callback_url: str
    config: F
    secret: str | None  # None where the provider makes it, or none is needed
    enabled: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSubscription:
    """What the provider says it has.

    `url` and `config` are None when this answer did not carry them. `config` is canonical (see `Provider.canonical`)
    and holds only the fields that were readable. `secret_matches` is None when it cannot be told. `shown_secret` is the
    inbound secret as an answer to a call without one shows it (empty: none is set there), for the caller to compare.
    `new_secret` is set once, by a register call of a provider that makes the secret itself.
    """

    remote_id: str
    status: str  # the provider's own word
    enabled: bool
    expires_at: datetime | None = None
    url: str | None = None
    config: Mapping[str, object] | None = None
    secret_matches: bool | None = None
    shown_secret: str | None = field(default=None, repr=False)
    new_secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """What the provider worded is kept and shown, so it must be such that it can."""
        object.__setattr__(self, "status", sanitize_text(self.status)[:MAX_STATUS])
        object.__setattr__(self, "url", sanitize_json(self.url))
        object.__setattr__(self, "config", sanitize_json(self.config))


@dataclass(frozen=True, slots=True)
class TestResult:
    """How the provider's test call went."""

    __test__ = False  # not a pytest class

    ok: bool
    detail: str

    def __post_init__(self) -> None:
        """It may quote the provider."""
        object.__setattr__(self, "detail", sanitize_text(self.detail))


@dataclass(frozen=True, slots=True)
class SecretHint:
    """How to prove a request by hand: for `header`, sending `header: value` as given passes."""

    kind: Proof
    header: str | None
    value: str | None = field(repr=False)


class Provider(ABC, Generic[S, C, F]):
    """One provider. A plug-in subclasses this and exposes one instance as `provider` in its package."""

    # -- A plug-in declares these --------------------------------------------------------------------------------

    slug: ClassVar[str]
    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    event_types: ClassVar[tuple[EventType, ...]]
    settings_model: type[S]
    credentials_model: type[C]
    config_model: type[F]
    # JSON keys whose values are secret wherever they stand in a request or an answer
    secret_keys: ClassVar[frozenset[str]] = frozenset()
    # What a person does at the provider to register a `manual` subscription, one sentence a step
    manual_steps: ClassVar[tuple[str, ...]] = ()

    # -- and does these; every call raises ProviderError ---------------------------------------------------------

    @abstractmethod
    def origin(self, settings: S) -> str:
        """Scheme, host and port of the API for these settings (`base_url` wins; see `api_origin`)."""

    @abstractmethod
    def register(self, session: ProviderSession[S, C], registration: Registration[F]) -> RemoteSubscription:
        """Creates a remote subscription."""

    @abstractmethod
    def delete(self, session: ProviderSession[S, C], remote_id: str) -> None:
        """Removes it; NotFound when it is not there."""

    @abstractmethod
    def verify(self, request: InboundRequest, secrets: Sequence[str], settings: S) -> Verification:
        """Decides whether the request comes from the provider. `secrets` are all accepted now, newest first.
        Never raises; compares in constant time."""

    @abstractmethod
    def parse(self, request: InboundRequest) -> Parsed:
        """Reads the events out of a request. Raises UnreadableRequest when nothing of it can be read."""

    # -- and these, where its capabilities say so ----------------------------------------------------------------

    def identify(self, session: ProviderSession[S, C]) -> Identity:
        """Checks the credentials and tells whose they are. Without a call for it: lists."""
        self.list_remote(session)
        return Identity(facts={})

    def list_remote(self, session: ProviderSession[S, C]) -> tuple[RemoteSubscription, ...]:
        """Everything that these credentials see, ours and foreign."""
        self._unsupported("list")

    def read_remote(
        self, session: ProviderSession[S, C], remote_id: str, secret: str | None = None
    ) -> RemoteSubscription:
        """One remote subscription with URL and config; NotFound when it is not there.
        `secret`, where we know it, is only compared with what the provider shows (`secret_matches`)."""
        self._unsupported("read")

    def update(
        self, session: ProviderSession[S, C], remote_id: str, registration: Registration[F]
    ) -> RemoteSubscription:
        """Changes it in place and reads the result back; NotFound when it is not there."""
        self._unsupported("update")

    def renew(
        self, session: ProviderSession[S, C], remote_id: str, registration: Registration[F]
    ) -> RemoteSubscription:
        """Asks for a longer life and reads the granted expiry back."""
        return self.update(session, remote_id, registration)

    def set_enabled(self, session: ProviderSession[S, C], remote_id: str, enabled: bool) -> RemoteSubscription:
        """Switches it on or off."""
        self._unsupported("set status")

    def test(self, session: ProviderSession[S, C], remote_id: str, registration: Registration[F]) -> TestResult:
        """Asks the provider to send a test webhook."""
        self._unsupported("test")

    # -- What a plug-in may refine -------------------------------------------------------------------------------

    def canonical(self, config: F) -> dict[str, object]:
        """The config as JSON in which equal meanings are equal values (order, defaults). Compared field by field."""
        return config.model_dump(mode="json")

    def merge_credentials(self, stored: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
        """What is stored, changed by what was entered now, before it is checked. By key, unless one way of logging in
        takes the place of another."""
        return {**stored, **given}

    def warnings(self, config: F) -> tuple[str, ...]:
        """What staff should know about a config although it is valid, one sentence each; shown at the subscription."""
        return ()

    def rate_limit(self, settings: S) -> RateLimit:
        """The limits of this account."""
        return self.capabilities.rate_limit

    def new_secret(self) -> str:
        """A fresh secret for inbound proof, where we make it."""
        return "hk_" + random_secrets.token_urlsafe(32)

    def secret_hint(self, settings: S, secret: str | None) -> SecretHint:
        """How a person would prove a request by hand."""
        return SecretHint(kind=self.capabilities.proof, header=None, value=secret)

    def sensitive_headers(self, settings: S) -> frozenset[str]:
        """Lower-case names of inbound headers that may carry a secret even when verification fails."""
        return frozenset({"authorization", "authentication", "proxy-authorization", "cookie"})

    # -- What a plug-in should not need to touch -----------------------------------------------------------------

    def api_origin(self, settings: S) -> str:
        """Where calls go: the account's `base_url` if set, else the provider's own host."""
        return settings.base_url or self.origin(settings)

    @property
    def single_event_types(self) -> tuple[EventType, ...]:
        """The event types that are received: without the wildcards."""
        return tuple(item for item in self.event_types if not item.wildcard)

    def event_type(self, name: str) -> EventType | None:
        """The declared event type of that name, or None for one that we do not know."""
        return next((item for item in self.event_types if item.name == name and not item.wildcard), None)

    def _unsupported(self, what: str) -> NoReturn:
        raise Unsupported(f"{self.name} has no {what} call.")


AnyProvider = Provider[Any, Any, Any]
