"""The dashboard's list and pages of events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from events.filters import EVENT_FILTERS
from events.models import Event
from providers.contract import registry
from providers.contract.capabilities import EventType
from providers.dashboard.base import PageAdmin

MAX_SEARCHED = 100_000  # how many of the newest events a search examines; a time filter reaches older ones


@admin.register(Event)
class EventAdmin(PageAdmin[Event]):
    """Events, read-only."""

    list_template = "events/list.html"
    detail_template = "events/detail.html"
    list_title = "Events"
    list_intro = "What happened at the providers: parsed from the requests, normalized and without duplicates."
    search_hint = "Part of a path, name, person, type or ID"
    filters = EVENT_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[Event]:
        """Return the events of the list, without their data."""
        rows = self.get_queryset(request).select_related("subscription", "account")
        return rows.only(
            *("type", "action", "resource_type", "resource", "previous_resource", "actor"),
            *("occurred_at", "received_at", "duplicates", "provider"),
            *("subscription__name", "subscription__uid", "account__name"),
        )

    def search(self, rows: QuerySet[Event], text: str) -> QuerySet[Event]:
        """Search by event ID, or by text in the newest events that pass the filters."""
        with suppress(ValueError):  # the search text is not an ID
            return rows.filter(uid=UUID(text))
        oldest = rows.order_by("-pk").values_list("pk", flat=True)[MAX_SEARCHED - 1 : MAX_SEARCHED].first()
        rows = rows if oldest is None else rows.filter(pk__gte=oldest)
        place = Q(resource__icontains=text) | Q(previous_resource__icontains=text)
        return rows.filter(place | Q(actor__icontains=text) | Q(type__icontains=text) | Q(provider_event_id=text))

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return how many events the search examines; None without a search."""
        return {"searched": f"{MAX_SEARCHED:,}" if request.GET.get("q") else None}

    def detail_rows(self, request: HttpRequest) -> QuerySet[Event]:
        """Return events with subscription, account and request, without bodies and secrets."""
        rows = self.get_queryset(request).select_related("subscription", "account", "request")
        return rows.defer(
            *("request__body", "request__headers", "request__sealed_headers"),
            *("subscription__secrets", "account__credentials"),
        )

    def detail_context(self, request: HttpRequest, row: Event) -> dict[str, Any]:
        """Return the event's type and its neighbors in the same subscription."""
        kind = next((item for item in _event_types(row) if item.name == row.type), None)
        siblings = Event.objects.filter(subscription_id=row.subscription_id).only("pk")
        newer = siblings.filter(pk__gt=row.pk).order_by("pk").first()
        older = siblings.filter(pk__lt=row.pk).order_by("-pk").first()
        return {
            "kind": kind,
            "sees_requests": request.user.has_perm("events.view_webhookrequest"),
            "newer": self.page_url(newer) if newer else None,
            "older": self.page_url(older) if older else None,
        }


def _event_types(row: Event) -> Sequence[EventType]:
    plugin = registry.all_providers().get(row.provider)
    return plugin.event_types if plugin else ()
