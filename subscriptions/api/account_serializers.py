"""Accounts in JSON: as they are shown, and as they may be added and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

from providers.contract.registry import get_provider
from providers.models import MOST_RETENTION_DAYS, AccountStatus, ProviderAccount
from providers.rest.errors import schema_errors
from providers.rest.fields import (
    ObjectField,
    ProviderField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    TimeField,
)
from providers.rest.serializers import StrictSerializer
from subscriptions.remote.inventory import Kind

RETENTION_HELP = "For so many days requests and events are kept; null: for ever."


class RetentionField(StrictIntegerField):
    """A number of days, or null."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, min_value=1, max_value=MOST_RETENTION_DAYS, **kwargs)


class AccountSerializer(serializers.Serializer[ProviderAccount]):
    """One login at one provider, without its credentials."""

    id = serializers.UUIDField(source="uid", read_only=True)
    provider = ProviderField(read_only=True)
    name = serializers.CharField(read_only=True)
    settings = ObjectField(part="settings", read_only=True)
    status = serializers.ChoiceField(choices=AccountStatus.choices, read_only=True)
    status_reason = serializers.CharField(read_only=True)
    identity = serializers.DictField(read_only=True, help_text="Whose credentials these are, as the provider told.")
    checked_at = TimeField(allow_null=True)
    removal_asked_at = TimeField(
        allow_null=True, help_text="Since when it is being deleted together with its subscriptions."
    )
    calls_paused_until = TimeField(allow_null=True)
    calls_paused_for = serializers.CharField(read_only=True, help_text="The code of the error; empty: no pause.")
    calls_paused_reason = serializers.CharField(read_only=True)
    retention_days = serializers.IntegerField(read_only=True, allow_null=True, help_text=RETENTION_HELP)
    kept_since = TimeField(
        source="purge.kept_since", default=None, allow_null=True, help_text="When the oldest that is kept came in."
    )
    purged_at = TimeField(
        source="purge.purged_at", default=None, allow_null=True, help_text="When something was last thrown away."
    )
    created_at = TimeField()


class NewAccountSerializer(StrictSerializer):
    """An account to add."""

    provider = ProviderField()
    name = StrictCharField(max_length=200)
    settings = ObjectField(part="settings", default=dict)
    credentials = ObjectField(part="credentials", default=dict, help_text="Never shown again.")
    retention_days = RetentionField(help_text=f"{RETENTION_HELP} Without it, what the provider's plug-in suggests.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Against the provider's own schema."""
        _check(attrs["provider"], attrs["settings"], attrs["credentials"])
        suggested = get_provider(attrs["provider"]).capabilities.retention_days
        return {"retention_days": suggested, **attrs}


class AccountChangesSerializer(StrictSerializer):
    """What is to change in an account. `provider` may be repeated, but not changed."""

    immutable: ClassVar[tuple[str, ...]] = ("provider",)

    name = StrictCharField(max_length=200, required=False)
    settings = ObjectField(part="settings", required=False, help_text="Replaces the settings as a whole.")
    credentials = ObjectField(
        part="credentials", required=False, help_text="Merged key by key with those that are stored; null empties one."
    )
    retention_days = RetentionField(help_text=RETENTION_HELP)

    def current(self) -> Mapping[str, object]:
        """What cannot be changed."""
        return {"provider": self.account.provider}

    @property
    def account(self) -> ProviderAccount:
        """The account that is changed."""
        account: ProviderAccount = self.context["account"]
        return account

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Against the provider's own schema."""
        if "settings" in attrs or "credentials" in attrs:
            credentials = {**self.account.credentials, **attrs.get("credentials", {})}
            _check(self.account.provider, attrs.get("settings", self.account.settings), credentials)
        return attrs


class RemoteSubscriptionSerializer(serializers.Serializer[Any]):
    """What the provider says it has, and whose it is."""

    remote_id = serializers.CharField(source="remote.remote_id")
    kind = serializers.ChoiceField(choices=[item.value for item in Kind])
    subscription = serializers.UUIDField(source="subscription.uid", allow_null=True)
    url = serializers.CharField(source="remote.url", allow_null=True)
    status = serializers.CharField(source="remote.status", help_text="The provider's own word.")
    expires_at = TimeField(allow_null=True)
    config = serializers.DictField(allow_null=True, help_text="Null where it was not read.")
    ignored = serializers.BooleanField(help_text="Somebody does not need to be shown it again.")


class ImportSerializer(StrictSerializer):
    """Which remote subscription to take in, and how."""

    remote_id = StrictCharField(max_length=200)
    name = StrictCharField(max_length=200, default="", allow_blank=True)
    take_over = StrictBooleanField(
        default=False,
        help_text="True: its URL and secret are changed at the provider to ours. False: it is only shown.",
    )


def _check(provider: str, settings: object, credentials: object) -> None:
    plugin = get_provider(provider)
    errors = {
        **schema_errors(plugin.settings_model, settings, "settings"),
        **schema_errors(plugin.credentials_model, credentials, "credentials"),
    }
    if errors:
        raise serializers.ValidationError(errors)
