"""What the lists of requests and events can be narrowed by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from events.models import Outcome
from events.storage import time_range
from providers.contract.capabilities import Action
from providers.models import ProviderAccount
from providers.rest.filters import (
    TEXT,
    Filters,
    Many,
    One,
    any_of,
    any_prefix,
    belonging_to,
    choices,
    ids,
    moment,
    text,
    texts,
)
from subscriptions.models import Subscription

FEED = "feed"
MAX_WILDCARDS = 3  # in one pattern; more would only make matching slow


class TypePattern(forms.CharField):
    """An event type, in which `*` stands for anything."""

    def clean(self, value: Any) -> str:
        """The pattern without needless wildcards."""
        pattern = re.sub(r"\*+", "*", super().clean(value))
        if pattern.count("*") > MAX_WILDCARDS:
            raise ValidationError(f"At most {MAX_WILDCARDS} wildcards are possible.", code="invalid")
        return pattern


class RequestFilters(Filters):
    """Of /requests/."""

    account = ids("An account's id.")
    subscription = ids("A subscription's id.")
    outcome = choices(Outcome.choices)
    since = moment("Received then or later.")
    until = moment("Received before then.")

    def narrow(self, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        """The requests that pass."""
        received = _received(self, _owned(self, rows), since=time_range.requests_since, until=time_range.requests_until)
        return received.filter(any_of("outcome", self.chosen("outcome")))


class EventFilters(Filters):
    """Of /events/."""

    account = ids("An account's id.")
    subscription = ids("A subscription's id.")
    provider = texts("A provider's slug.")
    type = Many(
        TypePattern(strip=False),
        schema=TEXT,
        help_text=f"The provider's own word; `*` (at most {MAX_WILDCARDS}) stands for anything, as in `fs:*`.",
    )
    action = choices([(item.value, item.value) for item in Action])
    resource_prefix = texts("What the resource begins with, such as /Shared/Finance/.")
    actor = texts("Exactly this actor.")
    since = moment("Received then or later.")
    until = moment("Received before then.")
    q = text("Part of the resource, the actor, the type or the provider's event id.")
    order = One(
        forms.ChoiceField(choices=[(FEED, FEED)]),
        schema={"type": "string", "enum": [FEED]},
        help_text="`feed`: in commit order, oldest first; `next` is never null, so that a puller can resume there.",
    )

    def narrow(self, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        """The events that pass."""
        received = _received(self, _owned(self, rows), since=time_range.events_since, until=time_range.events_until)
        rows = received.filter(
            any_of("provider", self.chosen("provider")),
            any_of("action", self.chosen("action")),
            any_of("actor", self.chosen("actor")),
        )
        rows, below = any_prefix(of_types(rows, self.chosen("type")), "resource", self.chosen("resource_prefix"))
        rows = rows.filter(below)
        q = self.chosen("q")
        if q:
            rows = rows.filter(
                Q(resource__icontains=q)
                | Q(actor__icontains=q)
                | Q(type__icontains=q)
                | Q(provider_event_id__icontains=q)
            )
        return rows


def _owned(filters: Filters, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    return rows.filter(
        belonging_to("account", ProviderAccount.with_deleted.all(), filters.chosen("account")),
        belonging_to("subscription", Subscription.objects.all(), filters.chosen("subscription")),
    )


Bound = Callable[[QuerySet[Any, Any], datetime], QuerySet[Any, Any]]


def _received(filters: Filters, rows: QuerySet[Any, Any], *, since: Bound, until: Bound) -> QuerySet[Any, Any]:
    earliest, end = filters.chosen("since"), filters.chosen("until")
    if earliest:
        rows = since(rows, earliest)
    return until(rows, end) if end else rows


def of_types(rows: QuerySet[Any, Any], patterns: Sequence[str]) -> QuerySet[Any, Any]:
    """Whose type fits one of the patterns, in which `*` stands for anything."""
    if "*" in patterns:
        return rows
    condition = any_of("type", [pattern for pattern in patterns if "*" not in pattern])
    prefixes = [pattern[:-1] for pattern in patterns if pattern.find("*") == len(pattern) - 1]
    rows, begins = any_prefix(rows, "type", prefixes)
    condition |= begins
    for pattern in patterns:
        if "*" in pattern[:-1]:
            condition |= Q(type__regex=_regex(pattern))
    return rows.filter(condition)


def _regex(pattern: str) -> str:
    """The pattern in what Python's `re` (SQLite) and PostgreSQL have in common."""
    return "^" + r"[\s\S]*".join(re.escape(part) for part in pattern.split("*")) + r"\Z"
