"""Processing many requests again: chosen ones, all that a filter of the list shows, all of a subscription.

The first page says what will happen. Then one bounded portion is read with each call, and the address of the page
that follows says how far it went: closed and opened again, it goes on from there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, reverse
from django.utils import timezone

from events.admin import outcome_text
from events.models import Outcome, WebhookRequest
from events.processing.bulk_reprocess import reprocess_many
from events.storage.time_range import AGES
from providers.dashboard.base import PageAdmin, actor_of
from providers.dashboard.list_page import NotUnderstood, moment, narrow, number, shown_filters

COUNTED = 1000  # more than that is "more than 1,000"
SECONDS = 4.0  # of one portion
GOING_ON = "reprocessing"  # in the session: how far this person has got
COUNTS = "became_"  # in the address: how many became what


@dataclass(frozen=True, slots=True)
class Selection:
    """The requests that are meant. `query` says it again: the filters, or the numbers of chosen ones."""

    rows: QuerySet[WebhookRequest]
    query: QueryDict
    narrowed: bool


@dataclass(frozen=True, slots=True)
class Share:
    """So many requests of one outcome, and what happens with them."""

    outcome: str
    label: str
    count: int
    words: str


class ReprocessPages(PageAdmin[WebhookRequest]):
    """Its pages."""

    def get_urls(self) -> list[URLPattern]:
        """The usual ones and ours."""
        return [self.own_url("reprocess/", self.reprocess_many_view, "reprocess_many"), *super().get_urls()]

    def reprocess_url(self, request: HttpRequest) -> str:
        """Where all can be processed again that the list shows now, on this page and the others."""
        query = request.GET.copy()
        for name in set(query) - {item.name for item in self.filters}:
            del query[name]
        return f"{self._own_url()}?{query.urlencode()}"

    def may_reprocess(self, request: HttpRequest) -> bool:
        """Reading again needs the permission to change requests, though it changes nothing of what came in."""
        return request.user.has_perm("events.change_webhookrequest")

    def reprocess_many_view(self, request: HttpRequest) -> HttpResponse:
        """Says what will happen, or how far it went (GET); reads one more portion (POST)."""
        if not self.may_reprocess(request):
            raise PermissionDenied
        asked = request.POST if request.method == "POST" else request.GET
        chosen = self._selection(asked)
        if not chosen.narrowed:
            messages.warning(request, "Choose requests, or a filter, first.")
            return HttpResponseRedirect(self.list_url())
        if request.method == "POST":
            return self._portion(request, chosen)
        after = _key(asked, "after")
        context = {
            "query": chosen.query,
            "back_url": self._list_of(chosen.query),
            "narrowing": [item for item in shown_filters(chosen.query, self.filters) if item.value],
            "chosen": len(chosen.query.getlist("pk")),
        }
        if after is None:
            context |= _what_will_happen(chosen)
            return self.render(request, "requests/reprocess.html", "Process requests again?", context, parent=True)
        done = _counts(asked)
        context |= {
            "done": _shares(done),
            "total": done.total(),
            "reached": WebhookRequest.objects.filter(pk=after).only("received_at").first(),
            # A link from elsewhere must not set anything going.
            "by_itself": request.session.get(GOING_ON) == after,
            "after": after,
            "upto": asked.get("upto", ""),
            "counts": [(f"{COUNTS}{outcome}", count) for outcome, count in done.items()],
        }
        return self.render(request, "requests/reprocessing.html", "Processing again", context, parent=True)

    def _portion(self, request: HttpRequest, chosen: Selection) -> HttpResponse:
        upto = _key(request.POST, "upto")
        # What comes in from now on is read anyway, and could go on without end.
        rows = chosen.rows if upto is None else chosen.rows.filter(pk__lte=upto)
        after = _key(request.POST, "after") or 0
        result = reprocess_many(
            rows, by=actor_of(request), after=after, max_seconds=SECONDS, selection=self._which(chosen.query)
        )
        done = _counts(request.POST) + result.outcomes
        if result.last is not None:
            query = chosen.query.copy()
            query["after"] = str(result.last.pk)
            if upto is not None:
                query["upto"] = str(upto)
            for outcome, count in done.items():
                query[f"{COUNTS}{outcome}"] = str(count)
            request.session[GOING_ON] = result.last.pk
            return HttpResponseRedirect(f"{self._own_url()}?{query.urlencode()}")
        request.session.pop(GOING_ON, None)
        messages.success(request, _told(done))
        return HttpResponseRedirect(self._list_of(chosen.query))

    def _own_url(self) -> str:
        return reverse(f"{self.admin_site.name}:{self.name_of('reprocess_many')}")

    def _list_of(self, query: QueryDict) -> str:
        filters = query.copy()
        filters.pop("pk", None)
        return f"{self.list_url()}?{filters.urlencode()}" if filters else self.list_url()

    def _which(self, query: QueryDict) -> str:
        chosen = ["chosen one by one"] if query.getlist("pk") else []
        shown = (item for item in shown_filters(query, self.filters) if item.value)
        return ", ".join([*chosen, *(f"{item.label.lower()} {item.value_label}" for item in shown)])

    def _selection(self, asked: QueryDict) -> Selection:
        """Raises Http404 for what means nothing: an ignored filter would widen it."""
        try:
            keys = [number(key) for key in asked.getlist("pk")]
            query = _kept(asked, {"pk", *(item.name for item in self.filters)})
            rows, used = narrow(query, WebhookRequest.objects.all(), self.filters)
        except NotUnderstood:
            raise Http404("A filter, or a chosen request, means nothing.") from None
        if keys:
            rows = rows.filter(pk__in=keys)
        return Selection(rows, query, narrowed=bool(keys or used))


def _kept(asked: QueryDict, names: set[str]) -> QueryDict:
    """The filters and chosen ones. “The last hour” is that of now, also for the portions that are read later."""
    kept = QueryDict(mutable=True)
    for name in asked:
        if name in names and any(asked.getlist(name)):
            kept.setlist(name, asked.getlist(name))
    within = kept.pop("within", [""])[-1]
    if within:
        if within not in AGES:
            raise NotUnderstood
        begin = timezone.now() - AGES[within][1]
        since = max(begin, moment(str(kept["since"]))) if "since" in kept else begin
        kept["since"] = since.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return kept


def _key(asked: QueryDict, name: str) -> int | None:
    try:
        return number(asked.get(name, ""))
    except NotUnderstood:
        return None


def _counts(asked: QueryDict) -> Counter[str]:
    found = {outcome: _key(asked, f"{COUNTS}{outcome}") for outcome in Outcome.values}
    return Counter({outcome: count for outcome, count in found.items() if count})


def _what_will_happen(chosen: Selection) -> dict[str, Any]:
    rows = list(chosen.rows.order_by("-pk").values_list("pk", "outcome")[: COUNTED + 1])
    by_outcome = Counter(outcome for _, outcome in rows[:COUNTED])
    return {
        "count": min(len(rows), COUNTED),
        "more": len(rows) > COUNTED,
        "shares": _shares(by_outcome),
        "possible": any(outcome != Outcome.TRUNCATED for outcome in by_outcome) or len(rows) > COUNTED,
        "upto": rows[0][0] if rows else "",
    }


def _shares(counted: Counter[str]) -> list[Share]:
    return [
        Share(outcome.value, outcome.label, counted[outcome], outcome_text.AGAIN[outcome])
        for outcome in Outcome
        if counted[outcome]
    ]


def _told(done: Counter[str]) -> str:
    total = done.total()
    if not total:
        return "Nothing was to be processed again."
    parts = [f"{share.count:,} {share.label.lower()}" for share in _shares(done)]
    return f"{total:,} request{'' if total == 1 else 's'} processed again; now: {', '.join(parts)}."
