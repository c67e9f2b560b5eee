"""The `/providers/` resource: the installed providers and the schemas of their settings, credentials and configs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from providers.contract.base import AnyProvider
from providers.contract.capabilities import ExpirySetBy, Proof, Renewal, SecretMadeBy
from providers.contract.registry import UnknownProvider, all_providers, get_provider
from providers.rest.views import ApiViewSet


class RateLimitSerializer(serializers.Serializer[Any]):
    """The number of calls that one account may make; null where no limit is known."""

    per_second = serializers.FloatField(allow_null=True)
    per_day = serializers.IntegerField(allow_null=True)


class CapabilitiesSerializer(serializers.Serializer[Any]):
    """What the provider's API can do."""

    can_list = serializers.BooleanField()
    list_has_details = serializers.BooleanField()
    reveals_url = serializers.BooleanField()
    can_update = serializers.BooleanField()
    can_set_status = serializers.BooleanField()
    enabling_resets_failures = serializers.BooleanField()
    can_test = serializers.BooleanField()
    test_is_harmless = serializers.BooleanField()
    can_identify = serializers.BooleanField()
    renewal = serializers.ChoiceField(choices=[item.value for item in Renewal])
    expiry_set_by = serializers.ChoiceField(choices=[item.value for item in ExpirySetBy])
    proof = serializers.ChoiceField(choices=[item.value for item in Proof])
    secret_made_by = serializers.ChoiceField(choices=[item.value for item in SecretMadeBy])
    methods = serializers.ListField(child=serializers.CharField())
    has_event_id = serializers.BooleanField()
    sends_files = serializers.BooleanField()
    immutable_fields = serializers.ListField(child=serializers.CharField())
    success_statuses = serializers.ListField(child=serializers.IntegerField())
    answer_within = serializers.FloatField()
    rate_limit = RateLimitSerializer()
    count_limit_by = serializers.ListField(
        child=serializers.CharField(),
        help_text="Accounts whose identities agree in these fields share the provider's limit of webhooks.",
    )
    personal_data = serializers.CharField(help_text="The personal data in its events; empty if unknown.")
    retention_days = serializers.IntegerField(
        help_text="The suggested retention, which is the default of a new account."
    )
    notes = serializers.ListField(child=serializers.CharField())


class EventTypeSerializer(serializers.Serializer[Any]):
    """An event type of the provider, and the action that it is normalized to."""

    name = serializers.CharField()
    action = serializers.CharField()
    group = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field
    resource_type = serializers.CharField(allow_null=True)
    wildcard = serializers.BooleanField()


class SchemasSerializer(serializers.Serializer[Any]):
    """The JSON Schemas of settings, credentials and configs."""

    settings = serializers.DictField()
    credentials = serializers.DictField()
    config = serializers.DictField()


class ProviderSerializer(serializers.Serializer[Any]):
    """A platform that can be connected."""

    slug = serializers.CharField()
    name = serializers.CharField()
    capabilities = CapabilitiesSerializer()
    event_types = EventTypeSerializer(many=True)
    schemas = SchemasSerializer()


@extend_schema(tags=["providers"])
class ProviderViewSet(ApiViewSet):
    """The installed providers. Any token may read them."""

    scope: ClassVar[str | None] = None

    @extend_schema(operation_id="providers_list", responses=ProviderSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List the providers, by name."""
        return self.page([provider_json(plugin) for plugin in all_providers().values()], ProviderSerializer)

    @extend_schema(
        operation_id="providers_read",
        parameters=[OpenApiParameter("slug", str, OpenApiParameter.PATH)],
        responses=ProviderSerializer,
    )
    def retrieve(self, request: Request, slug: str) -> Response:
        """Return one provider."""
        try:
            plugin = get_provider(slug)
        except UnknownProvider:
            raise Http404 from None
        return Response(ProviderSerializer(provider_json(plugin)).data)


def provider_json(plugin: AnyProvider) -> dict[str, Any]:
    """Return a provider as the API represents it."""
    return {
        "slug": plugin.slug,
        "name": plugin.name,
        "capabilities": asdict(plugin.capabilities),
        "event_types": [asdict(item) for item in plugin.event_types],
        "schemas": {
            "settings": plugin.settings_model.model_json_schema(),
            "credentials": plugin.credentials_model.model_json_schema(),
            "config": plugin.config_model.model_json_schema(),
        },
    }
