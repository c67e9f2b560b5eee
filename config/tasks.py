"""Shows that messages reach a worker. Without them the schedule still does all work, only not at once."""

from __future__ import annotations

from celery import shared_task

from subscriptions.models import Heartbeat


@shared_task(name="config.tasks.ask_worker")
def ask_worker() -> None:
    """Run by the schedule: sends a message that some worker has to answer."""
    worker_heartbeat.delay()


@shared_task(name="config.tasks.worker_heartbeat")
def worker_heartbeat() -> None:
    """Run by a worker that got the message: a sign of life."""
    Heartbeat.beat("worker")
