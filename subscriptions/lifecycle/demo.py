"""The sandbox accounts that `make run` shows: one for each simulated provider, subscribed to everything.

Where one subscription cannot be about everything there are several."""

from __future__ import annotations

from django.conf import settings

from providers.contract.registry import get_provider
from providers.models import ProviderAccount
from providers.sandbox.base import AnySimulator
from providers.sandbox.server import find_simulators
from providers.sandbox.tenant import LoginName, SandboxLogin
from providers.sandbox.webhook_sender import WebhookSender
from subscriptions.lifecycle import desired_state

DEMO = "demo"


def ensure_demo() -> None:
    """Adds the demo account and its subscriptions of each provider that has none; what staff made of them since stays.

    The sandbox is on this machine, so its accounts simply follow it, and PUBLIC_URL, to other ports.
    """
    for kind in find_simulators():
        simulator = kind(settings.SANDBOX_URL or "", sender=WebhookSender({}))
        login = simulator.tenants[LoginName.DEMO].account
        account = _account_of(simulator, login)
        if account is None:
            _add(simulator, login)
        elif account.deleted_at is None:
            _follow(account, login)
        simulator.close()


def _account_of(simulator: AnySimulator, session: SandboxLogin) -> ProviderAccount | None:
    """The account of that login, also when staff deleted it: then it is not added again."""

    for account in ProviderAccount.with_deleted.filter(provider=simulator.slug).order_by("pk"):
        address = {"base_url": account.settings.get("base_url")}
        if address["base_url"] and {**account.settings, **session.settings, **address} == account.settings:
            return account
    return None


def _add(simulator: AnySimulator, session: SandboxLogin) -> None:
    name = f"{get_provider(simulator.slug).name} (sandbox)"
    account = desired_state.add_account(
        provider=simulator.slug,
        name=name,
        settings=session.settings,
        credentials=session.credentials,
        by=DEMO,
        retention_days=get_provider(simulator.slug).capabilities.retention_days,
    )
    for title, config in simulator.demo_configs().items():
        desired_state.subscribe(account, config=config, by=DEMO, name=title)


def _follow(account: ProviderAccount, session: SandboxLogin) -> None:
    base_url = session.settings["base_url"]
    if account.settings.get("base_url") != base_url:
        desired_state.change_account(account, by=DEMO, settings={**account.settings, "base_url": base_url})
    desired_state.confirm_public_url(by=DEMO, account=account)
