"""Subscriptions in JSON: as they are shown, and as they may be made and changed; plans and operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from providers.contract.capabilities import Proof
from providers.models import ProviderAccount
from providers.rest.errors import schema_errors
from providers.rest.fields import (
    AnyJSONField,
    ObjectField,
    ProviderField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    TimeField,
)
from providers.rest.serializers import StrictSerializer
from subscriptions.lifecycle import ip_allowlist
from subscriptions.lifecycle import quiet_hours as quiet
from subscriptions.models import (
    DRIFT_POLICIES,
    Managed,
    Operation,
    OperationStatus,
    Rotation,
    State,
    Subscription,
)
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.step_selection import Choice, plan_version
from subscriptions.planning.steps import Plan, StepAction

DRIFT_HELP = (
    "What is done when somebody changes the config at the provider. A changed callback URL or secret is never accepted."
)
CONFIG_HELP = "What to send; its shape is the provider's `schemas.config`."


class LastErrorSerializer(serializers.Serializer[Any]):
    """What the provider refused last."""

    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField(allow_null=True, help_text="The config field that the provider complained about.")


class DriftSerializer(serializers.Serializer[Any]):
    """One field that differs at the provider; secrets stand as `***`."""

    field = serializers.CharField()
    there = AnyJSONField(source="before")
    wanted = AnyJSONField(source="after")


QUIET_HELP = "Seconds without an event after which it counts as silent; null: it is not watched."


class QuietAfterField(StrictIntegerField):
    """The longest expected time without an event."""

    def __init__(self) -> None:
        super().__init__(
            required=False, allow_null=True, min_value=quiet.SHORTEST, max_value=quiet.LONGEST, help_text=QUIET_HELP
        )


@extend_schema_field(
    {
        "type": ["object", "null"],
        "description": "What does not count in `quiet_after`: daily hours, over midnight where `until` is earlier, and "
        "Saturdays and Sundays, by the clocks of the time zone.",
        "properties": {
            "time_zone": {"type": "string", "default": "UTC", "example": "Europe/Berlin"},
            "from": {"type": ["string", "null"], "example": "22:00"},
            "until": {"type": ["string", "null"], "example": "06:00"},
            "weekends": {"type": "boolean", "default": False},
        },
    }
)
class QuietHoursField(serializers.JSONField):
    """Quiet hours, or null."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, object]:
        """As they are stored."""
        try:
            return quiet.read(data).as_json()
        except quiet.NotUnderstood as error:
            raise serializers.ValidationError(str(error), code="invalid") from None


class RotationSerializer(serializers.Serializer[Rotation]):
    """A secret rotation that is under way."""

    asked_at = TimeField()
    set_at = TimeField(
        allow_null=True, help_text="Since when the provider has the new secret, where we bring it there."
    )
    seen = serializers.BooleanField(help_text="Whether a request was proved by the new secret.")
    old_accepted = serializers.BooleanField(help_text="False: the old secret was revoked.")


NETWORKS_HELP = (
    "Calls from elsewhere are answered 401 and kept as `rejected`; none: calls from everywhere are taken. Networks "
    "such as 192.0.2.0/24 or fd00::/8, or single addresses."
)


class NetworkField(StrictCharField):
    """A network."""

    def to_internal_value(self, data: Any) -> str:
        """As it is stored."""
        try:
            return str(ip_allowlist.read(super().to_internal_value(data)))
        except ip_allowlist.NotUnderstood as error:
            raise serializers.ValidationError(str(error), code="invalid") from None


class AllowedNetworksField(serializers.ListField):
    """The networks that calls may come from."""

    def __init__(self) -> None:
        super().__init__(
            child=NetworkField(max_length=ip_allowlist.LONGEST),
            max_length=ip_allowlist.MOST,
            required=False,
            help_text=NETWORKS_HELP,
        )


class SubscriptionSerializer(serializers.Serializer[Subscription]):
    """What we want registered at a provider, and how it stands there."""

    id = serializers.UUIDField(source="uid", read_only=True)
    account = serializers.UUIDField(source="account.uid", read_only=True)
    provider = ProviderField(source="account.provider", read_only=True)
    name = serializers.CharField(read_only=True)
    config = ObjectField(part="config", read_only=True)
    enabled = serializers.BooleanField(read_only=True)
    auto_renew = serializers.BooleanField(read_only=True)
    drift_policy = serializers.ChoiceField(choices=DRIFT_POLICIES, read_only=True)
    managed = serializers.ChoiceField(choices=Managed.choices, read_only=True)
    state = serializers.ChoiceField(choices=State.choices, read_only=True)
    state_reason = serializers.CharField(read_only=True)
    callback_url = serializers.CharField(read_only=True)
    remote_id = serializers.CharField(read_only=True, allow_null=True)
    remote_status = serializers.CharField(read_only=True, allow_null=True, help_text="The provider's own word.")
    expires_at = TimeField(allow_null=True)
    renew_at = TimeField(allow_null=True)
    granted_seconds = serializers.SerializerMethodField(
        help_text="How long the lease was when it began; null where there is none."
    )
    last_reconciled_at = TimeField(allow_null=True)
    last_event_at = TimeField(allow_null=True)
    quiet_after = serializers.IntegerField(read_only=True, allow_null=True, help_text=QUIET_HELP)
    quiet_hours = QuietHoursField(read_only=True)
    quiet_suggestion = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="For `quiet_after`, from its own last four weeks; null: too little."
    )
    allowed_networks = serializers.ListField(child=serializers.CharField(), read_only=True, help_text=NETWORKS_HELP)
    silent_since = TimeField(allow_null=True, help_text="It sends nothing although events were expected.")
    silence_reason = serializers.CharField(read_only=True, help_text="What looking for a reason told.")
    last_error = LastErrorSerializer(read_only=True, allow_null=True)
    renewed_at = TimeField(allow_null=True)
    renewal_failing_since = TimeField(allow_null=True)
    drift = DriftSerializer(many=True, read_only=True)
    secret_rotation = RotationSerializer(source="rotation", read_only=True, allow_null=True)
    created_at = TimeField()

    def get_granted_seconds(self, row: Subscription) -> int | None:
        """Null where it does not expire."""
        return None if row.granted is None else round(row.granted.total_seconds())


class NewSubscriptionSerializer(StrictSerializer):
    """A subscription to make."""

    account = serializers.UUIDField()
    name = StrictCharField(max_length=200, default="", allow_blank=True)
    config = ObjectField(part="config", help_text=CONFIG_HELP)
    enabled = StrictBooleanField(default=True)
    auto_renew = StrictBooleanField(default=True)
    drift_policy = serializers.ChoiceField(
        choices=DRIFT_POLICIES, default=DriftPolicy.REVERT.value, help_text=DRIFT_HELP
    )
    managed = serializers.ChoiceField(choices=Managed.choices, default=Managed.API.value)
    quiet_after = QuietAfterField()
    quiet_hours = QuietHoursField(required=False)
    allowed_networks = AllowedNetworksField()

    def validate_account(self, value: UUID) -> ProviderAccount:
        """The account with that id."""
        account = ProviderAccount.objects.filter(uid=value).first()
        if account is None:
            raise serializers.ValidationError("There is no such account.", code="not_found")
        return account

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Against the provider's own schema."""
        _check(attrs["account"], attrs["config"])
        return attrs


class SubscriptionChangesSerializer(StrictSerializer):
    """What is to change in a subscription. `account`, `provider` and `managed` may be repeated, but not changed."""

    immutable: ClassVar[tuple[str, ...]] = ("account", "provider", "managed")

    name = StrictCharField(max_length=200, required=False, allow_blank=True)
    config = ObjectField(part="config", required=False, help_text=f"Replaces the config as a whole. {CONFIG_HELP}")
    enabled = StrictBooleanField(required=False)
    auto_renew = StrictBooleanField(required=False)
    drift_policy = serializers.ChoiceField(choices=DRIFT_POLICIES, required=False, help_text=DRIFT_HELP)
    quiet_after = QuietAfterField()
    quiet_hours = QuietHoursField(required=False)
    allowed_networks = AllowedNetworksField()

    @property
    def subscription(self) -> Subscription:
        """The subscription that is changed."""
        subscription: Subscription = self.context["subscription"]
        return subscription

    def current(self) -> Mapping[str, object]:
        """What cannot be changed."""
        row = self.subscription
        return {"account": str(row.account.uid), "provider": row.account.provider, "managed": row.managed}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Against the provider's own schema."""
        if "config" in attrs:
            _check(self.subscription.account, attrs["config"])
        return attrs


class ChangeSerializer(serializers.Serializer[Any]):
    """One field that a step changes; secrets stand as `***`."""

    field = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """With `from` and `to`."""
        # `from` is a word of Python's, so it cannot be an attribute.
        return {
            **super().get_fields(),
            "from": AnyJSONField(source="before"),
            "to": AnyJSONField(source="after"),
        }


class StepSerializer(serializers.Serializer[Any]):
    """One step; `remote_id` is null for a new one."""

    action = serializers.ChoiceField(choices=[item.value for item in StepAction])
    reason = serializers.CharField()
    remote_id = serializers.CharField(allow_null=True)
    changes = ChangeSerializer(many=True)


class PlanSerializer(serializers.Serializer[Any]):
    """The steps in their order; none when nothing is to do."""

    steps = StepSerializer(many=True)
    waiting = serializers.CharField(
        allow_null=True, help_text="Why something that would have to be done is not done now."
    )
    accepts = ChangeSerializer(
        many=True, help_text="What was changed at the provider and becomes what is wanted, as `drift_policy` says."
    )
    version = serializers.SerializerMethodField(help_text="Names what would be done, field by field.")

    def get_version(self, plan: Plan) -> str:
        """The same for the same steps and changes."""
        return plan_version(plan)


class ChosenStepSerializer(StrictSerializer):
    """A step of the plan, as it was shown there."""

    action = serializers.ChoiceField(choices=[item.value for item in StepAction])
    remote_id = StrictCharField(max_length=200, allow_null=True, default=None)


class ReconcileSerializer(StrictSerializer):
    """Nothing: whatever is to be done is done. With `steps`: only those."""

    steps = ChosenStepSerializer(many=True, required=False, allow_empty=False)
    version = StrictCharField(
        required=False,
        max_length=64,
        help_text="Of the plan that the steps were chosen from: refused when it would do something else by now.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A version is that of something chosen."""
        if "version" in attrs and "steps" not in attrs:
            raise serializers.ValidationError({"steps": [ErrorDetail("Choose steps of it.", code="required")]})
        return attrs

    def choice(self) -> Choice | None:
        """What was chosen; None for everything."""
        chosen = self.validated_data.get("steps")
        if chosen is None:
            return None
        keys = [(StepAction(step["action"]), step["remote_id"]) for step in chosen]
        return Choice(keys, self.validated_data.get("version"))


class TestResultSerializer(serializers.Serializer[Any]):
    """How the test went."""

    __test__ = False  # not a pytest class

    ok = serializers.BooleanField()
    detail = serializers.CharField()


class EnterSecretSerializer(StrictSerializer):
    """The secret as the provider showed it."""

    value = StrictCharField(max_length=1000, help_text="Never shown in an answer but to `secrets:read`.")


class RotateSecretSerializer(StrictSerializer):
    """How the old secret goes."""

    revoke = StrictBooleanField(
        default=False,
        help_text="The old secret is refused at once; where the provider makes it, as soon as it has made the new one."
        " Else it is accepted until a request was proved by the new one.",
    )


class SecretSerializer(serializers.Serializer[Any]):
    """How to prove a request by hand: for `header`, sending `header: value` as given passes."""

    kind = serializers.ChoiceField(choices=[item.value for item in Proof])
    header = serializers.CharField(allow_null=True)
    value = serializers.CharField(allow_null=True)


class SentSerializer(serializers.Serializer[Any]):
    """What was sent to the provider."""

    method = serializers.CharField()
    url = serializers.CharField()
    body = AnyJSONField()


class AnsweredSerializer(serializers.Serializer[Any]):
    """What came back."""

    status = serializers.IntegerField()
    body = AnyJSONField()


class OperationSerializer(serializers.Serializer[Operation]):
    """One executed step: who or what asked, what was sent, what came back."""

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


def _check(account: ProviderAccount, config: object) -> None:
    errors = schema_errors(account.plugin.config_model, config, "config")
    if errors:
        raise serializers.ValidationError(errors)
