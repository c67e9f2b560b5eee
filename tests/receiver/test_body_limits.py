"""The size limit of bodies, truncated files, and the limit on bodies that are read at once."""

from __future__ import annotations

import io
import os

import pytest
from django.test import Client
from pytest_django import Settings

from config.web import granian
from events.models import Outcome, WebhookRequest
from events.processing import normalize, reprocess
from events.storage import body as bodies
from events.storage.body import BrokenBody, read_body
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET, FakeProvider
from tests.harness.receiving import AUTHENTICATION, hook_path, is_empty_200, post_hook

pytestmark = pytest.mark.django_db


def test_body_at_the_limit_is_accepted_and_one_byte_more_is_413(
    hook_client: Client, hook: Subscription, settings: Settings
) -> None:
    settings.MAX_BODY_BYTES = 1000
    assert is_empty_200(post_hook(hook_client, hook, b"x" * 1000))
    response = post_hook(hook_client, hook, b"x" * 1001)
    assert (response.status_code, response.content) == (413, b"")
    assert WebhookRequest.objects.count() == 1


def test_large_file_is_truncated_and_accepted(
    hook_client: Client, hook: Subscription, fake: FakeProvider, settings: Settings
) -> None:
    fake.declare(sends_files=True)
    settings.MAX_BODY_BYTES = 200_000
    body = os.urandom(300_000)
    assert is_empty_200(post_hook(hook_client, hook, body))
    request = WebhookRequest.objects.get()
    assert (request.outcome, request.size, bytes(request.body)) == (Outcome.TRUNCATED, 300_000, body[:65536])
    assert request.reason == "The body is too large. Its first 65536 bytes are stored."
    assert dict(request.headers)["Content-Length"] == "300000"
    hook.refresh_from_db()
    assert hook.accepted_at == request.received_at
    assert normalize.normalize_pending() == 0
    assert reprocess.reprocess_request(request).outcome == Outcome.TRUNCATED


def test_truncated_file_with_a_wrong_secret_can_be_released(
    hook_client: Client, hook: Subscription, fake: FakeProvider, settings: Settings
) -> None:
    fake.declare(sends_files=True)
    settings.MAX_BODY_BYTES = 10
    assert post_hook(hook_client, hook, b"x" * 11, headers={"X-Secret": "newer"}).status_code == 401
    Subscription.objects.filter(pk=hook.pk).update(secrets=["newer", SECRET])
    request = reprocess.reprocess_request(WebhookRequest.objects.get())
    assert (request.outcome, request.verification) == (Outcome.TRUNCATED, "verified")
    hook.refresh_from_db()
    assert hook.accepted_at == request.received_at


def test_broken_connection_is_400(hook_client: Client, hook: Subscription) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionResetError

    response = post_hook(hook_client, hook, b"abc", **{"wsgi.input": Broken()})
    assert (response.status_code, response.content) == (400, b"")
    assert WebhookRequest.objects.count() == 0


def test_limited_number_of_bodies_is_read_at_once(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bodies.MAX_CONCURRENT_BODIES < granian.THREADS
    one_slot = bodies.BoundedSemaphore(1)
    monkeypatch.setattr(bodies, "body_slots", one_slot)
    with one_slot:
        response = post_hook(hook_client, hook)
        assert (response.status_code, response["Retry-After"]) == (503, "10")
        assert is_empty_200(hook_client.get(hook_path(hook), headers=AUTHENTICATION))  # it has no body
        assert post_hook(hook_client, hook, path="/hooks/unknown").status_code == 404
    for _ in range(3):
        assert is_empty_200(post_hook(hook_client, hook))
    with pytest.raises(BrokenBody):
        read_body({"CONTENT_LENGTH": "9", "wsgi.input": io.BytesIO(b"short")}, limit=9, can_truncate=False)
    assert is_empty_200(post_hook(hook_client, hook))  # a failed read frees its slot
