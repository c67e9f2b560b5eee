"""Serializer fields of subscriptions: silence rules and allowed networks."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from providers.rest.fields import (
    StrictCharField,
    StrictIntegerField,
)
from subscriptions.lifecycle import ip_allowlist
from subscriptions.lifecycle import quiet_hours as quiet

QUIET_HELP = "Seconds without an event after which it counts as silent; null: not checked."


class QuietAfterField(StrictIntegerField):
    """The longest expected time without an event, in seconds."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            allow_null=True,
            min_value=quiet.MIN_QUIET_SECONDS,
            max_value=quiet.MAX_QUIET_SECONDS,
            help_text=QUIET_HELP,
        )


@extend_schema_field(
    {
        "type": ["object", "null"],
        "description": "Hours that `quiet_after` does not count: daily hours, past midnight if `until` is earlier, and "
        "weekends, in local time of the time zone.",
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
        """Return the quiet hours as they are stored."""
        try:
            return quiet.parse_quiet_hours(data).as_json()
        except quiet.InvalidQuietHours as error:
            raise serializers.ValidationError(str(error), code="invalid") from None


NETWORKS_HELP = (
    "Networks such as 192.0.2.0/24 or fd00::/8, or single addresses. Requests from other addresses are answered 401 "
    "and stored as `rejected`. An empty list accepts requests from any address."
)


class NetworkField(StrictCharField):
    """A network or a single address."""

    def to_internal_value(self, data: Any) -> str:
        """Return the network in canonical notation."""
        try:
            return str(ip_allowlist.parse_network(super().to_internal_value(data)))
        except ip_allowlist.InvalidNetwork as error:
            raise serializers.ValidationError(str(error), code="invalid") from None


class AllowedNetworksField(serializers.ListField):
    """The networks from which requests are accepted."""

    def __init__(self) -> None:
        super().__init__(
            child=NetworkField(max_length=ip_allowlist.MAX_NETWORK_LENGTH),
            max_length=ip_allowlist.MAX_NETWORKS,
            required=False,
            help_text=NETWORKS_HELP,
        )
