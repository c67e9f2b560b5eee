"""Tells a secret rotation that the new secret has been seen, without costing the calls anything.

A call that is proved by the newest secret while a rotation is under way leaves word here; at most once a second and
subscription that is looked at, by the inline normalizer's thread. When the process
dies before, the next such call tells.
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

EVERY = 1.0  # seconds between two looks at the same subscription


class Proofs:
    """What this process has told already."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self._told_at: dict[UUID, float] = {}

    def note(self, known: ReceivableSubscription) -> None:
        """A request was proved by the newest secret. Never blocks, never raises."""
        now = time.monotonic()
        if now - self._told_at.get(known.uid, -EVERY) < EVERY:
            return
        self._told_at[known.uid] = now
        inline_normalizer.enqueue_job(partial(_tell, known.id, known.secrets[0]))


def _tell(subscription_id: int, secret: str) -> None:
    try:
        secret_rotation.seen(subscription_id, secret)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("That a new secret was seen could not be written down: %s", str(error).partition("\n")[0])


proofs = Proofs()
os.register_at_fork(after_in_child=proofs.reset)
