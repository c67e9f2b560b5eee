"""Celery tasks. Thin, and safe to run twice: the rows are the queue."""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from events import drainer, pipeline, rejected, retention, silence

GRACE = timedelta(seconds=0.5)  # what is younger, the web process is about to normalise itself


@shared_task(name="events.tasks.normalise_pending")
def normalise_pending() -> int:
    """The safety net: whatever the web processes left behind. Returns how many requests were settled."""
    return pipeline.normalise_pending(older_than=GRACE)


@shared_task(name="events.tasks.drain_spool")
def drain_spool() -> int:
    """What web processes that died left in this machine's spool. Returns how many requests were moved."""
    return drainer.drain_the_dead()


@shared_task(name="events.tasks.forget_rejected")
def forget_rejected() -> int:
    """Rejected requests that nobody will release any more. Returns how many went."""
    return rejected.delete_aged()


@shared_task(name="events.tasks.purge")
def purge() -> int:
    """Throws away what is older than its account keeps it. Returns how many rows went."""
    return retention.purge_due()


@shared_task(name="events.tasks.watch")
def watch() -> int:
    """Looks for subscriptions that stopped sending. Returns how many were found."""
    return silence.watch()
