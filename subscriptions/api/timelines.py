"""The timeline in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from rest_framework import serializers

from providers.rest.fields import AnyJSONField, TimeField
from providers.rest.filters import Filters, Many
from subscriptions import timeline


class RecordedChangeSerializer(serializers.Serializer[Any]):
    """One field that was changed; secrets stand as `***`."""

    field = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """With `from` and `to`."""
        # `from` is a word of Python's, so it cannot be an attribute.
        return {**super().get_fields(), "from": AnyJSONField(), "to": AnyJSONField()}


class EntrySerializer(serializers.Serializer[timeline.Entry]):
    """One thing that happened."""

    id = serializers.UUIDField(source="key")
    at = TimeField()
    kind = serializers.CharField(help_text="`operation`, `state`, `action`, `secret`, and others that may be added.")
    what = serializers.CharField()
    why = serializers.CharField()
    actor = serializers.CharField(help_text="`staff:<user>`, `api:<token>`, `command:<name>`, `demo` or `clock`.")
    status = serializers.CharField(allow_null=True, help_text="The operation's result, or the new state.")
    changes = RecordedChangeSerializer(many=True)
    operation = serializers.UUIDField(source="operation.uid", allow_null=True, default=None)
    subscription = serializers.UUIDField(allow_null=True, help_text="Null for what is about the account itself.")
    times = serializers.IntegerField(help_text="How often: the same change again within an hour is counted here.")
    last_at = TimeField(allow_null=True, help_text="When it happened last, where it did more than once.")


class KindField(forms.Field):
    """A kind of entry that there is."""

    def clean(self, value: Any) -> str:
        """The kind itself."""
        if value not in timeline.kinds():
            raise ValidationError(f"There are {', '.join(timeline.kinds())}.", code="invalid_choice")
        return str(value)


def _one_kind() -> Mapping[str, Any]:
    """Which there are is known when all apps are ready."""
    return {"type": "string", "enum": list(timeline.kinds())}


class TimelineFilters(Filters):
    """Of a timeline."""

    kind = Many(KindField(), schema=_one_kind, help_text="Only these kinds of entry.")

    def narrow(self, rows: Any) -> Any:
        """The timeline of these kinds only."""
        return replace(rows, only=frozenset(self.chosen("kind")))
