"""Values of a provider's schema: as initial form values, and as stored values on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from providers.dashboard.schema_fields import LIST_KINDS, FieldKind, FieldSpec, label_of

MIN_FOLDED = 3  # fewer default values than this are not worth folding


@dataclass(frozen=True, slots=True)
class StoredValue:
    """One stored value of a schema, for a page."""

    name: str
    label: str
    value: Any
    is_default: bool


def stored_values(model: type[BaseModel] | None, values: Mapping[str, Any]) -> list[StoredValue]:
    """Return the stored values in the order and with the labels of the schema, then those that it does not know."""
    fields = model.model_fields if model else {}
    known = [
        StoredValue(name, label_of(name, info), values[name], values[name] == to_jsonable_python(default_of(info)))
        for name, info in fields.items()
        if name in values
    ]
    unknown = [
        StoredValue(name, label_of(name), value, is_default=False)
        for name, value in values.items()
        if name not in fields
    ]
    return known + unknown


def foldable(values: Sequence[StoredValue]) -> list[StoredValue]:
    """Return the default values that a page can fold away; none if there are only a few."""
    defaults = [value for value in values if value.is_default]
    return defaults if len(defaults) >= MIN_FOLDED else []


def default_of(info: FieldInfo) -> Any:
    """Return the default of a schema's field; None for a required one."""
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def initial_value(spec: FieldSpec, value: Any) -> Any:
    """Return a stored value in the form that its control shows."""
    if value is None:
        return [] if spec.kind in LIST_KINDS else None
    if spec.kind is FieldKind.ROWS:
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    if spec.kind in (FieldKind.CHECKBOXES, FieldKind.LINES):
        return [input_text(item) for item in value]
    if spec.kind is FieldKind.SWITCH:
        return value
    if spec.kind is FieldKind.JSON:
        return value or None  # an empty object is shown as an empty field
    return input_text(value)


def input_text(value: Any) -> str:
    """Return a single value as the text of an input."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
