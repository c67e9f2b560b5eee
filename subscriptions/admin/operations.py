"""Admin pages of operations: each change made at a provider. Read-only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.dashboard.base import PageAdmin
from subscriptions.filters import OPERATION_FILTERS
from subscriptions.models import Operation


@admin.register(Operation)
class OperationAdmin(PageAdmin[Operation]):
    """Operations: a list, and a page for each."""

    list_template = "operations/list.html"
    detail_template = "operations/detail.html"
    list_title = "Operations"
    list_intro = "Changes made at providers, with the actor, the request and the response."
    filters = OPERATION_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[Operation]:
        """Leave out the request and the response, which only the detail page shows."""
        rows = self.get_queryset(request).select_related("subscription__account")
        return rows.only(
            *("action", "status", "actor", "reason", "error", "started_at", "finished_at"),
            *("subscription__name", "subscription__uid", "subscription__account__name"),
        )

    def detail_rows(self, request: HttpRequest) -> QuerySet[Operation]:
        """Join the subscription and its account."""
        return self.get_queryset(request).select_related("subscription__account")
