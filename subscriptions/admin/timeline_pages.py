"""The timeline of an account or a subscription: the latest entries, and the page with all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict

from providers.dashboard.base import PageAdmin
from providers.dashboard.list_page import PAGE_SIZE
from subscriptions import timeline
from subscriptions.timeline import Entry, Subject, Timeline

LATEST_ENTRIES = 10


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """One page of a timeline, and the query strings of the pages next to it."""

    entries: list[Entry]
    newer: str | None
    older: str | None


def latest_entries(row: Subject) -> list[Entry]:
    """Return the newest entries, for the page of the account or subscription."""
    return Timeline(row).part(LATEST_ENTRIES)


def timeline_page(admin: PageAdmin[Any], request: HttpRequest, row: Subject) -> HttpResponse:
    """Show one page of the timeline, filtered by the kind in the query string."""
    kinds = timeline.kinds()
    kind = request.GET.get("kind", "")
    only = frozenset({kind} & set(kinds))
    page = _page(Timeline(row, only), request.GET)
    context = {
        "row": row,
        "row_url": admin.page_url(row),
        "is_account": row.subject == "account",
        "kinds": [(name, item.label) for name, item in kinds.items()],
        "kind": kind if only else "",
        "part": page,
    }
    return admin.render(request, "timeline/page.html", f"Timeline of {row}", context, parent=True)


def _page(timeline: Timeline, params: QueryDict) -> TimelinePage:
    above, below = _key(params, "after"), _key(params, "before")
    nearest = timeline.part(PAGE_SIZE + 1, above=above) if above is not None else []
    if nearest:
        more, entries = len(nearest) > PAGE_SIZE, nearest[-PAGE_SIZE:]
        has_newer, has_older = more, True
    else:  # nothing is newer: show the newest page
        nearest = timeline.part(PAGE_SIZE + 1, below=below)
        entries = nearest[:PAGE_SIZE]
        has_newer, has_older = bool(below and not above), len(nearest) > PAGE_SIZE
    newer = _query(params, "after", entries[0].key if entries else None) if has_newer else None
    older = _query(params, "before", entries[-1].key) if has_older and entries else None
    return TimelinePage(entries, newer, older)


def _key(params: QueryDict, name: str) -> UUID | None:
    try:
        return UUID(str(params[name])) if name in params else None
    except ValueError:
        return None


def _query(params: QueryDict, name: str, key: UUID | None) -> str:
    """Return the query string of the page next to a key; without a key, of the first page."""
    query = params.copy()
    for parameter in ("after", "before"):
        query.pop(parameter, None)
    if key is not None:
        query[name] = str(key)
    return f"?{query.urlencode()}"
