"""Serializers of secrets and their rotation."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from providers.contract.capabilities import Proof
from providers.rest.fields import (
    StrictBooleanField,
    StrictCharField,
    TimeField,
)
from providers.rest.serializers import StrictSerializer
from subscriptions.models import (
    Rotation,
)


class RotationSerializer(serializers.Serializer[Rotation]):
    """A secret rotation that is under way."""

    asked_at = TimeField()
    set_at = TimeField(
        allow_null=True, help_text="Since when the provider has had the new secret, if Hookkeeper sends it there."
    )
    seen = serializers.BooleanField(help_text="Whether a request was authenticated with the new secret.")
    old_accepted = serializers.BooleanField(help_text="False: the old secret was revoked.")


class EnterSecretSerializer(StrictSerializer):
    """The secret, as the provider showed it."""

    value = StrictCharField(max_length=1000, help_text="Only shown to tokens with the scope `secrets:read`.")


class RotateSecretSerializer(StrictSerializer):
    """What happens to the old secret."""

    revoke = StrictBooleanField(
        default=False,
        help_text="Refuse the old secret at once, or, if the provider creates it, as soon as the new one exists."
        " Otherwise it is accepted until a request is authenticated with the new one.",
    )


class SecretSerializer(serializers.Serializer[Any]):
    """How requests are authenticated. For `header`, sending `header: value` as given is accepted."""

    kind = serializers.ChoiceField(choices=[item.value for item in Proof])
    header = serializers.CharField(allow_null=True)
    value = serializers.CharField(allow_null=True)
