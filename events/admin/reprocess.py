"""The dashboard's pages that reprocess many requests: selected ones, or all that a filter of the list matches.

The first page shows what will happen. Then each POST reprocesses one bounded portion and redirects to a URL that holds
the progress, so that the page can be closed and opened again.
"""

from __future__ import annotations

from collections import Counter

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, reverse

from events.admin.reprocess_selection import Selection, key_of, preview, select, share_rows
from events.models import Outcome, WebhookRequest
from events.processing.bulk_reprocess import reprocess_many
from providers.dashboard.base import PageAdmin, actor_of
from providers.dashboard.list_page import shown_filters

PORTION_SECONDS = 4.0
PROGRESS_KEY = "reprocessing"  # session key: the primary key up to which this user has reprocessed
COUNT_PREFIX = "became_"  # URL parameters: how many requests ended with which outcome


class ReprocessPages(PageAdmin[WebhookRequest]):
    """The bulk reprocess pages, mixed into the admin of requests."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of these pages."""
        return [self.extra_url("reprocess/", self.reprocess_many_view, "reprocess_many"), *super().get_urls()]

    def reprocess_url(self, request: HttpRequest) -> str:
        """Return the URL that reprocesses everything the list shows with its current filters, on all its pages."""
        query = request.GET.copy()
        for name in set(query) - {item.name for item in self.filters}:
            del query[name]
        return f"{self._pages_url()}?{query.urlencode()}"

    def may_reprocess(self, request: HttpRequest) -> bool:
        """Return whether the user may change requests, which reprocessing requires."""
        return request.user.has_perm("events.change_webhookrequest")

    def reprocess_many_view(self, request: HttpRequest) -> HttpResponse:
        """Show a preview or the progress (GET), or reprocess the next portion (POST)."""
        if not self.may_reprocess(request):
            raise PermissionDenied
        query = request.POST if request.method == "POST" else request.GET
        selection = select(query, self.filters)
        if not selection.narrowed:
            messages.warning(request, "Select requests or a filter first.")
            return HttpResponseRedirect(self.list_url())
        if request.method == "POST":
            return self._reprocess_portion(request, selection)
        after = key_of(query, "after")
        context = {
            "query": selection.query,
            "back_url": self._filtered_list_url(selection.query),
            "narrowing": [item for item in shown_filters(selection.query, self.filters) if item.value],
            "chosen": len(selection.query.getlist("pk")),
        }
        if after is None:
            context |= preview(selection)
            return self.render(request, "requests/reprocess.html", "Reprocess requests?", context, parent=True)
        outcomes = _outcome_counts(query)
        context |= {
            "done": share_rows(outcomes),
            "total": outcomes.total(),
            "reached": WebhookRequest.objects.filter(pk=after).only("received_at").first(),
            # Only the session that started the run continues it: opening a link must not start anything.
            "auto_continue": request.session.get(PROGRESS_KEY) == after,
            "after": after,
            "upto": query.get("upto", ""),
            "counts": [(f"{COUNT_PREFIX}{outcome}", count) for outcome, count in outcomes.items()],
        }
        return self.render(request, "requests/reprocess_progress.html", "Reprocessing", context, parent=True)

    def _reprocess_portion(self, request: HttpRequest, selection: Selection) -> HttpResponse:
        upto = key_of(request.POST, "upto")
        # Requests that arrive from now on are processed anyway, and the run might never end if it included them.
        rows = selection.rows if upto is None else selection.rows.filter(pk__lte=upto)
        result = reprocess_many(
            rows,
            by=actor_of(request),
            after=key_of(request.POST, "after") or 0,
            max_seconds=PORTION_SECONDS,
            selection=self._description(selection.query),
        )
        outcomes = _outcome_counts(request.POST) + result.outcomes
        if result.last is not None:
            query = selection.query.copy()
            query["after"] = str(result.last.pk)
            if upto is not None:
                query["upto"] = str(upto)
            for outcome, count in outcomes.items():
                query[f"{COUNT_PREFIX}{outcome}"] = str(count)
            request.session[PROGRESS_KEY] = result.last.pk
            return HttpResponseRedirect(f"{self._pages_url()}?{query.urlencode()}")
        request.session.pop(PROGRESS_KEY, None)
        messages.success(request, _done_message(outcomes))
        return HttpResponseRedirect(self._filtered_list_url(selection.query))

    def _pages_url(self) -> str:
        return reverse(f"{self.admin_site.name}:{self.name_of('reprocess_many')}")

    def _filtered_list_url(self, query: QueryDict) -> str:
        filters = query.copy()
        filters.pop("pk", None)
        return f"{self.list_url()}?{filters.urlencode()}" if filters else self.list_url()

    def _description(self, query: QueryDict) -> str:
        """Return how the requests were selected, for the audit trail."""
        selected = ["selected one by one"] if query.getlist("pk") else []
        shown = (item for item in shown_filters(query, self.filters) if item.value)
        return ", ".join([*selected, *(f"{item.label.lower()} {item.value_label}" for item in shown)])


def _outcome_counts(query: QueryDict) -> Counter[str]:
    counts = {outcome: key_of(query, f"{COUNT_PREFIX}{outcome}") for outcome in Outcome.values}
    return Counter({outcome: count for outcome, count in counts.items() if count})


def _done_message(outcomes: Counter[str]) -> str:
    total = outcomes.total()
    if not total:
        return "There was nothing to reprocess."
    parts = [f"{share.count:,} {share.label.lower()}" for share in share_rows(outcomes)]
    return f"{total:,} request{'' if total == 1 else 's'} reprocessed: {', '.join(parts)}."
