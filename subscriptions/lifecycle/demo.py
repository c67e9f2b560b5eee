"""The sandbox accounts that `make run` creates: one for each simulated provider, subscribed to everything.

Where one subscription cannot cover everything, there are several.
"""

from __future__ import annotations

from django.conf import settings

from providers.contract.registry import get_provider
from providers.models import ProviderAccount
from providers.sandbox.base import AnySimulator
from providers.sandbox.server import find_simulators
from providers.sandbox.tenant import LoginName, SandboxLogin
from providers.sandbox.webhook_sender import WebhookSender
from subscriptions.lifecycle import accounts, desired_state, public_url

DEMO_ACTOR = "demo"


def ensure_demo() -> None:
    """Create the demo account and its subscriptions for each provider that has none. Changes by staff are kept.

    The sandbox is on this machine, so its accounts follow it, and PUBLIC_URL, to other ports.
    """
    for kind in find_simulators():
        simulator = kind(settings.SANDBOX_URL or "", sender=WebhookSender({}))
        login = simulator.tenants[LoginName.DEMO].account
        account = _find_account(simulator, login)
        if account is None:
            _add_account(simulator, login)
        elif account.deleted_at is None:
            _update_addresses(account, login)
        simulator.close()


def _find_account(simulator: AnySimulator, session: SandboxLogin) -> ProviderAccount | None:
    """Return the account of a sandbox login, including one that staff deleted, which is not created again."""
    for account in ProviderAccount.with_deleted.filter(provider=simulator.slug).order_by("pk"):
        address = {"base_url": account.settings.get("base_url")}
        if address["base_url"] and {**account.settings, **session.settings, **address} == account.settings:
            return account
    return None


def _add_account(simulator: AnySimulator, session: SandboxLogin) -> None:
    name = f"{get_provider(simulator.slug).name} (sandbox)"
    account = accounts.add_account(
        provider=simulator.slug,
        name=name,
        settings=session.settings,
        credentials=session.credentials,
        by=DEMO_ACTOR,
        retention_days=get_provider(simulator.slug).capabilities.retention_days,
    )
    for title, config in simulator.demo_configs().items():
        desired_state.subscribe(account, config=config, by=DEMO_ACTOR, name=title)


def _update_addresses(account: ProviderAccount, session: SandboxLogin) -> None:
    base_url = session.settings["base_url"]
    if account.settings.get("base_url") != base_url:
        settings = {**account.settings, "base_url": base_url}
        accounts.change_account(account, by=DEMO_ACTOR, settings=settings, credentials=session.credentials)
    public_url.move_callback_urls(by=DEMO_ACTOR, account=account)
