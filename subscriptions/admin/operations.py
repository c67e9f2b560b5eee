"""Operations: every step that was done at a provider, for reading."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.dashboard.base import PageAdmin
from providers.dashboard.list_page import Filter, among, related
from subscriptions.admin.accounts import account_choices
from subscriptions.models import Operation, OperationStatus
from subscriptions.planning.plan import StepAction

ACTIONS = [(action.value, action.value.capitalize()) for action in StepAction]


@admin.register(Operation)
class OperationAdmin(PageAdmin[Operation]):
    """Operations."""

    list_template = "operations/list.html"
    detail_template = "operations/detail.html"
    list_title = "Operations"
    list_intro = "Every call that changed something at a provider: who asked, what was sent, what came back."
    filters = (
        Filter("account", "Account", related("subscription__account"), account_choices),
        Filter("action", "Action", among("action", lambda: ACTIONS), lambda: ACTIONS),
        Filter("status", "Result", among("status", lambda: OperationStatus.choices), lambda: OperationStatus.choices),
        Filter("subscription", "Subscription", related("subscription")),
    )

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
