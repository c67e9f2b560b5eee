"""Parse and check the requests that the simulated Files.com API receives."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

VALUE_LISTS = ("urls", "triggers", "triggering_filenames", "exclude_filenames")
VALUE_MAPS = ("headers", "body")
VALUE_KEYS = (
    *VALUE_LISTS, *VALUE_MAPS, "method", "encoding", "verification_token", "file_form_field", "file_as_body",
    "use_dedicated_ips",
)  # fmt: skip
CHOICES: Mapping[str, tuple[str, ...]] = {"method": ("GET", "POST"), "encoding": ("JSON", "XML", "RAW", "EV1", "EV2")}


class ApiError(Exception):
    """An error that the simulated server returns, with its body; `field` is the invalid field."""

    def __init__(self, status: int, kind: str, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self.body = error_body(status, kind, message)
        if field:
            self.body["model-errors"] = {field: [message]}


def error_body(status: int, kind: str, message: str) -> dict[str, object]:
    """Return an error in Files.com's format."""
    title = kind.rpartition("/")[2].replace("-", " ").title()
    return {"error": message, "http-code": status, "instance": "5f8f5a4e-0000", "title": title, "type": kind}


def invalid(field: str, problem: str) -> ApiError:
    """Return the error for one invalid field."""
    return ApiError(422, "processing-failure/model-save-error", problem, field=field)


def parse_value(value: object, triggers: Collection[str], *, at_least: int) -> dict[str, object]:
    """Check a webhook's `value`, which must have `at_least` so many URLs. Raises ApiError for the first invalid key."""
    checked = decode_value(value)
    _check_shapes(checked)
    urls = texts(checked.get("urls"))
    if not all(_is_url(url) for url in urls) or not urls:
        raise invalid("urls", "urls must hold at least one URL, and nothing else")
    if len(urls) < at_least:
        raise invalid("urls", "urls must hold a redundant URL")
    for key, choices in CHOICES.items():
        if checked.get(key) not in (None, "", *choices):
            raise invalid(key, f"{key} must be one of {', '.join(choices)}")
    for trigger in texts(checked.get("triggers")):
        if trigger not in triggers:
            raise invalid("triggers", f"{trigger} is not one of the triggers")
    return checked


def decode_value(value: object) -> dict[str, object]:
    """Decode a `value`, which may be an object, JSON text, or the older list of URLs. Raises ApiError."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise invalid("value", "value is not JSON") from None
    if isinstance(value, list):
        value = {"urls": value}
    if not isinstance(value, dict):
        raise invalid("value", "value must be a hash")
    return dict(value)


def _check_shapes(value: Mapping[str, object]) -> None:
    for key, item in value.items():
        if key not in VALUE_KEYS:
            raise invalid("value", f"value has the unknown key {key}")
        if key in VALUE_LISTS and item is not None and texts(item) != item:
            raise invalid(key, f"{key} must be a list of strings")
        if key in VALUE_MAPS and item is not None and not isinstance(item, dict):
            raise invalid(key, f"{key} must be a hash")


def texts(value: object) -> list[str]:
    """Return the strings of a list; an empty list if the value is not a list."""
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def parse_object(body: bytes) -> dict[str, object]:
    """Parse a JSON object. Raises ApiError."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ApiError(422, "bad-request/invalid-body", "The body is not a JSON object")
    return value


def parse_number(text: str, kind: str) -> int:
    """Parse a number; `kind` is the type of the ApiError that is raised for anything else."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ApiError(422, kind, f"{text} is not a number")
    return int(text)
