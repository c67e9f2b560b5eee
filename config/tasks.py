"""Heartbeat tasks: they show that messages reach a worker. Without messages, the schedule still does all work."""

from __future__ import annotations

from celery import shared_task

from subscriptions.models import Heartbeat


@shared_task(name="config.tasks.ask_worker")
def ask_worker() -> None:
    """Send a message that a worker answers with a heartbeat. Run by the schedule."""
    worker_heartbeat.delay()


@shared_task(name="config.tasks.worker_heartbeat")
def worker_heartbeat() -> None:
    """Record a worker's heartbeat. Run by the worker that got the message."""
    Heartbeat.beat("worker")
