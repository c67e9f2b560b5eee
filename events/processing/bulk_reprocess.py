"""Reprocess many stored requests, for example those that a filter selects or all of a subscription."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

from django.db.models import QuerySet

from events.models import Outcome, WebhookRequest
from events.processing import reprocess
from providers.audit import log

MAX_REQUESTS = 500  # per call
MAX_SECONDS = 8.0  # per call
PAGE_SIZE = 100


@dataclass(slots=True)
class ReprocessResult:
    """How many requests ended with which outcome.

    `last` is the request to continue after; None if there are no more.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    last: WebhookRequest | None = None

    @property
    def count(self) -> int:
        """How many requests were reprocessed."""
        return self.outcomes.total()


def reprocess_many(
    rows: QuerySet[WebhookRequest],
    *,
    by: str,
    after: int = 0,
    max_requests: int = MAX_REQUESTS,
    max_seconds: float = MAX_SECONDS,
    selection: str = "",
) -> ReprocessResult:
    """Reprocess these requests after the primary key `after`, oldest first, up to a number and a time.

    It can be stopped anywhere and repeated: no duplicate is counted twice. `by` is the actor, and `selection` describes
    the requests, both for the audit trail.
    """
    result = ReprocessResult()
    deadline = time.monotonic() + max_seconds
    rows = rows.exclude(outcome=Outcome.TRUNCATED).order_by("pk")
    while page := list(rows.filter(pk__gt=after).only("pk", "uid")[:PAGE_SIZE]):
        for row in page:
            if result.count >= max_requests or time.monotonic() > deadline:
                _log(result, by, selection)
                return result
            with contextlib.suppress(WebhookRequest.DoesNotExist):  # it has been deleted meanwhile
                result.outcomes[reprocess.reprocess_request(row).outcome] += 1
            result.last = row
            after = row.pk
    result.last = None
    _log(result, by, selection)
    return result


def _log(result: ReprocessResult, by: str, selection: str) -> None:
    if result.count:
        name = f"{result.count} requests{selection and ': '}{selection}"
        log.record(by, "reprocessed", reprocess.HISTORY_KIND, subject_id="", name=name)
