"""Probe a subscription that has gone quiet: ask the provider, the receiver, and for a test webhook where possible."""

from __future__ import annotations

import time
from datetime import datetime

from django.utils import timezone

from events.models import Silence
from providers.audit.actors import SCHEDULER
from providers.contract.base import AnyProvider
from subscriptions.lifecycle import receiver_probe, secrets
from subscriptions.models import Managed, State, Subscription
from subscriptions.reconciliation.reconciler import reconcile

RECONCILE_SECONDS = 20.0  # at most


def probe(row: Subscription, since: datetime) -> None:
    """Open a silence for the subscription, probe it, and store the result.

    Does nothing if another worker has opened one.
    """
    silence, created = Silence.objects.get_or_create(
        subscription_id=row.pk,
        ended_at=None,
        defaults={"account_id": row.account_id, "since": since, "probed_at": timezone.now()},
    )
    if not created:
        return
    row = Subscription.objects.select_related("account").get(pk=row.pk)
    findings = [check_provider(row), _check_receiver(row)]
    tested, failure = _request_test(row)
    findings.append(failure)
    # `probed_at` stays the time before the probe: an event received after it may be the test webhook.
    text = " ".join(finding for finding in findings if finding)
    Silence.objects.filter(pk=silence.pk).update(message=text, tested=tested)


def sends_harmless_tests(plugin: AnyProvider) -> bool:
    """Return whether the provider sends test webhooks that cannot be mistaken for real events."""
    return plugin.capabilities.can_test and plugin.capabilities.test_is_harmless


def check_provider(row: Subscription) -> str:
    """Reconcile the subscription, which repairs what it can, and return its state at the provider."""
    if row.managed == Managed.MANUAL:
        return "The subscription is managed manually, so the provider cannot be asked for its state."
    reconciled = reconcile(row, deadline=time.monotonic() + RECONCILE_SECONDS, details=True)
    row.refresh_from_db()
    if row.state != State.ACTIVE:
        return f"Checking the provider found the cause: {row.state_reason}"
    if not reconciled:
        return "The provider was not checked, because the subscription was being reconciled."
    return f"The subscription is active and unchanged at {row.account.plugin.name}."


def _check_receiver(row: Subscription) -> str:
    return receiver_probe.find_receiver_error(row.callback_url) or "The receiver answers at its callback URL."


def _request_test(row: Subscription) -> tuple[bool, str]:
    """Request a test webhook where that is possible. Return whether one was sent, and why not if it failed."""
    if not sends_harmless_tests(row.account.plugin) or row.managed == Managed.MANUAL or row.state != State.ACTIVE:
        return False, ""
    result = secrets.send_test_webhook(row, by=SCHEDULER)
    return result.ok, "" if result.ok else f"A test webhook could not be requested: {result.detail}"
