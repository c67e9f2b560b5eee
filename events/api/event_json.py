"""Events as JSON, built directly from the columns.

The feed is read often and in large pages; model instances and serializers would take most of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Cast
from rest_framework import serializers

from events.models import Event
from providers.contract.capabilities import Action
from providers.rest.fields import AnyJSONField, ProviderField, TimeField
from providers.times import iso_time

PLAIN_COLUMNS = (
    "id",
    "uid",
    "provider",
    "type",
    "action",
    "resource_type",
    "resource",
    "previous_resource",
    "actor",
    "occurred_at",
    "received_at",
    "provider_event_id",
    "duplicates",
    "last_duplicate_at",
    "position",
)


def event_rows(rows: QuerySet[Event]) -> QuerySet[Event, dict[str, Any]]:
    """Select the columns that `event_json` needs, with `data` as its stored text."""
    columns: QuerySet[Event, dict[str, Any]] = rows.values(
        *PLAIN_COLUMNS,
        of_account=F("account__uid"),
        of_subscription=F("subscription__uid"),
        of_request=F("request__uid"),
        data_text=Cast("data", TextField()),
    )
    return columns


def event_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of `event_rows` as the API shows it."""
    return {
        "id": str(row["uid"]),
        "account": str(row["of_account"]),
        "subscription": str(row["of_subscription"]),
        "request": str(row["of_request"]),
        "provider": row["provider"],
        "type": row["type"],
        "action": row["action"],
        "resource_type": row["resource_type"],
        "resource": row["resource"],
        "previous_resource": row["previous_resource"],
        "actor": row["actor"],
        "occurred_at": iso_time(row["occurred_at"]) if row["occurred_at"] else None,
        "received_at": iso_time(row["received_at"]),
        "provider_event_id": row["provider_event_id"],
        "duplicates": row["duplicates"],
        "last_duplicate_at": iso_time(row["last_duplicate_at"]) if row["last_duplicate_at"] else None,
        # Stored as valid JSON, so it is sent unchanged, including huge numbers.
        "data": orjson.Fragment(row["data_text"] if row["data_text"] is not None else "null"),
    }


class EventSerializer(serializers.Serializer[Event]):
    """For the API documentation only; `event_json` writes the JSON."""

    id = serializers.UUIDField()
    account = serializers.UUIDField()
    subscription = serializers.UUIDField()
    request = serializers.UUIDField()
    provider = ProviderField()
    type = serializers.CharField(help_text="The provider's name of the event type.")
    action = serializers.ChoiceField(choices=[item.value for item in Action])
    resource_type = serializers.CharField(allow_null=True)
    resource = serializers.CharField(allow_null=True)
    previous_resource = serializers.CharField(
        allow_null=True, help_text="Where the resource was before a move or a rename, or what it was copied from."
    )
    actor = serializers.CharField(allow_null=True)
    occurred_at = TimeField(allow_null=True)
    received_at = TimeField()
    provider_event_id = serializers.CharField(allow_null=True)
    duplicates = serializers.IntegerField(help_text="How often the event arrived again after `received_at`.")
    last_duplicate_at = TimeField(allow_null=True)
    data = AnyJSONField(help_text="The event's element as the provider sent it.")  # type: ignore[assignment]  # a field


class CloudEventSerializer(serializers.Serializer[Any]):
    """For the API documentation only; `events.api.cloudevents` writes the JSON."""

    specversion = serializers.ChoiceField(choices=["1.0"])
    id = serializers.UUIDField()
    source = serializers.CharField(help_text="`urn:uuid:` and the account ID.")  # type: ignore[assignment]  # a field
    type = serializers.CharField(help_text="`hookkeeper.<provider>.<the provider's event type>`.")
    subject = serializers.CharField(required=False, help_text="The resource.")
    time = TimeField(help_text="When the event occurred, or was received if that is unknown.")
    datacontenttype = serializers.ChoiceField(choices=["application/json"])
    subscription = serializers.UUIDField()
    action = serializers.ChoiceField(choices=[item.value for item in Action])
    resourcetype = serializers.CharField(required=False)
    previousresource = serializers.CharField(
        required=False, help_text="Where the resource was before a move or a rename, or what it was copied from."
    )
    actor = serializers.CharField(required=False)
    receivedat = TimeField()
    providereventid = serializers.CharField(required=False)
    data = AnyJSONField(help_text="The event's element as the provider sent it.")  # type: ignore[assignment]  # a field
