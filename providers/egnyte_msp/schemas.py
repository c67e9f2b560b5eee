"""What staff enter for Egnyte MSP: account settings, credentials and subscription config.

A setting marked `unconfirmed` stands for a fact on which Egnyte's documents disagree or say nothing; its default is the
safest assumption.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from providers.contract.schemas import AccountSettings, Credentials, SubscriptionConfig

API_HOST = "egnyte.com"

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_EVENT_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
# Headers with a meaning of their own in every HTTP call: whoever sets them breaks it.
_TAKEN_HEADERS = frozenset(
    {"accept", "connection", "content-length", "content-type", "expect", "host", "transfer-encoding", "upgrade"}
)


def _domain(value: str) -> str:
    host = value.lower()
    label = host.partition(".")[0]
    if not _LABEL.fullmatch(label) or host not in (label, f"{label}.{API_HOST}"):
        raise ValueError("must be the NFR domain's name (acme) or its API host (acme.egnyte.com)")
    return host


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of an HTTP header, such as X-Hook-Key")
    if value.lower() in _TAKEN_HEADERS:
        raise ValueError("has a meaning of its own in HTTP; take another one, such as X-Hook-Key")
    return value


def _token(value: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the token alone: no blanks, no line breaks, no `Bearer` before it")
    return value


def _event_type(value: str) -> str:
    if not _EVENT_TYPE.fullmatch(value):
        raise ValueError("must be in capitals, such as RESELLER_MRR_CHANGED")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


class MspSettings(AccountSettings):
    """Where the account lives, and what Egnyte leaves open."""

    domain: Annotated[str, AfterValidator(_domain)] = Field(
        title="NFR domain",
        description="Your not-for-resale domain: the name before .egnyte.com, or the full API host.",
        examples=["acme", "acme.egnyte.com"],
    )
    auth_header_name: Annotated[str, AfterValidator(_header_name)] = Field(
        default="X-Hook-Key",
        title="Auth header name",
        description="The header in which Egnyte is told to send the secret. A change is registered at Egnyte with the"
        " next look at the details.",
        examples=["X-Hook-Key", "Authorization"],
    )
    event_types_field: Literal["eventTypes", "event_types"] = Field(
        default="eventTypes",
        title="Name of the event types field",
        description="How the list of event types is called when we register. Egnyte's schema says eventTypes, its"
        " sample event_types. Change it when Egnyte refuses the one or ignores the list.",
        examples=["eventTypes", "event_types"],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_second: float = Field(
        default=2,
        gt=0,
        le=100,
        title="Calls per second",
        description="What Egnyte grants this access token. The usual limit of its APIs is 2.",
        examples=[2],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_day: int = Field(
        default=1000,
        ge=0,
        le=10_000_000,
        title="Calls per day",
        description="What Egnyte grants this access token. The usual limit of its APIs is 1000; 0 means no limit.",
        examples=[1000, 0],
        json_schema_extra={"unconfirmed": True},
    )


class MspCredentials(Credentials):
    """An OAuth access token of an approved MSP partner."""

    access_token: Annotated[str, AfterValidator(_token)] = Field(
        title="Access token",
        description="OAuth access token of your MSP application, for a user of the NFR domain whose e-mail address is"
        " also that of the MSP portal.",
        examples=["v9hkcgzy2mbfxwqsnw4kzpmt"],
        min_length=1,
    )


class MspConfig(SubscriptionConfig):
    """Which events are wanted."""

    event_types: Annotated[tuple[Annotated[str, AfterValidator(_event_type)], ...], AfterValidator(_unique)] = Field(
        title="Event types",
        description="At least one; there are no wildcards. Types that are not listed here are passed on as typed.",
        examples=[["RESELLER_MRR_CHANGED", "USER_ADDED"]],
        min_length=1,
    )
