"""Admin pages of the audit trail. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from providers.dashboard.base import PageAdmin
from providers.filters import Choices, Filter, FilterSet
from providers.models import HistoryEntry

ACTOR_CHOICES: Choices = [
    ("staff:", "Users"),
    ("api:", "API tokens"),
    ("command:", "Commands"),
    ("demo", "Demo"),
]
SUBJECT_CHOICES: Choices = [
    ("account", "Account"),
    ("subscription", "Subscription"),
    ("request", "Request"),
    ("token", "API token"),
    ("problem", "Problem"),
    ("channel", "Notifications"),
]


def _of_subject(rows: QuerySet[HistoryEntry], values: Sequence[str]) -> QuerySet[HistoryEntry]:
    """Narrow by the subject's ID; naming the types lets the index on both columns serve it."""
    return rows.filter(subject_type__in=[value for value, _ in SUBJECT_CHOICES], subject_id=values[0])


HISTORY_FILTERS = FilterSet(
    Filter(
        name="by",
        narrow=lambda rows, values: rows.filter(actor__startswith=values[0]),
        label="Actor",
        choices=lambda: ACTOR_CHOICES,
    ),
    Filter(
        name="kind",
        narrow=lambda rows, values: rows.filter(subject_type=values[0]),
        label="Resource type",
        choices=lambda: SUBJECT_CHOICES,
    ),
    Filter(name="subject", narrow=_of_subject, label="ID"),
)


@admin.register(HistoryEntry)
class HistoryAdmin(PageAdmin[HistoryEntry]):
    """The audit trail: a list, and a page for each entry."""

    list_template = "history/list.html"
    detail_template = "history/detail.html"
    list_title = "Audit trail"
    list_intro = "Changes made and secrets revealed, in this dashboard and through the API."
    search_hint = "Search by name or action"
    filters = HISTORY_FILTERS.for_dashboard

    def detail_context(self, request: HttpRequest, row: HistoryEntry) -> dict[str, Any]:
        """Return the URL of the changed object, if it has a page that this user may see."""
        for model in filter(self.admin_site.is_registered, apps.get_models()):
            page = self.admin_site.get_model_admin(model)
            if isinstance(page, PageAdmin) and page.history_kind == row.subject_type:
                return {"subject_url": page.url_by_uid(request, row.subject_id)}
        return {"subject_url": None}

    def search(self, rows: QuerySet[HistoryEntry], text: str) -> QuerySet[HistoryEntry]:
        """Search by the name of the object, or by the action."""
        return rows.filter(subject_name__icontains=text) | rows.filter(action__icontains=text)
