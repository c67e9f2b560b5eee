"""Celery tasks. Thin, and safe to run twice: the rows are the queue."""

from __future__ import annotations

from celery import shared_task

from events.monitoring import silence
from events.processing.poller import poller
from events.receiver import spool_drain
from events.retention import purge as purging
from events.retention import rejected


@shared_task(name="events.tasks.normalize_pending")
def normalize_pending() -> int:
    """The safety net: whatever the web processes left behind. Returns how many requests were settled."""
    return poller.poll()


@shared_task(name="events.tasks.drain_spool")
def drain_spool() -> int:
    """What web processes that died left in this machine's spool. Returns how many requests were moved."""
    return spool_drain.drain_abandoned()


@shared_task(name="events.tasks.forget_rejected")
def forget_rejected() -> int:
    """Rejected requests that nobody will release any more. Returns how many went."""
    return rejected.delete_aged()


@shared_task(name="events.tasks.purge")
def purge() -> int:
    """Throws away what is older than its account keeps it. Returns how many rows went."""
    return purging.purge_due()


@shared_task(name="events.tasks.watch")
def watch() -> int:
    """Looks for subscriptions that stopped sending. Returns how many were found."""
    return silence.watch()
