"""`/events/`: events as a list, as a feed that can be resumed, and as CloudEvents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from events.api.cloudevents import BATCH_MEDIA_TYPE, MEDIA_TYPE, cloudevent
from events.api.event_json import CloudEventSerializer, EventSerializer, event_json, event_rows
from events.filters import EVENT_FILTERS, FEED
from events.models import Event, FeedEnd
from providers.filters import FilterSet
from providers.rest.renderers import FastJSONRenderer
from providers.rest.views import ApiViewSet


class CloudEventRenderer(FastJSONRenderer):
    """Render `application/cloudevents+json`."""

    media_type = MEDIA_TYPE
    format = "cloudevents"


class CloudEventBatchRenderer(FastJSONRenderer):
    """Render `application/cloudevents-batch+json`, for lists only. The page links are in the Link header."""

    media_type = BATCH_MEDIA_TYPE
    format = "cloudevents-batch"


@extend_schema(tags=["events"])
class EventViewSet(ApiViewSet):
    """Events at the providers."""

    scope: ClassVar[str | None] = "events"
    filters_of: ClassVar[Mapping[str, FilterSet]] = {"list": EVENT_FILTERS}

    def get_renderers(self) -> list[Any]:
        """Return the renderers for JSON and, if requested, CloudEvents."""
        batch = [CloudEventBatchRenderer()] if self.action == "list" else []
        return [FastJSONRenderer(), CloudEventRenderer(), *batch]

    @extend_schema(operation_id="events_list", responses=EventSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List events, newest first, or in commit order with `order=feed`."""
        page = self.paginate_queryset(event_rows(self.filter_queryset(Event.objects.all()))) or []
        response = self.get_paginated_response([self._json(row) for row in page])
        if self._format == CloudEventBatchRenderer.format:
            response.data = response.data["results"]
        return response

    @extend_schema(
        operation_id="events_read",
        responses={(200, "application/json"): EventSerializer, (200, MEDIA_TYPE): CloudEventSerializer},
    )
    def retrieve(self, request: Request, **path: object) -> Response:
        """Return one event."""
        row = event_rows(Event.objects.filter(uid=self.kwargs["id"])).first()
        if row is None:
            raise Http404
        return Response(self._json(row))

    def feed_end(self) -> int | None:
        """Return the last allocated position, for the feed's pagination; None if this is not the feed."""
        if not self._is_feed:
            return None
        return FeedEnd.objects.values_list("position", flat=True).first() or 0

    def _json(self, row: Mapping[str, Any]) -> dict[str, Any]:
        event = event_json(row)
        return event if self._format == FastJSONRenderer.format else cloudevent(event)

    @property
    def _is_feed(self) -> bool:
        return self.request.query_params.get("order") == FEED

    @property
    def _format(self) -> str:
        return str(self.request.accepted_renderer.format)
