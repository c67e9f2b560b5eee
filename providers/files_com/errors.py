"""Map Files.com's error responses to provider errors.

Every error is `{"error", "http-code", "instance", "title", "type"}`, optionally with "errors", "model-errors", "detail"
and "data". `type` is slash-separated; `x-errors` of Files.com's Swagger document lists all types. The type is more
specific than the status, which is 422 for most errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from providers.contract.error_bodies import MAX_MESSAGE, error_object
from providers.contract.errors import (
    AuthenticationFailed,
    InvalidResponse,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
    Unsupported,
)
from providers.contract.responses import ProviderResponse, error_for, retry_after

# Seconds to wait if Files.com throttles without a Retry-After header
WAIT_CONCURRENT_SECONDS = 2.0
WAIT_UNKNOWN_SECONDS = 30.0

# Temporary locks and outages, with the status 422, 423 or 403
_TEMPORARY = frozenset(
    {
        "processing-failure/agent-unavailable",
        "processing-failure/file-locked",
        "processing-failure/folder-locked",
        "processing-failure/remote-server-error",
        "processing-failure/resource-locked",
        "processing-failure/subfolder-locked",
        "processing-failure/sync-in-progress",
    }
)
_CONFLICTS = frozenset({"processing-failure/destination-exists", "processing-failure/destination-parent-conflict"})
_BAD_KEY = frozenset(
    {
        "not-authorized/api-key-is-disabled",
        "not-authorized/must-authenticate-with-api-key",
        "not-found/api-key-not-found",
        "not-found/user-not-found",
    }
)
_ABOUT_THE_PATH = frozenset(
    {
        "bad-request/folder-must-not-be-a-file",
        "bad-request/folders-not-allowed",
        "bad-request/invalid-path",
        "bad-request/path-cannot-have-trailing-whitespace",
        "processing-failure/behavior-not-allowed-on-remote-server",
        "processing-failure/could-not-create-parent",
        "processing-failure/destination-parent-does-not-exist",
        "processing-failure/filename-too-long",
        "processing-failure/invalid-filename",
        "processing-failure/path-too-long",
        "processing-failure/resource-belongs-to-parent-site",
    }
)
# Statuses that determine the error for unknown types; 409, 429 and 5xx are handled before.
_DECISIVE_STATUSES = frozenset({401, 403, 404, 408, 410})
# Advice that Files.com's own message lacks, by type
_ADVICE = {
    "not-authorized/non-admins-must-query-by-folder-or-path": (
        "This key does not belong to a site administrator, so it cannot list the whole site. Enter its folders in the"
        " account's setting `folders`."
    ),
    "not-authorized/api-key-is-path-restricted": "The key is restricted to other folders.",
    "not-authorized/folder-admin-permission-required": "The key's user must be an administrator of this folder.",
    "not-authorized/site-admin-required": "The key's user must be a site administrator.",
    "not-found/site-not-found": "There is no site with this name. Check the account's subdomain.",
}

# Files.com's names of the fields that we send, and our names; longer names first, because the first match counts
_FIELDS = {
    "redundant_urls": "redundant_urls",
    "exclude_filenames": "exclude_filenames",
    "triggering_filenames": "filenames",
    "verification_token": "verification_token",
    "use_dedicated_ips": "use_dedicated_ips",
    "file_form_field": "file_form_field",
    "file_as_body": "file_as_body",
    "recursive": "recursive",
    "triggers": "triggers",
    "encoding": "encoding",
    "headers": "headers",
    "method": "method",
    "urls": "callback_url",
    "url": "callback_url",
    "path": "path",
    "body": "body",
}
_FIELD = re.compile(rf"\b({'|'.join(_FIELDS)})\b", re.IGNORECASE)


def read_error(response: ProviderResponse) -> ProviderError | None:
    """Return the error for an unexpected response.

    Return None to apply the general rule: for redirects, and for 5xx, after which the outcome is unknown.
    """
    body = error_object(response)
    kind = body.get("type")
    if response.status == 429 or (isinstance(kind, str) and kind.startswith("rate-limited")):
        return _throttled(response, str(kind or ""), _message(body))
    if response.status >= 500 or response.status < 400:
        return None
    if response.status == 423:
        return Unavailable(f"Files.com has temporarily locked this. {_quote(body)}".strip(), status=423)
    if not isinstance(kind, str) or not kind.strip():
        return error_for(response, _message(body) or None, field=_field(body))
    return _by_type(response, kind.strip(), body)


def has_type(response: ProviderResponse) -> bool:
    """Return whether this is an error in Files.com's own format, so that the API exists at this host."""
    kind = error_object(response).get("type")
    return isinstance(kind, str) and bool(kind.strip())


def is_about_the_behavior(response: ProviderResponse) -> bool:
    """Return whether a 404 can be about the behavior itself, rather than about a folder that it names."""
    return str(error_object(response).get("type") or "").strip() in ("", "not-found", "not-found/behavior-not-found")


def _by_type(response: ProviderResponse, kind: str, body: Mapping[str, object]) -> ProviderError:
    status, quote, advice = response.status, _quote(body), _ADVICE.get(kind, "")
    group = kind.partition("/")[0]
    if group == "not-authenticated" or kind in _BAD_KEY:
        return AuthenticationFailed(f"Files.com refused the API key. Enter another one. {quote}", status=status)
    if kind in _TEMPORARY or group == "service-unavailable":
        return Unavailable(f"Files.com is temporarily unable to do this. {quote}", status=status)
    if group in ("not-authorized", "site-configuration"):
        advice = (
            advice or "Managing webhooks requires the key of a site administrator or of the folder's administrator."
        )
        if group == "site-configuration":
            advice = "The Files.com account itself has a problem. Resolve it at Files.com."
        return PermissionMissing(f"Files.com denied this call. {advice} {quote}", status=status)
    if kind == "not-found/site-not-found":
        return InvalidResponse(f"{advice} {quote}", status=status)
    if group == "not-found":
        return NotFound(f"Files.com did not find it. {quote}", status=status)
    if kind in _CONFLICTS or status == 409:
        return LimitReached(f"Files.com reports a conflict. {quote}", status=status, field=_field(body))
    return _other_error(response, kind, body)


def _other_error(response: ProviderResponse, kind: str, body: Mapping[str, object]) -> ProviderError:
    """Return the error for an invalid call; for an unknown type the status decides."""
    status, quote = response.status, _quote(body)
    if kind == "bad-request/method-not-allowed":
        return Unsupported(f"Files.com does not have this call. {quote}", status=status)
    if kind.startswith("bad-request/invalid-cursor"):
        return InvalidResponse(f"Files.com no longer accepts the cursor of its list. {quote}", status=status)
    if kind not in _ABOUT_THE_PATH and status in _DECISIVE_STATUSES:
        return error_for(response, _message(body))
    field = "path" if kind in _ABOUT_THE_PATH else _field(body)
    return Refused(f"Files.com refused this. {quote}", status=status, field=field)


def _throttled(response: ProviderResponse, kind: str, message: str) -> Throttled:
    concurrent = kind.endswith("too-many-concurrent-requests")
    wait = retry_after(response) or (WAIT_CONCURRENT_SECONDS if concurrent else WAIT_UNKNOWN_SECONDS)
    quote = f" Its message: {message}." if message else ""
    return Throttled(
        f"Files.com's rate limit is reached; the next call may be made in {wait:.0f} s.{quote}",
        status=response.status,
        retry_after=wait,
    )


def _quote(body: Mapping[str, object]) -> str:
    message = _message(body)
    return f"Its message: {message}." if message else ""


def _message(body: Mapping[str, object]) -> str:
    """Return the distinct texts of an error body, followed by its type."""
    texts = list(dict.fromkeys(text.rstrip(". ") for text in _texts(body) if text.strip(". ")))
    kind = body.get("type")
    message = "; ".join(texts)[:MAX_MESSAGE]
    return f"{message} ({kind})" if message and isinstance(kind, str) and kind else message or str(kind or "")


def _texts(body: Mapping[str, object]) -> Iterator[str]:
    for key in ("error", "detail"):
        value = body.get(key)
        if isinstance(value, str):
            yield value.strip()
    for key in ("errors", "model-errors"):
        yield from (f"{name} {text}".strip() for name, text in _field_messages(body.get(key)))
    title = body.get("title")
    if isinstance(title, str) and not body.get("error"):
        yield title.strip()


def _field(body: Mapping[str, object]) -> str | None:
    """Return our name for the field that the error is about: named as such, or mentioned in a message."""
    for key in ("model-errors", "errors"):
        for name, text in _field_messages(body.get(key)):
            field = _find_field(name) or _find_field(text)
            if field:
                return field
    return next((field for key in ("error", "detail") if (field := _find_field(body.get(key)))), None)


def _field_messages(value: object, name: str = "", depth: int = 4) -> Iterator[tuple[str, str]]:
    """Yield field and message, from `{"path": ["..."]}`, `["..."]` and `[{"fields": [...], "messages": [...]}]`."""
    if isinstance(value, str):
        yield name, value.strip()
    elif isinstance(value, list) and depth:
        for item in value[:20]:
            yield from _field_messages(item, name, depth - 1)
    elif isinstance(value, dict) and depth:
        if isinstance(value.get("fields"), list) and "messages" in value:
            fields = [field for field in value["fields"] if isinstance(field, str)]
            yield from _field_messages(value["messages"], " ".join(fields[:5]), depth - 1)
            return
        for key, item in list(value.items())[:20]:
            yield from _field_messages(item, str(key), depth - 1)


def _find_field(text: object) -> str | None:
    match = _FIELD.search(text) if isinstance(text, str) else None
    return _FIELDS[match.group(1).lower()] if match else None
