"""Serializers of plans and of the results of applying them. `manage.py reconcile --json` prints the same."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from providers.rest.fields import (
    AnyJSONField,
    StrictCharField,
    TimeField,
)
from providers.rest.serializers import StrictSerializer
from subscriptions.api.subscription_serializers import LastErrorSerializer
from subscriptions.models import (
    State,
    Subscription,
)
from subscriptions.planning.step_selection import Choice, plan_version
from subscriptions.planning.steps import Plan, StepAction

SYNC_ERROR_HELP = "Why the account could not be synced; null if it was."


class ChangeSerializer(serializers.Serializer[Any]):
    """One field that a step changes. Secrets are shown as `***`."""

    field = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields, including `from` and `to`."""
        # `from` is a keyword of Python, so it cannot be an attribute.
        return {
            **super().get_fields(),
            "from": AnyJSONField(source="before"),
            "to": AnyJSONField(source="after"),
        }


class StepSerializer(serializers.Serializer[Any]):
    """One step. `remote_id` is null for a new registration."""

    action = serializers.ChoiceField(choices=[item.value for item in StepAction])
    reason = serializers.CharField()
    remote_id = serializers.CharField(allow_null=True)
    changes = ChangeSerializer(many=True)


class PlanSerializer(serializers.Serializer[Any]):
    """The steps in the order in which they are applied; empty if there is nothing to do."""

    steps = StepSerializer(many=True)
    waiting = serializers.CharField(allow_null=True, help_text="Why a necessary step is not done now.")
    accepts = ChangeSerializer(
        many=True, help_text="Changes made at the provider that become the desired config, as `drift_policy` says."
    )
    version = serializers.SerializerMethodField(help_text="Changes with the steps and their changes.")

    def get_version(self, plan: Plan) -> str:
        """Return an identifier that is equal for equal steps and changes."""
        return plan_version(plan)


class ChosenStepSerializer(StrictSerializer):
    """A step of a plan that was read before."""

    action = serializers.ChoiceField(choices=[item.value for item in StepAction])
    remote_id = StrictCharField(max_length=200, allow_null=True, default=None)


class ReconcileSerializer(StrictSerializer):
    """An empty body applies the whole plan; with `steps`, only those are applied."""

    steps = ChosenStepSerializer(many=True, required=False, allow_empty=False)
    version = StrictCharField(
        required=False,
        max_length=64,
        help_text="The version of the plan that was read. The request is refused if the plan has changed.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require `steps` with `version`."""
        if "version" in attrs and "steps" not in attrs:
            raise serializers.ValidationError({"steps": [ErrorDetail("Choose steps of the plan.", code="required")]})
        return attrs

    def choice(self) -> Choice | None:
        """Return the chosen steps, or None for the whole plan."""
        chosen = self.validated_data.get("steps")
        if chosen is None:
            return None
        keys = [(StepAction(step["action"]), step["remote_id"]) for step in chosen]
        return Choice(keys, self.validated_data.get("version"))


class SubscriptionPlanSerializer(serializers.Serializer[Any]):
    """A subscription and its plan."""

    subscription = serializers.UUIDField(source="row.uid")
    name = serializers.CharField(source="row.name")
    steps = StepSerializer(source="plan.steps", many=True)
    waiting = serializers.CharField(source="plan.waiting", allow_null=True)
    version = serializers.CharField()


class AccountPlanSerializer(serializers.Serializer[Any]):
    """The subscriptions of an account whose plan has steps or is waiting."""

    account = serializers.UUIDField(source="account.uid")
    name = serializers.CharField(source="account.name")
    looked_at = TimeField(source="synced_at")
    count = serializers.IntegerField(help_text="Subscriptions that were synced.")
    trouble = serializers.CharField(source="error", allow_null=True, help_text=SYNC_ERROR_HELP)
    plans = SubscriptionPlanSerializer(many=True)


class ReconciledSubscriptionSerializer(serializers.Serializer[Subscription]):
    """A reconciled subscription and its state now."""

    subscription = serializers.UUIDField(source="uid")
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=State.choices)
    state_reason = serializers.CharField()
    last_error = LastErrorSerializer(allow_null=True)


class AccountResultSerializer(serializers.Serializer[Any]):
    """The result of reconciling an account."""

    account = serializers.UUIDField(source="account.uid")
    name = serializers.CharField(source="account.name")
    looked_at = TimeField(source="synced_at")
    count = serializers.IntegerField(help_text="Subscriptions that were synced.")
    trouble = serializers.CharField(source="error", allow_null=True, help_text=SYNC_ERROR_HELP)
    done = ReconciledSubscriptionSerializer(many=True)
    left = serializers.IntegerField(
        help_text="Subscriptions that did not fit in the time limit; the worker reconciles them."
    )


class EverythingPlanSerializer(serializers.Serializer[Any]):
    """The plans of every account that has subscriptions."""

    accounts = AccountPlanSerializer(many=True)


class EverythingResultSerializer(serializers.Serializer[Any]):
    """The results of every account that has subscriptions."""

    accounts = AccountResultSerializer(many=True)
