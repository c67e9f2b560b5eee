"""/hooks/<token>: what it answers, what it keeps, and that nothing of the framework gets in its way."""

from __future__ import annotations

import gzip
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from config.web import granian
from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize, reprocess
from events.processing.inline_normalizer import inline_normalizer
from events.receiver import handler, request_table
from events.receiver.spool.status import spool_status
from events.receiver.spool_drain import drainer
from events.storage import body as bodies
from events.storage.body import Body, BodyTooLarge, BrokenBody, read_body
from events.storage.decompress import decompress_body
from providers.contract.capabilities import Proof
from providers.contract.parsing import InboundRequest, Verification, VerificationResult
from providers.contract.registry import get_provider
from providers.models import ProviderAccount
from subscriptions.models import State, Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of
from tests.harness.processes import ROOT, environment, free_port
from tests.harness.receiving import ENTRIES

pytestmark = pytest.mark.django_db

PROOF = {"X-Secret": SECRET}
JSON = "application/json"


def path_of(subscription: Subscription) -> str:
    return f"/hooks/{subscription.token}"


def post(hook_client: Client, subscription: Subscription, body: bytes = b"{}", **extra: Any) -> Any:
    headers = {**PROOF, **extra.pop("headers", {})}
    extra.setdefault("content_type", JSON)
    # `generic` sends the bytes as they are; `post` would encode them in the charset of the Content-Type.
    return hook_client.generic("POST", extra.pop("path", path_of(subscription)), body, headers=headers, **extra)


def is_empty_200(response: Any) -> bool:
    return (response.status_code, response.content) == (200, b"")


# -- Answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "/"])
def test_keeps_a_request_with_and_without_final_slash(hook_client: Client, hook: Subscription, ending: str) -> None:
    body = b'{"events" : [ ]}\r\n\x00\xff'
    response = post(
        hook_client, hook, body, path=f"{path_of(hook)}{ending}?a=1&b=%2F+x&a=2", headers={"X-Egnyte-Thing": "v"}
    )
    assert is_empty_200(response)
    request = WebhookRequest.objects.get()
    assert bytes(request.body) == body
    assert (request.size, request.method, request.query) == (len(body), "POST", "a=1&b=%2F+x&a=2")
    assert (request.outcome, request.verification, request.subscription) == (Outcome.RECEIVED, "verified", hook)
    assert request.remote_addr == "127.0.0.1"
    headers = dict(request.headers)
    assert headers["X-Secret"] == "***"
    assert headers["X-Egnyte-Thing"] == "v"
    assert (headers["Content-Type"], headers["Content-Length"]) == (JSON, str(len(body)))


def test_a_get_with_a_query_is_kept(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(hook_client.get(path_of(hook) + "?path=a%20b", headers=PROOF))
    request = WebhookRequest.objects.get()
    assert (request.method, request.query, bytes(request.body), request.size) == ("GET", "path=a%20b", b"", 0)


def test_an_empty_body_and_broken_json_are_kept(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(post(hook_client, hook, b""))
    assert is_empty_200(post(hook_client, hook, b'{"events": ['))
    normalize.normalize_pending()
    outcomes = WebhookRequest.objects.order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == [Outcome.PING, Outcome.QUARANTINED]


def test_unknown_types_and_repeated_ids_are_accepted(hook_client: Client, hook: Subscription) -> None:
    for _ in range(2):
        assert is_empty_200(post(hook_client, hook, body_of({"id": 1, "type": "never heard of"})))
    normalize.normalize_pending()
    event = Event.objects.get()
    assert (event.type, event.action, event.duplicates) == ("never heard of", "other", 1)


@pytest.mark.parametrize("headers", [{}, {"X-Secret": "wrong"}, {"Authorization": "wrong"}])
def test_a_wrong_secret_is_refused_and_kept(hook_client: Client, hook: Subscription, headers: dict[str, str]) -> None:
    response = hook_client.post(path_of(hook), data=b"{}", content_type=JSON, headers=headers)
    assert (response.status_code, response.content) == (401, b"")
    request = WebhookRequest.objects.get()
    assert (request.outcome, request.verification, bytes(request.body)) == (Outcome.REJECTED, "failed", b"{}")
    assert normalize.normalize_pending() == 0


@pytest.mark.parametrize(
    "path",
    [
        "/hooks/unknown",
        "/hooks/unknown/",
        "/hooks/",
        "/hooks/a/b",
        "/hooks/a%00b",
        "/hooks/%FF%0A",
        "/hooks/" + "x" * 999,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_an_unknown_token_is_404(hook_client: Client, hook: Subscription, path: str, method: str) -> None:
    response = hook_client.generic(method, path)
    assert (response.status_code, response.content) == (404, b"")
    assert WebhookRequest.objects.count() == 0


def test_a_deleted_subscription_is_404_and_disabled_or_deleting_ones_accept(
    hook_client: Client, hook: Subscription
) -> None:
    for state in (State.DISABLED, State.DELETING):
        Subscription.objects.update(enabled=False, present=state != State.DELETING, state=state)
        assert is_empty_200(post(hook_client, hook))
    Subscription.objects.update(state=State.DELETED, deleted_at=hook.created_at)
    assert post(hook_client, hook).status_code == 404
    assert hook_client.head(path_of(hook)).status_code == 404
    assert WebhookRequest.objects.count() == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "Get", "head"])
def test_other_methods_are_405(hook_client: Client, hook: Subscription, method: str) -> None:
    response = hook_client.generic(method, path_of(hook), headers=PROOF)
    assert (response.status_code, response.content) == (405, b"")
    assert response["Allow"] == "GET, HEAD, POST"


def test_a_method_that_the_provider_does_not_use_is_405(
    hook_client: Client, hook: Subscription, fake: FakeProvider
) -> None:
    fake.declare(methods=("POST",))
    response = hook_client.get(path_of(hook), headers=PROOF)
    assert (response.status_code, response["Allow"]) == (405, "HEAD, POST")
    assert hook_client.get("/hooks/unknown").status_code == 404
    assert is_empty_200(post(hook_client, hook))


def test_head_is_200_and_not_stored(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(hook_client.head(path_of(hook)))
    assert is_empty_200(hook_client.head(path_of(hook) + "/"))
    assert WebhookRequest.objects.count() == 0


def test_no_secret_known_yet_is_503(hook_client: Client, hook: Subscription, fake: FakeProvider) -> None:
    Subscription.objects.filter(pk=hook.pk).update(secrets=[])
    response = post(hook_client, hook)
    assert (response.status_code, response["Retry-After"], response.content) == (503, "10", b"")
    assert is_empty_200(hook_client.head(path_of(hook)))
    fake.declare(proof=Proof.URL)  # needs none
    assert is_empty_200(post(hook_client, hook))
    assert WebhookRequest.objects.get().verification == "not_verifiable"


@pytest.mark.parametrize("where", ["receivable_subscriptions.find", "writer.store"])
def test_a_database_error_is_503(
    hook_client: Client,
    hook: Subscription,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("the database is away\nwith details")

    with monkeypatch.context() as patch:
        patch.setattr(f"events.receiver.handler.{where}", fail)
        response = post(hook_client, hook)
    assert (response.status_code, response["Retry-After"], response.content) == (503, "10", b"")
    assert "could not be stored: the database is away" in caplog.text
    assert is_empty_200(post(hook_client, hook))


@pytest.mark.django_db(transaction=True)
def test_a_database_that_takes_nothing_is_200_from_the_spool(
    hook_client: Client, hook: Subscription, spool_folder: Path
) -> None:
    with connection.schema_editor() as editor:
        editor.alter_db_table(WebhookRequest, "events_webhookrequest", "events_webhookrequest_away")
    try:
        assert is_empty_200(post(hook_client, hook, b"1"))
        assert post(hook_client, hook, b"2", headers={"X-Secret": "wrong"}).status_code == 401
        assert drainer.drain() == 0
        assert spool_status().requests == 2
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(WebhookRequest, "events_webhookrequest_away", "events_webhookrequest")
    assert drainer.drain() == 2
    kept = WebhookRequest.objects.order_by("id").values_list("body", "outcome")
    assert [(bytes(body), outcome) for body, outcome in kept] == [(b"1", "received"), (b"2", "rejected")]


def test_a_bug_of_ours_is_503_and_logged(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Verification:
        raise ZeroDivisionError

    monkeypatch.setattr(FakeProvider, "verify", fail)
    assert post(hook_client, hook).status_code == 503
    assert any(record.exc_info for record in caplog.records)


def test_the_plug_in_sees_the_registered_url_and_the_raw_request(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[InboundRequest] = []
    original = FakeProvider.verify

    def note(self: FakeProvider, request: InboundRequest, *rest: Any) -> Verification:
        seen.append(request)
        return original(self, request, *rest)

    Subscription.objects.update(callback_url="https://former.example/hooks/T%C3%B6ken")
    monkeypatch.setattr(FakeProvider, "verify", note)
    post(hook_client, hook, b"\x00", path=f"{path_of(hook)}/?q=%2f")
    (request,) = seen
    assert (request.url, request.query, request.body) == ("https://former.example/hooks/T%C3%B6ken", "q=%2f", b"\x00")
    assert ("X-Secret", SECRET) in request.headers


# -- Size ------------------------------------------------------------------------------------------------------------


def test_the_limit_itself_is_accepted_and_one_more_byte_is_413(
    hook_client: Client, hook: Subscription, settings: Settings
) -> None:
    settings.MAX_BODY_BYTES = 1000
    assert is_empty_200(post(hook_client, hook, b"x" * 1000))
    response = post(hook_client, hook, b"x" * 1001)
    assert (response.status_code, response.content) == (413, b"")
    assert WebhookRequest.objects.count() == 1


def test_of_a_file_headers_and_a_prefix_are_kept(
    hook_client: Client, hook: Subscription, fake: FakeProvider, settings: Settings
) -> None:
    fake.declare(sends_files=True)
    settings.MAX_BODY_BYTES = 200_000
    body = os.urandom(300_000)
    assert is_empty_200(post(hook_client, hook, body))
    request = WebhookRequest.objects.get()
    assert (request.outcome, request.size, bytes(request.body)) == (Outcome.TRUNCATED, 300_000, body[:65536])
    assert request.reason == "The body is too large. Its first 65536 bytes are stored."
    assert dict(request.headers)["Content-Length"] == "300000"
    hook.refresh_from_db()
    assert hook.accepted_at == request.received_at
    assert normalize.normalize_pending() == 0
    assert reprocess.reprocess_request(request).outcome == Outcome.TRUNCATED


def test_a_file_with_a_wrong_secret_is_rejected_and_can_be_released(
    hook_client: Client, hook: Subscription, fake: FakeProvider, settings: Settings
) -> None:
    fake.declare(sends_files=True)
    settings.MAX_BODY_BYTES = 10
    assert post(hook_client, hook, b"x" * 11, headers={"X-Secret": "newer"}).status_code == 401
    Subscription.objects.filter(pk=hook.pk).update(secrets=["newer", SECRET])
    request = reprocess.reprocess_request(WebhookRequest.objects.get())
    assert (request.outcome, request.verification) == (Outcome.TRUNCATED, "verified")
    hook.refresh_from_db()
    assert hook.accepted_at == request.received_at


class Unread(io.RawIOBase):
    def read(self, size: int = -1, /) -> bytes:
        raise AssertionError("it was read")


def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    with pytest.raises(BodyTooLarge):
        read_body(
            {"CONTENT_LENGTH": str(11 + bodies.DISCARDED_BYTES), "wsgi.input": Unread()}, limit=10, can_truncate=False
        )
    with pytest.raises(BodyTooLarge):
        read_body(
            {"CONTENT_LENGTH": "11", "wsgi.input": Unread(), "HTTP_EXPECT": "100-continue"},
            limit=10,
            can_truncate=False,
        )


def test_little_more_than_the_limit_is_read_off_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(b"x" * 500_000)
    with pytest.raises(BodyTooLarge):
        read_body({"CONTENT_LENGTH": "500000", "wsgi.input": stream}, limit=10, can_truncate=False)
    assert stream.tell() == 500_000
    monkeypatch.setattr(bodies, "DISCARD_SECONDS", -1.0)
    stream.seek(0)
    with pytest.raises(BodyTooLarge):
        read_body({"CONTENT_LENGTH": "500000", "wsgi.input": stream}, limit=10, can_truncate=False)
    assert stream.tell() == 0


def test_an_endless_body_is_read_up_to_the_limit_only() -> None:
    stream = io.BytesIO(b"x" * 10_000_000)
    with pytest.raises(BodyTooLarge):
        read_body({"wsgi.input": stream, "wsgi.input_terminated": True}, limit=100_000, can_truncate=False)
    assert stream.tell() < 300_000 + bodies.DISCARDED_BYTES


@pytest.mark.parametrize(
    ("environ", "body"),
    [
        ({"CONTENT_LENGTH": "3"}, Body(b"abc", 3)),  # what follows belongs to the next request
        ({"CONTENT_LENGTH": "3", "wsgi.input_terminated": True}, Body(b"abc", 3)),
        ({"CONTENT_LENGTH": "0"}, Body(b"", 0)),
        ({"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}, Body(b"abcdef", 6)),
        ({"wsgi.input_terminated": True}, Body(b"abcdef", 6)),  # as in HTTP/2
        ({}, Body(b"", 0)),
        ({"CONTENT_LENGTH": ""}, Body(b"", 0)),
    ],
)
def test_reads_what_belongs_to_the_request(environ: dict[str, Any], body: Body) -> None:
    assert read_body({**environ, "wsgi.input": io.BytesIO(b"abcdef")}, limit=10, can_truncate=False) == body


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": "7"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "six"},
        {"CONTENT_LENGTH": "\u0666"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ],
)
def test_a_body_that_did_not_come_whole_is_broken(environ: dict[str, Any]) -> None:
    with pytest.raises(BrokenBody):
        read_body({**environ, "wsgi.input": io.BytesIO(b"abcdef")}, limit=10, can_truncate=False)


def test_a_connection_that_breaks_is_broken_and_400(hook_client: Client, hook: Subscription) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise ConnectionResetError

    response = post(hook_client, hook, b"abc", **{"wsgi.input": Broken()})
    assert (response.status_code, response.content) == (400, b"")
    assert WebhookRequest.objects.count() == 0


# -- Packed bodies ---------------------------------------------------------------------------------------------------

EVENT = body_of({"id": 1, "type": "made"})
HALVES = gzip.compress(EVENT[:9], mtime=0) + gzip.compress(EVENT[9:], mtime=0)
RAW_DEFLATE = zlib.compress(EVENT, wbits=-15)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(EVENT, mtime=0)),
        ("X-GZIP ", gzip.compress(EVENT, mtime=0)),
        ("gzip", HALVES),
        ("gzip", HALVES + bytes(100)),
        ("deflate", zlib.compress(EVENT)),
        ("deflate", zlib.compress(EVENT, wbits=9)),
        ("deflate", RAW_DEFLATE),
        ("gzip", EVENT),  # it says so, and is not
        ("deflate", EVENT),
        ("identity", EVENT),
        ("", EVENT),
    ],
)
def test_a_packed_body_is_kept_as_it_came_and_read_unpacked(
    hook_client: Client, hook: Subscription, coding: str, body: bytes
) -> None:
    assert is_empty_200(post(hook_client, hook, body, headers={"Content-Encoding": coding}))
    normalize.normalize_pending()
    request = WebhookRequest.objects.get()
    assert (bytes(request.body), request.size, request.outcome) == (body, len(body), Outcome.PROCESSED)


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("gzip", gzip.compress(EVENT, mtime=0)[:-9], "The gzip body is incomplete."),
        ("gzip", b"\x1f\x8bnonsense", "The gzip body is damaged."),
        ("gzip", HALVES + b"garbage", "The gzip body is damaged."),
        ("gzip", HALVES[:-9], "The gzip body is incomplete."),
        ("deflate", zlib.compress(EVENT)[:-1], "The deflate body is incomplete."),
        (
            "deflate",
            zlib.compress(b"x" * 5000, wbits=-15),
            "The deflate body decompresses to more than MAX_BODY_BYTES (1000).",
        ),
        (
            "gzip",
            gzip.compress(b"x" * 600, mtime=0) * 2,
            "The gzip body decompresses to more than MAX_BODY_BYTES (1000).",
        ),
        ("br", b"\x00", "The Content-Encoding br is not supported."),
        ("gzip", gzip.compress(b"x" * 5000, mtime=0), "The gzip body decompresses to more than MAX_BODY_BYTES (1000)."),
    ],
)
def test_what_cannot_be_unpacked_within_bounds_waits_in_quarantine(
    hook_client: Client, hook: Subscription, settings: Settings, coding: str, body: bytes, reason: str
) -> None:
    settings.MAX_BODY_BYTES = 1000
    assert is_empty_200(post(hook_client, hook, body, headers={"Content-Encoding": coding}))
    normalize.normalize_pending()
    request = WebhookRequest.objects.get()
    assert (request.outcome, request.reason, bytes(request.body)) == (Outcome.QUARANTINED, reason, body)


def test_a_packed_body_in_very_many_parts_takes_no_long_time() -> None:
    many = gzip.compress(b"", mtime=0) * 200_000
    headers = (("Content-Encoding", "gzip"),)
    request = InboundRequest(method="POST", url="", query="", headers=headers, body=many, received_at=timezone.now())
    began = time.process_time()
    assert decompress_body(request, limit=1000).body == b""
    assert time.process_time() - began < 20


def test_a_signature_may_cover_the_body_before_it_was_packed(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FakeProvider.verify

    def over_the_body(self: FakeProvider, request: InboundRequest, *rest: Any) -> Verification:
        if request.body != EVENT:
            return Verification(VerificationResult.FAILED, "The signature fits another body.")
        return original(self, request, *rest)

    monkeypatch.setattr(FakeProvider, "verify", over_the_body)
    assert is_empty_200(post(hook_client, hook, gzip.compress(EVENT, mtime=0), headers={"Content-Encoding": "gzip"}))
    assert (
        post(hook_client, hook, gzip.compress(b"other", mtime=0), headers={"Content-Encoding": "gzip"}).status_code
        == 401
    )


# -- Nothing of the framework gets in the way ------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/xml", "text/html", "nonsense", ""])
def test_any_accept_header_is_fine(hook_client: Client, hook: Subscription, accept: str) -> None:
    assert is_empty_200(post(hook_client, hook, headers={"Accept": accept}))


@pytest.mark.parametrize(
    "content_type", ["application/xml", "multipart/form-data", "text/plain; charset=nonsense", "", "\xff"]
)
def test_any_content_type_is_fine(hook_client: Client, hook: Subscription, content_type: str) -> None:
    assert is_empty_200(post(hook_client, hook, b"--x\r\nnot multipart", content_type=content_type))
    assert bytes(WebhookRequest.objects.get().body) == b"--x\r\nnot multipart"


def test_the_query_word_format_means_nothing(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(post(hook_client, hook, path=path_of(hook) + "?format=xml"))
    assert WebhookRequest.objects.get().query == "format=xml"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("host", ["evil.example", "under_score.example", "a b", ""])
def test_any_host_is_fine(hook_client: Client, hook: Subscription, settings: Settings, host: str, debug: bool) -> None:
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = ["only.example"]
    assert hook_client.get("/admin/login/", headers={"Host": "evil.example"}).status_code == 400
    assert is_empty_200(post(hook_client, hook, headers={"Host": host}))
    assert post(hook_client, hook, path="/hooks/unknown", headers={"Host": host}).status_code == 404


@pytest.mark.parametrize("ending", ["", "/"])
def test_no_redirect_to_https(hook_client: Client, hook: Subscription, settings: Settings, ending: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert hook_client.get("/admin/login/").status_code == 301
    assert is_empty_200(post(hook_client, hook, path=path_of(hook) + ending))


def test_the_upload_limits_of_django_do_not_count(hook_client: Client, hook: Subscription, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1
    assert (
        hook_client.post(
            "/admin/login/", data="a=" + "x" * 99, content_type="application/x-www-form-urlencoded"
        ).status_code
        == 400
    )
    form = b"a=1&b=2&c=" + b"x" * 5000
    assert is_empty_200(post(hook_client, hook, form, content_type="application/x-www-form-urlencoded"))
    assert bytes(WebhookRequest.objects.get().body) == form


def test_neither_csrf_nor_a_session(hook_client: Client, hook: Subscription) -> None:
    hook_client.handler.enforce_csrf_checks = True
    response = post(hook_client, hook, headers={"Cookie": "sessionid=whatever", "Origin": "https://evil.example"})
    assert is_empty_200(response)
    assert not response.cookies
    assert set(response.headers) == {"Content-Length"}


def test_the_operators_page_explains_every_outcome() -> None:
    page = (ROOT / "docs" / "receiver.md").read_text()
    shown = page.partition("## What the request list shows")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \| [^|]{10,} \|", shown, re.MULTILINE)
    assert sorted(explained) == sorted(Outcome.values)


def test_no_part_of_the_documented_api() -> None:
    assert handler.HookView.schema is None


# -- Headers and addresses -------------------------------------------------------------------------------------------


def test_the_environment_of_the_process_is_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(handler.PROCESS_ENVIRONMENT, "HTTP_PROXY", "http://user:password@proxy")
    environ = {
        "HTTP_PROXY": "http://user:password@proxy",
        "HTTP_X_A_B": "1",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "",
        "PATH": "/bin",
        "wsgi.version": (1, 0),
    }
    assert handler.read_headers(environ) == (("X-A-B", "1"), ("Content-Type", "text/plain"))
    assert handler.read_headers({"HTTP_PROXY": "sent by somebody"}) == (("Proxy", "sent by somebody"),)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ((), "203.0.113.9", "127.0.0.1"),
        (("10.0.0.0/8",), "203.0.113.9", "127.0.0.1"),
        (("127.0.0.0/8",), "203.0.113.9", "203.0.113.9"),
        (("127.0.0.0/8", "10.0.0.0/8"), "made-up, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
    ],
)
def test_forwarded_addresses_count_from_trusted_proxies_only(
    hook_client: Client, hook: Subscription, settings: Settings, proxies: tuple[str, ...], forwarded: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = tuple(ip_network(item) for item in proxies)
    assert is_empty_200(post(hook_client, hook, headers={"X-Forwarded-For": forwarded}))
    assert WebhookRequest.objects.get().remote_addr == address


def test_an_accepted_request_is_handed_to_the_normaliser(
    hook_client: Client, hook: Subscription, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[UUID] = []
    settings.NORMALIZE_IN_THREAD = True
    monkeypatch.setattr(inline_normalizer, "_put", lambda rows, *chores: handed.extend(row.uid for row in rows))
    post(hook_client, hook)
    post(hook_client, hook, headers={"X-Secret": "wrong"})
    assert handed == [WebhookRequest.objects.get(outcome=Outcome.RECEIVED).uid]


# -- Over real HTTP --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_server_that_does_not_end_chunked_bodies_refuses_instead_of_hanging(
    hook: Subscription, live_server: LiveServer
) -> None:
    url = live_server.url + path_of(hook)
    assert requests.post(url, data=b"abc", headers=PROOF, timeout=10).status_code == 200
    assert requests.post(url, data=iter([b"abc"]), headers=PROOF, timeout=10).status_code == 400
    assert WebhookRequest.objects.count() == 1


@dataclass(frozen=True)
class Web:
    """The product's web server, and a subscription at the real plug-in (another process does not know the fake)."""

    url: str
    port: int
    subscription: Subscription
    log: Path

    @property
    def hook_url(self) -> str:
        return self.url + path_of(self.subscription)

    @property
    def proof(self) -> dict[str, str]:
        return {"Authorization": self.subscription.secrets[0]}

    def head(self, lines: str) -> bytes:
        """The head of a POST with these header lines exactly as given."""
        proof = f"Authorization: {self.proof['Authorization']}"
        return f"POST {path_of(self.subscription)} HTTP/1.1\r\nHost: x\r\n{proof}\r\n{lines}\r\n\r\n".encode()

    def raw(self, lines: str, body: bytes, *, hang_up: bool = False) -> bytes:
        """Sends that and the body, and returns the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(self.head(lines) + body)
            if hang_up:
                time.sleep(0.3)
                return b""
            return connection.recv(4096)


@pytest.fixture(params=[(door, 8) for door in ENTRIES])
def web(request: pytest.FixtureRequest, transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    account = ProviderAccount.objects.create(provider="egnyte-connect", name="E", settings={"domain": "acme"})
    subscription = Subscription.objects.create(account=account, due_at=None)
    port, log = free_port(), tmp_path / "web.log"
    door, threads = request.param
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        command += ["--blocking-threads", str(threads), "config.wsgi:application"]
        env = environment(HTTP_PROXY_OF_OURS="our own", RECEIVER_DOOR=door, DATA_DIR=str(tmp_path))
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        running = Web(f"http://127.0.0.1:{port}", port, subscription, log)
        wait_for(running, process)
        yield running
    finally:
        end(process)
    assert "Traceback" not in log.read_text()


def end(process: subprocess.Popen[bytes]) -> None:
    """With its children, and for certain: granian may miss a SIGTERM that comes right after its start."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


def wait_for(web: Web, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            requests.get(web.url + "/livez", timeout=5)
            return
        except requests.ConnectionError:
            assert process.poll() is None, web.log.read_text()
            assert time.monotonic() < deadline, web.log.read_text()
            time.sleep(0.05)


def stored(count: int) -> list[WebhookRequest]:
    """The requests, oldest first, when that many are there."""
    deadline = time.monotonic() + 30
    while WebhookRequest.objects.count() < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return list(WebhookRequest.objects.order_by("id"))


@pytest.mark.django_db(transaction=True)
def test_a_chunked_body_is_kept_byte_by_byte(web: Web) -> None:
    body = os.urandom(200_000)
    pieces = (body[start : start + 7001] for start in range(0, len(body), 7001))
    response = requests.post(web.hook_url, data=pieces, headers=web.proof, timeout=10)
    assert (response.status_code, response.content) == (200, b"")
    (request,) = stored(1)
    assert (bytes(request.body), request.size) == (body, len(body))
    headers = dict(request.headers)
    assert headers["Transfer-Encoding"] == "chunked"
    assert headers["Authorization"] == "***"
    assert not any("Ours" in name for name in headers)
    assert request.remote_addr == "127.0.0.1"


@pytest.mark.django_db(transaction=True)
def test_too_large_bodies_are_413_however_they_come(web: Web) -> None:
    body = b"x" * (12 * 1024 * 1024)
    for data in (body, iter([body[:6_000_000], body[6_000_000:]])):
        response = requests.post(web.hook_url, data=data, headers=web.proof, timeout=20)
        assert (response.status_code, response.content) == (413, b"")
    assert b" 413 " in web.raw(f"Content-Length: {10**15}", b"only the beginning")
    assert WebhookRequest.objects.count() == 0
    assert requests.post(web.hook_url, data=b"x" * (10 * 1024 * 1024), headers=web.proof, timeout=20).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_an_aborted_body_is_not_stored(web: Web) -> None:
    web.raw("Content-Length: 1000", b"[{", hang_up=True)
    assert b" 400 " in web.raw("Content-Length: two", b"[]")
    assert b" 200 OK" in web.raw("Content-Length: 2", b"[]")
    assert [bytes(request.body) for request in stored(1)] == [b"[]"]


@pytest.mark.django_db(transaction=True)
def test_a_broken_chunked_body_is_kept_as_far_as_it_came(web: Web) -> None:
    """Which the server hides from us; the operator's page says so."""
    assert b" 200 OK" in web.raw("Transfer-Encoding: chunked", b"nonsense\r\n[]\r\n0\r\n\r\n")
    web.raw("Transfer-Encoding: chunked", b"2\r\n[{\r\n", hang_up=True)
    assert [bytes(request.body) for request in stored(2)] == [b"", b"[{"]


@pytest.mark.django_db(transaction=True)
def test_a_sender_that_waits_for_our_go_ahead_gets_it(web: Web) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(web.head("Expect: 100-continue\r\nContent-Length: 2"))
        assert b" 100 Continue" in connection.recv(4096)
        connection.sendall(b"[]")
        assert b" 200 OK" in connection.recv(4096)
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(web.head("Expect: 100-continue\r\nContent-Length: 99999999"))
        assert b" 413 " in connection.recv(4096)


@pytest.mark.django_db(transaction=True)
def test_every_shape_at_once_over_http(web: Web) -> None:
    odd = {"Host": "evil.example", "Accept": "application/xml", "Content-Type": "nonsense"}
    body = b'[{"eventId": "e1", "eventType": "fs:add_file", "data": {"targetPath": "/Shared/a"}}]'
    for url in (web.hook_url, web.hook_url + "/?format=xml"):
        response = requests.post(url, data=body, headers=web.proof | odd, timeout=10, allow_redirects=False)
        assert (response.status_code, response.content) == (200, b"")
    assert requests.head(web.hook_url, headers=odd, timeout=10).status_code == 200
    assert requests.get(web.hook_url, headers=odd, timeout=10).status_code == 405
    assert requests.post(web.hook_url, data=body, timeout=10).status_code == 401
    assert requests.post(web.url + "/hooks/unknown", data=body, timeout=10, allow_redirects=False).status_code == 404
    assert web.subscription.token not in web.log.read_text()


@pytest.mark.django_db(transaction=True)
def test_events_are_there_at_once(web: Web) -> None:
    body = b'[{"eventId": "e1", "eventType": "fs:add_file", "data": {"targetPath": "/Shared/a"}}]'
    for _ in range(2):
        requests.post(web.hook_url, data=body, headers=web.proof, timeout=10)
        deadline = time.monotonic() + 20  # at once on an idle machine; nothing but the web process runs here
        while WebhookRequest.objects.filter(outcome=Outcome.RECEIVED).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    event = Event.objects.get()
    assert (event.provider_event_id, event.action, event.duplicates, event.position) == ("e1", "created", 1, 1)
    assert get_provider("egnyte-connect").event_type("fs:add_file") is not None


# -- A locked database -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has one lock for all writers")
@pytest.mark.django_db(transaction=True)
def test_a_locked_database_is_not_waited_for_long(
    hook_client: Client, hook: Subscription, receiver_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    monkeypatch.setattr(request_table, "LOCK_TIMEOUT_SECONDS", 0.2)
    holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    try:
        answer = post(hook_client, hook)
    finally:
        holder.rollback()
        holder.close()
    assert is_empty_200(answer)
    assert time.monotonic() - started < 5
    assert spool_status().requests == 1
    assert drainer.drain() == 1
    assert is_empty_200(post(hook_client, hook))
    assert WebhookRequest.objects.count() == 2


def test_not_even_the_bare_path_is_redirected() -> None:
    assert Client().get("/hooks").status_code == 404
    assert Client().post("/hooks").status_code == 404


# -- Slow and large senders --------------------------------------------------------------------------------------------


def test_not_every_thread_may_wait_for_a_body(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bodies.MAX_CONCURRENT_BODIES < granian.THREADS
    taken = bodies.BoundedSemaphore(1)
    monkeypatch.setattr(bodies, "body_slots", taken)
    with taken:
        response = post(hook_client, hook)
        assert (response.status_code, response["Retry-After"]) == (503, "10")
        assert is_empty_200(hook_client.get(path_of(hook), headers=PROOF))  # nothing has to be waited for
        assert post(hook_client, hook, path="/hooks/unknown").status_code == 404
    for _ in range(3):
        assert is_empty_200(post(hook_client, hook))
    with pytest.raises(BrokenBody):
        read_body({"CONTENT_LENGTH": "9", "wsgi.input": io.BytesIO(b"short")}, limit=9, can_truncate=False)
    assert is_empty_200(post(hook_client, hook))  # who failed gave its turn back


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("web", [("wsgi", granian.THREADS), ("drf", granian.THREADS)], indirect=True)
def test_a_hundred_slow_senders_leave_the_rest_of_the_product_alone(web: Web) -> None:
    slow = [socket.create_connection(("127.0.0.1", web.port), timeout=10) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(web.head("Content-Length: 1000") + b"{")
        time.sleep(2)  # those beyond the limit are refused, a few at a time
        assert requests.get(web.url + "/livez", timeout=5).status_code == 200
        assert requests.head(web.hook_url, timeout=5).status_code == 200
        assert requests.post(web.hook_url, data=b"{}", headers=web.proof, timeout=5).status_code == 503
        refused = sum(answered(connection) for connection in slow)
        assert refused == 100 - bodies.MAX_CONCURRENT_BODIES
        slow[0].sendall(b" " * 998 + b"}")  # who goes on sending is served
        waiting = [connection for connection in slow if not answered(connection)]
    finally:
        for connection in slow:
            connection.close()
    assert len(waiting) >= bodies.MAX_CONCURRENT_BODIES - 1
    deadline = time.monotonic() + 10
    while requests.post(web.hook_url, data=b"{}", headers=web.proof, timeout=5).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def answered(connection: socket.socket) -> bool:
    """Whether anything came back; it stays there to be read."""
    connection.settimeout(0.01)
    try:
        return connection.recv(12, socket.MSG_PEEK).startswith(b"HTTP/1.1 503")
    except TimeoutError:
        return False


@pytest.mark.django_db(transaction=True)
def test_who_writes_everything_before_reading_hears_that_it_is_too_large(web: Web) -> None:
    large = bytes(10 * 1024 * 1024 + 500_000)
    assert requests.post(web.hook_url, data=large, headers=web.proof, timeout=20).status_code == 413
    plain = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    plain.request("POST", path_of(web.subscription), large, web.proof)
    assert plain.getresponse().status == 413
    plain.close()
    pieces = (large[start : start + 65536] for start in range(0, len(large), 65536))
    assert requests.post(web.hook_url, data=pieces, headers=web.proof, timeout=20).status_code == 413
    # Far beyond, it is not read: the answer is there before the body.
    head = web.head("Content-Length: 1000000000")
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(12) == b"HTTP/1.1 413"


# -- Slow and large headers --------------------------------------------------------------------------------------------


@pytest.fixture
def as_started(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Another web process beside it, with the limits of `manage.py up`; only less patient."""
    monkeypatch.setattr(granian, "HEADER_SECONDS", 1)
    port, log = free_port(), tmp_path / "limited.log"
    with log.open("wb") as output:
        env = environment(RECEIVER_DOOR="wsgi", DATA_DIR=str(tmp_path))
        command = granian.command("127.0.0.1", port)
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        running = Web(f"http://127.0.0.1:{port}", port, web.subscription, log)
        wait_for(running, process)
        yield running
    finally:
        end(process)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("web", [("wsgi", 8)], indirect=True)
def test_who_sends_headers_slowly_or_without_end_is_cut_off(as_started: Web) -> None:
    begun = as_started.head("X-Slow: 1")[:-4]
    with socket.create_connection(("127.0.0.1", as_started.port), timeout=10) as connection:
        connection.sendall(begun)
        started = time.monotonic()
        answer = connection.recv(4096)
        assert answer == b"" or b" 408 " in answer
        assert time.monotonic() - started < 8
    many = "\r\n".join(f"X-{number}: 1" for number in range(101))
    for lines in (f"X-Large: {'x' * granian.HEADER_BYTES}", many):
        assert b" 431 " in as_started.raw(f"{lines}\r\nContent-Length: 2", b"[]")
    most = "\r\n".join(f"X-{number}: {'x' * 500}" for number in range(90))
    assert b" 200 OK" in as_started.raw(f"{most}\r\nContent-Length: 2", b"[]")
    assert WebhookRequest.objects.count() == 1
