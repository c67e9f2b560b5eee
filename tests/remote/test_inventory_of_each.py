"""The inventory at each provider: kinds, adoption as predicted, and deletion of orphans only."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from providers.accounts.session import open_session
from providers.contract.base import Registration, RemoteSubscription
from providers.contract.capabilities import SecretMadeBy
from providers.contract.registry import all_providers
from providers.contract.schemas import validate
from providers.models import ProviderAccount
from providers.sandbox.server import Sandbox
from subscriptions.lifecycle import accounts
from subscriptions.models import State
from subscriptions.reconciliation.reconciler import reconcile
from subscriptions.remote import adoption, inventory, orphans
from subscriptions.remote.inventory import Kind
from subscriptions.remote.orphans import NotAnOrphan
from tests.harness.fixtures import Control
from tests.harness.provider_contract import contract_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver_answers")]

SLUGS = sorted(slug for slug, plugin in all_providers().items() if plugin.capabilities.can_list)


@pytest.fixture
def account_at(sandbox: Sandbox, request: pytest.FixtureRequest) -> ProviderAccount:
    """Return an account at the provider that the test names."""
    slug: str = request.param
    contract, login = contract_of(slug), sandbox.logins(slug)[0]
    if contract.sandbox_options:
        Control(sandbox.url, slug).post("options", **contract.sandbox_options)
    fields = all_providers()[slug].settings_model.model_fields
    pace = {"calls_per_second": 100} if "calls_per_second" in fields else {}
    return accounts.add_account(
        provider=slug,
        name="Each",
        settings={**login["settings"], **pace},
        credentials=login["credentials"],
        by="staff:ann",
    )


def register(account: ProviderAccount, url: str) -> RemoteSubscription:
    """Register a webhook with the same credentials, but without Hookkeeper."""
    plugin = account.plugin
    secret = plugin.new_secret() if plugin.capabilities.secret_made_by is SecretMadeBy.US else None
    config = validate(plugin.config_model, dict(contract_of(account.provider).config))
    with open_session(account) as session:
        return plugin.register(
            session, Registration(callback_url=url, config=config, secret=secret, enabled=True, name="Theirs")
        )


@pytest.mark.parametrize("account_at", SLUGS, indirect=True)
def test_a_foreign_webhook_cannot_be_deleted_and_is_adopted_as_predicted(account_at: ProviderAccount) -> None:
    theirs = register(account_at, "https://elsewhere.example.com/in")
    (item,) = inventory.list_remotes(account_at)
    assert (item.kind, item.remote.remote_id) == (Kind.FOREIGN, theirs.remote_id)
    with pytest.raises(NotAnOrphan):
        orphans.delete_orphan(account_at, theirs.remote_id, by="staff:ann")
    predicted = [step.action for step in adoption.plan_adoption(account_at, item.remote).steps]
    assert predicted
    row = adoption.import_remote(account_at, theirs.remote_id, by="staff:ann", take_over=True)
    assert reconcile(row)
    row.refresh_from_db()
    assert row.state == State.ACTIVE, row.state_reason
    assert list(row.operations.order_by("id").values_list("action", flat=True)) == predicted
    (item,) = inventory.list_remotes(account_at)
    assert (item.kind, item.subscription) == (Kind.MANAGED, row)


@pytest.mark.parametrize("account_at", SLUGS, indirect=True)
def test_deleting_an_orphan_deletes_nothing_else(account_at: ProviderAccount, settings: Settings) -> None:
    if not account_at.plugin.capabilities.reveals_url:
        pytest.skip("Without URLs, orphans cannot be recognized.")
    settings.PUBLIC_URL = "https://hooks.example.com"
    orphan = register(account_at, "https://hooks.example.com/hooks/a-token-of-no-subscription")
    foreign = register(account_at, "https://elsewhere.example.com/in")
    kinds = {item.remote.remote_id: item.kind for item in inventory.list_remotes(account_at)}
    assert kinds == {orphan.remote_id: Kind.ORPHANED, foreign.remote_id: Kind.FOREIGN}
    orphans.delete_orphan(account_at, orphan.remote_id, by="staff:ann")
    assert [item.remote.remote_id for item in inventory.list_remotes(account_at)] == [foreign.remote_id]
