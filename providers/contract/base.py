"""The plug-in contract: what a provider declares and does.

No Django here and in the plug-ins. Times are aware `datetime`s in UTC; a naive one is a bug. Everything that crosses a
border is a frozen dataclass or a pydantic model.
"""

from __future__ import annotations

import secrets as random_secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, NoReturn, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from providers.contract import strict_json
from providers.contract.errors import FieldError, InvalidInput, UnreadableRequest, Unsupported
from providers.contract.http import Http
from providers.contract.sanitize import storable, storable_text

MAX_STATUS = 50  # characters of a provider's own word for a status

type_ = type  # several dataclasses below have a field named `type`


class Action(StrEnum):
    """Our word for what happened; a plug-in maps each of its event types to the closest."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    MOVED = "moved"
    COPIED = "copied"
    READ = "read"
    RESTORED = "restored"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    SHARED = "shared"
    UNSHARED = "unshared"
    COMMENTED = "commented"
    UNCOMMENTED = "uncommented"
    PERMISSION_CHANGED = "permission_changed"
    MEMBER_ADDED = "member_added"
    MEMBER_REMOVED = "member_removed"
    OWNER_ADDED = "owner_added"
    OWNER_REMOVED = "owner_removed"
    RENAMED = "renamed"
    COMPLETED = "completed"
    APPROVED = "approved"
    REJECTED = "rejected"
    ACTIVATED = "activated"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SENT = "sent"
    OTHER = "other"


class Renewal(StrEnum):
    """How a lease is prolonged."""

    NONE = "none"  # subscriptions do not expire
    UPDATE = "update"  # an update prolongs it; if the expiry does not move, replace
    REPLACE = "replace"  # only a new registration gets a new lease


class ExpirySetBy(StrEnum):
    """Who decides how long a lease is."""

    NOBODY = "nobody"
    PROVIDER = "provider"
    US = "us"


class Proof(StrEnum):
    """How an inbound request proves where it comes from."""

    HEADER = "header"  # a shared secret in a header
    HMAC = "hmac"
    RFC9421 = "rfc9421"
    URL = "url"  # nothing but the unguessable callback URL


class SecretMadeBy(StrEnum):
    """Who makes the secret that proves inbound requests."""

    US = "us"
    PROVIDER = "provider"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Calls that one account may make; `None` means that no limit is known."""

    per_second: float | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider's API can do. The core asks these, never a slug."""

    can_list: bool  # its registrations can be listed
    list_has_details: bool  # the list carries URL and config; if not, each unknown id costs a details call
    reveals_url: bool  # the callback URL can be read back somewhere; if not, nothing is ever adopted
    can_update: bool  # an existing registration can be changed in place
    can_set_status: bool  # an existing registration can be switched off and on
    update_may_enable: bool = False  # without a status call: an update perhaps switches it on again; if not, replace
    # Switching on one that the provider switched off makes it count failures from nothing; where not, replace
    enabling_resets_failures: bool = True
    can_test: bool  # it sends a test webhook on request
    test_is_harmless: bool = False  # nobody takes what a test sends for a real event, so the clock may ask for one
    can_identify: bool  # it tells whose credentials these are
    renewal: Renewal
    expiry_set_by: ExpirySetBy
    proof: Proof
    secret_made_by: SecretMadeBy
    methods: tuple[str, ...]  # HTTP methods that it calls us with
    has_event_id: bool
    sends_files: bool = False  # a body may be a whole file: keep headers and a prefix instead of 413
    immutable_fields: tuple[str, ...] = ()  # config fields that only a replacement can change
    success_statuses: tuple[int, ...] = (200,)  # what it takes as received
    answer_within: float = 10.0  # seconds in which it wants our answer
    rate_limit: RateLimit = RateLimit()
    count_limit_by: tuple[str, ...] = ()  # facts of an identity; accounts that agree in all share a limit of webhooks
    personal_data: str = ""  # what persons its events tell about, in words for the operator; empty: nothing is known
    retention_days: int = 365  # suggested for what it sends
    notes: tuple[str, ...] = ()  # what is not confirmed, in words for the operator


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event that a provider sends. `name` is the provider's own word."""

    name: str
    action: Action
    group: str  # heading in lists and forms
    label: str
    resource_type: str | None = None
    wildcard: bool = False  # only for subscribing; never received


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an origin such as https://acme.example.com")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("only scheme, host and port; the paths are ours")
    parts.port  # noqa: B018 - raises ValueError for a port that is no number
    return f"{parts.scheme}://{parts.netloc}"


Origin = Annotated[str, AfterValidator(_origin)]


class AccountSettings(BaseModel):
    """Base of each provider's account settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    base_url: Origin | None = Field(
        default=None,
        title="Base URL",
        description="Only for a sandbox or a gateway: replaces scheme, host and port of the provider's API.",
        examples=["http://127.0.0.1:8010"],
    )


class Credentials(BaseModel):
    """Base of each provider's credentials: every field is secret and write-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    def __repr__(self) -> str:
        return f"{type_(self).__name__}(***)"

    __str__ = __repr__

    def secret_values(self) -> tuple[str, ...]:
        """Every value that must be masked wherever it would show up."""
        return tuple(str(value) for value in self.model_dump().values() if value not in (None, ""))


class SubscriptionConfig(BaseModel):
    """Base of each provider's subscription config: what staff choose."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


S = TypeVar("S", bound=AccountSettings)
C = TypeVar("C", bound=Credentials)
F = TypeVar("F", bound=SubscriptionConfig)
M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], data: object) -> M:
    """Checks `data` against one of a provider's models. Raises InvalidInput with one entry per complaint."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise InvalidInput(
            [
                FieldError(
                    field=".".join(str(part) for part in item["loc"]),
                    code="required" if item["type"] == "missing" else "invalid",
                    message=_complaint(item["type"], item["msg"], item.get("ctx", {})),
                )
                for item in found
                if not (item["type"] == "too_short" and _is_about_an_element(item["loc"], found))
            ]
        ) from None


def _is_about_an_element(loc: tuple[int | str, ...], complaints: Sequence[ErrorDetails]) -> bool:
    """Whether an element of that list is wrong: pydantic then does not count it, and complains of a short list too."""
    return any(len(item["loc"]) > len(loc) and item["loc"][: len(loc)] == loc for item in complaints)


def _complaint(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "missing":
        return "This field is required."
    if kind == "extra_forbidden":
        return "This field does not exist here."
    if kind == "too_short":
        return f"At least {context['min_length']} needed."
    if kind == "too_long":
        return f"At most {context['max_length']} allowed."
    return message.removeprefix("Value error, ")


class TokenStore(Protocol):
    """Keeps short-lived access tokens of one account, encrypted, for all processes."""

    def get(self, name: str) -> str | None:
        """The token, or None when there is none or it has expired."""

    def put(self, name: str, value: str, expires_at: datetime) -> None:
        """Keeps a token until it expires."""

    def forget(self, name: str) -> None:
        """Drops a token that the provider no longer accepts."""


class MemoryTokens:
    """A token store for tests and for one-off logins."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, datetime]] = {}

    def get(self, name: str) -> str | None:
        """See TokenStore."""
        value, expires_at = self._tokens.get(name, ("", datetime.min.replace(tzinfo=UTC)))
        return value if expires_at > datetime.now(UTC) else None

    def put(self, name: str, value: str, expires_at: datetime) -> None:
        """See TokenStore."""
        self._tokens[name] = (value, expires_at)

    def forget(self, name: str) -> None:
        """See TokenStore."""
        self._tokens.pop(name, None)


@dataclass(frozen=True, slots=True)
class ProviderSession(Generic[S, C]):
    """What a management call needs: checked settings and credentials, the way out, and where tokens are kept."""

    settings: S
    credentials: C
    http: Http
    tokens: TokenStore = field(default_factory=MemoryTokens)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials these are. `facts` are shown to staff; `warning` is a scope that seems missing."""

    facts: Mapping[str, object]
    warning: str | None = None

    def __post_init__(self) -> None:
        """They are kept, so they must be such that they can."""
        object.__setattr__(self, "facts", storable(self.facts))
        object.__setattr__(self, "warning", storable(self.warning))


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
        object.__setattr__(self, "status", storable_text(self.status)[:MAX_STATUS])
        object.__setattr__(self, "url", storable(self.url))
        object.__setattr__(self, "config", storable(self.config))


@dataclass(frozen=True, slots=True)
class TestResult:
    """How the provider's test call went."""

    __test__ = False  # not a pytest class

    ok: bool
    detail: str

    def __post_init__(self) -> None:
        """It may quote the provider."""
        object.__setattr__(self, "detail", storable_text(self.detail))


@dataclass(frozen=True, slots=True)
class SecretHint:
    """How to prove a request by hand: for `header`, sending `header: value` as given passes."""

    kind: Proof
    header: str | None
    value: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundRequest:
    """One HTTP call at a callback URL, as it came. `url` is the callback URL as registered, without query; while it
    is being changed, `former_urls` are those that the provider may still be calling."""

    method: str
    url: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    received_at: datetime
    former_urls: tuple[str, ...] = ()


class VerificationResult(StrEnum):
    """What a verification can come to; the last two are never mixed up."""

    VERIFIED = "verified"
    FAILED = "failed"
    NOT_VERIFIABLE = "not_verifiable"


@dataclass(frozen=True, slots=True)
class Verification:
    """Outcome of a verification. `secret_index` tells which of the accepted secrets matched;
    `proof_headers` are the names of headers whose values must not be kept in clear."""

    result: VerificationResult
    detail: str
    secret_index: int | None = None
    proof_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedEvent:
    """One thing that happened, in our words. `data` is the element as it was sent."""

    type: str
    action: Action
    data: object
    dedup_key: str  # unique within the subscription; equal for a retransmission
    provider_event_id: str | None = None
    resource_type: str | None = None
    resource: str | None = None
    actor: str | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnreadableElement:
    """One element of a batch that could not be read."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a request carried. No events, no unreadable elements and `ping` true: a ping or an empty call."""

    events: tuple[ParsedEvent, ...] = ()
    unreadable: tuple[UnreadableElement, ...] = ()
    ping: bool = False


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


MAX_JSON_DEPTH = strict_json.MAX_DEPTH


def load_json(body: bytes) -> object:
    """Strict JSON from bytes that anybody may have sent. Raises UnreadableRequest for everything else
    (encoding, syntax, NaN, infinite numbers, numbers too long to convert, nesting deeper than MAX_JSON_DEPTH)."""
    try:
        return strict_json.loads(body)
    except UnicodeDecodeError:
        raise UnreadableRequest("The body is not UTF-8.") from None
    except strict_json.TooDeepError:
        raise UnreadableRequest("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise UnreadableRequest(f"The body is not JSON: {error}") from None


def time_from_number(value: float) -> datetime | None:
    """Unix time in seconds or milliseconds (told apart by size); None when it is no time at all."""
    try:
        seconds = value / 1000 if abs(value) >= 100_000_000_000 else value
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
