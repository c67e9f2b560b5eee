"""Reading many stored requests again, as after a fix or a new secret: a filter's, or all of a subscription."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

from django.db.models import QuerySet

from events.models import Outcome, WebhookRequest
from events.processing import normalize
from providers.audit import log

REQUEST = "request"  # the word that the history uses
MOST = 500  # at once
SECONDS = 8.0
PAGE = 100


@dataclass(slots=True)
class Reprocessed:
    """What became of them. `last`: go on behind it; None: there are no more."""

    outcomes: Counter[str] = field(default_factory=Counter)
    last: WebhookRequest | None = None

    @property
    def count(self) -> int:
        """How many were read."""
        return self.outcomes.total()


def reprocess_many(
    rows: QuerySet[WebhookRequest],
    *,
    by: str,
    after: int = 0,
    most: int = MOST,
    seconds: float = SECONDS,
    which: str = "",
) -> Reprocessed:
    """Reads them again, the oldest first, up to a number and a time; rejected ones are verified again before. Safe to
    stop anywhere and to do twice: nothing is counted twice. `which`: for the history, how they were chosen."""
    result = Reprocessed()
    deadline = time.monotonic() + seconds
    rows = rows.exclude(outcome=Outcome.TRUNCATED).order_by("pk")
    while page := list(rows.filter(pk__gt=after).only("pk", "uid")[:PAGE]):
        for row in page:
            if result.count >= most or time.monotonic() > deadline:
                _note(result, by, which)
                return result
            with contextlib.suppress(WebhookRequest.DoesNotExist):  # it was thrown away meanwhile
                result.outcomes[normalize.reprocess(row).outcome] += 1
            result.last = row
            after = row.pk
    result.last = None
    _note(result, by, which)
    return result


def _note(result: Reprocessed, by: str, which: str) -> None:
    if result.count:
        name = f"{result.count} requests{which and ': '}{which}"
        log.note(by, "processed again", REQUEST, subject_id="", name=name)
