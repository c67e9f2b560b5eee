"""What staff enter for SideDrawer: account settings, credentials and subscription config.

SideDrawer publishes the fields of a webhook subscription, but neither the paths nor the verbs that manage it. What is
not confirmed is a setting marked `unconfirmed`, with the safest assumption as its default.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from providers.contract.schemas import AccountSettings, Credentials, Origin, SubscriptionConfig
from providers.sidedrawer.resources import RESOURCES, resource_of

SOCKET = "SOCKET"
COLLECTION_PATH = "/api/v1/webhooks"
ITEM_PATH = "/api/v1/webhooks/{id}"

_PLACEHOLDER = re.compile(r"\{([^{}/]*)\}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_JSON_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_NOT_IN_A_PATH = re.compile(r"[\s?#%\\]")


# -- Checks --------------------------------------------------------------------------------------------------------


def _tenant_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("must be the tenant's id: letters, digits, `.`, `_` and `-` only")
    return value


def _path_template(value: str) -> str:
    bare = _PLACEHOLDER.sub("x", value)
    if not value.startswith("/") or not _VISIBLE_ASCII.fullmatch(value) or re.search(r"[?#\\{}]|//", bare):
        raise ValueError(f"must be a path such as {ITEM_PATH}, without host and query")
    if any(part in (".", "..") for part in value.split("/")):
        raise ValueError("must not climb with . or ..")
    return value


def _collection_path(value: str) -> str:
    unknown = set(_PLACEHOLDER.findall(_path_template(value))) - {"tenantId"}
    if unknown:
        raise ValueError("may hold the placeholder {tenantId} and no other")
    return value


def _item_path(value: str) -> str:
    names = _PLACEHOLDER.findall(_path_template(value))
    if names.count("id") != 1 or set(names) - {"id", "tenantId"}:
        raise ValueError("must hold the placeholder {id} once, and may hold {tenantId}")
    return value


def _json_key(value: str) -> str:
    if not _JSON_KEY.fullmatch(value):
        raise ValueError("must be the name of a JSON field, such as id")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of an HTTP header, such as integrityHash")
    return value


def _nothing_for_blank(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _secret(value: str | None) -> str | None:
    if value is not None and not _VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the value alone: no blanks, no line breaks, no `Bearer` before it")
    return value


def _resource(value: str) -> str:
    path = value.strip("/")
    open_ones = re.findall(r"\{\w*\}", path)
    if open_ones:
        raise ValueError(f"put the id in the place of {open_ones[0]}")
    if "//" in path or any(part in (".", "..") for part in path.split("/")):
        raise ValueError("an id in it is empty")
    if _NOT_IN_A_PATH.search(path) or not path.isprintable() or "{" in path or "}" in path:
        raise ValueError("must not contain blanks, control characters, `?`, `#`, `%`, `\\`, `{` or `}`")
    if resource_of(path) is None:
        raise ValueError(
            "is none of SideDrawer's resources. Fill the ids into one of: "
            + ", ".join(resource.template for resource in RESOURCES)
        )
    return path


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


OptionalText = Annotated[str | None, BeforeValidator(_nothing_for_blank)]
OptionalSecret = Annotated[str | None, BeforeValidator(_nothing_for_blank), AfterValidator(_secret)]


# -- The models ----------------------------------------------------------------------------------------------------


class SideDrawerSettings(AccountSettings):
    """Where the tenant lives, and what SideDrawer leaves open."""

    tenant_id: Annotated[str, AfterValidator(_tenant_id)] = Field(
        title="Tenant id",
        description="The tenant that the login belongs to, as it stands in resource paths: tenant/<this id>/...",
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
        description="Host of the call that turns client id and client secret into a token. Empty: the tenant gateway of"
        " the environment, or the base URL if there is one. Only the sandbox's gateway is confirmed.",
        examples=["https://tenants-gateway-api-sbx.sidedrawersbx.com"],
        json_schema_extra={"unconfirmed": True},
    )
    collection_path: Annotated[str, AfterValidator(_collection_path)] = Field(
        default=COLLECTION_PATH,
        title="Path of all webhooks",
        description="Where webhooks are listed (GET) and registered (POST). SideDrawer does not publish it; ask their"
        " support. {tenantId} stands for the tenant id.",
        examples=[COLLECTION_PATH, "/api/v1/tenants/tenant-id/{tenantId}/webhooks"],
        json_schema_extra={"unconfirmed": True},
    )
    item_path: Annotated[str, AfterValidator(_item_path)] = Field(
        default=ITEM_PATH,
        title="Path of one webhook",
        description="Where one webhook is read (GET), changed and deleted (DELETE). SideDrawer does not publish it."
        " {id} stands for the webhook's id, {tenantId} for the tenant id.",
        examples=[ITEM_PATH],
        json_schema_extra={"unconfirmed": True},
    )
    update_verb: Literal["PUT", "PATCH", "POST"] = Field(
        default="PUT",
        title="Verb that changes a webhook",
        description="Sent with the whole webhook, also to prolong it. PUT is the style of SideDrawer's other calls."
        " Where it is refused, a new webhook is registered and the old one deleted.",
        examples=["PUT"],
        json_schema_extra={"unconfirmed": True},
    )
    modification_type_case: Literal["lower", "capitalised"] = Field(
        default="lower",
        title="Letter case of the modification",
        description="SideDrawer's text has `create`, its sample has `Create`. What comes back is read in any case.",
        examples=["lower", "capitalised"],
        json_schema_extra={"unconfirmed": True},
    )
    id_fields: Annotated[tuple[Annotated[str, AfterValidator(_json_key)], ...], AfterValidator(_unique)] = Field(
        default=("id", "_id", "subscriptionId", "webhookId"),
        title="Fields that may hold the id",
        description="The first of these fields that a webhook in an answer has is taken as its id.",
        examples=[["id", "_id", "subscriptionId", "webhookId"]],
        min_length=1,
        max_length=20,
        json_schema_extra={"unconfirmed": True},
    )
    integrity_header: Annotated[str, AfterValidator(_header_name)] = Field(
        default="integrityHash",
        title="Header with the hash",
        description="The header in which SideDrawer sends the HMAC-SHA256 of the body. Upper and lower case are the"
        " same. A hash that comes in another header is named in the reason of the rejected request.",
        examples=["integrityHash"],
        json_schema_extra={"unconfirmed": True},
    )
    accept_compact_json: bool = Field(
        default=False,
        title="Also accept the hash of compact JSON",
        description="If the hash does not fit the body's bytes, compare it with the body written anew as compact JSON."
        " Only for the case that SideDrawer signs before it formats.",
        examples=[False],
        json_schema_extra={"unconfirmed": True},
    )


class SideDrawerCredentials(Credentials):
    """Client id and client secret, or an access token: exactly one of the two ways."""

    client_id: OptionalSecret = Field(
        default=None,
        title="Client id",
        description="Of an application of the tenant. With the client secret, tokens are obtained and renewed here.",
        examples=["sd-app-5b1f0c2e"],
        max_length=500,
    )
    client_secret: OptionalSecret = Field(
        default=None,
        title="Client secret",
        description="Belongs to the client id.",
        examples=["Zk3vQ0bYt7uN2xW9"],
        max_length=2000,
        validate_default=True,
    )
    access_token: OptionalSecret = Field(
        default=None,
        title="Access token",
        description="A bearer token of a user or application of the tenant, without `Bearer`. When it expires, a person"
        " has to enter a new one; client id and client secret do not have that trouble.",
        examples=["eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJleGFtcGxlIn0.c2lnbmF0dXJl"],
        max_length=20_000,
        validate_default=True,
    )

    @field_validator("client_secret")
    @classmethod
    def _both_or_none(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "client_id" in info.data and bool(value) != bool(info.data["client_id"]):
            raise ValueError(f"enter the client {'id' if value else 'secret'} as well: they belong together")
        return value

    @field_validator("access_token")
    @classmethod
    def _one_way(cls, value: str | None, info: ValidationInfo) -> str | None:
        client = info.data.get("client_id")
        if value and client:
            raise ValueError(
                "enter either an access token, or client id and client secret; empty the ones that are not to be used"
            )
        if not value and not client and {"client_id", "client_secret"} <= info.data.keys():
            raise ValueError("enter an access token, or client id and client secret")
        return value


class SideDrawerConfig(SubscriptionConfig):
    """What the webhook is about, and how long it is asked to live."""

    resource: Annotated[str, AfterValidator(_resource)] = Field(
        title="Resource",
        description="One of SideDrawer's 13 resource paths, with the ids filled in. Its templates are listed here.",
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
        description="What has to happen there. Not every resource takes all four, and SideDrawer's table is not clear"
        " in every row: all four are offered everywhere, and SideDrawer's refusal is shown.",
        examples=["any", "create"],
    )
    connection_type: Annotated[Literal["HTTP", "SOCKET"], BeforeValidator(_upper)] = Field(
        default="HTTP",
        title="Connection",
        description="HTTP: events come to the callback URL. SOCKET: the subscription is registered and kept alive here,"
        " but its events come over a socket connection of your own and never arrive at Hookkeeper.",
        examples=["HTTP", SOCKET],
    )
    lifetime_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        title="Lifetime (days)",
        description="The expiry that is asked for, counted from each registration and renewal. What SideDrawer grants"
        " is read back and counts; it is renewed in time. A change takes effect with the next renewal.",
        examples=[30, 365],
    )
    brand_code: OptionalText = Field(
        default=None,
        title="Brand code",
        description="The branding that SideDrawer puts on it. May be empty.",
        examples=["mybrand"],
        max_length=200,
    )
    notification_messages: OptionalText = Field(
        default=None,
        title="Notification messages",
        description="Name of the event that the client listens to. Required for the connection SOCKET.",
        examples=["record-changed"],
        max_length=500,
        validate_default=True,
    )
    max_retries: int = Field(
        default=5,
        ge=0,
        le=100,
        title="Retries at most",
        description="How often SideDrawer tries again to deliver an event. What it allows at most is not published.",
        examples=[5],
    )

    @field_validator("notification_messages")
    @classmethod
    def _named_for_sockets(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and info.data.get("connection_type") == SOCKET:
            raise ValueError("is required for the connection SOCKET: the name of the event that the client listens to")
        return value
