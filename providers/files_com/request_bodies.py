"""Build the bodies of Files.com's management calls."""

from __future__ import annotations

import json
from collections.abc import Mapping

from providers.contract.base import Registration
from providers.contract.session import ProviderSession
from providers.files_com.schemas import (
    AUTH_HEADER,
    FILE_HEADER,
    FilesComConfig,
    FilesComCredentials,
    FilesComSettings,
)

DEFAULT_NAME = "Hookkeeper"
VERIFICATION_KEY = "verification_token"
TEST_MARKER = {"hookkeeper_test": "1"}  # distinguishes the event of a test from a real one

FilesComSession = ProviderSession[FilesComSettings, FilesComCredentials]


def behavior_body(
    session: FilesComSession, registration: Registration[FilesComConfig], value: Mapping[str, object]
) -> dict[str, object]:
    """Return the fields of a behavior that can be changed; `value` is the one of `webhook_value`."""
    return {
        "name": registration.name or DEFAULT_NAME,
        "recursive": registration.config.recursive,
        "value": json.dumps(value) if session.settings.value_format == "text" else dict(value),
    }


def webhook_value(
    session: FilesComSession, registration: Registration[FilesComConfig], *, complete: bool = False
) -> dict[str, object]:
    """Return a webhook's `value`, in which the callback URL is the first URL.

    Empty keys are omitted, unless `complete`: then they overwrite existing ones.
    """
    config = registration.config
    value: dict[str, object] = {
        "urls": [registration.callback_url, *config.redundant_urls],
        "method": config.method,
        "triggers": list(config.triggers),
        "triggering_filenames": list(config.filenames),
        "exclude_filenames": list(config.exclude_filenames),
        "encoding": config.encoding,
        "headers": _headers(session.settings, registration),
        "body": dict(config.body),
        "file_form_field": config.file_form_field,
        "file_as_body": config.file_as_body,
        "use_dedicated_ips": config.use_dedicated_ips,
    }
    if session.credentials.verification_token:
        value[VERIFICATION_KEY] = session.credentials.verification_token
    return {key: item for key, item in value.items() if item or complete}


def _headers(settings: FilesComSettings, registration: Registration[FilesComConfig]) -> dict[str, str]:
    headers = dict(registration.config.headers)
    if settings.expect_header and registration.secret:
        headers[AUTH_HEADER] = registration.secret
    if settings.expect_header and registration.config.file_as_body:
        headers[FILE_HEADER] = "file"
    return headers


def test_call_body(
    session: FilesComSession, registration: Registration[FilesComConfig], keys: frozenset[str]
) -> dict[str, object]:
    """Return the body of a test call that accepts these keys of `value`."""
    value = webhook_value(session, registration)
    value["body"] = {**TEST_MARKER, **registration.config.body}
    action = next(iter(registration.config.triggers), "create")
    return {
        "url": registration.callback_url,
        "action": action,
        **{key: item for key, item in value.items() if key in keys},
    }
