"""Account settings, credentials and subscription config of Egnyte MSP.

A setting marked `unconfirmed` stands for a fact on which Egnyte's documents disagree or say nothing; its default is the
safest assumption.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from providers.contract.schemas import (
    HOST_LABEL,
    AccountSettings,
    BearerToken,
    Credentials,
    HeaderName,
    SubscriptionConfig,
    unique,
)

API_HOST = "egnyte.com"

_EVENT_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
# Headers that HTTP itself uses: setting them would break the call.
_RESERVED_HEADERS = frozenset(
    {"accept", "connection", "content-length", "content-type", "expect", "host", "transfer-encoding", "upgrade"}
)


def _check_domain(value: str) -> str:
    host = value.lower()
    label = host.partition(".")[0]
    if not HOST_LABEL.fullmatch(label) or host not in (label, f"{label}.{API_HOST}"):
        raise ValueError("must be the NFR domain's name (acme) or its API host (acme.egnyte.com)")
    return host


def _check_not_reserved(value: str) -> str:
    if value.lower() in _RESERVED_HEADERS:
        raise ValueError("is used by HTTP itself; choose another name, such as X-Hook-Key")
    return value


def _check_event_type(value: str) -> str:
    if not _EVENT_TYPE.fullmatch(value):
        raise ValueError("must be in capitals, such as RESELLER_MRR_CHANGED")
    return value


class MspSettings(AccountSettings):
    """The NFR domain, and settings for facts that are unconfirmed by Egnyte."""

    domain: Annotated[str, AfterValidator(_check_domain)] = Field(
        title="NFR domain",
        description="Your not-for-resale domain: the name before .egnyte.com, or the full API host.",
        examples=["acme", "acme.egnyte.com"],
    )
    auth_header_name: Annotated[HeaderName, AfterValidator(_check_not_reserved)] = Field(
        default="X-Hook-Key",
        title="Auth header name",
        description="The header in which Egnyte sends the secret. A change is registered at Egnyte with the next sync"
        " of details.",
        examples=["X-Hook-Key", "Authorization"],
    )
    event_types_field: Literal["eventTypes", "event_types"] = Field(
        default="eventTypes",
        title="Name of the event types field",
        description="The name of the list of event types in registrations. Egnyte's schema says eventTypes, its"
        " sample event_types. Change it if Egnyte refuses the field or ignores the list.",
        examples=["eventTypes", "event_types"],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_second: float = Field(
        default=2,
        gt=0,
        le=100,
        title="Calls per second",
        description="The limit of this access token. The usual limit of Egnyte's APIs is 2.",
        examples=[2],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_day: int = Field(
        default=1000,
        ge=0,
        le=10_000_000,
        title="Calls per day",
        description="The limit of this access token. The usual limit of Egnyte's APIs is 1000; 0 means no limit.",
        examples=[1000, 0],
        json_schema_extra={"unconfirmed": True},
    )


class MspCredentials(Credentials):
    """An OAuth access token of an approved MSP partner."""

    access_token: BearerToken = Field(
        title="Access token",
        description="OAuth access token of your MSP application, for a user of the NFR domain with the same email"
        " address as in the MSP portal.",
        examples=["v9hkcgzy2mbfxwqsnw4kzpmt"],
        min_length=1,
    )


class MspConfig(SubscriptionConfig):
    """The events to subscribe to."""

    event_types: Annotated[tuple[Annotated[str, AfterValidator(_check_event_type)], ...], AfterValidator(unique)] = (
        Field(
            title="Event types",
            description="At least one; there are no wildcards. Types that are not listed here are sent as entered.",
            examples=[["RESELLER_MRR_CHANGED", "USER_ADDED"]],
            min_length=1,
        )
    )
