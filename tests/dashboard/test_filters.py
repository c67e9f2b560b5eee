"""The filters that the REST API and the dashboard share select the same rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db.models import Model, QuerySet
from django.http import QueryDict

from events.filters import EVENT_FILTERS, REQUEST_FILTERS
from events.models import Event, WebhookRequest
from providers.filters import FilterSet, InvalidFilters, read_time, read_typed_time
from providers.models import ProviderAccount
from subscriptions.filters import ACCOUNT_FILTERS, PROBLEM_FILTERS, SUBSCRIPTION_FILTERS
from subscriptions.models import Problem, Subscription

SHARED: list[tuple[FilterSet, type[Model], str]] = [
    (REQUEST_FILTERS, WebhookRequest, "outcome"),
    (EVENT_FILTERS, Event, "action"),
    (ACCOUNT_FILTERS, ProviderAccount, "status"),
    (SUBSCRIPTION_FILTERS, Subscription, "state"),
    (PROBLEM_FILTERS, Problem, "state"),
    (PROBLEM_FILTERS, Problem, "kind"),
    (PROBLEM_FILTERS, Problem, "severity"),
]


def sql(rows: QuerySet[Any]) -> str:
    return str(rows.query)


@pytest.mark.parametrize(("filters", "model", "name"), SHARED)
def test_each_choice_selects_the_same_rows_in_api_and_dashboard(
    filters: FilterSet, model: type[Model], name: str
) -> None:
    item = filters.for_api[name]
    assert item in filters.for_dashboard
    rows = model._default_manager.all()
    schema: Any = item.schema
    for value in schema["enum"]:
        assert sql(item.narrow(rows, [item.read(value)])) == sql(item.apply_in_dashboard(rows, value))


@pytest.mark.parametrize("pattern", ["fs:*", "*", "a*b", "exact"])
def test_a_type_pattern_selects_the_same_rows_in_api_and_dashboard(pattern: str) -> None:
    item = EVENT_FILTERS.for_api["type"]
    rows = Event.objects.all()
    assert sql(item.narrow(rows, [item.read(pattern)])) == sql(item.apply_in_dashboard(rows, pattern))


@pytest.mark.parametrize(
    ("query", "name", "code"),
    [
        ("q=a&q=b", "q", "repeated"),
        ("outcome=nonsense", "outcome", "invalid_choice"),
        ("since=2026-01-02T03:04:05", "since", "invalid"),
        ("outcome=", "outcome", "required"),
    ],
)
def test_invalid_values_are_reported_by_name(query: str, name: str, code: str) -> None:
    filters = EVENT_FILTERS if name == "q" else REQUEST_FILTERS
    with pytest.raises(InvalidFilters) as caught:
        filters.narrow(WebhookRequest.objects.all(), QueryDict(query))
    assert {key: error.error_list[0].code for key, error in caught.value.errors.items()} == {name: code}


@pytest.mark.parametrize("text", ["2026-01-02T14:00:00 01:00", "2026-01-02 14:00 01:00", "2026-01-02T14:00+01:00"])
def test_a_typed_time_whose_plus_became_a_blank_is_understood(text: str) -> None:
    assert read_typed_time(text) == datetime(2026, 1, 2, 13, tzinfo=UTC)
    assert read_time(text) == datetime(2026, 1, 2, 13, tzinfo=UTC)
