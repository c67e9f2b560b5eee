"""Fixtures: registered subscriptions, at one provider and at each provider that has a secret."""

from __future__ import annotations

import pytest

from providers.contract.registry import all_providers
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts, desired_state
from subscriptions.models import State, Subscription
from tests.harness.fixtures import Control
from tests.harness.provider_contract import contract_of
from tests.lifecycle.rotation import ROTATABLE, reconciled


@pytest.fixture
def active(subscription: Subscription) -> Subscription:
    assert reconciled(subscription).state == State.ACTIVE, subscription.state_reason
    return subscription


@pytest.fixture(params=ROTATABLE)
def each(request: pytest.FixtureRequest, sandbox: Sandbox) -> Subscription:
    """Return an active subscription at each provider that has a secret."""
    slug = request.param
    contract = contract_of(slug)
    control = Control(sandbox.url, slug)
    options = {**(contract.sandbox_options or {}), **({"calls_per_second": None} if slug == "egnyte-connect" else {})}
    if options:
        control.post("options", **options)
    login = sandbox.logins(slug)[0]
    pace = {"calls_per_second": 100} if "calls_per_second" in all_providers()[slug].settings_model.model_fields else {}
    account = accounts.add_account(
        provider=slug,
        name="Spare",
        settings={**login["settings"], **pace},
        credentials=login["credentials"],
        by="staff:ann",
    )
    row = desired_state.subscribe(account, config=dict(contract.config), by="staff:ann", name="Turning")
    assert reconciled(row).state == State.ACTIVE, row.state_reason
    return row
