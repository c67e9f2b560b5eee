"""Fixtures of the Files.com tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.files_com.tests.stub_client import StubClient
from tests.harness.stub_server import StubServer


@pytest.fixture
def api() -> Iterator[StubServer]:
    """Start a Files.com API that returns scripted responses."""
    with StubServer() as server:
        yield server


@pytest.fixture
def client(api: StubServer) -> Iterator[StubClient]:
    """Return a client of the stub API."""
    client = StubClient(api)
    yield client
    client.http.close()
