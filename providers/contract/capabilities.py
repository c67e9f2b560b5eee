"""The capabilities that each plug-in declares. The core checks capabilities and never names a provider."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """The normalized action of an event. A plug-in maps each of its event types to the closest action."""

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
    """How a lease is renewed."""

    NONE = "none"  # subscriptions do not expire
    UPDATE = "update"  # an update extends it; if the expiry does not move, the subscription is replaced
    REPLACE = "replace"  # only a new registration has a new lease


class ExpirySetBy(StrEnum):
    """Who sets the length of a lease."""

    NOBODY = "nobody"
    PROVIDER = "provider"
    US = "us"


class Proof(StrEnum):
    """How inbound requests are authenticated."""

    HEADER = "header"  # a shared secret in a header
    HMAC = "hmac"
    RFC9421 = "rfc9421"
    URL = "url"  # only by the unguessable callback URL


class SecretMadeBy(StrEnum):
    """Who creates the secret that authenticates inbound requests."""

    US = "us"
    PROVIDER = "provider"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many calls one account may make; None if no limit is known."""

    per_second: float | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider's API can do."""

    can_list: bool  # there is a call that lists the registrations
    list_has_details: bool  # the list contains URL and config; if not, each unknown ID takes a details call
    reveals_url: bool  # some call returns the callback URL; without it, no registration can be adopted
    can_update: bool  # an existing registration can be changed in place
    can_set_status: bool  # an existing registration can be disabled and enabled
    update_may_enable: bool = False  # without a status call: an update may enable it again; if not, replace
    # Enabling a registration that the provider disabled resets its count of failures; if not, replace
    enabling_resets_failures: bool = True
    can_test: bool  # it sends a test webhook on request
    test_is_harmless: bool = False  # consumers do not mistake a test for a real event, so the scheduler may test
    can_identify: bool  # a call returns the owner of the credentials
    renewal: Renewal
    expiry_set_by: ExpirySetBy
    proof: Proof
    secret_made_by: SecretMadeBy
    requires_https: bool = False  # it refuses a callback URL that is not HTTPS
    methods: tuple[str, ...]  # HTTP methods of its webhook calls
    has_event_id: bool
    sends_files: bool = False  # a body may be a whole file: store headers and a prefix instead of responding 413
    immutable_fields: tuple[str, ...] = ()  # config fields that only a replacement can change
    case_insensitive_fields: tuple[str, ...] = ()  # config fields whose letter case the provider ignores
    success_statuses: tuple[int, ...] = (200,)  # response statuses that the provider counts as received
    answer_within: float = 10.0  # seconds after which the provider counts a webhook call as failed
    rate_limit: RateLimit = RateLimit()
    count_limit_by: tuple[str, ...] = ()  # identity facts; accounts equal in all of them share a limit on webhooks
    personal_data: str = ""  # which personal data its events contain, for operators; empty if unknown
    retention_days: int = 365  # suggested retention of its events
    notes: tuple[str, ...] = ()  # facts that are not confirmed, for operators


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type that a provider sends. `name` is the provider's own name."""

    name: str
    action: Action
    group: str  # heading in lists and forms
    label: str
    resource_type: str | None = None
    wildcard: bool = False  # can be subscribed to, but is never received
