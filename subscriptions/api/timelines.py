"""The serializer and the filters of timelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework import serializers

from providers.filters import Filter, FilterSet
from providers.rest.fields import AnyJSONField, TimeField
from subscriptions import timeline


class RecordedChangeSerializer(serializers.Serializer[Any]):
    """One field that was changed. Secrets are shown as `***`."""

    field = serializers.CharField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields, including `from` and `to`."""
        # `from` is a keyword of Python, so it cannot be an attribute.
        return {**super().get_fields(), "from": AnyJSONField(), "to": AnyJSONField()}


class EntrySerializer(serializers.Serializer[timeline.Entry]):
    """One entry of a timeline."""

    id = serializers.UUIDField(source="key")
    at = TimeField()
    kind = serializers.CharField(help_text="`operation`, `state`, `action`, `secret`, and others that may be added.")
    what = serializers.CharField(source="title", help_text="A short title.")
    why = serializers.CharField(source="reason", help_text="The reason in a sentence, or empty.")
    actor = serializers.CharField(help_text="`staff:<user>`, `api:<token>`, `command:<name>`, `demo` or `clock`.")
    status = serializers.CharField(allow_null=True, help_text="The operation's result, or the new state.")
    changes = RecordedChangeSerializer(many=True)
    operation = serializers.UUIDField(source="operation.uid", allow_null=True, default=None)
    subscription = serializers.UUIDField(allow_null=True, help_text="Null for entries about the account itself.")
    times = serializers.IntegerField(
        help_text="How often it happened: a change that repeats within an hour is counted here."
    )
    last_at = TimeField(allow_null=True, help_text="When it last happened, if more than once.")


def _read_kind(text: str) -> str:
    kinds = timeline.kinds()
    if text not in kinds:
        raise ValidationError(f"The kinds are {', '.join(kinds)}.", code="invalid_choice")
    return text


def _kind_schema() -> Mapping[str, Any]:
    """Return the schema of a kind; the kinds are known once all apps are ready."""
    return {"type": "string", "enum": list(timeline.kinds())}


TIMELINE_FILTERS = FilterSet(
    Filter(
        name="kind",
        narrow=lambda rows, kinds: replace(rows, only=frozenset(kinds)),
        read=_read_kind,
        schema=_kind_schema,
        help_text="Only entries of these kinds.",
    )
)
