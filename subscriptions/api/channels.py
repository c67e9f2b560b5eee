"""/channels/: who is told of problems, and how."""

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
from providers.rest.fields import StrictBooleanField, StrictCharField, TimeField
from providers.rest.serializers import StrictSerializer
from providers.rest.views import ApiViewSet
from subscriptions.api.operation_serializers import TestResultSerializer
from subscriptions.models import Channel, ChannelKind, Severity
from subscriptions.notifications import channels, dispatch

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class ChannelSerializer(serializers.Serializer[Channel]):
    """One way to tell people of problems. The address of a webhook is never shown."""

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
    failures = serializers.IntegerField(read_only=True, help_text="Failed tries in a row.")
    last_error = serializers.CharField(read_only=True)
    retry_at = TimeField(allow_null=True)
    created_at = TimeField()

    def get_every_minutes(self, row: Channel) -> int:
        """At most one message in so many minutes."""
        return row.every // MINUTE

    def get_remind_hours(self, row: Channel) -> int:
        """What is still open is told again after so many hours; 0: never."""
        return row.remind_every // HOUR if row.remind_every else 0


class ChannelChangesSerializer(StrictSerializer):
    """What may be changed in a channel."""

    immutable: ClassVar[tuple[str, ...]] = ("kind",)

    name = StrictCharField(max_length=200, required=False)
    enabled = StrictBooleanField(required=False)
    recipients = serializers.ListField(child=StrictCharField(max_length=254), max_length=50, required=False)
    url = StrictCharField(max_length=2000, required=False, help_text="Of a webhook. Never shown again.")
    min_severity = serializers.ChoiceField(choices=Severity.choices, required=False)
    every_minutes = serializers.IntegerField(min_value=1, max_value=24 * 60, required=False)
    remind_hours = serializers.IntegerField(min_value=0, max_value=24 * 30, required=False)
    recoveries = StrictBooleanField(required=False)

    def current(self) -> Mapping[str, object]:
        """What cannot be changed."""
        return {"kind": self.context["channel"].kind}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """As the row has it."""
        values = dict(attrs)
        if "every_minutes" in values:
            values["every"] = values.pop("every_minutes") * MINUTE
        if "remind_hours" in values:
            hours = values.pop("remind_hours")
            values["remind_every"] = hours * HOUR if hours else None
        return values


class NewChannelSerializer(ChannelChangesSerializer):
    """A channel to add: `recipients` for e-mail, `url` for a webhook."""

    immutable: ClassVar[tuple[str, ...]] = ()

    name = StrictCharField(max_length=200)
    kind = serializers.ChoiceField(choices=ChannelKind.choices)


@extend_schema(tags=["problems"])
class ChannelViewSet(ApiViewSet):
    """Who is told of problems, and how."""

    scope: ClassVar[str | None] = "subscriptions"

    @extend_schema(operation_id="channels_list", responses=ChannelSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Newest first."""
        return self.page(_rows(), ChannelSerializer)

    @extend_schema(operation_id="channels_create", request=NewChannelSerializer, responses={201: ChannelSerializer})
    def create(self, request: Request) -> Response:
        """Adds one. It is told of what is open now."""
        values = self.body(NewChannelSerializer)
        with _complaints():
            channel = channels.add(by=self.by, **values)
        return Response(ChannelSerializer(channel).data, status=status.HTTP_201_CREATED)

    @extend_schema(operation_id="channels_read", responses=ChannelSerializer)
    def retrieve(self, request: Request, **path: object) -> Response:
        """One channel: whether it works, and what went wrong last."""
        return Response(ChannelSerializer(self.find(_rows())).data)

    @extend_schema(operation_id="channels_change", request=ChannelChangesSerializer, responses=ChannelSerializer)
    def partial_update(self, request: Request, **path: object) -> Response:
        """Changes it. What failed is tried again at once."""
        with transaction.atomic():
            channel = self.find(_rows().select_for_update())
            values = self.body(ChannelChangesSerializer, context={"channel": channel})
            with _complaints():
                if values:
                    channels.change(channel, by=self.by, **values)
        return Response(ChannelSerializer(channel).data)

    @extend_schema(operation_id="channels_delete", responses={204: None})
    def destroy(self, request: Request, **path: object) -> Response:
        """Removes it: nobody is told by it any more."""
        channels.remove(self.find(_rows()), by=self.by)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(operation_id="channels_test", request=None, responses=TestResultSerializer)
    def test(self, request: Request, **path: object) -> Response:
        """Sends a test message now, and says exactly how that went."""
        self.no_body()
        ok, detail = dispatch.send_test(self.find(_rows()), by=self.by)
        return Response(TestResultSerializer({"ok": ok, "detail": detail}).data)


def _rows() -> QuerySet[Channel]:
    """Without the addresses: nothing has to be decrypted to be shown."""
    return Channel.objects.defer("url")


@contextmanager
def _complaints() -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        fields: dict[str, list[ErrorDetail]] = {}
        for item in error.errors:
            fields.setdefault(item.field, []).append(ErrorDetail(item.message, code=item.code))
        raise ValidationError(fields) from None
