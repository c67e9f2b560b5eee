"""What providers can do, declared by each plug-in: the core asks these questions and never names a provider."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
