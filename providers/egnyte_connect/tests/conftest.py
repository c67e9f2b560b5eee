"""Fixtures of the Egnyte Connect tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.egnyte_connect.tests.samples import StubClient
from tests.harness.stub_server import StubServer


@pytest.fixture
def api() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def client(api: StubServer) -> Iterator[StubClient]:
    client = StubClient(api)
    yield client
    client.http.close()
