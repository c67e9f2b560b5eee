"""The timeline of an account or a subscription: its latest part on their pages, and all of it on a page of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, QueryDict

from providers.dashboard.base import PageAdmin
from providers.dashboard.list_page import PAGE
from subscriptions import timeline
from subscriptions.timeline import Entry, Subject, Timeline

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Part:
    """One page of it, and the query strings of its neighbours."""

    entries: list[Entry]
    newer: str | None
    older: str | None


def latest(row: Subject) -> list[Entry]:
    """What the page of the row itself shows."""
    return Timeline(row).part(SHOWN)


def timeline_page(admin: PageAdmin[Any], request: HttpRequest, row: Subject) -> HttpResponse:
    """All of it, narrowed to a kind if one is asked for."""
    kinds = timeline.kinds()
    kind = request.GET.get("kind", "")
    only = frozenset({kind} & set(kinds))
    part = _part(Timeline(row, only), request.GET)
    context = {
        "row": row,
        "row_url": admin.page_url(row),
        "is_account": row.subject == "account",
        "kinds": [(name, item.words) for name, item in kinds.items()],
        "kind": kind if only else "",
        "part": part,
    }
    return admin.render(request, "timeline/page.html", f"Timeline of {row}", context, parent=True)


def _part(whole: Timeline, asked: QueryDict) -> Part:
    above, below = _place(asked, "after"), _place(asked, "before")
    found = whole.part(PAGE + 1, above=above) if above is not None else []
    if found:
        more, entries = len(found) > PAGE, found[-PAGE:]
        has_newer, has_older = more, True
    else:  # with nothing newer: the newest
        found = whole.part(PAGE + 1, below=below)
        entries = found[:PAGE]
        has_newer, has_older = bool(below and not above), len(found) > PAGE
    newer = _query(asked, "after", entries[0].key if entries else None) if has_newer else None
    older = _query(asked, "before", entries[-1].key) if has_older and entries else None
    return Part(entries, newer, older)


def _place(asked: QueryDict, name: str) -> UUID | None:
    try:
        return UUID(str(asked[name])) if name in asked else None
    except ValueError:
        return None


def _query(asked: QueryDict, name: str, key: UUID | None) -> str:
    """Without a key, the first page."""
    kept = asked.copy()
    for old in ("after", "before"):
        kept.pop(old, None)
    if key is not None:
        kept[name] = str(key)
    return f"?{kept.urlencode()}"
