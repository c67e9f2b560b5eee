"""Files.com: the shared contract suite, and what is special here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from providers.base import (
    Action,
    InboundRequest,
    Login,
    Parsed,
    ParsedEvent,
    Registration,
    VerificationResult,
    validate,
)
from providers.errors import (
    AuthenticationFailed,
    BadAnswer,
    InvalidInput,
    LimitReached,
    NotFound,
    PermissionMissing,
    ProviderError,
    Refused,
    Throttled,
    Unavailable,
    UnreadableRequest,
    Unsupported,
)
from providers.files_com import provider
from providers.files_com.bodies import MAX_ELEMENTS, MAX_FIELDS
from providers.files_com.event_types import EVENT_TYPES
from providers.files_com.messages import BOUNDARY
from providers.files_com.schemas import FilesComConfig, FilesComCredentials, FilesComSettings
from providers.http import Exchange, Http
from tests.provider_contract import (
    CALLBACK_URL,
    LOOPBACK,
    Live,
    ProviderContract,
    Received,
    Scripted,
    StubServer,
    inbound,
)

FIXTURES = Path(__file__).parent / "fixtures"
SECRET = "Bearer hk_" + "s3cr3t" * 6
KEY = "key-0123456789"
TOKEN = "tok-verification-1"
FORM = "application/x-www-form-urlencoded"
CONTENT_TYPES = {
    ".form": FORM,
    ".json": "application/json",
    ".xml": "application/xml",
    ".multipart": f"multipart/form-data; boundary={BOUNDARY}",
    ".bin": "application/pdf",
}


def as_sent(call: Received) -> InboundRequest:
    """A message that a stub received, as our receiver would hand it on."""
    return inbound(call.body, method=call.method, query=urlsplit(call.path).query, headers=call.headers)


class TestFilesCom(ProviderContract):
    provider = provider
    fixtures = FIXTURES
    settings: ClassVar[Mapping[str, object]] = {"subdomain": "acme"}
    credentials: ClassVar[Mapping[str, object]] = {"api_key": KEY, "verification_token": TOKEN}
    config: ClassVar[Mapping[str, object]] = {
        "path": "Clients/Acme",
        "triggers": ["update", "create"],
        "method": "POST",
        "encoding": "JSON",
        "filenames": ["*.pdf"],
    }
    other_config: ClassVar[Mapping[str, object]] = {
        "path": "clients/acme",
        "triggers": ["user_create"],
        "encoding": "RAW",
        "recursive": False,
        "exclude_filenames": ["*.tmp", "*.bak"],
        "redundant_urls": ["https://b.example.test/in", "https://a.example.test/in"],
        "headers": {"X-Source": "files"},
        "body": {"department": "finance"},
        "file_form_field": "file",
        "use_dedicated_ips": True,
    }
    everything: ClassVar[Mapping[str, object]] = {"path": "/"}

    def fixture_request(self, path: Path) -> InboundRequest:
        """By the file's ending: a GET with that query, or a POST of that kind."""
        if path.suffix == ".query":
            return inbound(method="GET", query=path.read_text("utf-8").strip(), headers=())
        headers = [("Content-Type", CONTENT_TYPES[path.suffix])]
        if path.suffix == ".bin":
            headers.append(("X-Hookkeeper-Body", "file"))
        return inbound(path.read_bytes(), headers=tuple(headers))
