"""Serializers of subscriptions: as they are read, created and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers

from providers.models import ProviderAccount
from providers.rest.errors import schema_errors
from providers.rest.fields import (
    AnyJSONField,
    NameField,
    ObjectField,
    ProviderField,
    StrictBooleanField,
    TimeField,
)
from providers.rest.serializers import StrictSerializer
from subscriptions.api.secret_serializers import RotationSerializer
from subscriptions.api.subscription_fields import (
    NETWORKS_HELP,
    QUIET_HELP,
    AllowedNetworksField,
    QuietAfterField,
    QuietHoursField,
)
from subscriptions.models import (
    DRIFT_POLICIES,
    Managed,
    State,
    Subscription,
)
from subscriptions.planning.states import DriftPolicy

DRIFT_HELP = (
    "What happens when the config is changed at the provider. A changed callback URL or secret is never accepted."
)
CONFIG_HELP = "What the provider sends; its schema is the provider's `schemas.config`."


class LastErrorSerializer(serializers.Serializer[Any]):
    """The last error at the provider."""

    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField(allow_null=True, help_text="The config field that the error is about.")


class DriftSerializer(serializers.Serializer[Any]):
    """One field that differs at the provider. Secrets are shown as `***`."""

    field = serializers.CharField()
    there = AnyJSONField(source="before")
    wanted = AnyJSONField(source="after")


class SubscriptionSerializer(serializers.Serializer[Subscription]):
    """A subscription: its desired configuration and its state at the provider."""

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
    remote_status = serializers.CharField(read_only=True, allow_null=True, help_text="The provider's own status.")
    expires_at = TimeField(allow_null=True)
    renew_at = TimeField(allow_null=True)
    granted_seconds = serializers.SerializerMethodField(
        help_text="The length of the lease when it started; null: it does not expire."
    )
    last_reconciled_at = TimeField(allow_null=True)
    last_event_at = TimeField(allow_null=True)
    quiet_after = serializers.IntegerField(read_only=True, allow_null=True, help_text=QUIET_HELP)
    quiet_hours = QuietHoursField(read_only=True)
    quiet_suggestion = serializers.IntegerField(
        read_only=True,
        allow_null=True,
        help_text="A suggestion for `quiet_after` from the last four weeks; null: too few events.",
    )
    allowed_networks = serializers.ListField(child=serializers.CharField(), read_only=True, help_text=NETWORKS_HELP)
    silent_since = TimeField(
        allow_null=True, help_text="The time since which no event has arrived although events were expected."
    )
    silence_reason = serializers.CharField(read_only=True, help_text="The cause that was found, if any.")
    last_error = LastErrorSerializer(read_only=True, allow_null=True)
    renewed_at = TimeField(allow_null=True)
    renewal_failing_since = TimeField(allow_null=True)
    drift = DriftSerializer(many=True, read_only=True)
    secret_rotation = RotationSerializer(source="rotation", read_only=True, allow_null=True)
    created_at = TimeField()

    def get_granted_seconds(self, row: Subscription) -> int | None:
        """Return the length of the lease in seconds, or None if the subscription does not expire."""
        return None if row.granted is None else round(row.granted.total_seconds())


class NewSubscriptionSerializer(StrictSerializer):
    """The subscription to create."""

    account = serializers.UUIDField()
    name = NameField(default="", allow_blank=True)
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
        """Return the account with that ID."""
        account = ProviderAccount.objects.filter(uid=value).first()
        if account is None:
            raise serializers.ValidationError("There is no such account.", code="not_found")
        return account

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Validate against the provider's schema."""
        _check(attrs["account"], attrs["config"])
        return attrs


class SubscriptionChangesSerializer(StrictSerializer):
    """The fields of a subscription to change. `account`, `provider` and `managed` may be sent, but not changed."""

    immutable: ClassVar[tuple[str, ...]] = ("account", "provider", "managed")

    name = NameField(required=False, allow_blank=True)
    config = ObjectField(part="config", required=False, help_text=f"Replaces the config as a whole. {CONFIG_HELP}")
    enabled = StrictBooleanField(required=False)
    auto_renew = StrictBooleanField(required=False)
    drift_policy = serializers.ChoiceField(choices=DRIFT_POLICIES, required=False, help_text=DRIFT_HELP)
    quiet_after = QuietAfterField()
    quiet_hours = QuietHoursField(required=False)
    allowed_networks = AllowedNetworksField()
    block_senders = StrictBooleanField(
        required=False,
        help_text="True: save `allowed_networks` although they exclude addresses from which requests were accepted "
        "in the last 24 hours. Otherwise the answer is 409 with the code `would_block_senders` and the figures.",
    )

    @property
    def subscription(self) -> Subscription:
        """The subscription to change."""
        subscription: Subscription = self.context["subscription"]
        return subscription

    def current(self) -> Mapping[str, object]:
        """Return the fields that cannot be changed."""
        row = self.subscription
        return {"account": str(row.account.uid), "provider": row.account.provider, "managed": row.managed}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Validate against the provider's schema."""
        if "config" in attrs:
            _check(self.subscription.account, attrs["config"])
        return attrs


def _check(account: ProviderAccount, config: object) -> None:
    errors = schema_errors(account.plugin.config_model, config, "config")
    if errors:
        raise serializers.ValidationError(errors)
