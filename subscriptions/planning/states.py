"""The two inputs of a plan: the desired state and the observed state of a subscription."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from providers.contract.base import RemoteSubscription


class DriftPolicy(StrEnum):
    """What to do when the config was changed at the provider.

    A changed callback URL or secret is never accepted: where the config would be accepted, they are reverted.
    """

    REVERT = "put_back"
    ACCEPT = "accept"  # the remote value becomes the desired one
    REPORT = "report"  # only shown; nothing is changed at the provider


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """The registration that people want. `config` is canonical.

    `address_confirmed` is false when the callback URL was made for a PUBLIC_URL other than the current one, and the new
    address has not been confirmed.
    """

    present: bool
    enabled: bool
    auto_renew: bool
    by_api: bool
    callback_url: str
    config: Mapping[str, object]
    case_insensitive_fields: Sequence[str] = ()  # of the config
    former_urls: Sequence[str] = ()
    renew_now: bool = False
    address_confirmed: bool = True
    drift_policy: DriftPolicy = DriftPolicy.REVERT


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedState:
    """What the provider has, and what earlier passes learned.

    `remotes` are all registrations that carry our token; `current_id` is the one that our row refers to.
    `agreed_config` is the config on which both sides last agreed: a remote value that differs from it was changed at
    the provider, a desired value that differs from it was changed here and has to be sent.
    """

    remotes: tuple[RemoteSubscription, ...] = ()
    current_id: str | None = None
    granted: timedelta | None = None  # length of the lease when it began
    renews_in_place: bool | None = None  # None: not known yet
    update_enables: bool | None = None  # None: not known yet
    replace_refused: bool = False  # the provider has no room for a second registration
    secret_for: str | None = None  # the remote ID whose provider-generated secret we hold
    secret_set: bool = True  # the current registration was given the current secret
    we_disabled: bool = False  # we disabled it ourselves
    enable_not_before: datetime | None = None
    suspended_count: int = 0  # suspensions by the provider in a row
    gave_up: bool = False  # suspended too often; only a person enables it again
    agreed_config: Mapping[str, object] | None = None
    absence_settles_at: datetime | None = None  # until then, not finding the current one does not mean that it is gone
    registration_settles_at: datetime | None = None  # until then, an earlier registration may still appear
    losses: int = 0  # times within an hour that the provider had lost it
    over_at_once_until: datetime | None = None  # the lease was over when it was granted; until then it is not replaced
    unkept_digest: str | None = None  # of changes that the provider accepted often enough, and did not keep
    pending: bool = False  # the desired state was changed and is not applied yet
    spread: float = 0.0  # 0 to 1, fixed per subscription: spreads renewals over time
