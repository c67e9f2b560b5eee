"""The receiver's responses, and the stored requests."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import Settings

from events.models import Event, Outcome, WebhookRequest
from events.processing import normalize
from events.processing.inline_normalizer import inline_normalizer
from events.receiver import request_table
from events.receiver.spool.status import spool_status
from events.receiver.spool_drain import drainer
from providers.contract.capabilities import Proof
from providers.contract.parsing import InboundRequest, Verification
from subscriptions.models import State, Subscription
from tests.harness.fake_provider import SECRET, FakeProvider, body_of
from tests.harness.processes import ROOT
from tests.harness.receiving import AUTHENTICATION, hook_path, is_empty_200, post_hook

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("ending", ["", "/"])
def test_request_is_stored_with_and_without_trailing_slash(
    hook_client: Client, hook: Subscription, ending: str
) -> None:
    body = b'{"events" : [ ]}\r\n\x00\xff'
    response = post_hook(
        hook_client, hook, body, path=f"{hook_path(hook)}{ending}?a=1&b=%2F+x&a=2", headers={"X-Egnyte-Thing": "v"}
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
    assert (headers["Content-Type"], headers["Content-Length"]) == ("application/json", str(len(body)))


def test_get_with_a_query_is_stored(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(hook_client.get(hook_path(hook) + "?path=a%20b", headers=AUTHENTICATION))
    request = WebhookRequest.objects.get()
    assert (request.method, request.query, bytes(request.body), request.size) == ("GET", "path=a%20b", b"", 0)


def test_empty_body_and_invalid_json_are_accepted(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(post_hook(hook_client, hook, b""))
    assert is_empty_200(post_hook(hook_client, hook, b'{"events": ['))
    normalize.normalize_pending()
    outcomes = WebhookRequest.objects.order_by("id").values_list("outcome", flat=True)
    assert list(outcomes) == [Outcome.PING, Outcome.QUARANTINED]


def test_unknown_event_types_and_duplicates_are_accepted(hook_client: Client, hook: Subscription) -> None:
    for _ in range(2):
        assert is_empty_200(post_hook(hook_client, hook, body_of({"id": 1, "type": "never heard of"})))
    normalize.normalize_pending()
    event = Event.objects.get()
    assert (event.type, event.action, event.duplicates) == ("never heard of", "other", 1)


@pytest.mark.parametrize("headers", [{}, {"X-Secret": "wrong"}, {"Authorization": "wrong"}])
def test_wrong_secret_is_401_and_stored_as_rejected(
    hook_client: Client, hook: Subscription, headers: dict[str, str]
) -> None:
    response = hook_client.post(hook_path(hook), data=b"{}", content_type="application/json", headers=headers)
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
def test_unknown_token_is_404(hook_client: Client, hook: Subscription, path: str, method: str) -> None:
    response = hook_client.generic(method, path)
    assert (response.status_code, response.content) == (404, b"")
    assert WebhookRequest.objects.count() == 0


def test_path_without_token_is_404_not_a_redirect() -> None:
    assert Client().get("/hooks").status_code == 404
    assert Client().post("/hooks").status_code == 404


def test_deleted_subscription_is_404_but_disabled_and_deleting_ones_accept(
    hook_client: Client, hook: Subscription
) -> None:
    for state in (State.DISABLED, State.DELETING):
        Subscription.objects.update(enabled=False, present=state != State.DELETING, state=state)
        assert is_empty_200(post_hook(hook_client, hook))
    Subscription.objects.update(state=State.DELETED, deleted_at=hook.created_at)
    assert post_hook(hook_client, hook).status_code == 404
    assert hook_client.head(hook_path(hook)).status_code == 404
    assert WebhookRequest.objects.count() == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "Get", "head"])
def test_other_methods_are_405(hook_client: Client, hook: Subscription, method: str) -> None:
    response = hook_client.generic(method, hook_path(hook), headers=AUTHENTICATION)
    assert (response.status_code, response.content) == (405, b"")
    assert response["Allow"] == "GET, HEAD, POST"


def test_method_that_the_provider_does_not_use_is_405(
    hook_client: Client, hook: Subscription, fake: FakeProvider
) -> None:
    fake.declare(methods=("POST",))
    response = hook_client.get(hook_path(hook), headers=AUTHENTICATION)
    assert (response.status_code, response["Allow"]) == (405, "HEAD, POST")
    assert hook_client.get("/hooks/unknown").status_code == 404
    assert is_empty_200(post_hook(hook_client, hook))


def test_head_is_200_and_not_stored(hook_client: Client, hook: Subscription) -> None:
    assert is_empty_200(hook_client.head(hook_path(hook)))
    assert is_empty_200(hook_client.head(hook_path(hook) + "/"))
    assert WebhookRequest.objects.count() == 0


def test_subscription_without_a_secret_yet_is_503(hook_client: Client, hook: Subscription, fake: FakeProvider) -> None:
    Subscription.objects.filter(pk=hook.pk).update(secrets=[])
    response = post_hook(hook_client, hook)
    assert (response.status_code, response["Retry-After"], response.content) == (503, "10", b"")
    assert is_empty_200(hook_client.head(hook_path(hook)))
    fake.declare(proof=Proof.URL)  # without a secret
    assert is_empty_200(post_hook(hook_client, hook))
    assert WebhookRequest.objects.get().verification == "not_verifiable"


@pytest.mark.parametrize("where", ["receivable_subscriptions.find", "writer.store"])
def test_database_error_is_503(
    hook_client: Client,
    hook: Subscription,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("the database is unavailable\nwith details")

    with monkeypatch.context() as patch:
        patch.setattr(f"events.receiver.handler.{where}", fail)
        response = post_hook(hook_client, hook)
    assert (response.status_code, response["Retry-After"], response.content) == (503, "10", b"")
    assert "could not be stored: the database is unavailable" in caplog.text
    assert is_empty_200(post_hook(hook_client, hook))


@pytest.mark.django_db(transaction=True)
def test_requests_go_to_the_spool_while_the_table_is_missing(
    hook_client: Client, hook: Subscription, spool_folder: Path
) -> None:
    with connection.schema_editor() as editor:
        editor.alter_db_table(WebhookRequest, "events_webhookrequest", "events_webhookrequest_away")
    try:
        assert is_empty_200(post_hook(hook_client, hook, b"1"))
        assert post_hook(hook_client, hook, b"2", headers={"X-Secret": "wrong"}).status_code == 401
        assert drainer.drain() == 0
        assert spool_status().requests == 2
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(WebhookRequest, "events_webhookrequest_away", "events_webhookrequest")
    assert drainer.drain() == 2
    rows = WebhookRequest.objects.order_by("id").values_list("body", "outcome")
    assert [(bytes(body), outcome) for body, outcome in rows] == [(b"1", "received"), (b"2", "rejected")]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has one lock for all writers")
@pytest.mark.django_db(transaction=True)
def test_requests_go_to_the_spool_while_the_database_is_locked(
    hook_client: Client, hook: Subscription, receiver_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_table, "LOCK_TIMEOUT_SECONDS", 0.2)
    holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    try:
        response = post_hook(hook_client, hook)
    finally:
        holder.rollback()
        holder.close()
    assert is_empty_200(response)
    assert time.monotonic() - started < 5
    assert spool_status().requests == 1
    assert drainer.drain() == 1
    assert is_empty_200(post_hook(hook_client, hook))
    assert WebhookRequest.objects.count() == 2


def test_internal_error_is_503_and_logged(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Verification:
        raise ZeroDivisionError

    monkeypatch.setattr(FakeProvider, "verify", fail)
    assert post_hook(hook_client, hook).status_code == 503
    assert any(record.exc_info for record in caplog.records)


def test_plug_in_gets_the_registered_url_and_the_unmodified_request(
    hook_client: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[InboundRequest] = []
    original = FakeProvider.verify

    def record(self: FakeProvider, request: InboundRequest, *rest: Any) -> Verification:
        seen.append(request)
        return original(self, request, *rest)

    Subscription.objects.update(callback_url="https://former.example/hooks/T%C3%B6ken")
    monkeypatch.setattr(FakeProvider, "verify", record)
    post_hook(hook_client, hook, b"\x00", path=f"{hook_path(hook)}/?q=%2f")
    (request,) = seen
    assert (request.url, request.query, request.body) == ("https://former.example/hooks/T%C3%B6ken", "q=%2f", b"\x00")
    assert ("X-Secret", SECRET) in request.headers


def test_only_accepted_requests_are_passed_to_the_normalizer(
    hook_client: Client, hook: Subscription, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued: list[UUID] = []
    settings.NORMALIZE_IN_THREAD = True
    monkeypatch.setattr(inline_normalizer, "_put", lambda rows, *jobs: enqueued.extend(row.uid for row in rows))
    post_hook(hook_client, hook)
    post_hook(hook_client, hook, headers={"X-Secret": "wrong"})
    assert enqueued == [WebhookRequest.objects.get(outcome=Outcome.RECEIVED).uid]


def test_receiver_docs_explain_every_outcome() -> None:
    page = (ROOT / "docs" / "reference" / "receiver-responses.md").read_text()
    section = page.partition("## Outcomes of a stored request")[2].partition("\n## ")[0]
    explained = re.findall(r"^- \*\*`(\w+)`\*\*: .{10,}", section, re.MULTILINE)
    assert sorted(explained) == sorted(Outcome.values)
