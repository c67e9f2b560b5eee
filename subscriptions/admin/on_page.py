"""The open problems on the page of what they are about."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest

from subscriptions.models import Problem
from subscriptions.problem_models import ACTIVE

SHOWN = 10


def problems_on_page(request: HttpRequest, rows: QuerySet[Problem]) -> list[Problem]:
    """The gravest of those that hold, as far as this person may see them."""
    if not request.user.has_perm("subscriptions.view_problem"):
        return []
    return list(rows.filter(state__in=ACTIVE).defer("sample")[:SHOWN])
