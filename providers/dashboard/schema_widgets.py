"""Django form fields and widgets for the controls that schemas need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.datastructures import MultiValueDict
from pydantic.fields import FieldInfo

from providers.dashboard.schema_fields import FieldKind, FieldSpec


class ListWidget(forms.Widget):
    """Reads ticked checkboxes, and further values, one per line, from the textarea beside them."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        """Return the ticked values in page order, then the typed ones. Blank lines and repetitions are dropped."""
        ticked = data.getlist(name) if isinstance(data, MultiValueDict) else list(data.get(name, ()))
        typed = str(data.get(f"{name}.lines", "")).splitlines()
        return list(dict.fromkeys([*ticked, *(line.strip() for line in typed if line.strip())]))


class RowsWidget(forms.Widget):
    """Reads a table whose cells are named `<field>.<column>`."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = columns

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, str]]:
        """Return one object per row, without empty cells. Empty rows are dropped."""
        cells = [data.getlist(f"{name}.{column}") for column in self.columns]
        rows = [
            {column: value.strip() for column, value in zip(self.columns, row, strict=True) if value.strip()}
            for row in zip(*cells, strict=False)
        ]
        return [row for row in rows if row]


class PlainField(forms.Field):
    """A field whose value is what its widget read, unchanged."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare by value; an empty list equals None."""
        return (initial or []) != (data or [])


class JSONObjectField(forms.CharField):
    """A JSON value, typed as text."""

    def prepare_value(self, value: Any) -> Any:
        """Return the value as indented text."""
        return value if isinstance(value, str) or value is None else json.dumps(value, indent=2)

    def clean(self, value: Any) -> Any:
        """Return the parsed value. Raises ValidationError when the text is not JSON."""
        text = super().clean(value)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}.") from None


def form_field(spec: FieldSpec, info: FieldInfo) -> forms.Field:
    """Return the form field of a schema's field. It is never required: only the schema validates."""
    label, help_text = info.title or "", info.description or ""
    attrs = {"placeholder": spec.placeholder} if spec.placeholder else {}
    match spec.kind:
        case FieldKind.SWITCH:
            return forms.BooleanField(required=False, label=label, help_text=help_text)
        case FieldKind.CHECKBOXES | FieldKind.LINES:
            return PlainField(required=False, label=label, help_text=help_text, widget=ListWidget)
        case FieldKind.ROWS:
            widget = RowsWidget([name for name, _ in spec.columns])
            return PlainField(required=False, label=label, help_text=help_text, widget=widget)
        case FieldKind.JSON:
            return JSONObjectField(required=False, label=label, help_text=help_text, widget=forms.Textarea)
        case FieldKind.SECRET:
            password = forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})
            return forms.CharField(required=False, label=label, help_text=help_text, widget=password)
        case _:
            return forms.CharField(required=False, label=label, help_text=help_text, widget=forms.TextInput(attrs))
