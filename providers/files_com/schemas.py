"""What staff enter for Files.com: account settings, credentials and subscription config.

A setting marked `unconfirmed` stands for a fact that Files.com does not document; its default is the safest assumption.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from providers.contract.schemas import AccountSettings, Credentials, SubscriptionConfig

PARENT = "files.com"
ROOT = "/"  # the whole site
AUTH_HEADER = "Authorization"
# Tells our own parser that the body is somebody's file, whatever it looks like. Files.com sends it back to us.
FILE_HEADER = "X-Hookkeeper-Body"
OUR_HEADERS = frozenset({AUTH_HEADER.lower(), FILE_HEADER.lower()})

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_TRIGGER = re.compile(r"[a-z]+(?:_[a-z]+)*")
_FORM_FIELD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}")


def _subdomain(value: str) -> str:
    label = value.lower().removesuffix(f".{PARENT}")
    if not _LABEL.fullmatch(label):
        raise ValueError(
            "must be the site's name (acme) or its host (acme.files.com);"
            " for a host name of your own enter the subdomain that it stands for"
        )
    return label


def _secret(value: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be printable ASCII without blanks or line breaks")
    return value


def _path(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    parts = [part for part in value.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise ValueError("must not contain . or .. as a folder")
    if any(part != part.rstrip() for part in parts):
        raise ValueError("must not have a folder name that ends with a blank: Files.com refuses those")
    return "/".join(parts) or ROOT


def _trigger(value: str) -> str:
    if not _TRIGGER.fullmatch(value):
        raise ValueError("must be the name of an action, such as create or user_create")
    return value


def _pattern(value: str) -> str:
    if not value.isprintable() or "/" in value:
        raise ValueError("must be a file name, possibly with wildcards, such as *.pdf")
    return value


def _url(value: str) -> str:
    if not _VISIBLE_ASCII.fullmatch(value) or "," in value:
        raise ValueError("must be a URL without blanks and commas")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("must be a URL such as https://backup.example.com/in")
    parts.port  # noqa: B018 - raises ValueError for a port that is no number
    return value


def _headers(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an HTTP header")
        if name.lower() in OUR_HEADERS:
            raise ValueError(f"{name} is set by Hookkeeper itself")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of {name} must be printable ASCII")
    if len({name.lower() for name in values}) < len(values):
        raise ValueError("the same header is there twice; upper and lower case mean the same")
    return values


def _form_field(value: str) -> str:
    if value and not _FORM_FIELD.fullmatch(value):
        raise ValueError("must be the name of a form field: letters, digits, _ . - [ ]")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


Path = Annotated[str, AfterValidator(_path)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern), Field(min_length=1)], ...], AfterValidator(_unique)]


class FilesComSettings(AccountSettings):
    """Where the site lives, and what Files.com leaves open."""

    subdomain: Annotated[str, AfterValidator(_subdomain)] = Field(
        title="Subdomain",
        description="The site's name before .files.com, or the full host.",
        examples=["acme", "acme.files.com"],
    )
    api_host: Literal["site", "app"] = Field(
        default="site",
        title="API host",
        description="`site`: calls go to <subdomain>.files.com. `app`: they go to app.files.com.",
        examples=["site", "app"],
    )
    folders: Annotated[tuple[Path, ...], AfterValidator(_unique)] = Field(
        default=(),
        title="Look only at these folders",
        description="For the key of a folder administrator, who may not list the whole site. Subscriptions are then"
        " possible for exactly these folders. Leave empty for a site administrator's key.",
        examples=[["inbox", "clients/acme"]],
        max_length=50,
    )
    expect_header: bool = Field(
        default=True,
        title="Expect our Authorization header",
        description="On: every webhook is registered with a secret Authorization header, and requests without it are"
        " refused. Off: for installations where no header can be set. Nothing but the secret address then speaks"
        " for a request, which is shown as not verifiable; a wrong header is still refused.",
        examples=[True],
    )
    value_format: Literal["object", "text"] = Field(
        default="object",
        title="Send settings as",
        description="How a webhook's `value` is sent: as nested JSON, or as a text that holds JSON (older API).",
        examples=["object", "text"],
        json_schema_extra={"unconfirmed": True},
    )
    test_call: Literal["behaviors", "webhook_tests"] = Field(
        default="behaviors",
        title="Test call",
        description="Which of the two test calls is tried first: POST /behaviors/webhook/test or the newer"
        " POST /webhook_tests. Where that one does not exist, the other is used.",
        examples=["behaviors", "webhook_tests"],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_second: float = Field(
        default=5,
        gt=0,
        le=1000,
        title="Calls per second",
        description="Files.com limits calls, but does not say at how many.",
        examples=[5],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_day: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        title="Calls per day",
        description="Files.com charges for API calls; this caps them. 0 means no limit.",
        examples=[0, 5000],
        json_schema_extra={"unconfirmed": True},
    )


class FilesComCredentials(Credentials):
    """An API key, and a token that only receivers of redundant URLs need."""

    api_key: Annotated[str, AfterValidator(_secret)] = Field(
        title="API key",
        description="A site-wide key, or the key of a user who is site administrator or folder administrator.",
        examples=["0123456789abcdef0123456789abcdef01234567"],
        min_length=1,
    )
    verification_token: Annotated[str, AfterValidator(_secret), Field(min_length=1)] | None = Field(
        default=None,
        title="Verification token",
        description="Handed over with every webhook, so that Files.com signs its messages for whoever else receives"
        " them. Hookkeeper relies on its own Authorization header instead. Leave empty to leave it as it is there.",
        examples=["tok-5f1c2d9e"],
    )


class FilesComConfig(SubscriptionConfig):
    """Which folder is watched, what for, and in which form Files.com tells."""

    path: Path = Field(
        title="Folder",
        description="The folder to watch; / is the whole site. It cannot be changed at Files.com: another folder means"
        " a new webhook there, which Hookkeeper puts in place before it deletes the old one.",
        examples=["inbox", "clients/acme/invoices", "/"],
        min_length=1,
        max_length=5000,
    )
    triggers: Annotated[tuple[Annotated[str, AfterValidator(_trigger)], ...], AfterValidator(_unique)] = Field(
        default=(),
        title="Actions",
        description="Only these actions; none means every action. Others than the listed ones are passed on as typed.",
        examples=[["create", "update"]],
        json_schema_extra={"event_types": True},
    )
    method: Literal["GET", "POST"] = Field(
        default="GET",
        title="Method",
        description="GET carries everything in the query. POST carries it in the body.",
        examples=["GET", "POST"],
    )
    encoding: Literal["", "RAW", "JSON", "XML", "EV1", "EV2"] = Field(
        default="",
        title="Encoding",
        description="Empty or RAW: query (GET) or form (POST). EV1 and EV2 imitate ExaVault and need POST; they carry"
        " no time, so that a repeated message cannot be told from a repeated event.",
        examples=["", "JSON", "XML", "EV1"],
    )
    recursive: bool = Field(
        default=True,
        title="Folders below, too",
        description="Off: only what happens directly in the folder.",
        examples=[True],
    )
    filenames: Patterns = Field(
        default=(),
        title="File names",
        description="Only files with these names; * and ? are wildcards. None means every file.",
        examples=[["*.pdf", "invoice-*.xml"]],
    )
    exclude_filenames: Patterns = Field(
        default=(),
        title="Excluded file names",
        description="Never files with these names. This wins over the names above.",
        examples=[["*.tmp"]],
        json_schema_extra={"aside": True},
    )
    redundant_urls: Annotated[tuple[Annotated[str, AfterValidator(_url)], ...], AfterValidator(_unique)] = Field(
        default=(),
        title="Redundant URLs",
        description="Further URLs after ours, which is the first. Files.com takes a message as delivered once any of"
        " them answers 200. They get the same secret header.",
        examples=[["https://backup.example.com/in"]],
        max_length=20,
        json_schema_extra={"aside": True},
    )
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict,
        title="Further headers",
        description="Sent along with every message. Shown in clear here, so not a place for secrets. Authorization is"
        " set by Hookkeeper.",
        examples=[{"X-Source": "files-com"}],
        max_length=50,
        json_schema_extra={"aside": True},
    )
    body: dict[str, str] = Field(
        default_factory=dict,
        title="Further parameters",
        description="Sent along with every message, beside the event's own. Shown in clear here.",
        examples=[{"department": "finance"}],
        max_length=50,
        json_schema_extra={"aside": True},
    )
    file_form_field: Annotated[str, AfterValidator(_form_field)] = Field(
        default="",
        title="Send the file in this form field",
        description="Then messages are multipart forms that hold the file, whatever method and encoding say. Larger"
        " ones than MAX_BODY_BYTES are cut, and yield no event.",
        examples=["", "file"],
        json_schema_extra={"aside": True},
    )
    file_as_body: bool = Field(
        default=False,
        title="Send the file as the body",
        description="Then the file is all there is; what happened is only known as far as Files.com tells it in the"
        " query or in headers. Larger files than MAX_BODY_BYTES are cut, and yield no event.",
        examples=[False],
        json_schema_extra={"aside": True},
    )
    use_dedicated_ips: bool = Field(
        default=False,
        title="From fixed addresses",
        description="Messages come from addresses that Files.com reserves for this, for a firewall's allow-list.",
        examples=[False],
        json_schema_extra={"aside": True},
    )

    @field_validator("encoding")
    @classmethod
    def _exavault_needs_post(cls, value: str, info: ValidationInfo) -> str:
        if value in ("EV1", "EV2") and info.data.get("method") == "GET":
            raise ValueError("needs the method POST")
        return value

    @field_validator("file_as_body")
    @classmethod
    def _one_way_to_send_the_file(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("file_form_field"):
            raise ValueError("cannot be chosen together with a form field for the file")
        return value
