"""Celery tasks of the events app. Each is safe to run twice, since the database rows are the queue."""

from __future__ import annotations

from celery import shared_task

from events.monitoring import silence
from events.processing.poller import poller
from events.receiver import spool_drain
from events.retention import rejected
from events.retention.purge import purge_due


@shared_task(name="events.tasks.normalise_pending")
def normalize_pending() -> int:
    """Normalize the requests that the web processes left pending, and return how many were normalized."""
    return poller.poll()


@shared_task(name="events.tasks.drain_spool")
def drain_spool() -> int:
    """Store the requests that dead web processes left in this host's spool, and return how many were stored."""
    return spool_drain.drain_abandoned()


@shared_task(name="events.tasks.forget_rejected")
def forget_rejected() -> int:
    """Delete old rejected requests, and return how many were deleted."""
    return rejected.delete_aged()


@shared_task(name="events.tasks.purge")
def purge() -> int:
    """Delete what is older than the retention period of its account, and return how many rows were deleted."""
    return purge_due()


@shared_task(name="events.tasks.watch")
def watch() -> int:
    """Find subscriptions that stopped receiving events, and return how many were confirmed silent."""
    return silence.watch()
