"""Receive webhooks as the web process does: with its threads and a spool, through each entry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from config.web.bypass_middleware import RECEIVER_PREFIX
from config.web.receiver_entry import ReceiverEntry
from events.models import Outcome, WebhookRequest
from events.receiver.group_commit import writer
from events.receiver.request_table import RequestTable
from events.receiver.spool.file import spool
from events.receiver.spool_drain import drainer
from events.receiver.subscription_cache import receivable_subscriptions
from events.storage.columns import column_json
from events.storage.request_row import RequestRow
from providers.db.ids import new_id
from subscriptions.models import Subscription
from tests.harness.fake_provider import SECRET

ENTRIES = ("drf", "wsgi")  # values of RECEIVER_ENTRY
AUTHENTICATION = {"X-Secret": SECRET}


@pytest.fixture
def spool_folder(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """Use an empty spool for this test alone."""
    spool.close()
    settings.DATA_DIR = tmp_path
    yield tmp_path / "spool"
    spool.close()


@pytest.fixture
def receiver_threads(transactional_db: None, settings: Settings, spool_folder: Path) -> Iterator[None]:
    """Let the receiver's threads run, and end them before the database is emptied."""
    settings.RECEIVE_IN_THREADS = True
    yield
    writer.stop()
    receivable_subscriptions.stop()
    drainer.stop()
    for part in (writer, receivable_subscriptions, drainer):
        part.reset()


class DatabaseOutage:
    """Makes inserting requests fail while it is active."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.active = False
        original = RequestTable.insert

        def insert(table: RequestTable, rows: Sequence[RequestRow]) -> None:
            if self.active:
                raise OperationalError("the database is unavailable\nwith details")
            original(table, rows)

        monkeypatch.setattr(RequestTable, "insert", insert)


@pytest.fixture
def database_outage(monkeypatch: pytest.MonkeyPatch) -> DatabaseOutage:
    """Return an outage that the test can activate."""
    return DatabaseOutage(monkeypatch)


def make_row(subscription: Subscription, body: bytes = b"{}", **changes: object) -> RequestRow:
    """Return a row as the receiver passes it to the writer."""
    row = RequestRow(
        uid=new_id(),
        account_id=subscription.account_id,
        subscription_id=subscription.pk,
        method="POST",
        received_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        remote_addr="192.0.2.1",
        headers='[["A","b"]]',
        sealed_headers="",
        query="a=1",
        body=body,
        size=len(body),
        verification="verified",
        verification_detail="The secret matches.",
        outcome=Outcome.RECEIVED.value,
        reason="",
        processed_at=None,
        repeated_keys="[]",
    )
    return row._replace(**changes)  # type: ignore[arg-type]  # _replace checks the names


def row_of_request(request: WebhookRequest) -> RequestRow:
    """Return the row of a stored request, as the writer reports it after the commit."""
    return RequestRow(
        uid=request.uid,
        account_id=request.account_id,
        subscription_id=request.subscription_id,
        method=request.method,
        received_at=request.received_at,
        remote_addr=request.remote_addr,
        headers=column_json(request.headers),
        sealed_headers="",
        query=request.query,
        body=bytes(request.body),
        size=request.size,
        verification=request.verification,
        verification_detail=request.verification_detail,
        outcome=request.outcome,
        reason=request.reason,
        processed_at=request.processed_at,
        repeated_keys="[]",
    )


class ReceiverEntryClient(Client):
    """A test client whose requests pass through the entry in front of Django."""

    def request(self, **request: Any) -> Any:
        environ = self._base_environ(**request)  # type: ignore[attr-defined]  # the stubs lack it
        if not environ["PATH_INFO"].startswith(RECEIVER_PREFIX):
            return super().request(**request)
        started: list[Any] = []
        entry = ReceiverEntry(lambda *_: (_ for _ in ()).throw(AssertionError("Django was called")))
        body = b"".join(entry(environ, lambda *arguments: started.extend(arguments)))
        status, headers = started
        response = HttpResponse(body, status=int(status.split()[0]))
        del response["Content-Type"]
        for name, value in headers:
            response[name] = value
        return response


@pytest.fixture(params=ENTRIES)
def hook_client(request: pytest.FixtureRequest) -> Client:
    """Return a test client; each test runs once for each entry to the receiver."""
    return ReceiverEntryClient() if request.param == "wsgi" else Client()


def hook_path(subscription: Subscription) -> str:
    """Return the path of the subscription's callback URL."""
    return f"/hooks/{subscription.token}"


def post_hook(client: Client, subscription: Subscription, body: bytes = b"{}", **extra: Any) -> Any:
    """Send an authenticated webhook. `headers` are added, and `path` replaces that of the callback URL."""
    headers = {**AUTHENTICATION, **extra.pop("headers", {})}
    extra.setdefault("content_type", "application/json")
    # `generic` sends the bytes unchanged; `post` would encode them in the charset of the Content-Type.
    return client.generic("POST", extra.pop("path", hook_path(subscription)), body, headers=headers, **extra)


def is_empty_200(response: Any) -> bool:
    """Return whether the response is a 200 without a body."""
    return (response.status_code, response.content) == (200, b"")


def stored_ids() -> set[UUID]:
    """Return the IDs of the requests in the database."""
    return set(WebhookRequest.objects.values_list("uid", flat=True))


def stored_ids_in_order() -> list[UUID]:
    """Return the IDs of the requests in the database, in the order in which they were stored."""
    return list(WebhookRequest.objects.order_by("id").values_list("uid", flat=True))


def hang_inserts(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make inserts of requests hang until the returned event is set."""
    end_hanging = threading.Event()
    original = RequestTable.insert

    def hang(self: RequestTable, rows: Sequence[RequestRow]) -> None:
        end_hanging.wait(10)
        original(self, rows)

    monkeypatch.setattr(RequestTable, "insert", hang)
    return end_hanging


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until the condition is true; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)
