"""Requests as JSON: the columns that the REST API shows, and the serializers that document them."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import TextField
from django.db.models.functions import Cast
from rest_framework import serializers

from events.models import Event, Outcome, VerificationState, WebhookRequest
from providers.rest.fields import TimeField
from providers.times import iso_time


class HeaderPairsField(serializers.ListField):
    """Headers as [name, value] pairs."""

    child = serializers.ListField(child=serializers.CharField(), min_length=2, max_length=2)


class RequestSerializer(serializers.Serializer[WebhookRequest]):
    """For the API documentation only; `requests_json` writes the JSON."""

    id = serializers.UUIDField()
    subscription = serializers.UUIDField()
    method = serializers.CharField()
    received_at = TimeField()
    remote_addr = serializers.CharField()
    headers = HeaderPairsField(help_text="Values that may be secret are replaced by `***`.")
    query = serializers.CharField()
    body_base64 = serializers.CharField(help_text="The exact bytes. For a truncated request, their beginning.")
    size = serializers.IntegerField(help_text="The size of the body as it was sent, in bytes.")
    verification = serializers.ChoiceField(choices=VerificationState.choices)
    outcome = serializers.ChoiceField(choices=Outcome.choices)
    reason = serializers.CharField()
    events = serializers.ListField(child=serializers.UUIDField(), help_text="The IDs of the request's events.")


class HeadersSerializer(serializers.Serializer[Any]):
    """Headers with the secret values that are stored."""

    headers = HeaderPairsField()


class ReprocessSerializer(serializers.Serializer[Any]):
    """The request after which a bulk run continues."""

    after = serializers.UUIDField(
        required=False,
        allow_null=True,
        help_text="`after` of the previous response, even if that request has been deleted since.",
    )


class ReprocessedSerializer(serializers.Serializer[Any]):
    """How many requests ended with which outcome."""

    reprocessed = serializers.IntegerField()
    outcomes = serializers.DictField(
        child=serializers.IntegerField(), help_text="The number of requests for each outcome."
    )
    after = serializers.UUIDField(allow_null=True, help_text="Null if all requests are done.")


def requests_json(rows: Sequence[WebhookRequest]) -> list[dict[str, Any]]:
    """Return requests as the API shows them. Bodies and event IDs are loaded with one query each."""
    keys = [row.pk for row in rows]
    stored = WebhookRequest.objects.filter(pk__in=keys).values_list("pk", "body", Cast("headers", TextField()))
    content = {pk: (body, headers) for pk, body, headers in stored}
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
            "headers": _headers(content.get(row.pk, (b"", "[]"))[1]),
            "query": row.query,
            "body_base64": base64.b64encode(content.get(row.pk, (b"", "[]"))[0]).decode(),
            "size": row.size,
            "verification": row.verification,
            "outcome": row.outcome,
            "reason": row.reason,
            "events": events[row.pk],
        }
        for row in rows
    ]


def _headers(text: str) -> list[Any]:
    """Return the stored headers; empty if they are unreadable, so that the rest of the page can be shown."""
    try:
        return list(json.loads(text))
    except (ValueError, TypeError):
        return []
