"""/address/: whether this installation is where its subscriptions were registered for, and confirming that it moved."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from providers.rest.fields import StrictCharField
from providers.rest.serializers import StrictSerializer
from providers.rest.views import ApiViewSet
from subscriptions.lifecycle import public_url as address


class FormerSerializer(serializers.Serializer[Any]):
    """An address that subscriptions are still registered with."""

    address = serializers.CharField()
    subscriptions = serializers.IntegerField(source="count")


class AddressSerializer(serializers.Serializer[Any]):
    """Where this installation is, as far as providers know."""

    public_url = serializers.CharField()
    confirmed = serializers.BooleanField(
        help_text="False: nothing is changed for the subscriptions at another address."
    )
    elsewhere = FormerSerializer(many=True)


class ConfirmSerializer(StrictSerializer):
    """The address that is confirmed: it has to be this installation's PUBLIC_URL."""

    public_url = StrictCharField(max_length=500)

    def validate_public_url(self, value: str) -> str:
        """Only our own: who confirms has to know which installation is talked to."""
        if value.rstrip("/") != settings.PUBLIC_URL:
            raise serializers.ValidationError(f"PUBLIC_URL is {settings.PUBLIC_URL} here.", code="other_address")
        return value


class ConfirmedSerializer(AddressSerializer):
    """After it was confirmed."""

    moved = serializers.IntegerField(help_text="Subscriptions whose callback URL moved; the providers are told.")


@extend_schema(tags=["subscriptions"])
class AddressViewSet(ApiViewSet):
    """The address of this installation."""

    scope: ClassVar[str | None] = "subscriptions"

    @extend_schema(operation_id="address_read", responses=AddressSerializer)
    def address(self, request: Request) -> Response:
        """Whether PUBLIC_URL is the address that the subscriptions were registered with. When it is not, this is a copy
        of another installation, or it has moved."""
        return Response(AddressSerializer(_standing()).data)

    @extend_schema(operation_id="address_confirm", request=ConfirmSerializer, responses=ConfirmedSerializer)
    def confirm(self, request: Request) -> Response:
        """Says that this installation has moved to PUBLIC_URL for good: every callback URL follows, at the providers
        too. Never do that in a copy while the original runs: it would lose its subscriptions."""
        moved = address.confirm(str(self.body(ConfirmSerializer)["public_url"]), by=self.by)
        return Response(ConfirmedSerializer({**_standing(), "moved": moved}).data)


def _standing() -> dict[str, Any]:
    former = address.former_addresses()
    return {"public_url": settings.PUBLIC_URL, "confirmed": not former, "elsewhere": former}
