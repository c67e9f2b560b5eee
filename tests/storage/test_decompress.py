"""Compressed bodies: stored as they were sent, and decompressed for verification and parsing."""

from __future__ import annotations

import gzip
import time
import zlib
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from events.models import Outcome, WebhookRequest
from events.processing import normalize
from events.storage.decompress import decompress_body
from providers.contract.parsing import InboundRequest, Verification, VerificationResult
from subscriptions.models import Subscription
from tests.harness.fake_provider import FakeProvider, body_of
from tests.harness.receiving import is_empty_200, post_hook

pytestmark = pytest.mark.django_db


EVENT = body_of({"id": 1, "type": "made"})
TWO_GZIP_MEMBERS = gzip.compress(EVENT[:9], mtime=0) + gzip.compress(EVENT[9:], mtime=0)
RAW_DEFLATE = zlib.compress(EVENT, wbits=-15)
TOO_LARGE = "body decompresses to more than MAX_BODY_BYTES (1000)."


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(EVENT, mtime=0)),
        ("X-GZIP ", gzip.compress(EVENT, mtime=0)),
        ("gzip", TWO_GZIP_MEMBERS),
        ("gzip", TWO_GZIP_MEMBERS + bytes(100)),
        ("deflate", zlib.compress(EVENT)),
        ("deflate", zlib.compress(EVENT, wbits=9)),
        ("deflate", RAW_DEFLATE),
        ("gzip", EVENT),  # not compressed, despite the header
        ("deflate", EVENT),
        ("identity", EVENT),
        ("", EVENT),
    ],
)
def test_compressed_body_is_stored_as_sent_and_parsed_decompressed(
    hook_client: Client, hook: Subscription, coding: str, body: bytes
) -> None:
    assert is_empty_200(post_hook(hook_client, hook, body, headers={"Content-Encoding": coding}))
    normalize.normalize_pending()
    request = WebhookRequest.objects.get()
    assert (bytes(request.body), request.size, request.outcome) == (body, len(body), Outcome.PROCESSED)


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", gzip.compress(EVENT, mtime=0)[:-9], "The gzip body is incomplete."),
        ("gzip", b"\x1f\x8bnonsense", "The gzip body is damaged."),
        ("gzip", TWO_GZIP_MEMBERS + b"garbage", "The gzip body is damaged."),
        ("gzip", TWO_GZIP_MEMBERS[:-9], "The gzip body is incomplete."),
        ("deflate", zlib.compress(EVENT)[:-1], "The deflate body is incomplete."),
        ("deflate", zlib.compress(b"x" * 5000, wbits=-15), f"The deflate {TOO_LARGE}"),
        ("gzip", gzip.compress(b"x" * 600, mtime=0) * 2, f"The gzip {TOO_LARGE}"),
        ("br", b"\x00", "The Content-Encoding br is not supported."),
        ("gzip", gzip.compress(b"x" * 5000, mtime=0), f"The gzip {TOO_LARGE}"),
    ],
)
def test_body_that_cannot_be_decompressed_is_quarantined(
    hook_client: Client, hook: Subscription, settings: Settings, coding: str, body: bytes, reason: str
) -> None:
    settings.MAX_BODY_BYTES = 1000
    assert is_empty_200(post_hook(hook_client, hook, body, headers={"Content-Encoding": coding}))
    normalize.normalize_pending()
    request = WebhookRequest.objects.get()
    assert (request.outcome, request.reason, bytes(request.body)) == (Outcome.QUARANTINED, reason, body)


@pytest.mark.slow
def test_gzip_body_with_very_many_members_is_fast() -> None:
    many = gzip.compress(b"", mtime=0) * 200_000
    headers = (("Content-Encoding", "gzip"),)
    request = InboundRequest(method="POST", url="", query="", headers=headers, body=many, received_at=timezone.now())
    started = time.process_time()
    assert decompress_body(request, limit=1000).body == b""
    assert time.process_time() - started < 20


def test_signature_may_cover_the_uncompressed_body(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FakeProvider.verify

    def verify_uncompressed(self: FakeProvider, request: InboundRequest, *rest: Any) -> Verification:
        if request.body != EVENT:
            return Verification(VerificationResult.FAILED, "The signature is for another body.")
        return original(self, request, *rest)

    monkeypatch.setattr(FakeProvider, "verify", verify_uncompressed)
    gzipped = {"Content-Encoding": "gzip"}
    assert is_empty_200(post_hook(hook_client, hook, gzip.compress(EVENT, mtime=0), headers=gzipped))
    assert post_hook(hook_client, hook, gzip.compress(b"other", mtime=0), headers=gzipped).status_code == 401
