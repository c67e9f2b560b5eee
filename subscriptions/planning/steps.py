"""A plan and its steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StepAction(StrEnum):
    """What a step does at the provider. Each one except `adopt` is exactly one changing call."""

    REGISTER = "register"
    UPDATE = "update"
    ENABLE = "enable"
    DISABLE = "disable"
    RENEW = "renew"
    REPLACE = "replace"  # registers a new one beside the old one, which a delete step of its own removes
    ADOPT = "adopt"
    DELETE = "delete"


class Wait(StrEnum):
    """Why a needed step is postponed."""

    ADDRESS = "address"  # PUBLIC_URL differs from the address that the callback URL was made for
    ELSEWHERE = "elsewhere"  # the provider has our token at another address
    PAUSE = "pause"  # the pause before a suspended one is enabled again
    RECEIVER = "receiver"  # our own receiver does not answer
    ABSENT = "absent"  # the provider does not show the registration, which may be a delay
    REGISTRATION = "registration"  # an earlier registration may still appear
    LOST = "lost"  # the provider lost it too often
    UNKEPT = "unkept"  # the provider accepts a change and does not keep it
    CLOCK = "clock"  # the lease was over when it was granted
    GAVE_UP = "gave_up"  # the provider suspended it too often
    LEASE_ENDED = "lease_ended"  # and automatic renewal is off


@dataclass(frozen=True, slots=True)
class Change:
    """One field that a step changes. Secrets are shown as `***`."""

    field: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Step:
    """One step, its reason as a sentence, and the remote ID that it concerns (None for a new registration)."""

    action: StepAction
    reason: str
    remote_id: str | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in order.

    `waiting` explains as a sentence why a needed step is not done now, `wait` is the reason as a code, and
    `not_before` is when it may be done. `accepts` are changes made at the provider that become the desired state
    before the steps are applied.
    """

    steps: tuple[Step, ...] = ()
    waiting: str | None = None
    not_before: datetime | None = None
    wait: Wait | None = None
    accepts: tuple[Change, ...] = ()
