"""Report to a secret rotation that the provider uses the new secret, without slowing down requests.

The inline normalizer's thread writes the report to the database, at most once a second for each subscription. If the
process ends before that, the next request with the new secret triggers another report.
"""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from events.processing.inline_normalizer import inline_normalizer
from events.receiver.subscription_cache import ReceivableSubscription
from subscriptions.lifecycle import secret_rotation

logger = logging.getLogger(__name__)

MIN_INTERVAL_SECONDS = 1.0  # between two reports for the same subscription


class RotationSignals:
    """When this process last reported each subscription's new secret."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all reports."""
        self._reported_at: dict[UUID, float] = {}

    def report_newest_secret(self, subscription: ReceivableSubscription) -> None:
        """Report that a request was signed with the newest secret. Never blocks, never raises."""
        now = time.monotonic()
        if now - self._reported_at.get(subscription.uid, -MIN_INTERVAL_SECONDS) < MIN_INTERVAL_SECONDS:
            return
        self._reported_at[subscription.uid] = now
        inline_normalizer.enqueue_job(partial(_report, subscription.id, subscription.secrets[0]))


def _report(subscription_id: int, secret: str) -> None:
    try:
        secret_rotation.record_seen(subscription_id, secret)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The use of a new secret could not be recorded: %s", str(error).partition("\n")[0])


rotation_signals = RotationSignals()
os.register_at_fork(after_in_child=rotation_signals.reset)
