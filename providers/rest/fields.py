"""Serializer fields that the whole API shares."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from providers.contract.registry import UnknownProvider, get_provider
from providers.times import iso_time


class TimeField(serializers.DateTimeField):
    """A time in an answer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"read_only": True, **kwargs})

    def to_representation(self, value: Any) -> str:
        """Return the time as `iso_time` writes it."""
        return iso_time(value)


class ObjectField(serializers.DictField):
    """A JSON object whose shape the provider's schema decides. `part` says which of its schemas: settings,
    credentials or config."""

    def __init__(self, *, part: str, **kwargs: Any) -> None:
        self.part = part
        super().__init__(**kwargs)


@extend_schema_field({})
class AnyJSONField(serializers.JSONField):
    """Whatever JSON there is, null included."""


class ProviderField(serializers.CharField):
    """The slug of a provider that exists."""

    def to_internal_value(self, data: Any) -> str:
        """The slug itself."""
        slug: str = super().to_internal_value(data)
        try:
            get_provider(slug)
        except UnknownProvider as error:
            raise serializers.ValidationError(str(error.args[0]), code="invalid_choice") from None
        return slug


class StrictBooleanField(serializers.BooleanField):
    """true or false, and nothing that looks like them."""

    def to_internal_value(self, data: Any) -> bool:
        """The value itself."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictIntegerField(serializers.IntegerField):
    """A JSON number without a fraction; texts and booleans are not taken for one."""

    def to_internal_value(self, data: Any) -> int:
        """The number itself."""
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        number: int = super().to_internal_value(data)
        return number


class StrictCharField(serializers.CharField):
    """A JSON string; numbers are not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        """The text, trimmed."""
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text
