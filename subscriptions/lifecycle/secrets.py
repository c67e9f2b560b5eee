"""How a subscription's inbound requests prove themselves, and trying that out."""

from __future__ import annotations

import time
from typing import Any

from providers.accounts.session import open_session
from providers.contract.base import Registration, SecretHint, TestResult
from providers.contract.errors import ProviderError
from providers.contract.schemas import validate
from subscriptions.lifecycle import receiver_probe
from subscriptions.lifecycle.desired_state import note
from subscriptions.models import Managed, Subscription


def reveal(subscription: Subscription, *, by: str) -> SecretHint:
    """The secret in clear, and how it is sent. Every look is written to the history. Raises InvalidInput when the
    account's settings no longer fit."""
    note(subscription, "secret revealed", by)
    secret = next(iter(subscription.secrets), None)
    return subscription.account.plugin.secret_hint(subscription.account.typed_settings, secret)


def send_test_webhook(subscription: Subscription, *, by: str, seconds: float = 10.0) -> TestResult:
    """Has the provider send a test webhook, where it has a call for that. Else tells whether our own receiver answers
    at the callback URL. Never raises ProviderError: the result says what went wrong."""
    note(subscription, "tested", by)
    plugin = subscription.account.plugin
    if plugin.capabilities.can_test and not subscription.address_confirmed:
        return TestResult(ok=False, detail="No test webhook was sent: PUBLIC_URL is not confirmed as the new address.")
    if not plugin.capabilities.can_test or subscription.managed == Managed.MANUAL or not subscription.remote_id:
        trouble = receiver_probe.trouble_at(subscription.callback_url)
        said = trouble or "Our own receiver answers at the callback URL."
        reason = (
            "is not registered through the API" if plugin.capabilities.can_test else f"{plugin.name} has no test call"
        )
        return TestResult(ok=trouble is None, detail=f"No test webhook was sent: {reason}. {said}")
    try:
        with open_session(subscription.account, deadline=time.monotonic() + seconds) as session:
            return plugin.test(session, subscription.remote_id, registration_of(subscription, enabled=True))
    except ProviderError as error:
        return TestResult(ok=False, detail=error.message)


def registration_of(subscription: Subscription, *, enabled: bool) -> Registration[Any]:
    """What is to stand at the provider. Raises InvalidInput when the config no longer fits the provider's schema."""
    return Registration(
        callback_url=subscription.callback_url,
        config=validate(subscription.account.plugin.config_model, subscription.config),
        secret=next(iter(subscription.secrets), None),
        enabled=enabled,
        name=subscription.name,
    )
