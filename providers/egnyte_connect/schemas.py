"""Account settings, credentials and subscription config of Egnyte Connect.

A setting marked `unconfirmed` stands for a fact that Egnyte does not document; its default is the safest assumption.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from providers.contract.schemas import (
    HOST_LABEL,
    VISIBLE_ASCII,
    AccountSettings,
    BearerToken,
    Credentials,
    HeaderName,
    SubscriptionConfig,
    unique,
)

MAX_PATHS = 100
API_HOSTS = ("egnyte.com", "egnytegov.com")

_EVENT_TYPE = re.compile(r"[a-z]+:[a-z_*]+")


def _check_domain(value: str) -> str:
    host = value.lower()
    label = host.partition(".")[0]
    if not HOST_LABEL.fullmatch(label) or host not in (label, *(f"{label}.{parent}" for parent in API_HOSTS)):
        raise ValueError(
            "must be the domain's name (acme) or its API host (acme.egnyte.com, acme.egnytegov.com);"
            " Egnyte does not accept API calls at a custom host name"
        )
    return host


def _check_email(value: str) -> str:
    # Only check that a header can carry it; Egnyte checks whether the user exists.
    if not VISIBLE_ASCII.fullmatch(value) or "@" not in value.strip("@"):
        raise ValueError("must be an email address")
    return value


def _check_username(value: str) -> str:
    if not VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be a user name: printable ASCII, no blanks")
    return value


def _check_event_type(value: str) -> str:
    if not _EVENT_TYPE.fullmatch(value):
        raise ValueError("must have the form group:name, such as fs:add_file or fs:*")
    return value


def _check_path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must begin with /, such as /Shared/Finance")
    if "," in value:
        raise ValueError("must not contain a comma: the provider separates paths with commas")
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


class EgnyteSettings(AccountSettings):
    """The domain, and settings for facts that are unconfirmed by Egnyte."""

    domain: Annotated[str, AfterValidator(_check_domain)] = Field(
        title="Domain",
        description="The name before .egnyte.com, or the full API host, but not a custom host name.",
        examples=["acme", "acme.egnyte.com", "acme.egnytegov.com"],
    )
    auth_header_style: Literal["value", "name_and_value"] = Field(
        default="value",
        title="Auth header style",
        description="How the secret is sent at registration. `value`: authHeader is the header's value."
        " `name_and_value`: authHeader is the header's name and authHeaderValue its value (newer API).",
        examples=["value", "name_and_value"],
        json_schema_extra={"unconfirmed": True},
    )
    auth_header_name: HeaderName = Field(
        default="Authorization",
        title="Auth header name",
        description="The header in which the secret is expected. Sent to Egnyte only with the style"
        " `name_and_value`; Authorization and Authentication have been observed.",
        examples=["Authorization", "Authentication", "X-Hook-Secret"],
        json_schema_extra={"unconfirmed": True},
    )
    only_header: bool = Field(
        default=False,
        title="Only this header",
        description="Accept the secret only in the header named above. If off, the value of every header is compared.",
        examples=[False],
        json_schema_extra={"unconfirmed": True},
    )
    act_as_email: Annotated[str, AfterValidator(_check_email)] | None = Field(
        default=None,
        title="Act as (email)",
        description="Make calls on behalf of this user (X-Egnyte-Act-As-Email). Empty: the owner of the token.",
        examples=["ann@example.com"],
    )
    act_as_username: Annotated[str, AfterValidator(_check_username)] | None = Field(
        default=None,
        title="Act as (user name)",
        description="The same by user name (X-Egnyte-Act-As). Set only one of the two.",
        examples=["alee"],
    )
    calls_per_second: float = Field(
        default=2,
        gt=0,
        le=100,
        title="Calls per second",
        description="The limit of this access token. The usual limit is 2.",
        examples=[2],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_day: int = Field(
        default=1000,
        ge=0,
        le=10_000_000,
        title="Calls per day",
        description="The limit of this access token. The usual limit is 1000; 0 means no limit.",
        examples=[1000, 0],
        json_schema_extra={"unconfirmed": True},
    )

    @field_validator("act_as_username")
    @classmethod
    def _only_one_user(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("act_as_email"):
            raise ValueError("act_as_email is set as well; clear one of the two")
        return value


class EgnyteCredentials(Credentials):
    """An OAuth access token of an administrator."""

    access_token: BearerToken = Field(
        title="Access token",
        description="OAuth access token with the scope Egnyte.webhooks, issued to an administrator of the domain.",
        examples=["v9hkcgzy2mbfxwqsnw4kzpmt"],
        min_length=1,
    )


class EgnyteConfig(SubscriptionConfig):
    """The events and the paths to subscribe to."""

    event_types: Annotated[tuple[Annotated[str, AfterValidator(_check_event_type)], ...], AfterValidator(unique)] = (
        Field(
            title="Event types",
            description="Single types, or wildcards such as fs:*. Types that are not listed here are sent as entered."
            " An empty list means all events.",
            examples=[["fs:*"], ["fs:add_file", "link:*"], []],
        )
    )
    paths: Annotated[tuple[Annotated[str, AfterValidator(_check_path)], ...], AfterValidator(unique)] = Field(
        default=(),
        title="Paths",
        description=f"Only events below these paths; none means all. At most {MAX_PATHS}, without commas.",
        examples=[["/Shared/Finance", "/Shared/Legal"]],
        max_length=MAX_PATHS,
    )
