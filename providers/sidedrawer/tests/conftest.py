"""Fixtures of the SideDrawer tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.sidedrawer.tests.stub_client import StubClient
from tests.harness.stub_server import StubServer


@pytest.fixture
def api() -> Iterator[StubServer]:
    """Start a SideDrawer API that returns scripted responses."""
    with StubServer() as server:
        yield server


@pytest.fixture
def client(api: StubServer) -> Iterator[StubClient]:
    """Return a client of the stub API with an access token."""
    client = StubClient(api)
    yield client
    client.http.close()


@pytest.fixture
def login_client(api: StubServer) -> Iterator[StubClient]:
    """Return a client of the stub API with client ID and client secret."""
    client = StubClient(api, {"client_id": "app/1", "client_secret": "client-s3cret"})
    yield client
    client.http.close()
