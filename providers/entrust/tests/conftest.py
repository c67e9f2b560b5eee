"""Fixtures of the Entrust tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.entrust.tests.registered import CONFIG, reconciled
from providers.entrust.tests.stub_client import StubClient
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from tests.harness.fixtures import Control
from tests.harness.stub_server import StubServer


@pytest.fixture
def api() -> Iterator[StubServer]:
    """Start an Entrust API that returns scripted responses."""
    with StubServer() as server:
        yield server


@pytest.fixture
def client(api: StubServer) -> Iterator[StubClient]:
    """Return a client of the stub API with a cached access token."""
    client = StubClient(api)
    yield client
    client.close()


@pytest.fixture
def control(sandbox: Sandbox) -> Control:
    return Control(sandbox.url, "entrust")


@pytest.fixture
def account(db: None, sandbox: Sandbox) -> ProviderAccount:
    login = sandbox.logins("entrust")[0]
    return accounts.add_account(
        provider="entrust", name="Spare", settings=login["settings"], credentials=login["credentials"], by="staff:ann"
    )


@pytest.fixture
def subscription(account: ProviderAccount) -> Subscription:
    return desired_state.subscribe(account, config=CONFIG, by="staff:ann", name="Identities")


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    reconciled(subscription)
    assert subscription.state == State.ACTIVE, subscription.state_reason
    return subscription
