"""The endpoint /address/: whether PUBLIC_URL is confirmed as this installation's address, and confirming it."""

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


class FormerAddressSerializer(serializers.Serializer[Any]):
    """An address with which subscriptions are still registered."""

    address = serializers.CharField()
    subscriptions = serializers.IntegerField(source="count")


class AddressSerializer(serializers.Serializer[Any]):
    """The address of this installation, and the other ones that subscriptions are registered with."""

    public_url = serializers.CharField()
    confirmed = serializers.BooleanField(
        help_text="False: subscriptions with another address are not changed at the providers."
    )
    elsewhere = FormerAddressSerializer(many=True)


class ConfirmAddressSerializer(StrictSerializer):
    """The address to confirm. It must be this installation's PUBLIC_URL."""

    public_url = StrictCharField(max_length=500)

    def validate_public_url(self, value: str) -> str:
        """Accept only this installation's PUBLIC_URL, so that the wrong installation is not confirmed by mistake."""
        if value.rstrip("/") != settings.PUBLIC_URL:
            raise serializers.ValidationError(
                f"PUBLIC_URL of this installation is {settings.PUBLIC_URL}.", code="other_address"
            )
        return value


class ConfirmedAddressSerializer(AddressSerializer):
    """The address after it was confirmed."""

    moved = serializers.IntegerField(
        help_text="Subscriptions whose callback URL has moved; it is changed at the providers."
    )


@extend_schema(tags=["subscriptions"])
class AddressViewSet(ApiViewSet):
    """The address of this installation."""

    scope: ClassVar[str | None] = "subscriptions"

    @extend_schema(operation_id="address_read", responses=AddressSerializer)
    def address(self, request: Request) -> Response:
        """Return whether PUBLIC_URL is the address that the subscriptions were registered with.

        If not, this installation has moved, or is a copy of another one.
        """
        return Response(AddressSerializer(_address_status()).data)

    @extend_schema(
        operation_id="address_confirm", request=ConfirmAddressSerializer, responses=ConfirmedAddressSerializer
    )
    def confirm(self, request: Request) -> Response:
        """Confirm that this installation has moved to PUBLIC_URL for good.

        Every callback URL is changed, at the providers too. Never do this in a copy while the original runs: the
        original would lose its subscriptions.
        """
        moved = address.confirm(str(self.body(ConfirmAddressSerializer)["public_url"]), by=self.by)
        return Response(ConfirmedAddressSerializer({**_address_status(), "moved": moved}).data)


def _address_status() -> dict[str, Any]:
    former = address.former_addresses()
    return {"public_url": settings.PUBLIC_URL, "confirmed": not former, "elsewhere": former}
