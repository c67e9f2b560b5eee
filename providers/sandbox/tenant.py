"""The state of one login at a simulator: webhooks, faults, options, and deliveries. Independent of Django."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from providers.sandbox.rewriting import ShownForm
from providers.times import iso_time


class LoginName(StrEnum):
    """The two logins that every simulator has."""

    SPARE = "spare"
    DEMO = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLogin:
    """Settings and credentials of an account at a simulator, in the form of the plug-in's models."""

    login: LoginName
    settings: Mapping[str, object]
    credentials: Mapping[str, str]


OddEvent = Literal["none", "half_character", "not_a_number", "huge_number", "deep"]
BodyEncoding = Literal["utf-8", "byte-order-mark", "two-byte-order-marks", "utf-16"]


class Options(ShownForm):
    """The options of a simulator. Subclasses add their own; every option has a default."""

    # The length of a lease, unused if nothing expires. A negative one is over as soon as it is granted.
    lease_seconds: float = Field(default=90.0, ge=-86400, le=10 * 365 * 86400)
    list_lag_seconds: float = Field(default=0.0, ge=0, le=3600)  # until a new webhook is listed
    read_lag_seconds: float = Field(default=0.0, ge=0, le=3600)  # until a new webhook is found by its ID
    list_limit: int | None = Field(default=None, ge=0)  # of webhooks; a longer list is cut without a word
    list_answer: Literal["right", "html", "null", "missing"] = "right"
    odd_entry: bool = False  # the list begins with somebody else's webhook that has an ID and unusable fields
    update_status: int | None = Field(default=None, ge=400, le=599)  # of every update, which has no effect
    forgets_updates: bool = False  # accepts them, but only the lease changes
    registration_status: int | None = Field(default=None, ge=400, le=599)  # of registrations, which take effect
    one_for_a_url: bool = False  # a second webhook with the same callback URL is refused with 409
    retry_delays: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = (2.0, 5.0, 15.0)
    failures_until_disabled: int = Field(default=5, ge=1)
    odd_event: OddEvent = "none"  # an odd value in the first event of each webhook call
    body_encoding: BodyEncoding = "utf-8"  # of JSON and form bodies


class Fault(BaseModel):
    """A failure of the next API calls of a login. Exactly one kind is given; it applies `times` times in a row.

    - `status`: respond with this status and the provider's error body; no effect. `retry_after` adds that header.
    - `timeout`: the call TAKES EFFECT, but the connection is closed without a response after that many seconds.
    - `drop`: true = the call takes effect and the connection is closed without a response; "before" = no effect.
    - `redirect`: respond with 302; no effect.
    - `garbage`: the call takes effect; the response is 200 with broken JSON.
    - `huge`: the call takes effect; the response is 200 with 10 MB of JSON.

    `times: 0` needs no kind and clears the pending faults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    status: int | None = Field(default=None, ge=200, le=599)
    retry_after: int | str | None = None
    timeout: float | None = Field(default=None, gt=0, le=600)
    drop: Literal["before"] | bool = False
    redirect: bool = False
    garbage: bool = False
    huge: bool = False
    times: int = Field(default=1, ge=0, le=1000)

    @model_validator(mode="after")
    def _one_kind(self) -> Fault:
        kinds = ("status", "timeout", "drop", "redirect", "garbage", "huge")
        if self.times and sum(bool(getattr(self, kind)) for kind in kinds) != 1:
            raise ValueError(f"exactly one of {', '.join(kinds)} is needed")
        return self


@dataclass(slots=True, kw_only=True)
class Hook:
    """A webhook registered at the simulator. Times are Unix seconds; `failures` counts failed deliveries in a row."""

    remote_id: str
    url: str
    enabled: bool = True
    expires_at: float | None = None
    created_at: float = field(default_factory=time.time)
    failures: int = 0

    def is_live(self, now: float) -> bool:
        """Return whether events are sent to it."""
        return self.enabled and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event at a tenant. Path filters check `paths`; without paths they do not apply."""

    id: str
    type: str
    body: Mapping[str, object]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events in one webhook call; `number` counts the attempts from 1."""

    login: LoginName
    remote_id: str
    events: tuple[Event, ...]
    number: int = 1
    bad_signature: bool = False
    due_at: float = 0.0

    def describe(self) -> dict[str, object]:
        """Return what `state` shows of a batch that waits for a retry."""
        return {
            "remote_id": self.remote_id,
            "login": self.login,
            "event_ids": [event.id for event in self.events],
            "attempt": self.number,
            "due_at": iso(self.due_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt to deliver a batch and its outcome. `next_at` is the time of the retry."""

    batch: Batch
    at: float
    status: int | None
    failure: str | None
    next_at: float | None

    def summary(self) -> dict[str, object]:
        """Return what `emit` returns."""
        return {
            "remote_id": self.batch.remote_id,
            "event_ids": [event.id for event in self.batch.events],
            "status": self.status,
        }

    def describe(self) -> dict[str, object]:
        """Return what `state` shows."""
        return {
            **self.summary(),
            "login": self.batch.login,
            "event_types": [event.type for event in self.batch.events],
            "attempt": self.batch.number,
            "bad_signature": self.batch.bad_signature,
            "failure": self.failure,
            "at": iso(self.at),
            "next_attempt_at": iso(self.next_at),
        }


H = TypeVar("H", bound=Hook)
O = TypeVar("O", bound=Options)  # noqa: E741 - H and O, as hooks and options


@dataclass(slots=True, kw_only=True)
class Tenant(Generic[H, O]):
    """Everything that belongs to one login."""

    login: LoginName
    account: SandboxLogin
    options: O
    per_minute: float
    hooks: dict[str, H] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    retries: list[Batch] = field(default_factory=list)
    upcoming_types: list[str] = field(default_factory=list)  # event types to send before any is sent again
    next_event_at: float = 0.0
    in_flight: int = 0

    def live_hooks(self) -> list[H]:
        """Return the webhooks that receive events now."""
        now = time.time()
        return [hook for hook in self.hooks.values() if hook.is_live(now)]


def iso(moment: float | None) -> str | None:
    """Return Unix seconds as `2026-01-02T03:04:05.123Z`."""
    if moment is None:
        return None
    return iso_time(datetime.fromtimestamp(moment, tz=UTC))
