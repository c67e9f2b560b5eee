"""The endpoints below /channels/: the channels that notify people of problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from providers.contract.errors import InvalidInput
from providers.rest.fields import NameField, StrictBooleanField, StrictCharField, TimeField
from providers.rest.serializers import StrictSerializer
from providers.rest.views import ApiViewSet
from subscriptions.api.operation_serializers import TestResultSerializer
from subscriptions.models import Channel, ChannelKind, Severity
from subscriptions.notifications import channels, dispatch

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class ChannelSerializer(serializers.Serializer[Channel]):
    """A notification channel. The URL of a webhook is never shown."""

    id = serializers.UUIDField(source="uid", read_only=True)
    name = serializers.CharField(read_only=True)
    kind = serializers.ChoiceField(choices=ChannelKind.choices, read_only=True)
    enabled = serializers.BooleanField(read_only=True)
    recipients = serializers.ListField(child=serializers.CharField(), read_only=True)
    min_severity = serializers.ChoiceField(choices=Severity.choices, read_only=True)
    every_minutes = serializers.SerializerMethodField()
    remind_hours = serializers.SerializerMethodField()
    recoveries = serializers.BooleanField(read_only=True)
    sent_at = TimeField(allow_null=True)
    failures = serializers.IntegerField(read_only=True, help_text="Consecutive failed attempts.")
    last_error = serializers.CharField(read_only=True)
    retry_at = TimeField(allow_null=True)
    created_at = TimeField()

    def get_every_minutes(self, row: Channel) -> int:
        """Return the minimum interval between two messages, in minutes."""
        return row.every // MINUTE

    def get_remind_hours(self, row: Channel) -> int:
        """Return the reminder interval in hours; 0: no reminders."""
        return row.remind_every // HOUR if row.remind_every else 0


class ChannelChangesSerializer(StrictSerializer):
    """The fields of a channel to change."""

    immutable: ClassVar[tuple[str, ...]] = ("kind",)

    name = NameField(required=False)
    enabled = StrictBooleanField(required=False)
    recipients = serializers.ListField(child=StrictCharField(max_length=254), max_length=50, required=False)
    url = StrictCharField(max_length=2000, required=False, help_text="The URL of a webhook. Write-only.")
    min_severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    every_minutes = serializers.IntegerField(min_value=1, max_value=24 * 60, required=False)
    remind_hours = serializers.IntegerField(min_value=0, max_value=24 * 30, required=False)
    recoveries = StrictBooleanField(required=False)

    def current(self) -> Mapping[str, object]:
        """Return the fields that cannot be changed."""
        return {"kind": self.context["channel"].kind}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Convert the intervals to durations."""
        values = dict(attrs)
        if "every_minutes" in values:
            values["every"] = values.pop("every_minutes") * MINUTE
        if "remind_hours" in values:
            hours = values.pop("remind_hours")
            values["remind_every"] = hours * HOUR if hours else None
        return values


class NewChannelSerializer(ChannelChangesSerializer):
    """The channel to create: `recipients` for email, `url` for a webhook."""

    immutable: ClassVar[tuple[str, ...]] = ()

    name = NameField()
    kind = serializers.ChoiceField(choices=ChannelKind.choices)


@extend_schema(tags=["problems"])
class ChannelViewSet(ApiViewSet):
    """The notification channels."""

    scope: ClassVar[str | None] = "subscriptions"

    @extend_schema(operation_id="channels_list", responses=ChannelSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List channels, newest first."""
        return self.page(_rows(), ChannelSerializer)

    @extend_schema(operation_id="channels_create", request=NewChannelSerializer, responses={201: ChannelSerializer})
    def create(self, request: Request) -> Response:
        """Create a channel. It is notified about the problems that are open now."""
        values = self.body(NewChannelSerializer)
        with _validation_errors():
            channel = channels.add(by=self.by, **values)
        return Response(ChannelSerializer(channel).data, status=status.HTTP_201_CREATED)

    @extend_schema(operation_id="channels_read", responses=ChannelSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """Read one channel, including its last error."""
        return Response(ChannelSerializer(self.find(_rows())).data)

    @extend_schema(operation_id="channels_change", request=ChannelChangesSerializer, responses=ChannelSerializer)
    def partial_update(self, request: Request, **path: object) -> Response:
        """Change a channel. Failed messages are retried at once."""
        with transaction.atomic():
            channel = self.find(_rows().select_for_update())
            values = self.body(ChannelChangesSerializer, context={"channel": channel})
            with _validation_errors():
                if values:
                    channels.change(channel, by=self.by, **values)
        return Response(ChannelSerializer(channel).data)

    @extend_schema(operation_id="channels_delete", responses={204: None})
    def destroy(self, request: Request, **path: object) -> Response:
        """Delete a channel."""
        channels.remove(self.find(_rows()), by=self.by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="channels_test", request=None, responses=TestResultSerializer)
    def test(self, request: Request, **path: object) -> Response:
        """Send a test message now and return the result."""
        self.no_body()
        ok, detail = dispatch.send_test(self.find(_rows()), by=self.by)
        return Response(TestResultSerializer({"ok": ok, "detail": detail}).data)


def _rows() -> QuerySet[Channel]:
    """Return the channels without the encrypted URLs, which are not shown."""
    return Channel.objects.defer("url")


@contextmanager
def _validation_errors() -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        fields: dict[str, list[ErrorDetail]] = {}
        for item in error.errors:
            fields.setdefault(item.field, []).append(ErrorDetail(item.message, code=item.code))
        raise ValidationError(fields) from None
