"""Celery tasks. Thin: fetch, call one function. Safe to run twice, and to lose: the sweep finds what is due."""

from __future__ import annotations

from celery import shared_task

from subscriptions import due
from subscriptions.models import Heartbeat, Subscription
from subscriptions.reconcile import reconcile


@shared_task(name="subscriptions.tasks.sweep")
def sweep() -> int:
    """Does everything that is due now. Returns how much was done."""
    return due.sweep()


@shared_task(name="subscriptions.tasks.reconcile_one")
def reconcile_one(subscription_id: int) -> None:
    """A wake-up: this subscription became due just now."""
    subscription = Subscription.objects.select_related("account").filter(pk=subscription_id).first()
    if subscription is not None:
        reconcile(subscription)


@shared_task(name="subscriptions.tasks.beat_heartbeat")
def beat_heartbeat() -> None:
    """Shows that the scheduler, and with it this worker, is alive."""
    Heartbeat.beat("scheduler")
