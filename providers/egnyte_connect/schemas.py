"""What staff enter for Egnyte Connect: account settings, credentials and subscription config.

A setting marked `unconfirmed` stands for a fact that Egnyte does not document; its default is the safest assumption.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from providers.contract.schemas import AccountSettings, Credentials, SubscriptionConfig

MAX_PATHS = 100
API_HOSTS = ("egnyte.com", "egnytegov.com")

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_EVENT_TYPE = re.compile(r"[a-z]+:[a-z_*]+")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


def _domain(value: str) -> str:
    host = value.lower()
    label = host.partition(".")[0]
    if not _LABEL.fullmatch(label) or host not in (label, *(f"{label}.{parent}" for parent in API_HOSTS)):
        raise ValueError(
            "must be the domain's name (acme) or its API host (acme.egnyte.com, acme.egnytegov.com);"
            " Egnyte takes no API calls at a host name of your own"
        )
    return host


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of an HTTP header, such as Authorization")
    return value


def _email(value: str) -> str:
    # Only what a header can carry; whether the user exists is Egnyte's to say.
    if not _VISIBLE_ASCII.fullmatch(value) or "@" not in value.strip("@"):
        raise ValueError("must be an e-mail address")
    return value


def _username(value: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be a user name: printable ASCII, no blanks")
    return value


def _token(value: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be the token alone: no blanks, no line breaks, no `Bearer` before it")
    return value


def _event_type(value: str) -> str:
    if not _EVENT_TYPE.fullmatch(value):
        raise ValueError("must have the form group:name, such as fs:add_file or fs:*")
    return value


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must begin with /, such as /Shared/Finance")
    if "," in value:
        raise ValueError("must not contain a comma: the provider separates paths with commas")
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


class EgnyteSettings(AccountSettings):
    """Where the account lives, and what Egnyte leaves open."""

    domain: Annotated[str, AfterValidator(_domain)] = Field(
        title="Domain",
        description="The name before .egnyte.com, or the full API host. Not a host name of your own.",
        examples=["acme", "acme.egnyte.com", "acme.egnytegov.com"],
    )
    auth_header_style: Literal["value", "name_and_value"] = Field(
        default="value",
        title="Auth header style",
        description="How the secret is handed over at registration. `value`: authHeader is the header's value."
        " `name_and_value`: authHeader is the header's name and authHeaderValue its value (newer API).",
        examples=["value", "name_and_value"],
        json_schema_extra={"unconfirmed": True},
    )
    auth_header_name: Annotated[str, AfterValidator(_header_name)] = Field(
        default="Authorization",
        title="Auth header name",
        description="The header in which the secret is expected. Sent to Egnyte only with the style"
        " `name_and_value`; Egnyte has been seen to use Authorization and Authentication.",
        examples=["Authorization", "Authentication", "X-Hook-Secret"],
        json_schema_extra={"unconfirmed": True},
    )
    only_header: bool = Field(
        default=False,
        title="Only that header",
        description="Accept the secret only in the header named above. Off: the value of every header is compared.",
        examples=[False],
        json_schema_extra={"unconfirmed": True},
    )
    act_as_email: Annotated[str, AfterValidator(_email)] | None = Field(
        default=None,
        title="Act as (e-mail)",
        description="Calls are made on behalf of this user (X-Egnyte-Act-As-Email). Leave empty for the token's own.",
        examples=["ann@example.com"],
    )
    act_as_username: Annotated[str, AfterValidator(_username)] | None = Field(
        default=None,
        title="Act as (user name)",
        description="The same by user name (X-Egnyte-Act-As). Only one of the two.",
        examples=["alee"],
    )
    calls_per_second: float = Field(
        default=2,
        gt=0,
        le=100,
        title="Calls per second",
        description="What Egnyte grants this access token. The usual limit is 2.",
        examples=[2],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_day: int = Field(
        default=1000,
        ge=0,
        le=10_000_000,
        title="Calls per day",
        description="What Egnyte grants this access token. The usual limit is 1000; 0 means no limit.",
        examples=[1000, 0],
        json_schema_extra={"unconfirmed": True},
    )

    @field_validator("act_as_username")
    @classmethod
    def _only_one_user(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("act_as_email"):
            raise ValueError("the e-mail address already says on whose behalf: empty one of the two")
        return value


class EgnyteCredentials(Credentials):
    """An OAuth access token of an administrator."""

    access_token: Annotated[str, AfterValidator(_token)] = Field(
        title="Access token",
        description="OAuth access token with the scope Egnyte.webhooks, issued to an administrator of the domain.",
        examples=["v9hkcgzy2mbfxwqsnw4kzpmt"],
        min_length=1,
    )


class EgnyteConfig(SubscriptionConfig):
    """Which events are wanted, and where."""

    event_types: Annotated[tuple[Annotated[str, AfterValidator(_event_type)], ...], AfterValidator(_unique)] = Field(
        title="Event types",
        description="Single types or wildcards such as fs:*. Types that are not listed here are passed on as typed.",
        examples=[["fs:*"], ["fs:add_file", "link:*"]],
        min_length=1,
    )
    paths: Annotated[tuple[Annotated[str, AfterValidator(_path)], ...], AfterValidator(_unique)] = Field(
        default=(),
        title="Paths",
        description=f"Only events below these paths; none means everywhere. At most {MAX_PATHS}; no commas.",
        examples=[["/Shared/Finance", "/Shared/Legal"]],
        max_length=MAX_PATHS,
    )
