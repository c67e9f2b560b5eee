"""Serializer fields for all resources of the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from providers.contract.registry import UnknownProvider, get_provider
from providers.names import validate_name
from providers.times import iso_time


class TimeField(serializers.DateTimeField):
    """A time in a response."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"read_only": True, **kwargs})

    def to_representation(self, value: Any) -> str:
        """Return the time as `iso_time` writes it."""
        return iso_time(value)


class ObjectField(serializers.DictField):
    """A JSON object that a provider's schema describes.

    `part` names the schema: settings, credentials or config.
    """

    def __init__(self, *, part: str, **kwargs: Any) -> None:
        self.part = part
        super().__init__(**kwargs)


@extend_schema_field({})
class AnyJSONField(serializers.JSONField):
    """Any JSON value, including null."""


class ProviderField(serializers.CharField):
    """The slug of an installed provider."""

    def to_internal_value(self, data: Any) -> str:
        """Return the slug."""
        slug: str = super().to_internal_value(data)
        try:
            get_provider(slug)
        except UnknownProvider as error:
            raise serializers.ValidationError(str(error.args[0]), code="invalid_choice") from None
        return slug


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean; texts and numbers are errors."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the boolean."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer; texts and booleans are errors."""

    def to_internal_value(self, data: Any) -> int:
        """Return the integer."""
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        number: int = super().to_internal_value(data)
        return number


class StrictCharField(serializers.CharField):
    """A JSON string; numbers are errors."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text without surrounding white space."""
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


class NameField(StrictCharField):
    """A name that a person gives to something."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 200, **kwargs})
        self.validators.append(validate_name)
