"""Fixtures for the tests of the receiver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from pytest_django import Settings

from events.receiver.group_commit import Writer
from subscriptions.models import Subscription
from tests.harness.hook_server import HookServer, serve
from tests.harness.processes import free_port
from tests.harness.receiving import ENTRIES


@pytest.fixture(params=[(entry, 8) for entry in ENTRIES])
def server(request: pytest.FixtureRequest, egnyte_subscription: Subscription, tmp_path: Path) -> Iterator[HookServer]:
    """Run a web server for each entry, and check its log for tracebacks. The parameters are the entry and threads."""
    entry, threads = request.param
    port, log = free_port(), tmp_path / "web.log"
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--blocking-threads", str(threads), "config.wsgi:application"]
    settings = {"HTTP_PROXY_OF_OURS": "our own", "RECEIVER_DOOR": entry, "DATA_DIR": str(tmp_path)}
    with serve(command, port, egnyte_subscription, log, **settings) as running:
        yield running
    assert "Traceback" not in log.read_text()


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
