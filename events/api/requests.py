"""/requests/: every call at a callback URL, kept verbatim."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from events.filters import REQUEST_FILTERS
from events.models import Event, Outcome, VerificationState, WebhookRequest
from events.processing import reprocess
from events.processing.bulk_reprocess import reprocess_many
from events.storage.body import TRUNCATED_BODY_BYTES
from events.storage.time_range import number_of
from providers.audit import log
from providers.conflict import Conflict
from providers.filters import FilterSet
from providers.rest.fields import TimeField
from providers.rest.views import ApiViewSet
from providers.times import iso_time


class HeaderPairsField(serializers.ListField):
    """Headers as pairs of name and value."""

    child = serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2)


class RequestSerializer(serializers.Serializer[WebhookRequest]):
    """Only for the documentation: `told` writes it."""

    id = serializers.UUIDField()
    subscription = serializers.UUIDField()
    method = serializers.CharField()
    received_at = TimeField()
    remote_addr = serializers.CharField()
    headers = HeaderPairsField(help_text="What was or may be a secret stands as `***`.")
    query = serializers.CharField()
    body_base64 = serializers.CharField(help_text="The exact bytes; of a truncated one their beginning.")
    size = serializers.IntegerField(help_text="Of the body as it was sent.")
    verification = serializers.ChoiceField(choices=VerificationState.choices)
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    reason = serializers.CharField()
    events = serializers.ListField(child=serializers.UUIDField(), help_text="The events that came with it.")


class HeadersSerializer(serializers.Serializer[Any]):
    """Headers with their secret values, as far as they are kept."""

    headers = HeaderPairsField()


class ReprocessSerializer(serializers.Serializer[Any]):
    """Where to go on."""

    after = serializers.UUIDField(
        required=False,
        allow_null=True,
        help_text="As the last answer had it; also when that request was thrown away meanwhile.",
    )


class ReprocessedSerializer(serializers.Serializer[Any]):
    """What became of them."""

    reprocessed = serializers.IntegerField()
    outcomes = serializers.DictField(child=serializers.IntegerField(), help_text="How many ended as what.")
    after = serializers.UUIDField(allow_null=True, help_text="Null: all are done.")


@extend_schema(tags=["requests"])
class RequestViewSet(ApiViewSet):
    """What came in at the callback URLs."""

    scope: ClassVar[str | None] = "events"
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"secret_headers": ("events:read", "secrets:read")}
    filters_of: ClassVar[Mapping[str, FilterSet]] = {
        "list": REQUEST_FILTERS,
        "reprocess_many": REQUEST_FILTERS,
    }

    @extend_schema(operation_id="requests_list", responses=RequestSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Newest first. A page of large bodies may end before its limit."""
        rows: QuerySet[WebhookRequest] = self.filter_queryset(_rows())
        page: Sequence[WebhookRequest] = self.paginate_queryset(rows) or []
        return self.get_paginated_response(told(page))

    @extend_schema(operation_id="requests_read", responses=RequestSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """One request."""
        return Response(told([self.find(_rows())])[0])

    @extend_schema(operation_id="requests_reprocess", request=None, responses=RequestSerializer)
    def reprocess(self, request: Request, **path: object) -> Response:
        """Reads it again, as after a fix. A rejected one is verified again first, also by secrets that were accepted
        until lately. Nothing is counted twice."""
        self.no_body()
        try:
            row = reprocess.reprocess_request(self.find(_rows()), also_former=True)
        except WebhookRequest.DoesNotExist:
            raise Http404 from None  # it was thrown away meanwhile
        return Response(told([row])[0])

    @extend_schema(
        operation_id="requests_reprocess_many",
        request=ReprocessSerializer,
        responses=ReprocessedSerializer,
        filters=True,
    )
    def reprocess_many(self, request: Request) -> Response:
        """Reads all again that pass the filters, the oldest first, up to a number at once: while `after` is not null,
        send it in the next call. At least one filter is needed."""
        wanted = self.body(ReprocessSerializer)
        rows: QuerySet[WebhookRequest] = self.filter_queryset(WebhookRequest.objects.all())
        if not any(name in request.query_params for name in REQUEST_FILTERS.for_api):
            raise ValidationError({"subscription": ["Name at least one filter."]})
        after = 0
        if wanted.get("after"):
            number = number_of(wanted["after"])
            if number is None:
                raise ValidationError({"after": ["There is no such request."]})
            after = number
        done = reprocess_many(rows, by=self.by, after=after)
        return Response(
            {
                "reprocessed": done.count,
                "outcomes": {outcome: done.outcomes[outcome] for outcome in Outcome.values if done.outcomes[outcome]},
                "after": done.last.uid if done.last else None,
            }
        )

    @extend_schema(operation_id="requests_headers", request=None, responses=HeadersSerializer)
    def secret_headers(self, request: Request, **path: object) -> Response:
        """The headers with those secret values that are kept: of a rejected request, so that it can be seen what was
        wrong with them. Every look is written to the history."""
        self.no_body()
        row = self.find(_rows())
        log.note(
            self.by,
            "headers revealed",
            "request",
            subject_id=row.uid,
            name=str(row.subscription),
            account_id=row.account_id,
        )
        try:
            return Response({"headers": row.unsealed_headers()})
        except (ValueError, TypeError) as error:
            raise Conflict(f"What is stored of them cannot be read: {error}") from None

    def weight(self, row: WebhookRequest) -> int:
        """For the pages: bytes of its body, as far as they are kept."""
        return row.size if row.outcome != Outcome.TRUNCATED else min(row.size, TRUNCATED_BODY_BYTES)


def told(rows: Sequence[WebhookRequest]) -> list[dict[str, Any]]:
    """Requests as the API shows them; their bodies and event ids come with one query each."""
    keys = [row.pk for row in rows]
    stored = WebhookRequest.objects.filter(pk__in=keys).values_list("pk", "body", Cast("headers", TextField()))
    kept = {pk: (body, headers) for pk, body, headers in stored}
    events: defaultdict[int, list[UUID]] = defaultdict(list)
    for request_id, uid in Event.objects.filter(request__in=keys).order_by("id").values_list("request_id", "uid"):
        events[request_id].append(uid)
    return [
        {
            "id": row.uid,
            "subscription": row.subscription.uid,
            "method": row.method,
            "received_at": iso_time(row.received_at),
            "remote_addr": row.remote_addr,
            "headers": _headers(kept.get(row.pk, (b"", "[]"))[1]),
            "query": row.query,
            "body_base64": base64.b64encode(kept.get(row.pk, (b"", "[]"))[0]).decode(),
            "size": row.size,
            "verification": row.verification,
            "outcome": row.outcome,
            "reason": row.reason,
            "events": events[row.pk],
        }
        for row in rows
    ]


def _headers(text: str) -> list[Any]:
    """None when what is stored cannot be read: the other requests of a page can."""
    try:
        return list(json.loads(text))
    except (ValueError, TypeError):
        return []


def _rows() -> QuerySet[WebhookRequest]:
    """Requests without their bodies, their headers and what is encrypted."""
    return WebhookRequest.objects.select_related("subscription").defer(
        "body", "headers", "sealed_headers", "subscription__secrets"
    )
