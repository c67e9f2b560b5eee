"""What one login owns at a simulator: webhooks, faults, options, a call budget, events on their way. No Django here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from providers.times import iso_time


class LoginName(StrEnum):
    """The two logins that every simulator has."""

    SPARE = "spare"
    DEMO = "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLogin:
    """What an account needs to use a simulator: settings and credentials as the plug-in's models take them."""

    login: LoginName
    settings: Mapping[str, object]
    credentials: Mapping[str, str]


class Options(BaseModel):
    """A simulator's own knobs. Subclasses add theirs; every one has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lease_seconds: float = Field(default=90.0, gt=0, le=10 * 365 * 86400)  # unused where nothing expires
    retry_delays: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = (2.0, 5.0, 15.0)
    failures_until_disabled: int = Field(default=5, ge=1)


class Fault(BaseModel):
    """What goes wrong with the next management calls of a login. Exactly one kind, `times` times in a row:

    - `status`: this status, in the provider's error envelope; the call has no effect. `retry_after` adds that header.
    - `timeout`: the call TAKES EFFECT, then nothing for so many seconds, then the connection is closed: the nasty case.
    - `drop`: true = the call takes effect and the connection is closed without an answer; "before" = it has no effect.
    - `redirect`: 302; no effect.
    - `garbage`: the call takes effect, the answer is 200 with broken JSON.
    - `huge`: the call takes effect, the answer is 200 with 10 MB of JSON.

    `times: 0` needs no kind and clears what is still pending.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    status: int | None = Field(default=None, ge=200, le=599)
    retry_after: int | None = Field(default=None, ge=0)
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
    """A webhook registered at the simulator. Times are Unix seconds; `failures` are permanent ones in a row."""

    remote_id: str
    url: str
    enabled: bool = True
    expires_at: float | None = None
    created_at: float = field(default_factory=time.time)
    failures: int = 0

    def is_live(self, now: float) -> bool:
        """Whether events are sent to it."""
        return self.enabled and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened at a tenant. `paths` are what path filters look at; none means that they do not apply."""

    id: str
    type: str
    body: Mapping[str, object]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events on their way to one webhook; `number` counts the tries from 1."""

    login: LoginName
    remote_id: str
    events: tuple[Event, ...]
    number: int = 1
    bad_signature: bool = False
    due_at: float = 0.0

    def describe(self) -> dict[str, object]:
        """What `state` shows of one that waits for another try."""
        return {
            "remote_id": self.remote_id,
            "login": self.login,
            "event_ids": [event.id for event in self.events],
            "attempt": self.number,
            "due_at": iso(self.due_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One try to deliver a batch and how it ended. `next_at` is when it is tried again."""

    batch: Batch
    at: float
    status: int | None
    failure: str | None
    next_at: float | None

    def summary(self) -> dict[str, object]:
        """What `emit` answers."""
        return {
            "remote_id": self.batch.remote_id,
            "event_ids": [event.id for event in self.batch.events],
            "status": self.status,
        }

    def describe(self) -> dict[str, object]:
        """What `state` shows."""
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
    upcoming_types: list[str] = field(default_factory=list)  # event types still to come before any comes again
    next_event_at: float = 0.0
    in_flight: int = 0

    def live_hooks(self) -> list[H]:
        """The webhooks that get events now."""
        now = time.time()
        return [hook for hook in self.hooks.values() if hook.is_live(now)]


class OverBudget(StrEnum):
    """Which limit a call went over."""

    PER_SECOND = "per_second"
    PER_DAY = "per_day"


class CallBudget:
    """The calls that one token may make: a token bucket per second and a quota per day (None = no limit)."""

    # Calls spaced exactly at the limit arrive a little unevenly; a tenth of a call is forgiven, never earned.
    GRACE = 0.1

    def __init__(self) -> None:
        now = time.time()
        self.tokens: float | None = None  # None: the bucket is full
        self.refilled_at = now
        self.used_today = 0
        self.day_ends_at = now + 86400

    def take(self, *, per_second: float | None, per_day: int | None) -> OverBudget | None:
        """Counts one call, or tells which limit refuses it."""
        now = time.time()
        if now >= self.day_ends_at:
            self.used_today, self.day_ends_at = 0, now + 86400
        if per_day is not None and self.used_today >= per_day:
            return OverBudget.PER_DAY
        if per_second is not None:
            capacity = max(1.0, per_second)
            earned = max(0.0, now - self.refilled_at) * per_second
            self.tokens = min(capacity, (capacity if self.tokens is None else self.tokens) + earned)
            self.refilled_at = now
            if self.tokens < 1 - self.GRACE:
                return OverBudget.PER_SECOND
            self.tokens -= 1
        self.used_today += 1
        return None

    def age(self, seconds: float) -> None:
        """As if so much time had passed."""
        self.refilled_at -= seconds
        self.day_ends_at -= seconds


def iso(moment: float | None) -> str | None:
    """Unix seconds as `2026-01-02T03:04:05.123Z`."""
    if moment is None:
        return None
    return iso_time(datetime.fromtimestamp(moment, tz=UTC))
