"""Fixtures of the sandbox tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.sandbox.server import Sandbox
from tests.harness.stub_server import StubServer
from tests.sandbox.client import Client


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed=1) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    spare = Client(sandbox)
    spare.control("options", calls_per_second=None)
    with spare.session:
        yield spare


@pytest.fixture
def demo(sandbox: Sandbox, client: Client) -> Iterator[Client]:
    other = Client(sandbox, 1)
    with other.session:
        yield other


@pytest.fixture
def receiver() -> Iterator[StubServer]:
    with StubServer() as server:
        server._server.socket.listen(128)  # room for all senders at once; else some connections wait for a second
        yield server
