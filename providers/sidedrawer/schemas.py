"""SideDrawer's account settings, credentials and subscription config.

SideDrawer publishes the fields of a webhook subscription, but neither the paths nor the HTTP methods that manage it.
Unconfirmed facts are settings marked `unconfirmed`, whose defaults are the safest assumptions.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from providers.contract.schemas import (
    VISIBLE_ASCII,
    AccountSettings,
    Credentials,
    HeaderName,
    Origin,
    SubscriptionConfig,
    unique,
)
from providers.sidedrawer.resources import RESOURCES, resource_of
from providers.times import iso_time

SOCKET = "SOCKET"
COLLECTION_PATH = "/api/v1/webhooks"
ITEM_PATH = "/api/v1/webhooks/{id}"

_PLACEHOLDER = re.compile(r"\{([^{}/]*)\}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_JSON_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NOT_IN_A_PATH = re.compile(r"[\s?#%\\]")


# -- Checks --------------------------------------------------------------------------------------------------------


def _tenant_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("must be the tenant's ID: letters, digits, `.`, `_` and `-` only")
    return value


def _path_template(value: str) -> str:
    bare = _PLACEHOLDER.sub("x", value)
    if not value.startswith("/") or not VISIBLE_ASCII.fullmatch(value) or re.search(r"[?#\\{}]|//", bare):
        raise ValueError(f"must be a path such as {ITEM_PATH}, without host and query")
    if any(part in (".", "..") for part in value.split("/")):
        raise ValueError("must not contain . or .. as a folder")
    return value


def _collection_path(value: str) -> str:
    unknown = set(_PLACEHOLDER.findall(_path_template(value))) - {"tenantId"}
    if unknown:
        raise ValueError("may contain the placeholder {tenantId} and no other")
    return value


def _item_path(value: str) -> str:
    names = _PLACEHOLDER.findall(_path_template(value))
    if names.count("id") != 1 or set(names) - {"id", "tenantId"}:
        raise ValueError("must contain the placeholder {id} once, and may contain {tenantId}")
    return value


def _json_key(value: str) -> str:
    if not _JSON_KEY.fullmatch(value):
        raise ValueError("must be the name of a JSON field, such as id")
    return value


def _none_for_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _secret(value: str | None) -> str | None:
    if value is not None and not VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the value alone, without spaces, line breaks and `Bearer`")
    return value


def _resource(value: str) -> str:
    path = value.strip("/")
    placeholders = re.findall(r"\{\w*\}", path)
    if placeholders:
        raise ValueError(f"replace {placeholders[0]} by the ID")
    if "//" in path or any(part in (".", "..") for part in path.split("/")):
        raise ValueError("contains an empty ID")
    if _NOT_IN_A_PATH.search(path) or not path.isprintable() or "{" in path or "}" in path:
        raise ValueError("must not contain spaces, control characters, `?`, `#`, `%`, `\\`, `{` or `}`")
    if resource_of(path) is None:
        raise ValueError(
            "is not one of SideDrawer's resources. Fill in the IDs of one of: "
            + ", ".join(resource.template for resource in RESOURCES)
        )
    return path


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _time(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return iso_time(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its offset, such as 2030-01-01T00:00:00Z")


OptionalText = Annotated[str | None, BeforeValidator(_none_for_blank)]
OptionalSecret = Annotated[str | None, BeforeValidator(_none_for_blank), AfterValidator(_secret)]


# -- The models ----------------------------------------------------------------------------------------------------


class SideDrawerSettings(AccountSettings):
    """The tenant and its environment, and settings for facts that SideDrawer does not confirm."""

    tenant_id: Annotated[str, AfterValidator(_tenant_id)] = Field(
        title="Tenant ID",
        description="The tenant of the credentials, as in resource paths: tenant/<this ID>/...",
        examples=["64b7f0c2a1d3e40012ab34cd"],
    )
    environment: Literal["production", "sandbox"] = Field(
        default="production",
        title="Environment",
        description="SideDrawer's production (api.sidedrawer.com) or its sandbox (api-sbx.sidedrawersbx.com).",
        examples=["production", "sandbox"],
    )
    login_url: Origin | None = Field(
        default=None,
        title="Login gateway",
        description="Host of the call that exchanges client ID and client secret for a token. Empty: the tenant gateway"
        " of the environment, or the base URL if there is one. Only the sandbox's gateway is confirmed.",
        examples=["https://tenants-gateway-api-sbx.sidedrawersbx.com"],
        json_schema_extra={"unconfirmed": True},
    )
    collection_path: Annotated[str, AfterValidator(_collection_path)] = Field(
        default=COLLECTION_PATH,
        title="Collection path",
        description="The path at which webhooks are listed (GET) and registered (POST). SideDrawer does not publish it;"
        " ask their support. {tenantId} is replaced by the tenant ID.",
        examples=[COLLECTION_PATH, "/api/v1/tenants/tenant-id/{tenantId}/webhooks"],
        json_schema_extra={"unconfirmed": True},
    )
    item_path: Annotated[str, AfterValidator(_item_path)] = Field(
        default=ITEM_PATH,
        title="Item path",
        description="The path at which one webhook is read (GET), changed and deleted (DELETE). SideDrawer does not"
        " publish it. {id} is replaced by the webhook's ID, {tenantId} by the tenant ID.",
        examples=[ITEM_PATH],
        json_schema_extra={"unconfirmed": True},
    )
    update_verb: Literal["PUT", "PATCH", "POST"] = Field(
        default="PUT",
        title="Update method",
        description="The HTTP method that changes and renews a webhook; the whole webhook is sent. SideDrawer's other"
        " calls use PUT. If it is refused, a new webhook is registered and the old one deleted.",
        examples=["PUT"],
        json_schema_extra={"unconfirmed": True},
    )
    modification_type_case: Literal["lower", "capitalised"] = Field(
        default="lower",
        title="Case of the modification",
        description="SideDrawer's text says `create`, its sample `Create`. Responses are read in any case.",
        examples=["lower", "capitalised"],
        json_schema_extra={"unconfirmed": True},
    )
    id_fields: Annotated[tuple[Annotated[str, AfterValidator(_json_key)], ...], AfterValidator(unique)] = Field(
        default=("id", "_id", "subscriptionId", "webhookId"),
        title="ID fields",
        description="The first of these fields that a webhook in a response has is its ID.",
        examples=[["id", "_id", "subscriptionId", "webhookId"]],
        min_length=1,
        max_length=20,
        json_schema_extra={"unconfirmed": True},
    )
    integrity_header: HeaderName = Field(
        default="integrityHash",
        title="Integrity header",
        description="The header in which SideDrawer sends the HMAC-SHA256 of the body, case-insensitive. If the hash"
        " arrives in another header, the reason of the rejected request names it.",
        examples=["integrityHash"],
        json_schema_extra={"unconfirmed": True},
    )
    accept_compact_json: bool = Field(
        default=False,
        title="Accept the hash of compact JSON",
        description="If the hash does not match the body, compare it with the body serialized as compact JSON. Needed"
        " only if SideDrawer signs the body before formatting it.",
        examples=[False],
        json_schema_extra={"unconfirmed": True},
    )


class SideDrawerCredentials(Credentials):
    """Client ID and client secret, or an access token: exactly one of the two."""

    client_id: OptionalSecret = Field(
        default=None,
        title="Client ID",
        description="Of an application of the tenant. With client ID and secret, Hookkeeper obtains and renews tokens.",
        examples=["sd-app-5b1f0c2e"],
        max_length=500,
    )
    client_secret: OptionalSecret = Field(
        default=None,
        title="Client secret",
        description="The secret of the client ID.",
        examples=["Zk3vQ0bYt7uN2xW9"],
        max_length=2000,
        validate_default=True,
    )
    access_token: OptionalSecret = Field(
        default=None,
        title="Access token",
        description="A bearer token of a user or application of the tenant, without `Bearer`. When it expires, you have"
        " to enter a new one; with client ID and secret, tokens are renewed automatically.",
        examples=["eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJleGFtcGxlIn0.c2lnbmF0dXJl"],
        max_length=20_000,
        validate_default=True,
    )

    @field_validator("client_secret")
    @classmethod
    def _both_or_none(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "client_id" in info.data and bool(value) != bool(info.data["client_id"]):
            raise ValueError(f"enter the client {'ID' if value else 'secret'} as well: both are required")
        return value

    @field_validator("access_token")
    @classmethod
    def _one_kind(cls, value: str | None, info: ValidationInfo) -> str | None:
        client = info.data.get("client_id")
        if value and client:
            raise ValueError("enter either an access token, or client ID and client secret; clear the other fields")
        if not value and not client and {"client_id", "client_secret"} <= info.data.keys():
            raise ValueError("enter an access token, or client ID and client secret")
        return value


class SideDrawerConfig(SubscriptionConfig):
    """The resource and modifications to watch, and the lifetime to request."""

    resource: Annotated[str, AfterValidator(_resource)] = Field(
        title="Resource",
        description="One of SideDrawer's 13 resource paths with the IDs filled in; the form lists the templates.",
        examples=[
            "tenant/64b7f0c2a1d3e40012ab34cd/sidedrawer",
            "tenant/64b7f0c2a1d3e40012ab34cd/sidedrawer/64b7f0c2a1d3e40012ab0001/record",
        ],
        max_length=1000,
        json_schema_extra={
            "templates": [
                {"template": resource.template, "label": resource.label, "doubt": resource.doubt}
                for resource in RESOURCES
            ]
        },
    )
    modification_type: Annotated[Literal["any", "create", "update", "delete"], BeforeValidator(_lower)] = Field(
        title="Modification",
        description="The modifications to report. Not every resource accepts all four, and SideDrawer's table is not"
        " clear in every row: all four are offered, and SideDrawer's error is shown.",
        examples=["any", "create"],
    )
    connection_type: Annotated[Literal["HTTP", "SOCKET"], BeforeValidator(_upper)] = Field(
        default="HTTP",
        title="Connection",
        description="HTTP: events are sent to the callback URL. SOCKET: Hookkeeper registers and renews the"
        " subscription, but its events are sent over a socket connection of your own and never arrive at Hookkeeper.",
        examples=["HTTP", SOCKET],
    )
    lifetime_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        title="Lifetime (days)",
        description="The lifetime to request at each registration and renewal. The expiry that SideDrawer grants is"
        " read back, and Hookkeeper renews before it. A change takes effect with the next renewal.",
        examples=[30, 365],
    )
    expires_at: Annotated[str | None, BeforeValidator(_none_for_blank), AfterValidator(_time)] = Field(
        default=None,
        title="Fixed expiry",
        description="Request exactly this expiry instead of a number of days: a time with its offset. The subscription"
        " ends then and is not renewed, so auto-renew must be off.",
        examples=["2030-01-01T00:00:00Z"],
        json_schema_extra={"aside": True},
    )
    brand_code: OptionalText = Field(
        default=None,
        title="Brand code",
        description="The branding that SideDrawer applies. Optional.",
        examples=["mybrand"],
        max_length=200,
    )
    notification_messages: OptionalText = Field(
        default=None,
        title="Notification messages",
        description="The name of the event that the client listens to. Required for the connection SOCKET.",
        examples=["record-changed"],
        max_length=500,
        validate_default=True,
    )
    max_retries: int = Field(
        default=5,
        ge=0,
        le=100,
        title="Maximum retries",
        description="How often SideDrawer retries the delivery of an event. Its upper limit is not published.",
        examples=[5],
    )

    @field_validator("notification_messages")
    @classmethod
    def _is_required_for_sockets(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and info.data.get("connection_type") == SOCKET:
            raise ValueError("is required for the connection SOCKET: the name of the event that the client listens to")
        return value
