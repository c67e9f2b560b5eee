"""Serializers of operations at a provider, and of tests."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from providers.rest.fields import (
    AnyJSONField,
    TimeField,
)
from subscriptions.models import (
    Operation,
    OperationStatus,
)
from subscriptions.planning.steps import StepAction


class TestResultSerializer(serializers.Serializer[Any]):
    """The result of a test."""

    __test__ = False  # not a pytest class

    ok = serializers.BooleanField()
    detail = serializers.CharField()


class SentSerializer(serializers.Serializer[Any]):
    """The request that was sent to the provider."""

    method = serializers.CharField()
    url = serializers.CharField()
    body = AnyJSONField()


class AnsweredSerializer(serializers.Serializer[Any]):
    """The provider's answer."""

    status = serializers.IntegerField()
    body = AnyJSONField()


class OperationSerializer(serializers.Serializer[Operation]):
    """One executed step: who asked, what was sent, and the answer."""

    id = serializers.UUIDField(source="uid", read_only=True)
    subscription = serializers.UUIDField(source="subscription.uid", read_only=True)
    action = serializers.ChoiceField(choices=[item.value for item in StepAction], read_only=True)
    reason = serializers.CharField(read_only=True)
    actor = serializers.CharField(read_only=True)
    status = serializers.ChoiceField(choices=OperationStatus.choices, read_only=True)
    request = SentSerializer(read_only=True, allow_null=True)
    response = AnsweredSerializer(read_only=True, allow_null=True)
    error = serializers.CharField(read_only=True, allow_null=True)
    started_at = TimeField()
    finished_at = TimeField(allow_null=True)
