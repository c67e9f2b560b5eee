"""Fixtures for the tests of the receiver."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
import requests
from pytest_django import Settings

from events.models import WebhookRequest
from events.receiver.group_commit import Writer
from subscriptions.models import Subscription
from tests.harness.hook_server import HookServer, ServerProcess, serve
from tests.harness.processes import free_port
from tests.harness.receiving import ENTRIES


@pytest.fixture(scope="module", params=[(entry, 8) for entry in ENTRIES])
def server_process(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Run a web server for each entry, for all tests of a module. The parameters: the entry, and threads."""
    entry, threads = request.param
    folder = tmp_path_factory.mktemp("web")
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--blocking-threads", str(threads), "config.wsgi:application"]
    settings = {"HTTP_PROXY_OF_OURS": "our own", "RECEIVER_ENTRY": entry, "DATA_DIR": str(folder)}
    with serve(command, port, folder / "web.log", **settings) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def server(server_process: ServerProcess, egnyte_subscription: Subscription) -> Iterator[HookServer]:
    """Yield the module's web server, with a subscription of this test's own.

    Afterwards, wait until it has normalized everything: it must not write into the next test's database.
    """
    running = HookServer(server_process.port, egnyte_subscription, server_process.log)
    assert requests.head(running.hook_url, timeout=10).status_code == 200  # it knows the subscription from now on
    yield running
    deadline = time.monotonic() + 10
    while WebhookRequest.objects.unprocessed().exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def stored_batches() -> list[list[UUID]]:
    """Return the IDs that `own_writer` has stored, batch by batch."""
    return []


@pytest.fixture
def own_writer(settings: Settings, stored_batches: list[list[UUID]]) -> Iterator[Writer]:
    """Run a writer with its own threads, and stop it at the end."""
    settings.RECEIVE_IN_THREADS = True
    writer = Writer(on_rows_stored=lambda rows: stored_batches.append([row.uid for row in rows]))
    yield writer
    writer.stop()
