"""Serializers of accounts and of the remote subscriptions that they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers

from providers.contract.registry import get_provider
from providers.models import MAX_RETENTION_DAYS, AccountStatus, ProviderAccount
from providers.rest.errors import schema_errors, sent_input
from providers.rest.fields import (
    NameField,
    ObjectField,
    ProviderField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    TimeField,
)
from providers.rest.serializers import StrictSerializer
from subscriptions.lifecycle import accounts
from subscriptions.remote.inventory import Kind

RETENTION_HELP = "Days for which requests and events are stored; null: indefinitely."


class RetentionField(StrictIntegerField):
    """A number of days, or null."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, min_value=1, max_value=MAX_RETENTION_DAYS, **kwargs)


class AccountSerializer(serializers.Serializer[ProviderAccount]):
    """One login at one provider, without its credentials."""

    id = serializers.UUIDField(source="uid", read_only=True)
    provider = ProviderField(read_only=True)
    name = serializers.CharField(read_only=True)
    settings = ObjectField(part="settings", read_only=True)
    status = serializers.ChoiceField(choices=AccountStatus.choices, read_only=True)
    status_reason = serializers.CharField(read_only=True)
    identity = serializers.DictField(
        read_only=True, help_text="The owner of the credentials, as reported by the provider."
    )
    checked_at = TimeField(allow_null=True)
    removal_asked_at = TimeField(
        allow_null=True,
        help_text="When its deletion together with its subscriptions was requested; null: it is not being deleted.",
    )
    calls_paused_until = TimeField(allow_null=True)
    calls_paused_for = serializers.CharField(
        read_only=True, help_text="The code of the error that paused the calls; empty: they are not paused."
    )
    calls_paused_reason = serializers.CharField(read_only=True)
    retention_days = serializers.IntegerField(read_only=True, allow_null=True, help_text=RETENTION_HELP)
    kept_since = TimeField(
        source="purge.kept_since", default=None, allow_null=True, help_text="When the oldest stored request arrived."
    )
    purged_at = TimeField(
        source="purge.purged_at", default=None, allow_null=True, help_text="When data was last purged."
    )
    created_at = TimeField()


class NewAccountSerializer(StrictSerializer):
    """The account to create."""

    provider = ProviderField()
    name = NameField()
    settings = ObjectField(part="settings", default=dict)
    credentials = ObjectField(part="credentials", default=dict, help_text="Write-only.")
    retention_days = RetentionField(
        help_text=f"{RETENTION_HELP} By default the value that the provider's plug-in suggests."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Validate against the provider's schema."""
        _check(attrs["provider"], attrs["settings"], attrs["credentials"])
        suggested = get_provider(attrs["provider"]).capabilities.retention_days
        return {"retention_days": suggested, **attrs}


class AccountChangesSerializer(StrictSerializer):
    """The fields of an account to change. `provider` may be sent, but not changed."""

    immutable: ClassVar[tuple[str, ...]] = ("provider",)

    name = NameField(required=False)
    settings = ObjectField(
        part="settings",
        required=False,
        help_text="Replaces the settings as a whole. If they change where credentials are sent, send these as well.",
    )
    credentials = ObjectField(
        part="credentials", required=False, help_text="Merged by key with the stored ones; null removes a value."
    )
    retention_days = RetentionField(help_text=RETENTION_HELP)

    def current(self) -> Mapping[str, object]:
        """Return the fields that cannot be changed."""
        return {"provider": self.account.provider}

    @property
    def account(self) -> ProviderAccount:
        """The account to change."""
        account: ProviderAccount = self.context["account"]
        return account

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Validate against the provider's schema."""
        if "settings" in attrs or "credentials" in attrs:
            settings = attrs.get("settings", self.account.settings)
            with sent_input("credentials"):
                credentials = accounts.merge_credentials(self.account, settings, attrs.get("credentials", {}))
            _check(self.account.provider, settings, credentials)
        return attrs


class RemoteSubscriptionSerializer(serializers.Serializer[Any]):
    """A remote subscription, and the subscription here that owns it, if any."""

    remote_id = serializers.CharField(source="remote.remote_id")
    kind = serializers.ChoiceField(choices=[item.value for item in Kind])
    subscription = serializers.UUIDField(source="subscription.uid", allow_null=True)
    url = serializers.CharField(source="remote.url", allow_null=True)
    status = serializers.CharField(source="remote.status", help_text="The provider's own status.")
    expires_at = TimeField(allow_null=True)
    config = serializers.DictField(allow_null=True, help_text="Null if it was not read.")
    ignored = serializers.BooleanField(help_text="Whether a person has hidden it.")


class ImportSerializer(StrictSerializer):
    """The remote subscription to import, and whether to adopt it."""

    remote_id = StrictCharField(max_length=200)
    name = NameField(default="", allow_blank=True)
    take_over = StrictBooleanField(
        default=False,
        help_text="True: adopt it and replace its URL and secret at the provider. False: only monitor it.",
    )


def _check(provider: str, settings: object, credentials: object) -> None:
    plugin = get_provider(provider)
    errors = {
        **schema_errors(plugin.settings_model, settings, "settings"),
        **schema_errors(plugin.credentials_model, credentials, "credentials"),
    }
    if errors:
        raise serializers.ValidationError(errors)
