"""Filters of the request and event lists in the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.utils import timezone

from events.api.filters import MAX_WILDCARDS, of_types
from events.models import Event
from events.storage.time_range import TIME_SPANS
from providers.dashboard.list_page import Choices, Filter, NotUnderstood, moment
from providers.models import ProviderAccount
from subscriptions.models import Subscription

M = TypeVar("M", bound=Model)
MAX_CHOICES = 500


def subscription_choices() -> Choices:
    """Return the newest subscriptions as choices of a filter."""
    rows = Subscription.objects.order_by("-pk").only("name", "uid")[:MAX_CHOICES]
    return [(str(row.pk), str(row)) for row in rows]


def of_provider(rows: QuerySet[Event], slug: str) -> QuerySet[Event]:
    """Return the events of a provider, found through its accounts because these are indexed."""
    return rows.filter(account__in=list(ProviderAccount.objects.filter(provider=slug).values_list("pk", flat=True)))


def of_pattern(rows: QuerySet[Event], value: str) -> QuerySet[Event]:
    """Return the events whose type matches a pattern, in which `*` matches anything."""
    if value.count("*") > MAX_WILDCARDS:
        raise NotUnderstood
    return of_types(rows, [value])


def time_filters(
    since: Callable[[QuerySet[M], Any], QuerySet[M]], until: Callable[[QuerySet[M], Any], QuerySet[M]]
) -> tuple[Filter[M], ...]:
    """Return the filters by time: a select with common time spans, and exact bounds."""

    def within(rows: QuerySet[M], value: str) -> QuerySet[M]:
        if value not in TIME_SPANS:
            raise NotUnderstood
        return since(rows, timezone.now() - TIME_SPANS[value][1])

    return (
        Filter("within", "Time", within, lambda: [(key, label) for key, (label, _) in TIME_SPANS.items()]),
        Filter("since", "From (UTC)", lambda rows, value: since(rows, moment(value))),
        Filter("until", "Before (UTC)", lambda rows, value: until(rows, moment(value))),
    )
