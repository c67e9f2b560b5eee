"""Sample data shared by the Files.com tests, and shorthands for parsing."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from providers.contract.base import Registration
from providers.contract.parsing import InboundRequest, Parsed, ParsedEvent
from providers.contract.schemas import validate
from providers.files_com import provider
from providers.files_com.schemas import FilesComConfig, FilesComSettings
from tests.harness.inbound import CALLBACK_URL, inbound
from tests.harness.stub_server import Received

SECRET = "Bearer hk_" + "s3cr3t" * 6
KEY = "key-0123456789"
TOKEN = "tok-verification-1"
FORM = "application/x-www-form-urlencoded"
BEHAVIORS = "/api/rest/v1/behaviors"
VALUE: dict[str, object] = {
    "urls": [CALLBACK_URL, "https://backup.example.test/in"],
    "method": "POST",
    "encoding": "JSON",
    "triggers": ["update", "create"],
    "headers": {"Authorization": SECRET},
}
BEHAVIOR: dict[str, Any] = {
    "id": 8123,
    "path": "inbox",
    "behavior": "webhook",
    "name": "hub",
    "description": "",
    "recursive": True,
    "disable_parent_folder_behavior": False,
    "attachment_url": None,
    "value": VALUE,
}
CONFIG = FilesComConfig(
    path="inbox",
    triggers=("update", "create"),
    method="POST",
    encoding="JSON",
    redundant_urls=("https://backup.example.test/in",),
)


def settings(**values: object) -> FilesComSettings:
    """Return account settings with the given values."""
    return validate(FilesComSettings, {"subdomain": "acme", **values})


def registration(**changes: Any) -> Registration[FilesComConfig]:
    """Return a registration of `CONFIG`, whose `value` is `VALUE`, with the given changes."""
    return Registration(**{"callback_url": CALLBACK_URL, "config": CONFIG, "secret": SECRET, "name": "hub", **changes})


def error_body(kind: str, message: str = "why", **keys: object) -> dict[str, object]:
    """Return an error body of Files.com with the type `kind`; underscores in `keys` become hyphens."""
    more = {name.replace("_", "-"): value for name, value in keys.items()}
    return {"error": message, "http-code": 422, "instance": "i-1", "title": "Title", "type": kind, **more}


def received_request(call: Received) -> InboundRequest:
    """Return the request that the receiver would pass on for a call to a stub."""
    return inbound(call.body, method=call.method, query=urlsplit(call.path).query, headers=call.headers)


def parse_get(query: str) -> ParsedEvent:
    """Parse the one event of a GET."""
    (event,) = provider.parse(inbound(method="GET", query=query, headers=())).events
    return event


def parse_post(body: bytes, kind: str | None = None, *headers: tuple[str, str], query: str = "") -> Parsed:
    """Parse a POST with the content type `kind`."""
    content_type = () if kind is None else (("Content-Type", kind),)
    return provider.parse(inbound(body, query=query, headers=(*content_type, *headers)))
