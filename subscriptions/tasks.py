"""Celery tasks. Thin: each calls one function. The schedule runs them in every worker, without a message."""

from __future__ import annotations

from celery import shared_task

from subscriptions.models import Heartbeat
from subscriptions.notifications import dispatch
from subscriptions.problems import detector
from subscriptions.reconciliation import sweep as sweeping


@shared_task(name="subscriptions.tasks.sweep")
def sweep() -> int:
    """Does everything that is due now. Returns how much was done."""
    return sweeping.sweep()


@shared_task(name="subscriptions.tasks.beat_heartbeat")
def beat_heartbeat() -> None:
    """Shows that the scheduler, and with it this worker, is alive."""
    Heartbeat.beat("scheduler")


@shared_task(name="subscriptions.tasks.detect_problems")
def detect_problems() -> None:
    """Keeps the problems true. With many workers, whoever comes first."""
    detector.detect_if_due()


@shared_task(name="subscriptions.tasks.notify_people")
def notify_people() -> int:
    """Tells people what is new about problems. Returns how many messages were sent."""
    return dispatch.notify_all()
