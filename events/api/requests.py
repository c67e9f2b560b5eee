"""`/requests/`: every call at a callback URL, as it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from events.api.request_json import (
    HeadersSerializer,
    ReprocessedSerializer,
    ReprocessSerializer,
    RequestSerializer,
    requests_json,
)
from events.filters import REQUEST_FILTERS
from events.models import Outcome, WebhookRequest
from events.processing.bulk_reprocess import reprocess_many
from events.processing.reprocess import HISTORY_KIND, reprocess_request
from events.storage.body import TRUNCATED_BODY_BYTES
from events.storage.time_range import key_of
from providers.audit import log
from providers.conflict import Conflict
from providers.filters import FilterSet
from providers.rest.views import ApiViewSet


@extend_schema(tags=["requests"])
class RequestViewSet(ApiViewSet):
    """Requests at the callback URLs."""

    scope: ClassVar[str | None] = "events"
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"secret_headers": ("events:read", "secrets:read")}
    filters_of: ClassVar[Mapping[str, FilterSet]] = {
        "list": REQUEST_FILTERS,
        "reprocess_many": REQUEST_FILTERS,
    }

    @extend_schema(operation_id="requests_list", responses=RequestSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List requests, newest first. A page with large bodies may end before its limit."""
        rows: QuerySet[WebhookRequest] = self.filter_queryset(_rows())
        page: Sequence[WebhookRequest] = self.paginate_queryset(rows) or []
        return self.get_paginated_response(requests_json(page))

    @extend_schema(operation_id="requests_read", responses=RequestSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """Return one request."""
        return Response(requests_json([self.find(_rows())])[0])

    @extend_schema(operation_id="requests_reprocess", request=None, responses=RequestSerializer)
    def reprocess(self, request: Request, **path: object) -> Response:
        """Reprocess a request, for example after a fix.

        A rejected request is verified again first, also with secrets that were accepted until recently. No duplicate is
        counted twice.
        """
        self.no_body()
        try:
            row = reprocess_request(self.find(_rows()), also_former=True)
        except WebhookRequest.DoesNotExist:
            raise Http404 from None  # it has been deleted meanwhile
        return Response(requests_json([row])[0])

    @extend_schema(
        operation_id="requests_reprocess_many",
        request=ReprocessSerializer,
        responses=ReprocessedSerializer,
        filters=True,
    )
    def reprocess_many(self, request: Request) -> Response:
        """Reprocess all requests that pass the filters, oldest first, a limited number per call.

        While `after` in the response is not null, send it with the next call. At least one filter is required.
        """
        body = self.body(ReprocessSerializer)
        rows: QuerySet[WebhookRequest] = self.filter_queryset(WebhookRequest.objects.all())
        if not any(name in request.query_params for name in REQUEST_FILTERS.for_api):
            raise ValidationError({"subscription": ["At least one filter is required."]})
        after = 0
        if body.get("after"):
            number = key_of(body["after"])
            if number is None:
                raise ValidationError({"after": ["There is no such request."]})
            after = number
        result = reprocess_many(rows, by=self.by, after=after)
        return Response(
            {
                "reprocessed": result.count,
                "outcomes": {name: result.outcomes[name] for name in Outcome.values if result.outcomes[name]},
                "after": result.last.uid if result.last else None,
            }
        )

    @extend_schema(operation_id="requests_headers", request=None, responses=HeadersSerializer)
    def secret_headers(self, request: Request, **path: object) -> Response:
        """Return the headers with the secret values that are stored, to find out why a request was rejected.

        Every call is logged.
        """
        self.no_body()
        row = self.find(_rows())
        log.record(
            self.by,
            "headers revealed",
            HISTORY_KIND,
            subject_id=row.uid,
            name=str(row.subscription),
            account_id=row.account_id,
        )
        try:
            return Response({"headers": row.unsealed_headers()})
        except (ValueError, TypeError) as error:
            raise Conflict(f"The stored headers are unreadable: {error}") from None

    def weight(self, row: WebhookRequest) -> int:
        """Return the stored bytes of the body, by which pages are limited."""
        return row.size if row.outcome != Outcome.TRUNCATED else min(row.size, TRUNCATED_BODY_BYTES)


def _rows() -> QuerySet[WebhookRequest]:
    """Return requests without bodies, headers and secrets."""
    return WebhookRequest.objects.select_related("subscription").defer(
        "body", "headers", "sealed_headers", "subscription__secrets"
    )
