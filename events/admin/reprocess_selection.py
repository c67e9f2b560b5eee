"""The requests to reprocess in bulk: which ones a query string selects, and what will happen to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, QueryDict
from django.utils import timezone

from events.admin import outcome_text
from events.models import Outcome, WebhookRequest
from events.storage.time_range import TIME_SPANS
from providers.dashboard.list_page import filter_rows
from providers.filters import Filter, read_typed_time, row_number

MAX_COUNTED = 1000  # a larger selection is shown as "more than 1,000"


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected requests.

    `query` selects the same requests again: by filters, or by primary keys. `narrowed` is False if it selects all
    requests.
    """

    rows: QuerySet[WebhookRequest]
    query: QueryDict
    narrowed: bool


@dataclass(frozen=True, slots=True)
class ShareRow:
    """How many of the requests have an outcome, and what reprocessing does with them."""

    outcome: str
    label: str
    count: int
    text: str


def select(query: QueryDict, filters: Sequence[Filter]) -> Selection:
    """Return the requests that the query selects.

    Raises Http404 for invalid values, since ignoring a filter would widen the selection.
    """
    try:
        keys = [row_number(key) for key in query.getlist("pk")]
        parameters = _selecting_parameters(query, {"pk", *(item.name for item in filters)})
        rows, used = filter_rows(parameters, WebhookRequest.objects.all(), filters)
    except ValidationError:
        raise Http404("A filter or a selected request is invalid.") from None
    if keys:
        rows = rows.filter(pk__in=keys)
    return Selection(rows, parameters, narrowed=bool(keys or used))


def preview(selection: Selection) -> dict[str, Any]:
    """Return template variables that show what reprocessing this selection will do."""
    rows = list(selection.rows.order_by("-pk").values_list("pk", "outcome")[: MAX_COUNTED + 1])
    by_outcome = Counter(outcome for _, outcome in rows[:MAX_COUNTED])
    return {
        "count": min(len(rows), MAX_COUNTED),
        "more": len(rows) > MAX_COUNTED,
        "shares": share_rows(by_outcome),
        "possible": any(outcome != Outcome.TRUNCATED for outcome in by_outcome) or len(rows) > MAX_COUNTED,
        "upto": rows[0][0] if rows else "",
    }


def share_rows(by_outcome: Counter[str]) -> list[ShareRow]:
    """Return one row for each outcome that occurs."""
    return [
        ShareRow(outcome.value, outcome.label, by_outcome[outcome], outcome_text.REPROCESSING[outcome])
        for outcome in Outcome
        if by_outcome[outcome]
    ]


def key_of(query: QueryDict, name: str) -> int | None:
    """Return a number from the query; None if it is missing or invalid."""
    try:
        return row_number(query.get(name, ""))
    except ValidationError:
        return None


def _selecting_parameters(query: QueryDict, names: set[str]) -> QueryDict:
    """Return the parameters with these names that are not empty.

    A relative time span becomes an absolute time, so that "the last hour" means the same for all portions.
    """
    parameters = QueryDict(mutable=True)
    for name in query:
        if name in names and any(query.getlist(name)):
            parameters.setlist(name, query.getlist(name))
    within = parameters.pop("within", [""])[-1]
    if within:
        if within not in TIME_SPANS:
            raise ValidationError("Unknown time span.")
        begin = timezone.now() - TIME_SPANS[within][1]
        since = max(begin, read_typed_time(str(parameters["since"]))) if "since" in parameters else begin
        parameters["since"] = since.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return parameters
