"""Files.com's account settings, credentials and subscription config.

A setting marked `unconfirmed` stands for a fact that Files.com does not document; its default is the safest assumption.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from providers.contract.schemas import (
    HEADER_NAME,
    HOST_LABEL,
    VISIBLE_ASCII,
    AccountSettings,
    Credentials,
    SubscriptionConfig,
    unique,
)

PARENT = "files.com"
ROOT = "/"  # the whole site
AUTH_HEADER = "Authorization"
# Files.com sends this header back to us. It marks the body as a file of any format for our parser.
FILE_HEADER = "X-Hookkeeper-Body"
RESERVED_HEADERS = frozenset({AUTH_HEADER.lower(), FILE_HEADER.lower()})

_TRIGGER = re.compile(r"[a-z]+(?:_[a-z]+)*")
_FORM_FIELD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}")


def _subdomain(value: str) -> str:
    label = value.lower().removesuffix(f".{PARENT}")
    if not HOST_LABEL.fullmatch(label):
        raise ValueError(
            "must be the site's name (acme) or its host (acme.files.com);"
            " for a custom domain, enter the subdomain that it stands for"
        )
    return label


def _secret(value: str) -> str:
    if not VISIBLE_ASCII.fullmatch(value):
        raise ValueError("must be printable ASCII without spaces or line breaks")
    return value


def _path(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    parts = [part for part in value.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise ValueError("must not contain . or .. as a folder")
    if any(part != part.rstrip() for part in parts):
        raise ValueError("must not have a folder name that ends with a space: Files.com refuses those")
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
    if not VISIBLE_ASCII.fullmatch(value) or "," in value:
        raise ValueError("must be a URL without spaces and commas")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("must be a URL such as https://backup.example.com/in")
    parts.port  # noqa: B018 - raises ValueError for a port that is not a number
    return value


def _headers(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an HTTP header")
        if name.lower() in RESERVED_HEADERS:
            raise ValueError(f"{name} is set by Hookkeeper")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the value of {name} must be printable ASCII")
    if len({name.lower() for name in values}) < len(values):
        raise ValueError("must not contain the same header twice; header names are case-insensitive")
    return values


def _form_field(value: str) -> str:
    if value and not _FORM_FIELD.fullmatch(value):
        raise ValueError("must be the name of a form field: letters, digits, _ . - [ ]")
    return value


Path = Annotated[str, AfterValidator(_path)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern), Field(min_length=1)], ...], AfterValidator(unique)]


class FilesComSettings(AccountSettings):
    """The site's host, and settings for facts that Files.com does not confirm."""

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
    folders: Annotated[tuple[Path, ...], AfterValidator(unique)] = Field(
        default=(),
        title="Folders",
        description="List only these folders. Required for the key of a folder administrator, which cannot list the"
        " whole site; subscriptions are then limited to these folders. Leave empty for a site administrator's key.",
        examples=[["inbox", "clients/acme"]],
        max_length=50,
    )
    expect_header: bool = Field(
        default=True,
        title="Require the Authorization header",
        description="On: every webhook is registered with a secret Authorization header, and requests without it are"
        " refused. Off: for sites where no header can be set. Requests without the header are then protected only by"
        " the secret URL and shown as not verifiable; a wrong header is still refused.",
        examples=[True],
    )
    value_format: Literal["object", "text"] = Field(
        default="object",
        title="Format of `value`",
        description="How a webhook's `value` is sent: as a JSON object, or as text that contains JSON (older API).",
        examples=["object", "text"],
        json_schema_extra={"unconfirmed": True},
    )
    test_call: Literal["behaviors", "webhook_tests"] = Field(
        default="behaviors",
        title="Test call",
        description="The test call to try first: POST /behaviors/webhook/test or the newer POST /webhook_tests."
        " If it does not exist, the other one is used.",
        examples=["behaviors", "webhook_tests"],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_second: float = Field(
        default=5,
        gt=0,
        le=1000,
        title="Calls per second",
        description="Files.com limits API calls but does not document the limit.",
        examples=[5],
        json_schema_extra={"unconfirmed": True},
    )
    calls_per_day: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        title="Calls per day",
        description="A cap, because Files.com charges for API calls. 0 = no limit.",
        examples=[0, 5000],
        json_schema_extra={"unconfirmed": True},
    )


class FilesComCredentials(Credentials):
    """An API key, and an optional verification token for other receivers."""

    api_key: Annotated[str, AfterValidator(_secret)] = Field(
        title="API key",
        description="A site-wide key, or the key of a site administrator or folder administrator.",
        examples=["0123456789abcdef0123456789abcdef01234567"],
        min_length=1,
    )
    verification_token: Annotated[str, AfterValidator(_secret), Field(min_length=1)] | None = Field(
        default=None,
        title="Verification token",
        description="Set on every webhook, so that Files.com signs its messages for other receivers. Hookkeeper itself"
        " checks its Authorization header instead. Leave empty to keep existing tokens unchanged.",
        examples=["tok-5f1c2d9e"],
    )


class FilesComConfig(SubscriptionConfig):
    """The folder to watch, the actions to report, and the format of the messages."""

    path: Path = Field(
        title="Folder",
        description="The folder to watch; / is the whole site. Files.com cannot change it, so for another folder"
        " Hookkeeper registers a new webhook and then deletes the old one.",
        examples=["inbox", "clients/acme/invoices", "/"],
        min_length=1,
        max_length=5000,
    )
    triggers: Annotated[tuple[Annotated[str, AfterValidator(_trigger)], ...], AfterValidator(unique)] = Field(
        default=(),
        title="Actions",
        description="Only these actions; empty means every action. Unlisted actions are sent to Files.com as entered.",
        examples=[["create", "update"]],
        json_schema_extra={"event_types": True},
    )
    method: Literal["GET", "POST"] = Field(
        default="GET",
        title="Method",
        description="GET sends the event in the query, POST in the body.",
        examples=["GET", "POST"],
    )
    encoding: Literal["", "RAW", "JSON", "XML", "EV1", "EV2"] = Field(
        default="",
        title="Encoding",
        description="Empty or RAW: query (GET) or form (POST). EV1 and EV2 are ExaVault's formats and require POST;"
        " they contain no time, so a repeated message cannot be distinguished from a repeated event.",
        examples=["", "JSON", "XML", "EV1"],
    )
    recursive: bool = Field(
        default=True,
        title="Include subfolders",
        description="Off: only events directly in the folder.",
        examples=[True],
    )
    filenames: Patterns = Field(
        default=(),
        title="File names",
        description="Only files with these names; * and ? are wildcards. Empty means every file.",
        examples=[["*.pdf", "invoice-*.xml"]],
    )
    exclude_filenames: Patterns = Field(
        default=(),
        title="Excluded file names",
        description="No files with these names. Takes precedence over the file names above.",
        examples=[["*.tmp"]],
        json_schema_extra={"aside": True},
    )
    redundant_urls: Annotated[tuple[Annotated[str, AfterValidator(_url)], ...], AfterValidator(unique)] = Field(
        default=(),
        title="Redundant URLs",
        description="Further URLs after the callback URL. Files.com considers a message delivered once any of them"
        " returns 200. They receive the same secret header.",
        examples=[["https://backup.example.com/in"]],
        max_length=20,
        json_schema_extra={"aside": True},
    )
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default_factory=dict,
        title="Additional headers",
        description="Sent with every message. Displayed unmasked, so do not enter secrets. Authorization is set by"
        " Hookkeeper.",
        examples=[{"X-Source": "files-com"}],
        max_length=50,
        json_schema_extra={"aside": True},
    )
    body: dict[str, str] = Field(
        default_factory=dict,
        title="Additional parameters",
        description="Sent with every message, in addition to the event's own. Displayed unmasked.",
        examples=[{"department": "finance"}],
        max_length=50,
        json_schema_extra={"aside": True},
    )
    file_form_field: Annotated[str, AfterValidator(_form_field)] = Field(
        default="",
        title="Form field for the file",
        description="If set, messages are multipart forms that contain the file, regardless of method and encoding."
        " Messages larger than MAX_BODY_BYTES are truncated and give no event.",
        examples=["", "file"],
        json_schema_extra={"aside": True},
    )
    file_as_body: bool = Field(
        default=False,
        title="Send the file as the body",
        description="The body is the file alone; the event is known only as far as the query or headers describe it."
        " Files larger than MAX_BODY_BYTES are truncated and give no event.",
        examples=[False],
        json_schema_extra={"aside": True},
    )
    use_dedicated_ips: bool = Field(
        default=False,
        title="Dedicated IP addresses",
        description="Messages come from Files.com's dedicated addresses, for a firewall's allow-list.",
        examples=[False],
        json_schema_extra={"aside": True},
    )

    @field_validator("encoding")
    @classmethod
    def _exavault_needs_post(cls, value: str, info: ValidationInfo) -> str:
        if value in ("EV1", "EV2") and info.data.get("method") == "GET":
            raise ValueError("requires the method POST")
        return value

    @field_validator("file_as_body")
    @classmethod
    def _file_is_sent_in_one_way(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("file_form_field"):
            raise ValueError("cannot be combined with a form field for the file")
        return value
