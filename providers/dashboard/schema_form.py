"""Forms whose fields come from a provider's schema, with the labels, help and examples that the API uses.

The Django fields only hold the entered values. Only the schema validates them
(`providers.contract.schemas.validate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from pydantic import BaseModel

from providers.contract.capabilities import EventType
from providers.contract.errors import InvalidInput
from providers.dashboard.form_version import VersionedForm
from providers.dashboard.schema_fields import LIST_KINDS, FieldKind, FieldSpec, field_spec
from providers.dashboard.schema_values import default_of, initial_value, input_text
from providers.dashboard.schema_widgets import form_field

SPARE_ROWS = 1  # empty rows at the end of a table of rows
MAX_QUOTED_LENGTH = 80  # of an element that an error message quotes


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field ready for the page. `provider_error` is the provider's error about its current value."""

    name: str
    bound: forms.BoundField
    spec: FieldSpec
    errors: tuple[str, ...]
    provider_error: str = ""
    stored: bool = False  # a secret that is stored already
    changed: bool = False  # differs from the schema's default

    @property
    def advanced(self) -> bool:
        """Whether it is shown below "More settings"."""
        return self.spec.advanced and not self.stored

    @property
    def value(self) -> Any:
        """The current value: typed text, or a list."""
        return self.bound.value()

    @property
    def chosen(self) -> list[str]:
        """The items of a list."""
        return [str(item) for item in self.value or ()]

    @property
    def lines(self) -> str:
        """A list, one item per line."""
        return "\n".join(self.chosen)

    @property
    def blank(self) -> bool:
        """Whether a select needs an empty entry besides its options."""
        return "" not in self.spec.option_values and (self.spec.optional or not self.value)

    @property
    def others(self) -> str:
        """The items of a list that have no checkbox, one per line."""
        known = self.spec.option_values
        return "\n".join(item for item in self.chosen if item not in known)

    @property
    def rows(self) -> list[list[tuple[str, str, str]]]:
        """Name, label and value of each cell of each row, with spare rows at the end."""
        filled: list[Mapping[str, Any]] = [*(self.value or ()), *[{}] * SPARE_ROWS]
        return [[(name, label, input_text(row.get(name))) for name, label in self.spec.columns] for row in filled]


@dataclass(frozen=True, slots=True)
class ShownSchema:
    """The fields of one schema."""

    fields: tuple[ShownField, ...]

    @property
    def advanced(self) -> bool:
        """Whether there are any advanced fields."""
        return any(field.advanced for field in self.fields)

    @property
    def advanced_open(self) -> bool:
        """Whether "More settings" starts unfolded: one of its fields has an error or is not at its default."""
        return any(field.advanced and (field.errors or field.provider_error or field.changed) for field in self.fields)


class SchemaForm(VersionedForm):
    """A form whose fields come from one or more schemas, each under a prefix such as `settings.`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.specs: dict[str, FieldSpec] = {}
        self.provider_errors: dict[str, str] = {}
        self.stored: set[str] = set()
        self.defaults: dict[str, Any] = {}

    def add_schema(
        self,
        prefix: str,
        model: type[BaseModel],
        *,
        values: Mapping[str, Any] | None = None,
        event_types: Sequence[EventType] = (),
        secret: bool = False,
    ) -> None:
        """Add the fields of a schema. Values of a `secret` schema are never shown, only whether they are stored."""
        for name, info in model.model_fields.items():
            key = prefix + name
            spec = field_spec(name, info, event_types, secret=secret)
            self.specs[key] = spec
            self.fields[key] = form_field(spec, info)
            self.defaults[key] = initial_value(spec, default_of(info))
            if secret:
                if (values or {}).get(name) not in (None, ""):
                    self.stored.add(key)
                continue
            self.initial[key] = initial_value(spec, (values or {}).get(name, default_of(info)))

    def values(self, prefix: str) -> dict[str, Any]:
        """Return the entered values of a schema.

        Empty fields are left out, so that the schema's defaults apply. An emptied field whose default is not empty is
        sent as empty, if the schema allows that.
        """
        entered: dict[str, Any] = {}
        for key, spec in self.specs.items():
            if not key.startswith(prefix):
                continue
            value = self.cleaned_data.get(key)
            if value not in (None, "", [], ()):
                entered[key.removeprefix(prefix)] = self._in_stored_order(key, value)
            elif spec.may_be_empty or (self.defaults[key] and spec.kind in LIST_KINDS):
                entered[key.removeprefix(prefix)] = []
            elif value == "" and spec.kind is FieldKind.CHOICE and "" in spec.option_values:
                entered[key.removeprefix(prefix)] = ""
            elif self.defaults[key] and spec.optional:
                entered[key.removeprefix(prefix)] = None
        return entered

    def _in_stored_order(self, key: str, value: Any) -> Any:
        """Return the stored list if the same boxes are ticked, because their order on the page is not a change."""
        before = self.initial.get(key)
        ticked = self.specs[key].kind is FieldKind.CHECKBOXES
        return before if ticked and before and sorted(before) == sorted(value) else value

    def add_schema_errors(self, prefix: str, error: InvalidInput) -> None:
        """Add each of the schema's errors to the field that it is about."""
        for item in error.errors:
            key, message = self.locate(prefix, item.field, item.message)
            self.add_error(key, sentence(message))

    def locate(self, prefix: str, path: str, message: str) -> tuple[str | None, str]:
        """Return the field that a dotted path such as `paths.3` belongs to, and the message with the element named.

        The field is None for an error of the whole form.
        """
        name, _, rest = path.partition(".")
        key = prefix + name
        if key not in self.specs:
            return None, f"{path}: {message}" if path else message
        index, _, column = rest.partition(".")
        if not index.isdigit():
            return key, f"{rest}: {message}" if rest else message
        element = f"Entry {int(index) + 1}"
        value = self.cleaned_data.get(key) if hasattr(self, "cleaned_data") else self.initial.get(key)
        if isinstance(value, list) and int(index) < len(value) and isinstance(value[int(index)], str):
            element += f" ({value[int(index)][:MAX_QUOTED_LENGTH]})"
        return key, f"{element}{f', {column}' if column else ''}: {message}"

    def shown(self, prefix: str) -> ShownSchema:
        """Return the fields of one schema, for the page."""
        return ShownSchema(tuple(self._shown_field(key) for key in self.specs if key.startswith(prefix)))

    def _shown_field(self, key: str) -> ShownField:
        return ShownField(
            name=key,
            bound=self[key],
            spec=self.specs[key],
            errors=tuple(str(error) for error in self.errors.get(key, ())) if self.is_bound else (),
            provider_error=self.provider_errors.get(key, ""),
            stored=key in self.stored,
            changed=(self[key].value() or None) != (self.defaults[key] or None),
        )


def sentence(message: str) -> str:
    """Return an error as a sentence. Schemas write it in lower case, because in the API it follows the field's name."""
    return message if not message else message[0].upper() + message[1:] + ("" if message[-1] in ".!?" else ".")
