"""Receiving as the web process does it: the writer and what it knows in threads of their own, and a spool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


@pytest.fixture
def spool_folder(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """An empty spool, of this test alone."""
    spool.close()
    settings.DATA_DIR = tmp_path
    yield tmp_path / "spool"
    spool.close()


@pytest.fixture
def in_threads(transactional_db: None, settings: Settings, spool_folder: Path) -> Iterator[None]:
    """The receiver's threads run, and have given their connections back before the database is emptied."""
    settings.RECEIVE_IN_THREADS = True
    yield
    writer.stop()
    receivable_subscriptions.stop()
    drainer.stop()
    for part in (writer, receivable_subscriptions, drainer):
        part.reset()


class Away:
    """A database that fails for as long as it is away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone = False
        original = RequestTable.insert

        def insert(table: RequestTable, rows: Sequence[RequestRow]) -> None:
            if self.gone:
                raise OperationalError("the database is away\nwith details")
            original(table, rows)

        monkeypatch.setattr(RequestTable, "insert", insert)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    return Away(monkeypatch)


def row_of(subscription: Subscription, body: bytes = b"{}", **changes: object) -> RequestRow:
    """A row as the receiver hands it to the writer."""
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
        verification_detail="As agreed.",
        outcome=Outcome.RECEIVED.value,
        reason="",
        processed_at=None,
        repeated_keys="[]",
    )
    return row._replace(**changes)  # type: ignore[arg-type]  # the names are checked by it


def as_stored(request: WebhookRequest) -> RequestRow:
    """The row that the request was, as the writer hands it on."""
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


DOORS = ("drf", "wsgi")


class HookDoorClient(Client):
    """A test client that goes through the door in front of Django."""

    def request(self, **request: Any) -> Any:
        environ = self._base_environ(**request)  # type: ignore[attr-defined]  # the stubs lack it
        if not environ["PATH_INFO"].startswith(RECEIVER_PREFIX):
            return super().request(**request)
        started: list[Any] = []
        door = ReceiverEntry(lambda *_: (_ for _ in ()).throw(AssertionError("Django was asked")))
        body = b"".join(door(environ, lambda *what: started.extend(what)))
        status, headers = started
        response = HttpResponse(body, status=int(status.split()[0]))
        del response["Content-Type"]
        for name, value in headers:
            response[name] = value
        return response


@pytest.fixture(params=DOORS)
def client(request: pytest.FixtureRequest) -> Client:
    """Django's test client, through each door in turn."""
    return HookDoorClient() if request.param == "wsgi" else Client()
