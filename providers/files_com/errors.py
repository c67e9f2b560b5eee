"""From Files.com's error catalogue to errors that carry the decision.

Every error is `{"error", "http-code", "instance", "title", "type"}`, perhaps with "errors", "model-errors", "detail"
and "data". `type` is slash-separated; `x-errors` of Files.com's Swagger document lists all of them. It says more than
the status, which is 422 for most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

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

WAIT_CONCURRENT = 2.0  # seconds to stay away when Files.com throttles without saying for how long
WAIT_UNKNOWN = 30.0
MAX_WORDS = 500

# Locks and outages that pass by themselves; they come as 422, 423 or 403.
_PASSING = frozenset(
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
# Statuses that decide where the type is a new one; 409, 429 and 5xx are decided before.
_TELLING = frozenset({401, 403, 404, 408, 410})
# What to do about some of them, in words that Files.com's own message lacks.
_ADVICE = {
    "not-authorized/non-admins-must-query-by-folder-or-path": (
        "This key is no site administrator's, so it may not list the whole site: name its folders in the account's"
        " setting `folders`."
    ),
    "not-authorized/api-key-is-path-restricted": "The key is restricted to other folders.",
    "not-authorized/folder-admin-permission-required": "The key's user must be administrator of this folder.",
    "not-authorized/site-admin-required": "The key's user must be site administrator.",
    "not-found/site-not-found": "There is no site of that name; check the account's subdomain.",
}

# Their names of what we sent, and ours. Longer ones first: the first that fits counts.
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


def read_error(answer: ProviderResponse) -> ProviderError | None:
    """The error that an unexpected answer means. None (the general rule) where it has no type of their catalogue, and
    for 5xx, of which nobody knows whether the call took effect."""
    body = _body(answer)
    kind = body.get("type")
    if answer.status == 429 or (isinstance(kind, str) and kind.startswith("rate-limited")):
        return _throttled(answer, str(kind or ""), _words(body))
    if answer.status >= 500 or answer.status < 400:
        return None
    if answer.status == 423:
        return Unavailable(f"Files.com has locked this for now. {_said(body)}".strip(), status=423)
    if not isinstance(kind, str) or not kind.strip():
        return error_for(answer, _words(body) or None, field=_field(body))
    return _by_type(answer, kind.strip(), body)


def has_type(answer: ProviderResponse) -> bool:
    """Whether it is an error in Files.com's own form, so that their API is there."""
    kind = _body(answer).get("type")
    return isinstance(kind, str) and bool(kind.strip())


def is_about_the_behavior(answer: ProviderResponse) -> bool:
    """Whether what is not found can be the behavior itself, rather than a folder that it names."""
    return str(_body(answer).get("type") or "").strip() in ("", "not-found", "not-found/behavior-not-found")


def _by_type(answer: ProviderResponse, kind: str, body: Mapping[str, object]) -> ProviderError:
    status, said, advice = answer.status, _said(body), _ADVICE.get(kind, "")
    group = kind.partition("/")[0]
    if group == "not-authenticated" or kind in _BAD_KEY:
        return AuthenticationFailed(f"Files.com refused the API key. Enter another one. {said}", status=status)
    if kind in _PASSING or group == "service-unavailable":
        return Unavailable(f"Files.com cannot do this at the moment. {said}", status=status)
    if group in ("not-authorized", "site-configuration"):
        advice = advice or "Managing webhooks needs a key of a site administrator, or of the folder's administrator."
        if group == "site-configuration":
            advice = "The Files.com account itself is not in order; see to it there."
        return PermissionMissing(f"Files.com does not permit this. {advice} {said}", status=status)
    if kind == "not-found/site-not-found":
        return InvalidResponse(f"{advice} {said}", status=status)
    if group == "not-found":
        return NotFound(f"Files.com does not have it. {said}", status=status)
    if kind in _CONFLICTS or status == 409:
        return LimitReached(f"Files.com sees a conflict. {said}", status=status, field=_field(body))
    return _other(answer, kind, body)


def _other(answer: ProviderResponse, kind: str, body: Mapping[str, object]) -> ProviderError:
    """What is wrong with the call itself; a type that nobody knows yet means what its status says."""
    status, said = answer.status, _said(body)
    if kind == "bad-request/method-not-allowed":
        return Unsupported(f"Files.com has no such call here. {said}", status=status)
    if kind.startswith("bad-request/invalid-cursor"):
        return InvalidResponse(f"Files.com no longer knows where its list went on. {said}", status=status)
    if kind not in _ABOUT_THE_PATH and status in _TELLING:
        return error_for(answer, _words(body))
    field = "path" if kind in _ABOUT_THE_PATH else _field(body)
    return Refused(f"Files.com refused this. {said}", status=status, field=field)


def _throttled(answer: ProviderResponse, kind: str, words: str) -> Throttled:
    wait = retry_after(answer) or (WAIT_CONCURRENT if kind.endswith("too-many-concurrent-requests") else WAIT_UNKNOWN)
    told = f" It says: {words}." if words else ""
    return Throttled(
        f"Files.com takes no more calls for now; the next may be made in {wait:.0f} s.{told}",
        status=answer.status,
        retry_after=wait,
    )


def _body(answer: ProviderResponse) -> Mapping[str, object]:
    try:
        value: object = answer.json()
    except InvalidResponse:
        return {}
    return value if isinstance(value, dict) else {}


def _said(body: Mapping[str, object]) -> str:
    words = _words(body)
    return f"It says: {words}." if words else ""


def _words(body: Mapping[str, object]) -> str:
    """Everything that the envelope says, once, with the type at the end."""
    texts = list(dict.fromkeys(text.rstrip(". ") for text in _texts(body) if text.strip(". ")))
    kind = body.get("type")
    words = "; ".join(texts)[:MAX_WORDS]
    return f"{words} ({kind})" if words and isinstance(kind, str) and kind else words or str(kind or "")


def _texts(body: Mapping[str, object]) -> Iterator[str]:
    for key in ("error", "detail"):
        value = body.get(key)
        if isinstance(value, str):
            yield value.strip()
    for key in ("errors", "model-errors"):
        yield from (f"{name} {text}".strip() for name, text in _complaints(body.get(key)))
    title = body.get("title")
    if isinstance(title, str) and not body.get("error"):
        yield title.strip()


def _field(body: Mapping[str, object]) -> str | None:
    """Our name of the field that they complain about: named as such, or found in what they say."""
    for key in ("model-errors", "errors"):
        for name, text in _complaints(body.get(key)):
            found = _field_in(name) or _field_in(text)
            if found:
                return found
    return next((found for key in ("error", "detail") if (found := _field_in(body.get(key)))), None)


def _complaints(value: object, name: str = "", depth: int = 4) -> Iterator[tuple[str, str]]:
    """Field and words, from `{"path": ["..."]}`, `["..."]` and `[{"fields": [...], "messages": [...]}]`."""
    if isinstance(value, str):
        yield name, value.strip()
    elif isinstance(value, list) and depth:
        for item in value[:20]:
            yield from _complaints(item, name, depth - 1)
    elif isinstance(value, dict) and depth:
        if isinstance(value.get("fields"), list) and "messages" in value:
            fields = [field for field in value["fields"] if isinstance(field, str)]
            yield from _complaints(value["messages"], " ".join(fields[:5]), depth - 1)
            return
        for key, item in list(value.items())[:20]:
            yield from _complaints(item, str(key), depth - 1)


def _field_in(text: object) -> str | None:
    found = _FIELD.search(text) if isinstance(text, str) else None
    return _FIELDS[found.group(1).lower()] if found else None
