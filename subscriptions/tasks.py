"""Celery tasks. Each one calls one function. The scheduler runs them in every worker, without messages."""

from __future__ import annotations

from celery import shared_task

from subscriptions.models import Heartbeat
from subscriptions.notifications import dispatch
from subscriptions.problems import detector
from subscriptions.reconciliation import sweep as reconciliation_sweep


@shared_task(name="subscriptions.tasks.sweep")
def sweep() -> int:
    """Start the work that is due. Return the number of accounts that have some."""
    return reconciliation_sweep.sweep()


@shared_task(name="subscriptions.tasks.beat_heartbeat")
def beat_heartbeat() -> None:
    """Record that the scheduler, and with it this worker, is alive."""
    Heartbeat.beat("scheduler")


@shared_task(name="subscriptions.tasks.detect_problems")
def detect_problems() -> None:
    """Detect problems, in one worker at a time."""
    detector.detect_if_due()


@shared_task(name="subscriptions.tasks.notify_people")
def notify_people() -> int:
    """Notify people of new and changed problems. Return the number of messages sent."""
    return dispatch.notify_all()
