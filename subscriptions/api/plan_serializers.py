"""The plans of an account, and what came of applying them. The command prints the same as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from providers.rest.fields import TimeField
from subscriptions.api.subscription_serializers import LastErrorSerializer, StepSerializer
from subscriptions.models import State, Subscription

TROUBLE = "Why the account could not be looked at; null when it was."


class PlannedSerializer(serializers.Serializer[Any]):
    """A subscription and what is to be done about it."""

    subscription = serializers.UUIDField(source="row.uid")
    name = serializers.CharField(source="row.name")
    steps = StepSerializer(source="plan.steps", many=True)
    waiting = serializers.CharField(source="plan.waiting", allow_null=True)
    version = serializers.CharField()


class AccountPlanSerializer(serializers.Serializer[Any]):
    """The subscriptions of an account for which something is to be done, or waits."""

    account = serializers.UUIDField(source="account.uid")
    name = serializers.CharField(source="account.name")
    looked_at = TimeField()
    count = serializers.IntegerField(help_text="Subscriptions that were looked at.")
    trouble = serializers.CharField(allow_null=True, help_text=TROUBLE)
    plans = PlannedSerializer(many=True)


class AttendedSerializer(serializers.Serializer[Subscription]):
    """A subscription that was attended to, as it stands after it."""

    subscription = serializers.UUIDField(source="uid")
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=State.choices)
    state_reason = serializers.CharField()
    last_error = LastErrorSerializer(allow_null=True)


class AccountResultSerializer(serializers.Serializer[Any]):
    """What was done for an account."""

    account = serializers.UUIDField(source="account.uid")
    name = serializers.CharField(source="account.name")
    looked_at = TimeField()
    count = serializers.IntegerField(help_text="Subscriptions that were looked at.")
    trouble = serializers.CharField(allow_null=True, help_text=TROUBLE)
    done = AttendedSerializer(many=True)
    left = serializers.IntegerField(help_text="Subscriptions that the time did not suffice for: the worker does them.")


class EverythingPlanSerializer(serializers.Serializer[Any]):
    """Every account that has subscriptions."""

    accounts = AccountPlanSerializer(many=True)


class EverythingResultSerializer(serializers.Serializer[Any]):
    """What was done for every account that has subscriptions."""

    accounts = AccountResultSerializer(many=True)
