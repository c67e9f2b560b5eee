"""Forms that notice what was saved since they were opened, for example in another tab."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.crypto import salted_hmac

CHANGED_MEANWHILE = "Other values were saved since you opened this form. Compare them; saving again replaces them."
DIGEST_LENGTH = 12


@dataclass(frozen=True, slots=True)
class FieldConflict:
    """A field that was saved with another value meanwhile."""

    label: str
    stored: str
    entered: str


class VersionedForm(forms.Form):
    """A form whose hidden field `seen` holds a digest of each stored value as it was when the form was opened.

    Subclasses set `edits_row` when they edit an existing row. The caller locks the row before it creates the form.
    """

    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    edits_row = False

    @property
    def version(self) -> str:
        """Return the value of `seen` for the values that are stored now."""
        return json.dumps(self._digests()) if self.edits_row else ""

    def is_valid(self) -> bool:
        """Return whether the form can be saved: without errors, and without values that somebody else saved."""
        valid = super().is_valid()
        if valid and self.conflicts:
            self.add_error(None, CHANGED_MEANWHILE)
            return False
        return valid

    @property
    def conflicts(self) -> list[FieldConflict]:
        """Return the fields that were saved since the form was opened, with a value other than the entered one."""
        seen = self._seen()
        changed = [name for name, digest in self._digests().items() if seen.get(name, digest) != digest]
        return [
            FieldConflict(
                label=str(self.fields[name].label or name),
                stored=_text(self.get_initial_for_field(self.fields[name], name)),
                entered=_text(self[name].data),
            )
            for name in changed
            if name in self.changed_data
        ]

    def _seen(self) -> dict[str, str]:
        try:
            seen = json.loads(self.data.get("seen", "")) if self.is_bound and self.edits_row else {}
        except ValueError:
            return {}
        return seen if isinstance(seen, dict) else {}

    def _digests(self) -> dict[str, str]:
        return {
            name: _digest(self.get_initial_for_field(field, name))
            for name, field in self.fields.items()
            if name != "seen"
        }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return salted_hmac("stored value of a form", text, algorithm="sha256").hexdigest()[:DIGEST_LENGTH]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if isinstance(value, dict):
        return " ".join(_text(item) for item in value.values())
    return "" if value is None else str(value)
