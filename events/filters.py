"""The filters of the lists of requests and events, for the REST API and the dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone

from events.models import Event, Outcome
from events.storage import time_range
from events.storage.time_range import TIME_SPANS
from providers.contract.capabilities import Action
from providers.filters import (
    TEXT,
    Choices,
    Filter,
    FilterSet,
    any_of,
    any_prefix,
    choice_filter,
    one_of,
    owner_filter,
    search_filter,
    text_filter,
    time_filter,
)
from providers.models import ProviderAccount
from subscriptions.filters import account_choices, provider_choices, subscription_choices
from subscriptions.models import Subscription

FEED = "feed"
INTERFACE_KEYS = ("interface", "actionSource")  # in an event's data: how the change was made
MAX_WILDCARDS = 3  # in one pattern; more make matching slow
ACTIONS: Choices = [(action.value, action.value.replace("_", " ").capitalize()) for action in Action]

Rows = QuerySet[Any, Any]
Bound = Callable[[Rows, datetime], Rows]


def read_pattern(text: str) -> str:
    """Return the pattern of an event type with repeated wildcards merged. Raise ValidationError for too many."""
    pattern = re.sub(r"\*+", "*", str(forms.CharField(strip=False).clean(text)))
    if pattern.count("*") > MAX_WILDCARDS:
        raise ValidationError(f"Use at most {MAX_WILDCARDS} wildcards.", code="invalid")
    return pattern


def matching_types(rows: Rows, patterns: Sequence[str]) -> Rows:
    """Return the events whose type matches one of the patterns, in which `*` stands for any text."""
    if "*" in patterns:
        return rows
    condition = any_of("type", [pattern for pattern in patterns if "*" not in pattern])
    prefixes = [pattern[:-1] for pattern in patterns if pattern.find("*") == len(pattern) - 1]
    rows, has_prefix = any_prefix(rows, "type", prefixes)
    condition |= has_prefix
    for pattern in patterns:
        if "*" in pattern[:-1]:
            condition |= Q(type__regex=_regex(pattern))
    return rows.filter(condition)


def _regex(pattern: str) -> str:
    """Return the pattern in the syntax that Python's `re` (SQLite) and PostgreSQL share."""
    return "^" + r"[\s\S]*".join(re.escape(part) for part in pattern.split("*")) + r"\Z"


def _with_prefix(rows: Rows, prefixes: Sequence[str]) -> Rows:
    """Return the events whose resource begins with a prefix, or did so before a move."""
    rows, now = any_prefix(rows, "resource", prefixes)
    rows, before = any_prefix(rows, "previous_resource", prefixes)
    return rows.filter(now | before)


def _by_interface(rows: Rows, values: Sequence[str]) -> Rows:
    """Return the events whose data has a key for the interface with one of the values.

    The data is compact JSON text, in which no string contains an unescaped quotation mark.
    """
    condition = Q()
    for value in values:
        for key in INTERFACE_KEYS:
            condition |= Q(data__contains=f'"{key}":{json.dumps(value)}')
    return rows.filter(condition)


def _at_provider(rows: QuerySet[Event], slugs: Sequence[str]) -> QuerySet[Event]:
    accounts = ProviderAccount.objects.filter(provider__in=slugs).values_list("pk", flat=True)
    return rows.filter(account__in=list(accounts))


def _owner_filters() -> tuple[Filter, Filter]:
    return (
        owner_filter(
            "account",
            "account",
            ProviderAccount.with_deleted.all,
            help_text="An account's ID.",
            label="Account",
            choices=account_choices,
        ),
        owner_filter(
            "subscription",
            "subscription",
            Subscription.objects.all,
            help_text="A subscription's ID.",
            label="Subscription",
            choices=subscription_choices,
        ),
    )


def _received(since: Bound, until: Bound) -> tuple[Filter, Filter, Filter]:
    """Return the filters by time of receipt; both bounds are translated to bounds of the primary key."""

    def within(rows: Rows, values: Sequence[Any]) -> Rows:
        return since(rows, timezone.now() - TIME_SPANS[values[0]][1])

    spans = [(key, label) for key, (label, _) in TIME_SPANS.items()]
    return (
        Filter(name="within", narrow=within, read=one_of(spans), label="Time", choices=lambda: spans),
        time_filter("since", since, help_text="Received at this time or later.", label="From (UTC)"),
        time_filter("until", until, help_text="Received before this time.", label="Before (UTC)"),
    )


REQUEST_FILTERS = FilterSet(
    choice_filter("outcome", "outcome", Outcome.choices, label="Outcome"),
    *_owner_filters(),
    *_received(time_range.requests_since, time_range.requests_until),
)

EVENT_FILTERS = FilterSet(
    text_filter(
        "provider",
        "provider",
        help_text="A provider's slug.",
        label="Provider",
        choices=provider_choices,
        # The dashboard lists by ID only, and for that the index on the account is the faster one.
        narrow_in_dashboard=_at_provider,
    ),
    *_owner_filters(),
    choice_filter("action", "action", ACTIONS, label="Action"),
    Filter(
        name="type",
        narrow=matching_types,
        read=read_pattern,
        schema=TEXT,
        help_text=f"The provider's event type. `*` (at most {MAX_WILDCARDS}) stands for any text, as in `fs:*`.",
        label="Type",
        placeholder="such as fs:*",
    ),
    *_received(time_range.events_since, time_range.events_until),
    Filter(
        name="resource_prefix",
        narrow=_with_prefix,
        read=forms.CharField(strip=False).clean,
        schema=TEXT,
        help_text="The beginning of the resource, or of the previous resource of a move, such as /Shared/Finance/.",
    ),
    text_filter("actor", "actor", help_text="The exact actor."),
    Filter(
        name="interface",
        narrow=_by_interface,
        read=forms.CharField(strip=False).clean,
        schema=TEXT,
        help_text="How the change was made, as far as the event's data tells, such as `sftp`, `robot` or `WebUI`.",
        label="Interface",
        placeholder="such as sftp",
    ),
    search_filter(
        ("resource", "previous_resource", "actor", "type", "provider_event_id"),
        help_text="Part of the resource, the previous resource, the actor, the type or the provider's event ID.",
    ),
    Filter(
        name="order",
        narrow=lambda rows, _: rows,  # the pagination reads it
        read=one_of([(FEED, FEED)]),
        schema={"type": "string", "enum": [FEED]},
        repeatable=False,
        help_text="`feed`: in commit order, oldest first. `next` is never null, so that a client can resume from it.",
    ),
)
