"""What staff enter for Entrust: account settings, credentials and subscription config.

A setting marked `unconfirmed` stands for a fact that Entrust does not document; its default is the safest assumption.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from providers.contract.schemas import AccountSettings, Credentials, SubscriptionConfig

MAX_EXPIRY_DAYS = 1000
MAX_EVENTS = 200
MAX_FILTER = 4000

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


def _hostname(value: str) -> str:
    host = value.lower()
    if len(host) > 253 or not _HOSTNAME.fullmatch(host):
        raise ValueError("must be a host name alone, such as acme.us.trustedauth.com: no https://, no path, no port")
    return host


def _secret(value: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the value alone, as in the downloaded file: no blanks, no line breaks")
    return value


def _event_type(value: str) -> str:
    if not _EVENT_TYPE.fullmatch(value):
        raise ValueError("must be the name of an event type, such as user.created")
    return value


def _filter(value: str) -> str | None:
    if not value:
        return None
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('must be JSON, such as [{"enrollmentDesignId": "..."}]') from None
    return value


class EntrustSettings(AccountSettings):
    """Where the account lives, and what Entrust leaves open."""

    hostname: Annotated[str, AfterValidator(_hostname)] = Field(
        title="Host name",
        description="Of your account, as `hostname` in the credentials file of the Administration API application.",
        examples=["acme.us.trustedauth.com"],
    )
    send_name: bool = Field(
        default=True,
        title="Send a name",
        description="Newer servers (5.46 on) want a name with each webhook, older ones may refuse it. On: it is sent,"
        " and left out when the server does not know it. Off: it is never sent.",
        examples=[True],
        json_schema_extra={"unconfirmed": True},
    )
    signature_max_age: int = Field(
        default=0,
        ge=0,
        le=31 * 86400,
        title="Oldest signature (seconds)",
        description="Webhook requests whose signature was created longer ago than this are refused; 0 = any age."
        " With an age set, signatures must say when they were created.",
        examples=[0, 86400],
        json_schema_extra={"unconfirmed": True},
    )
    key_form: Literal["auto", "text", "base64"] = Field(
        default="auto",
        title="Form of the signing key",
        description="`text`: the webhook's token as it stands is the key. `base64`: what it decodes to is."
        " `auto`: both are tried.",
        examples=["auto", "text", "base64"],
        json_schema_extra={"unconfirmed": True},
    )


class EntrustCredentials(Credentials):
    """An Administration API application."""

    application_id: Annotated[str, AfterValidator(_secret)] = Field(
        title="Application ID",
        description="`applicationId` in the credentials file of an Administration API application.",
        examples=["ed97b9a0-8d11-4a4b-9f5c-8c2f0a3f6c11"],
        min_length=1,
    )
    shared_secret: Annotated[str, AfterValidator(_secret)] = Field(
        title="Shared secret",
        description="`sharedSecret` in the same file. The application's role needs the permissions WEBHOOKS:ADD, VIEW,"
        " EDIT and REMOVE.",
        examples=["Qm9hcmRpbmctcGFzcy1mb3ItdGVzdHM"],
        min_length=1,
    )


class WantedEvent(BaseModel):
    """One kind of event that is wanted, perhaps only where a filter fits."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    type: Annotated[str, AfterValidator(_event_type)] = Field(
        title="Event type",
        description="Such as user.created. Types that are not listed here are passed on as typed.",
        examples=["user.created"],
    )
    filter: Annotated[str, Field(max_length=MAX_FILTER), AfterValidator(_filter)] | None = Field(
        default=None,
        title="Filter",
        description="Text that holds JSON, as Entrust documents it for that event type; empty for all events.",
        examples=['[{"enrollmentDesignId": "5d0e9a3c-2a51-4a0e-9a44-0f5d6d1c7b21"}]'],
    )


class EntrustConfig(SubscriptionConfig):
    """Which events are wanted, and how long a registration is to live."""

    events: tuple[WantedEvent, ...] = Field(
        title="Events",
        description="Event types, each with a filter where Entrust knows one for it.",
        examples=[[{"type": "user.created"}, {"type": "authentication.failed"}]],
        min_length=1,
        max_length=MAX_EVENTS,
    )
    expiry_days: int = Field(
        default=0,
        ge=0,
        le=MAX_EXPIRY_DAYS,
        title="Expiry (days)",
        description=f"Days until Entrust ends the registration unless it is renewed, which is done in time; at most"
        f" {MAX_EXPIRY_DAYS}. 0 = it never expires.",
        examples=[0, 90],
    )
