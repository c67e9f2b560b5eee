"""The history: who did what, for reading."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.dashboard.base import PageAdmin
from providers.dashboard.list_page import Choices, Filter
from providers.models import HistoryEntry


def starting_with(field: str) -> Filter[HistoryEntry]:
    """People, programs, or the demo."""

    def choices() -> Choices:
        return [("staff:", "People"), ("api:", "Programs, through the API"), ("command:", "Commands"), ("demo", "Demo")]

    def apply(rows: QuerySet[HistoryEntry], value: str) -> QuerySet[HistoryEntry]:
        return rows.filter(**{f"{field}__startswith": value})

    return Filter("by", "Who", apply, choices)


def kinds() -> Choices:
    """What history is kept of."""
    return [
        ("account", "Account"),
        ("subscription", "Subscription"),
        ("request", "Request"),
        ("token", "API token"),
        ("problem", "Problem"),
        ("channel", "Notifications"),
    ]


def of_kind(rows: QuerySet[HistoryEntry], value: str) -> QuerySet[HistoryEntry]:
    """Only of one kind of thing."""
    return rows.filter(subject_type=value)


def of_subject(rows: QuerySet[HistoryEntry], value: str) -> QuerySet[HistoryEntry]:
    """Only of one thing; served by the index together with its kind."""
    return rows.filter(subject_type__in=[kind for kind, _ in kinds()], subject_id=value)


@admin.register(HistoryEntry)
class HistoryAdmin(PageAdmin[HistoryEntry]):
    """The history."""

    list_template = "history/list.html"
    detail_template = "history/detail.html"
    list_title = "History"
    list_intro = "Who changed or looked at what, in this dashboard and through the API alike."
    search_hint = "Search by name or action"
    filters = (
        starting_with("actor"),
        Filter("kind", "What", of_kind, kinds),
        Filter("subject", "Id", of_subject),
    )

    def detail_context(self, request: HttpRequest, row: HistoryEntry) -> dict[str, Any]:
        """Where the page is of what was changed, if it still has one and this person may see it."""
        for model in filter(self.admin_site.is_registered, apps.get_models()):
            page = self.admin_site.get_model_admin(model)
            if isinstance(page, PageAdmin) and page.history_kind == row.subject_type:
                return {"subject_url": page.url_by_uid(request, row.subject_id)}
        return {"subject_url": None}

    def search(self, rows: QuerySet[HistoryEntry], words: str) -> QuerySet[HistoryEntry]:
        """By the name of what was changed, or what was done."""
        return rows.filter(subject_name__icontains=words) | rows.filter(action__icontains=words)
