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


class SentRequestSerializer(serializers.Serializer[Any]):
    """The request that was sent to the provider."""

    method = serializers.CharField()
    url = serializers.CharField()
    body = AnyJSONField()


class ProviderResponseSerializer(serializers.Serializer[Any]):
    """The provider's answer."""

    status = serializers.IntegerField()
    body = AnyJSONField()


class OperationSerializer(serializers.Serializer[Operation]):
    """One executed step: its actor, the request, and the provider's answer."""

    id = serializers.UUIDField(source="uid", read_only=True)
    subscription = serializers.UUIDField(source="subscription.uid", read_only=True)
    action = serializers.ChoiceField(choices=[item.value for item in StepAction], read_only=True)
    reason = serializers.CharField(read_only=True)
    actor = serializers.CharField(read_only=True)
    status = serializers.ChoiceField(choices=OperationStatus.choices, read_only=True)
    request = SentRequestSerializer(read_only=True, allow_null=True)
    response = ProviderResponseSerializer(read_only=True, allow_null=True)
    error = serializers.CharField(read_only=True, allow_null=True)
    started_at = TimeField()
    finished_at = TimeField(allow_null=True)
