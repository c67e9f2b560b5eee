"""Reads what Files.com's API answers: behaviors, the API key, test results. No shape is taken for granted.

Sources: BehaviorEntity, ApiKeyEntity, StatusEntity, WebhookTestEntity and `x-behaviors` of Files.com's Swagger
document; koshigoe/brick_ftp for the age in which `value` was a plain list of URLs.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from providers.contract.base import Identity, RemoteSubscription, TestResult
from providers.contract.errors import InvalidResponse
from providers.contract.responses import ProviderResponse
from providers.files_com.schemas import AUTH_HEADER, OUR_HEADERS, ROOT, FilesComConfig

WEBHOOK = "webhook"
STATUS = "registered"  # Files.com has no word for it: a behavior is there, or it is not
KEY_ENDS_SOON = timedelta(days=14)
MAX_WORDS = 300
MOST_ID = 2**63

# The keys of `value` that our config stands for. Others are left as they are there.
MANAGED_KEYS = frozenset(
    {
        "urls", "method", "triggers", "triggering_filenames", "exclude_filenames", "encoding", "headers", "body",
        "file_form_field", "file_as_body", "use_dedicated_ips",
    }
)  # fmt: skip
_OUR_CALLBACK = re.compile(r"/hooks/[A-Za-z0-9_-]+/?")


@dataclass(frozen=True, slots=True)
class Behavior:
    """One webhook as Files.com describes it. `value` is None when it could not be read."""

    remote: RemoteSubscription
    value: Mapping[str, object] | None


# -- Webhooks ------------------------------------------------------------------------------------------------------


def read_behaviors(value: object) -> list[Behavior]:
    """One page of the list call, without behaviors that are no webhooks. One odd entry spoils it all: an id that is
    overlooked would be registered twice."""
    if not isinstance(value, list):
        raise InvalidResponse("The provider's list of behaviors is no list.")
    return [read_behavior(item) for item in value if not isinstance(item, dict) or is_webhook(item)]


def is_webhook(item: Mapping[str, object]) -> bool:
    """Whether a behavior is a webhook. An answer that does not name the kind is to a call about webhooks."""
    return item.get("behavior", WEBHOOK) == WEBHOOK


def read_behavior(item: object) -> Behavior:
    """A webhook; raises InvalidResponse without a usable id. An unreadable `value` leaves URL and config unknown."""
    if not isinstance(item, dict):
        raise InvalidResponse("The provider's description of a behavior is no JSON object.")
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
    """`value` as an object: it may be one, a list of URLs (older API), or either of them as JSON text."""
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
    """The config in which equal meanings are equal: names sorted, RAW as no encoding, header names in lower case.

    Files.com compares paths without regard to case (Files-com/files-sdk-python, path_util), so letters are lower here.
    """
    return {
        "path": _canonical_path(config.path),
        "triggers": sorted(set(config.triggers)),
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


def shown_in_clear(value: object) -> str | None:
    """A secret that an answer shows; None when it is absent, empty or masked."""
    return value.strip() or None if isinstance(value, str) and "*" not in value else None


def _config(item: Mapping[str, object], value: Mapping[str, object], redundant: list[str]) -> dict[str, object]:
    headers = {name.lower(): text for name, text in _text_map(value.get("headers")).items()}
    return {
        "path": _canonical_path(_text(item.get("path"))),
        "triggers": sorted(set(_texts(value.get("triggers")))),
        "method": _text(value.get("method")).upper() or "GET",
        "encoding": _canonical_encoding(_text(value.get("encoding"))),
        "recursive": _flag(item.get("recursive")),
        "filenames": sorted(set(_texts(value.get("triggering_filenames")))),
        "exclude_filenames": sorted(set(_texts(value.get("exclude_filenames")))),
        "redundant_urls": redundant,
        "headers": {name: text for name, text in sorted(headers.items()) if name not in OUR_HEADERS},
        "body": dict(sorted(_text_map(value.get("body")).items())),
        "file_form_field": _text(value.get("file_form_field")),
        "file_as_body": _flag(value.get("file_as_body")),
        "use_dedicated_ips": _flag(value.get("use_dedicated_ips")),
    }


def _urls(value: Mapping[str, object]) -> tuple[str | None, list[str]]:
    """Ours and the others. Where somebody moved ours away from the first place, all stand among the others, so that
    it differs from every wish and is put back."""
    urls = _texts(value.get("urls"))
    ours = next((url for url in urls if _OUR_CALLBACK.search(_path_of(url))), urls[0] if urls else None)
    return ours, urls[1:] if urls and ours == urls[0] else urls


def _path_of(url: str) -> str:
    """The path of a URL that anybody may have entered; empty when it is none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _shown_secret(value: Mapping[str, object]) -> str | None:
    """The Authorization header's value; empty when there is none, None when it is masked."""
    headers = {name.lower(): text for name, text in _text_map(value.get("headers")).items()}
    secret = headers.get(AUTH_HEADER.lower(), "")
    return shown_in_clear(secret) if secret else ""


def _canonical_path(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip("/")).lower() or ROOT


def _canonical_encoding(encoding: str) -> str:
    return "" if encoding.upper() == "RAW" else encoding.upper()


def _remote_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_ID:
        raise InvalidResponse("In the provider's answer `id` is no usable id.")
    return str(value)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    """A list of texts; a single text is one, too, separated by commas as on the Behaviors tab."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [part.strip() for part in parts if isinstance(part, str) and part.strip()]


def _text_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(name): item if isinstance(item, str) else json.dumps(item) for name, item in value.items()}


def _flag(value: object) -> bool:
    return value not in (None, False, 0, "", "0", "false")


# -- The API key ---------------------------------------------------------------------------------------------------


def read_identity(answer: ProviderResponse, now: datetime) -> Identity:
    """Whose key it is. Warns when it is not a full one, and when it ends within two weeks."""
    item = answer.json_object()
    label = _text(item.get("descriptive_label")) or _text(item.get("name"))
    if not label and not isinstance(item.get("id"), int):
        raise InvalidResponse(
            "The provider's description of the API key names neither id nor label.", status=answer.status
        )
    facts: dict[str, object] = {
        "label": label or None,
        "key_id": item.get("id"),
        "user_id": item.get("user_id"),
        "permission_set": _text(item.get("permission_set")) or None,
        "expires_at": _text(item.get("expires_at")) or None,
    }
    known = {name: value for name, value in facts.items() if isinstance(value, str | int)}
    return Identity(facts=known, warning=_key_warning(known, now))


def _key_warning(facts: Mapping[str, object], now: datetime) -> str | None:
    permissions = facts.get("permission_set", "full")
    if permissions != "full":
        return f"The key's permission set is {permissions}, not full; managing webhooks may be refused."
    ends_at = _time(facts.get("expires_at"))
    if ends_at is not None and ends_at - now < KEY_ENDS_SOON:
        return f"The key ends at {ends_at:%Y-%m-%d %H:%M} UTC; make a new one at Files.com and enter it here."
    return None


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment else None
    except (ValueError, OverflowError):
        return None


# -- Test calls ----------------------------------------------------------------------------------------------------


def read_test(answer: ProviderResponse) -> TestResult:
    """What came of a test webhook: `{code, message, status, data}`, the newer call also says `success`. An answer
    without a body means that it was sent."""
    if not answer.body.strip():
        return TestResult(ok=True, detail="Files.com sent a test webhook.")
    item = answer.json_object()
    code = item.get("code")
    refused = isinstance(code, int) and not isinstance(code, bool) and not 200 <= code < 300
    ok = item.get("success") is not False and not refused
    said = dict.fromkeys(_text(item.get(key)) for key in ("message", "status"))
    words = " ".join(part for part in ("" if code is None else str(code), *said) if part)[:MAX_WORDS]
    sent = "Files.com sent a test webhook." if ok else "Files.com could not deliver a test webhook."
    return TestResult(ok=ok, detail=f"{sent} It says: {words}" if words else sent)
