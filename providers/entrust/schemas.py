"""Entrust's account settings, credentials and subscription config.

A setting marked `unconfirmed` stands for a fact that Entrust does not document; its default is the safest assumption.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from providers.contract.schemas import HOST_LABEL, VISIBLE_ASCII, AccountSettings, Credentials, SubscriptionConfig

MAX_EXPIRY_DAYS = 1000
MAX_EVENTS = 200
MAX_FILTER = 4000

_HOSTNAME = re.compile(rf"{HOST_LABEL.pattern}(?:\.{HOST_LABEL.pattern})+")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


def _hostname(value: str) -> str:
    host = value.lower()
    if len(host) > 253 or not _HOSTNAME.fullmatch(host):
        raise ValueError("must be a host name without https://, path or port, such as acme.us.trustedauth.com")
    return host


def _secret(value: str) -> str:
    if not VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the value from the downloaded file, without spaces or line breaks")
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
    """The account's host, and settings for facts that Entrust does not confirm."""

    hostname: Annotated[str, AfterValidator(_hostname)] = Field(
        title="Host name",
        description="Your account's host: `hostname` in the credentials file of the Administration API application.",
        examples=["acme.us.trustedauth.com"],
    )
    send_name: bool = Field(
        default=True,
        title="Send a name",
        description="Servers from version 5.46 on require a name for each webhook; older ones may refuse it. On: the"
        " name is sent, and omitted if the server does not know it. Off: it is never sent.",
        examples=[True],
        json_schema_extra={"unconfirmed": True},
    )
    signature_max_age: int = Field(
        default=6 * 3600,
        ge=0,
        le=31 * 86400,
        title="Maximum signature age (seconds)",
        description="Requests with an older signature are refused, because they may be a replay; 0 = any age. A"
        " signature from the future is always refused, one without a time of creation is accepted.",
        examples=[21600, 86400, 0],
        json_schema_extra={"unconfirmed": True},
    )
    accept_body_signature: bool = Field(
        default=False,
        title="Accept x-sha2-signature",
        description="Older servers send the HMAC-SHA256 of the body in the header x-sha2-signature instead of an"
        " RFC 9421 signature. It proves neither the address nor the time.",
        examples=[False],
        json_schema_extra={"unconfirmed": True},
    )
    key_form: Literal["auto", "text", "base64"] = Field(
        default="auto",
        title="Signing key format",
        description="`text`: the webhook's token is the key. `base64`: the key is the token decoded from base64."
        " `auto`: both are tried.",
        examples=["auto", "text", "base64"],
        json_schema_extra={"unconfirmed": True},
    )


class EntrustCredentials(Credentials):
    """The credentials of an Administration API application."""

    application_id: Annotated[str, AfterValidator(_secret)] = Field(
        title="Application ID",
        description="`applicationId` in the credentials file of an Administration API application.",
        examples=["ed97b9a0-8d11-4a4b-9f5c-8c2f0a3f6c11"],
        min_length=1,
    )
    shared_secret: Annotated[str, AfterValidator(_secret)] = Field(
        title="Shared secret",
        description="`sharedSecret` in the same file. The application's role needs the permissions WEBHOOKS:ADD,"
        " WEBHOOKS:VIEW, WEBHOOKS:EDIT and WEBHOOKS:REMOVE.",
        examples=["Qm9hcmRpbmctcGFzcy1mb3ItdGVzdHM"],
        min_length=1,
    )


class EventSelection(BaseModel):
    """One event type to receive, with an optional filter."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    type: Annotated[str, AfterValidator(_event_type)] = Field(
        title="Event type",
        description="For example user.created. Types that are not in the list are sent to Entrust as entered.",
        examples=["user.created"],
    )
    filter: Annotated[str, Field(max_length=MAX_FILTER), AfterValidator(_filter)] | None = Field(
        default=None,
        title="Filter",
        description="JSON text, as Entrust documents it for the event type; empty for all events.",
        examples=['[{"enrollmentDesignId": "5d0e9a3c-2a51-4a0e-9a44-0f5d6d1c7b21"}]'],
    )


class EntrustConfig(SubscriptionConfig):
    """The events to receive, and the lifetime of a registration."""

    events: tuple[EventSelection, ...] = Field(
        title="Events",
        description="Event types, each with a filter if Entrust supports one for the type. An empty list means all.",
        examples=[[{"type": "user.created"}, {"type": "authentication.failed"}], []],
        max_length=MAX_EVENTS,
    )
    expiry_days: int = Field(
        default=0,
        ge=0,
        le=MAX_EXPIRY_DAYS,
        title="Expiry (days)",
        description=f"Days until the registration expires, at most {MAX_EXPIRY_DAYS}; Hookkeeper renews it before."
        " 0 = it never expires.",
        examples=[0, 90],
    )
