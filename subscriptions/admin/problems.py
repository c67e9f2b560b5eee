"""Admin pages of problems: the list, and the detail page with the next action and the activity."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern

from providers.dashboard import formatting
from providers.dashboard.base import PageAdmin, actor_of
from subscriptions.filters import ANY, PROBLEM_FILTERS
from subscriptions.models import ACTIVE, Problem, ProblemState
from subscriptions.problems import detector, remediation

TRANSITIONS_SHOWN = 25


@admin.register(Problem)
class ProblemAdmin(PageAdmin[Problem]):
    """Problems. They are detected automatically; users acknowledge and resolve them."""

    writable = True
    history_kind = detector.HISTORY_KIND
    list_template = "problems/list.html"
    detail_template = "problems/detail.html"
    list_title = "Problems"
    list_intro = "What needs attention, and what to do. A problem is resolved automatically once its cause is gone."
    search_hint = "Search by name or message"
    newest_first = False
    filters = PROBLEM_FILTERS.for_dashboard

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Deny adding: problems are detected."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Problem | None = None) -> bool:
        """Deny deletion: problems are kept."""
        return False

    def rows(self, request: HttpRequest) -> QuerySet[Problem]:
        """Return the most severe problems first, without resolved ones unless the state filter asks for them."""
        rows = Problem.objects.most_severe_first().select_related("account")
        rows = rows.defer("sample", "account__credentials", "account__settings")
        return rows if request.GET.get("state") in {*ProblemState.values, ANY} else rows.filter(state__in=ACTIVE)

    def detail_rows(self, request: HttpRequest) -> QuerySet[Problem]:
        """Join the account, without its credentials and settings."""
        return Problem.objects.select_related("account").defer("account__credentials", "account__settings")

    def search(self, rows: QuerySet[Problem], text: str) -> QuerySet[Problem]:
        """Search by the name of the subject, or the message."""
        return rows.filter(Q(subject_name__icontains=text) | Q(message__icontains=text))

    def detail_context(self, request: HttpRequest, row: Problem) -> dict[str, Any]:
        """Return the next action and the activity of a problem."""
        return {
            "action": remediation.action_of(row),
            "button": remediation.button_of(row),
            "link": remediation.link_of(row),
            "subject_link": remediation.subject_link(row),
            "transitions": list(row.transitions.order_by("-pk")[:TRANSITIONS_SHOWN]),
            "grace": formatting.duration(detector.REOPEN_GRACE.total_seconds()),
        }

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of acknowledging and resolving."""
        return [
            self.extra_url("<int:pk>/acknowledge/", self.acknowledge_view, "acknowledge"),
            self.extra_url("<int:pk>/resolve/", self.resolve_view, "resolve"),
            *super().get_urls(),
        ]

    def acknowledge_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Acknowledge a problem."""
        row = self._row_to_change(request, pk)
        if isinstance(row, HttpResponse):
            return row
        try:
            detector.acknowledge(row, by=actor_of(request))
        except detector.NotActive as error:
            return self.back_to(request, row, ok=False, text=str(error))
        return self.back_to(request, row, ok=True, text="Acknowledged. Reminders are muted.")

    def resolve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Resolve a problem."""
        row = self._row_to_change(request, pk)
        if isinstance(row, HttpResponse):
            return row
        detector.resolve(row, by=actor_of(request))
        return self.back_to(request, row, ok=True, text="Resolved. The problem reopens if its cause persists.")

    def _row_to_change(self, request: HttpRequest, pk: int) -> Problem | HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return row
