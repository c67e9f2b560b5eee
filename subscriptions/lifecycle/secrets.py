"""The secret that authenticates a subscription's inbound requests, and test webhooks."""

from __future__ import annotations

import time
from typing import Any

from providers.accounts.session import open_session
from providers.contract.base import Registration, SecretHint, TestResult
from providers.contract.errors import ProviderError
from providers.contract.schemas import validate
from subscriptions.lifecycle import receiver_probe
from subscriptions.lifecycle.activity_log import log_subscription
from subscriptions.models import Managed, Subscription


def reveal(subscription: Subscription, *, by: str) -> SecretHint:
    """Return the secret in clear and how it is sent, and log that it was revealed.

    Raises InvalidInput if the account's stored settings no longer fit the provider's schema.
    """
    log_subscription(subscription, "secret revealed", by)
    secret = next(iter(subscription.secrets), None)
    return subscription.account.plugin.secret_hint(subscription.account.typed_settings, secret)


def send_test_webhook(subscription: Subscription, *, by: str, seconds: float = 10.0) -> TestResult:
    """Ask the provider to send a test webhook, or check our own receiver if the provider has no call for it.

    Never raises ProviderError: the result says what went wrong. Raises InvalidInput if the stored config no longer
    fits the provider's schema.
    """
    log_subscription(subscription, "tested", by)
    plugin = subscription.account.plugin
    if plugin.capabilities.can_test and not subscription.address_confirmed:
        return TestResult(ok=False, detail="No test webhook was sent: PUBLIC_URL is not confirmed as the new address.")
    if not plugin.capabilities.can_test or subscription.managed == Managed.MANUAL or not subscription.remote_id:
        return _probe_receiver(subscription)
    try:
        with open_session(subscription.account, deadline=time.monotonic() + seconds) as session:
            return plugin.test(session, subscription.remote_id, build_registration(subscription, enabled=True))
    except ProviderError as error:
        return TestResult(ok=False, detail=error.message)


def build_registration(subscription: Subscription, *, enabled: bool) -> Registration[Any]:
    """Return the registration to send to the provider.

    Raises InvalidInput if the config no longer fits the provider's schema.
    """
    return Registration(
        callback_url=subscription.callback_url,
        config=validate(subscription.account.plugin.config_model, subscription.config),
        secret=next(iter(subscription.secrets), None),
        enabled=enabled,
        name=subscription.name,
    )


def _probe_receiver(subscription: Subscription) -> TestResult:
    plugin = subscription.account.plugin
    error = receiver_probe.find_receiver_error(subscription.callback_url)
    if plugin.capabilities.can_test:
        reason = "the subscription is not registered through the API"
    else:
        reason = f"{plugin.name} has no test call"
    result = error or "Our own receiver answers at the callback URL."
    return TestResult(ok=error is None, detail=f"No test webhook was sent: {reason}. {result}")
