"""Serializers of request bodies that refuse unknown fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError


class StrictSerializer(serializers.Serializer[Any]):
    """A request body in which an unknown field is an error.

    `immutable` names fields that a change may contain only with their `current` values.
    """

    immutable: ClassVar[tuple[str, ...]] = ()

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values. Raises ValidationError, for unknown fields first."""
        if isinstance(data, Mapping):
            self._refuse(data)
        return super().to_internal_value(data)

    def current(self) -> Mapping[str, object]:
        """Return the current values of the immutable fields."""
        return {}

    def _refuse(self, data: Mapping[str, Any]) -> None:
        errors: dict[str, list[ErrorDetail]] = {}
        current = self.current() if self.immutable else {}
        for name in data:
            if name in self.immutable:
                if data[name] != current[name]:
                    errors[name] = [ErrorDetail("This field cannot be changed.", code="immutable")]
            elif name not in self.fields:
                errors[name] = [ErrorDetail("This field does not exist or cannot be set.", code="unknown")]
        if errors:
            raise ValidationError(errors)


class NoBodySerializer(StrictSerializer):
    """The empty body of actions without parameters."""
