"""Operations: every step that was done at a provider, for reading."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.dashboard.base import PageAdmin
from subscriptions.filters import OPERATION_FILTERS
from subscriptions.models import Operation


@admin.register(Operation)
class OperationAdmin(PageAdmin[Operation]):
    """Operations."""

    list_template = "operations/list.html"
    detail_template = "operations/detail.html"
    list_title = "Operations"
    list_intro = "Every call that changed something at a provider: who asked, what was sent, what came back."
    filters = OPERATION_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[Operation]:
        """Without what was sent and received, which only the page of one shows."""
        rows = self.get_queryset(request).select_related("subscription__account")
        return rows.only(
            *("action", "status", "actor", "reason", "error", "started_at", "finished_at"),
            *("subscription__name", "subscription__uid", "subscription__account__name"),
        )

    def detail_rows(self, request: HttpRequest) -> QuerySet[Operation]:
        """Everything of one."""
        return self.get_queryset(request).select_related("subscription__account")
