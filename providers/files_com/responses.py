"""Parse and check Files.com's responses: behaviors, the API key and test results.

Sources: BehaviorEntity, ApiKeyEntity, StatusEntity, WebhookTestEntity and `x-behaviors` of Files.com's Swagger
document; koshigoe/brick_ftp for the older API, in which `value` was a list of URLs.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from providers.contract.base import Identity, RemoteSubscription, TestResult
from providers.contract.equivalence import canonical_url
from providers.contract.errors import InvalidResponse
from providers.contract.event_fields import parse_iso_time
from providers.contract.response_fields import invalid_field, lenient_text, read_entries, read_object, unmasked_secret
from providers.contract.responses import ProviderResponse
from providers.files_com.event_types import FILE_ACTIONS
from providers.files_com.schemas import AUTH_HEADER, RESERVED_HEADERS, ROOT, FilesComConfig

WEBHOOK = "webhook"
STATUS = "registered"  # Files.com has no status: a behavior exists, or it does not
KEY_EXPIRY_WARNING = timedelta(days=14)
MAX_DETAIL = 300  # characters
MAX_ID = 2**63

# The keys of `value` that the config covers; other keys are kept unchanged
MANAGED_KEYS = frozenset(
    {
        "urls", "method", "triggers", "triggering_filenames", "exclude_filenames", "encoding", "headers", "body",
        "file_form_field", "file_as_body", "use_dedicated_ips",
    }
)  # fmt: skip
_CALLBACK_PATH = re.compile(r"/hooks/[A-Za-z0-9_-]+/?")


@dataclass(frozen=True, slots=True)
class Behavior:
    """One webhook as Files.com returns it; `value` is None if it is unreadable."""

    remote: RemoteSubscription
    value: Mapping[str, object] | None


# -- Webhooks ------------------------------------------------------------------------------------------------------


def read_behaviors(value: object) -> list[Behavior]:
    """Parse one page of the list call, without behaviors of other kinds. Raises InvalidResponse."""
    if not isinstance(value, list):
        raise InvalidResponse("The provider's list of behaviors is not a JSON array.")
    webhooks = [item for item in value if not isinstance(item, dict) or is_webhook(item)]
    entries = read_entries(webhooks, read_behavior, lambda item: _remote_id(read_object(item).get("id")))
    return [item if isinstance(item, Behavior) else Behavior(item, None) for item in entries]


def is_webhook(item: Mapping[str, object]) -> bool:
    """Return whether a behavior is a webhook; one without a kind is, because only webhooks are requested."""
    return item.get("behavior", WEBHOOK) == WEBHOOK


def read_behavior(item: object) -> Behavior:
    """Parse a webhook. An unreadable `value` leaves URL and config unknown. Raises InvalidResponse."""
    if not isinstance(item, dict):
        raise InvalidResponse("The provider returned a behavior that is not a JSON object.")
    value = read_value(item.get("value"))
    url, redundant = _urls(value or {})
    remote = RemoteSubscription(
        remote_id=_remote_id(item.get("id")),
        status=STATUS,
        enabled=True,
        url=url,
        config=None if value is None else _config(item, value, redundant),
        shown_secret=None if value is None else _shown_secret(value),
    )
    return Behavior(remote, value)


def read_value(value: object) -> Mapping[str, object] | None:
    """Return `value` as an object: it may be an object, a list of URLs (older API), or either of them as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [text for text in _texts(value) if "://" in text]
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(url, str) for url in value):
        return {"urls": value}
    return None


def canonical(config: FilesComConfig) -> dict[str, object]:
    """Return the config in canonical form: sorted names, RAW as no encoding, header names in lower case.

    Files.com compares paths case-insensitively (Files-com/files-sdk-python, path_util), so they are in lower case.
    """
    return {
        "path": _canonical_path(config.path),
        "triggers": _canonical_triggers(config.triggers),
        "method": config.method,
        "encoding": _canonical_encoding(config.encoding),
        "recursive": config.recursive,
        "filenames": sorted(set(config.filenames)),
        "exclude_filenames": sorted(set(config.exclude_filenames)),
        "redundant_urls": list(config.redundant_urls),
        "headers": {name.lower(): value for name, value in sorted(config.headers.items())},
        "body": dict(sorted(config.body.items())),
        "file_form_field": config.file_form_field,
        "file_as_body": config.file_as_body,
        "use_dedicated_ips": config.use_dedicated_ips,
    }


def _config(item: Mapping[str, object], value: Mapping[str, object], redundant: list[str]) -> dict[str, object]:
    """Return the readable fields. Keys that `value` lacks have their defaults; the older list of URLs has only URLs."""
    shown: dict[str, object] = {}
    if "path" in item:
        shown["path"] = _canonical_path(lenient_text(item["path"]))
    if "recursive" in item:
        shown["recursive"] = _flag(item["recursive"])
    if set(value) == {"urls"}:
        return {**shown, "redundant_urls": redundant}
    headers = {name.lower(): text for name, text in _text_map(value.get("headers")).items()}
    return {
        **shown,
        "triggers": _canonical_triggers(_texts(value.get("triggers"))),
        "method": lenient_text(value.get("method")).upper() or "GET",
        "encoding": _canonical_encoding(lenient_text(value.get("encoding"))),
        "filenames": sorted(set(_texts(value.get("triggering_filenames")))),
        "exclude_filenames": sorted(set(_texts(value.get("exclude_filenames")))),
        "redundant_urls": redundant,
        "headers": {name: text for name, text in sorted(headers.items()) if name not in RESERVED_HEADERS},
        "body": dict(sorted(_text_map(value.get("body")).items())),
        "file_form_field": lenient_text(value.get("file_form_field")),
        "file_as_body": _flag(value.get("file_as_body")),
        "use_dedicated_ips": _flag(value.get("use_dedicated_ips")),
    }


def _urls(value: Mapping[str, object]) -> tuple[str | None, list[str]]:
    """Return the callback URL and the redundant URLs.

    If the callback URL is not the first one, all URLs are returned as redundant, so that the drift is detected.
    """
    urls = [canonical_url(url) for url in _texts(value.get("urls"))]
    callback = next((url for url in urls if _CALLBACK_PATH.search(_path_of(url))), urls[0] if urls else None)
    return callback, urls[1:] if urls and callback == urls[0] else urls


def _path_of(url: str) -> str:
    """Return the path of a URL; empty if it is not a URL."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _shown_secret(value: Mapping[str, object]) -> str | None:
    """Return the value of the Authorization header; empty if there is none, None if it is masked or not shown."""
    if set(value) == {"urls"}:
        return None
    headers = {name.lower(): text for name, text in _text_map(value.get("headers")).items()}
    secret = headers.get(AUTH_HEADER.lower(), "")
    return unmasked_secret(secret) if secret else ""


def _canonical_triggers(triggers: Iterable[str]) -> list[str]:
    """Return the triggers sorted and unique. All actions of files are what no triggers mean."""
    names = sorted(set(triggers))
    return [] if names == sorted(FILE_ACTIONS) else names


def _canonical_path(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip("/")).lower() or ROOT


def _canonical_encoding(encoding: str) -> str:
    return "" if encoding.upper() == "RAW" else encoding.upper()


def _remote_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MAX_ID:
        raise invalid_field("id", "is not a usable ID")
    return str(value)


def _texts(value: object) -> list[str]:
    """Return a list of strings; a string is split at commas, as on Files.com's Behaviors tab."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [part.strip() for part in parts if isinstance(part, str) and part.strip()]


def _text_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(name): item if isinstance(item, str) else json.dumps(item) for name, item in value.items()}


def _flag(value: object) -> bool:
    return value not in (None, False, 0, "", "0", "false")


# -- The API key ---------------------------------------------------------------------------------------------------


def read_identity(response: ProviderResponse, now: datetime) -> Identity:
    """Parse the API key's description, with a warning if it is restricted or expires within two weeks."""
    item = response.json_object()
    label = lenient_text(item.get("descriptive_label")) or lenient_text(item.get("name"))
    if not label and not isinstance(item.get("id"), int):
        raise InvalidResponse(
            "The provider's description of the API key has neither ID nor label.", status=response.status
        )
    facts: dict[str, object] = {
        "label": label or None,
        "key_id": item.get("id"),
        "user_id": item.get("user_id"),
        "permission_set": lenient_text(item.get("permission_set")) or None,
        "expires_at": lenient_text(item.get("expires_at")) or None,
    }
    known = {name: value for name, value in facts.items() if isinstance(value, str | int)}
    return Identity(facts=known, warning=_key_warning(known, now))


def _key_warning(facts: Mapping[str, object], now: datetime) -> str | None:
    permissions = facts.get("permission_set", "full")
    if permissions != "full":
        return f"The key's permission set is {permissions}, not full; managing webhooks may be refused."
    expires_at = parse_iso_time(facts.get("expires_at"))
    if expires_at is not None and expires_at - now < KEY_EXPIRY_WARNING:
        return f"The key expires at {expires_at:%Y-%m-%d %H:%M} UTC. Create a new one at Files.com and enter it here."
    return None


# -- Test calls ----------------------------------------------------------------------------------------------------


def read_test(response: ProviderResponse) -> TestResult:
    """Parse the result of a test call: `{code, message, status, data}`, and `success` from the newer call.

    A response without a body means that the webhook was sent.
    """
    if not response.body.strip():
        return TestResult(ok=True, detail="Files.com sent a test webhook.")
    item = response.json_object()
    code = item.get("code")
    refused = isinstance(code, int) and not isinstance(code, bool) and not 200 <= code < 300
    ok = item.get("success") is not False and not refused
    texts = dict.fromkeys(lenient_text(item.get(key)) for key in ("message", "status"))
    detail = " ".join(part for part in ("" if code is None else str(code), *texts) if part)[:MAX_DETAIL]
    outcome = "Files.com sent a test webhook." if ok else "Files.com could not deliver a test webhook."
    return TestResult(ok=ok, detail=f"{outcome} Its message: {detail}" if detail else outcome)
