"""Form fields from a provider's schema: labels, help and examples come from the declaration that the API uses.

Django's fields only carry what was typed; whether it is right, the schema alone decides
(`providers.contract.schemas.validate`).
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from django import forms
from django.core.exceptions import ValidationError
from django.utils.datastructures import MultiValueDict
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from providers.contract.capabilities import EventType
from providers.contract.errors import InvalidInput
from providers.contract.schemas import AccountSettings

LISTS = (tuple, list, set, frozenset)
SPARE_ROWS = 1  # empty rows that a table of rows offers
WORTH_FOLDING = 3
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Kind(StrEnum):
    """How a field is shown."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105 - a kind of field
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"
    LINES = "lines"  # a list, one per line
    CHECKBOXES = "checkboxes"  # a list of known words, in groups
    ROWS = "rows"  # a list of small objects
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Option:
    """One checkbox or one entry of a select."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Options below one heading."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{placeholders}` that a field can be filled in from. `doubt` says what is not certain about it."""

    template: str
    label: str
    doubt: str = ""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names within braces, each once."""
        return tuple(dict.fromkeys(_PLACEHOLDER.findall(self.template)))


YES_OR_NO = Group("", (Option("true", "Yes"), Option("false", "No")))


@dataclass(frozen=True, slots=True)
class Look:
    """How one field of a schema is to be shown."""

    kind: Kind
    required: bool = False
    optional: bool = False  # may be left out altogether
    unconfirmed: bool = False
    aside: bool = False  # few people touch it
    groups: tuple[Group, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()  # of rows: name and label
    placeholder: str = ""
    templates: tuple[Template, ...] = ()

    def offers(self, word: str) -> bool:
        """Whether the word can be picked."""
        return any(option.value == word for group in self.groups for option in group.options)


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field ready for the page. `refusal` is what the provider said about its present value."""

    name: str
    bound: forms.BoundField
    look: Look
    errors: tuple[str, ...]
    refusal: str = ""
    stored: bool = False  # a secret that is there already
    changed: bool = False  # not as the schema proposes

    @property
    def aside(self) -> bool:
        """Whether it stands among the settings that few people touch."""
        return self.look.aside and not self.stored

    @property
    def value(self) -> Any:
        """What stands in it: typed text, or for lists the list."""
        return self.bound.value()

    @property
    def chosen(self) -> list[str]:
        """The ticked words of a list."""
        return [str(item) for item in self.value or ()]

    @property
    def lines(self) -> str:
        """A list, one word per line."""
        return "\n".join(self.chosen)

    @property
    def known(self) -> set[str]:
        """The words that can be picked."""
        return {option.value for group in self.look.groups for option in group.options}

    @property
    def blank(self) -> bool:
        """Whether a select needs an entry for nothing beside its words."""
        return not self.look.offers("") and (self.look.optional or not self.value)

    @property
    def others(self) -> str:
        """The words of a list that have no checkbox, one per line."""
        known = self.known
        return "\n".join(word for word in self.chosen if word not in known)

    @property
    def rows(self) -> list[list[tuple[str, str, str]]]:
        """For a table of rows: name, label and value of each cell, with spare rows at the end."""
        filled: list[Mapping[str, Any]] = [*(self.value or ()), *[{}] * SPARE_ROWS]
        return [[(name, label, _as_text(row.get(name))) for name, label in self.look.columns] for row in filled]


@dataclass(frozen=True, slots=True)
class ShownSchema:
    """The fields of one schema. Those aside are shown at once only when something is the matter with one of them."""

    fields: tuple[ShownField, ...]

    @property
    def aside(self) -> bool:
        """Whether there are any aside."""
        return any(field.aside for field in self.fields)

    @property
    def aside_open(self) -> bool:
        """Whether one of them needs to be seen."""
        return any(field.aside and (field.errors or field.refusal or field.changed) for field in self.fields)


class ListWidget(forms.Widget):
    """Reads ticked boxes and, from a text beside them, further words one per line."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        """Words in the order of the page, then the typed ones; blank lines count for nothing."""
        ticked = data.getlist(name) if isinstance(data, MultiValueDict) else list(data.get(name, ()))
        typed = str(data.get(f"{name}.lines", "")).splitlines()
        return list(dict.fromkeys([*ticked, *(line.strip() for line in typed if line.strip())]))


class RowsWidget(forms.Widget):
    """Reads a table whose cells are named `<field>.<column>`."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = columns

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, str]]:
        """One object a row, without its empty cells; empty rows count for nothing."""
        cells = [data.getlist(f"{name}.{column}") for column in self.columns]
        rows = [
            {column: value.strip() for column, value in zip(self.columns, row, strict=True) if value.strip()}
            for row in zip(*cells, strict=False)
        ]
        return [row for row in rows if row]


class PlainField(forms.Field):
    """Hands over what its widget read."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compared by value."""
        return (initial or []) != (data or [])


class JSONObjectField(forms.CharField):
    """A JSON value, typed as text."""

    def prepare_value(self, value: Any) -> Any:
        """As text that a person can edit."""
        return value if isinstance(value, str) or value is None else json.dumps(value, indent=2)

    def clean(self, value: Any) -> Any:
        """The parsed value. Raises ValidationError when it is no JSON."""
        text = super().clean(value)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}.") from None


class SchemaForm(forms.Form):
    """A form whose fields come from one or more schemas, each under a prefix such as `settings.`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.looks: dict[str, Look] = {}
        self.refusals: dict[str, str] = {}
        self.stored: set[str] = set()
        self.usual: dict[str, Any] = {}  # what the schema proposes

    def add_schema(
        self,
        prefix: str,
        model: type[BaseModel],
        *,
        values: Mapping[str, Any] | None = None,
        event_types: Sequence[EventType] = (),
        secret: bool = False,
    ) -> None:
        """Adds the fields of a schema. Of a `secret` one, values are never shown, only that they are there."""
        for name, info in model.model_fields.items():
            key = prefix + name
            look = look_of(name, info, event_types, secret=secret)
            self.looks[key] = look
            self.fields[key] = _form_field(look, info)
            self.usual[key] = _initial(look, _default(info))
            if secret:
                if (values or {}).get(name) not in (None, ""):
                    self.stored.add(key)
                continue
            self.initial[key] = _initial(look, (values or {}).get(name, _default(info)))

    def values(self, prefix: str) -> dict[str, Any]:
        """What was entered for a schema. Empty fields are left out, so that its defaults apply; but where it proposes
        something and allows nothing, an emptied field means nothing."""
        found: dict[str, Any] = {}
        for key, look in self.looks.items():
            if not key.startswith(prefix):
                continue
            value = self.cleaned_data.get(key)
            if value not in (None, "", [], ()):
                found[key.removeprefix(prefix)] = self._in_stored_order(key, value)
            elif self.usual[key] and look.kind in (Kind.LINES, Kind.CHECKBOXES, Kind.ROWS):
                found[key.removeprefix(prefix)] = []
            elif value == "" and look.kind is Kind.CHOICE and look.offers(""):
                found[key.removeprefix(prefix)] = ""
            elif self.usual[key] and look.optional:
                found[key.removeprefix(prefix)] = None
        return found

    def _in_stored_order(self, key: str, value: Any) -> Any:
        """Boxes are sent in the order of the page; the same words as before are no change."""
        before = self.initial.get(key)
        ticked = self.looks[key].kind is Kind.CHECKBOXES
        return before if ticked and before and sorted(before) == sorted(value) else value

    def note(self, prefix: str, error: InvalidInput) -> None:
        """Shows each complaint at the field that it is about."""
        for item in error.errors:
            key, message = self.place(prefix, item.field, item.message)
            self.add_error(key, sentence(message))

    def place(self, prefix: str, path: str, message: str) -> tuple[str | None, str]:
        """The field that a dotted path such as `paths.3` belongs to (None: the whole form), and the message with the
        element named."""
        name, _, rest = path.partition(".")
        key = prefix + name
        if key not in self.looks:
            return None, f"{path}: {message}" if path else message
        index, _, column = rest.partition(".")
        if not index.isdigit():
            return key, f"{rest}: {message}" if rest else message
        words = f"Entry {int(index) + 1}"
        value = self.cleaned_data.get(key) if hasattr(self, "cleaned_data") else self.initial.get(key)
        if isinstance(value, list) and int(index) < len(value) and isinstance(value[int(index)], str):
            words += f" ({value[int(index)][:80]})"
        return key, f"{words}{f', {column}' if column else ''}: {message}"

    def shown(self, prefix: str) -> ShownSchema:
        """The fields of one schema, for the page."""
        return ShownSchema(tuple(self._shown_field(key) for key in self.looks if key.startswith(prefix)))

    def _shown_field(self, key: str) -> ShownField:
        return ShownField(
            name=key,
            bound=self[key],
            look=self.looks[key],
            errors=tuple(str(error) for error in self.errors.get(key, ())) if self.is_bound else (),
            refusal=self.refusals.get(key, ""),
            stored=key in self.stored,
            changed=(self[key].value() or None) != (self.usual[key] or None),
        )


def sentence(message: str) -> str:
    """A complaint as it stands on a page; in the API it follows the field's name."""
    return message if not message else message[0].upper() + message[1:] + ("" if message[-1] in ".!?" else ".")


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored value of a schema, for a page."""

    name: str
    label: str
    value: Any
    usual: bool  # what the schema proposes, so that hardly anybody needs to see it


def entries(model: type[BaseModel] | None, values: Mapping[str, Any]) -> list[Entry]:
    """What is stored, in the order and with the labels of the schema; then what it does not know (any more)."""
    fields = model.model_fields if model else {}
    known = [
        Entry(name, info.title or _spoken(name), values[name], values[name] == to_jsonable_python(_default(info)))
        for name, info in fields.items()
        if name in values
    ]
    unknown = [Entry(name, _spoken(name), value, usual=False) for name, value in values.items() if name not in fields]
    return known + unknown


def look_of(name: str, info: FieldInfo, event_types: Sequence[EventType], *, secret: bool) -> Look:
    """How a field of a schema is shown."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    core, optional = _core(info.annotation)
    shape = _shape(core, optional, event_types if _lists_events(name, extra) else (), event_types)
    return Look(
        kind=Kind.SECRET if secret else shape.kind,
        required=info.is_required(),
        optional=optional,
        unconfirmed=bool(extra.get("unconfirmed")),
        aside=not secret and _rarely_touched(name, extra),
        groups=shape.groups,
        columns=shape.columns,
        # The example of a secret looks like one; shown in an empty field it would pass for the stored value.
        placeholder="" if secret else _placeholder(shape.kind, info),
        templates=_templates(extra) if shape.kind is Kind.TEXT and not secret else (),
    )


def usual_ones(found: Sequence[Entry]) -> list[Entry]:
    """Those that a page can fold away; a few are not worth it."""
    usual = [entry for entry in found if entry.usual]
    return usual if len(usual) >= WORTH_FOLDING else []


def _rarely_touched(name: str, extra: Mapping[str, Any]) -> bool:
    return bool(extra.get("unconfirmed") or extra.get("aside")) or name in AccountSettings.model_fields


@dataclass(frozen=True, slots=True)
class _Shape:
    kind: Kind
    groups: tuple[Group, ...] = ()
    columns: tuple[tuple[str, str], ...] = field(default=())


def _lists_events(name: str, extra: Mapping[str, Any]) -> bool:
    return name == "event_types" or bool(extra.get("event_types"))


def _templates(extra: Mapping[str, Any]) -> tuple[Template, ...]:
    return tuple(
        Template(item["template"], item.get("label") or item["template"], item.get("doubt", ""))
        for item in extra.get("templates", ())
    )


def _shape(core: Any, optional: bool, listed: Sequence[EventType], event_types: Sequence[EventType]) -> _Shape:
    if get_origin(core) in LISTS or core in LISTS:
        return _list_shape(core, listed, event_types)
    if core is bool:
        return _Shape(Kind.CHOICE, (YES_OR_NO,)) if optional else _Shape(Kind.SWITCH)
    words = _words(core)
    if words:
        return _Shape(Kind.CHOICE, (Group("", words),))
    if listed and core is str:
        return _Shape(Kind.CHOICE, _groups_of(listed))
    if core in (int, float):
        return _Shape(Kind.NUMBER)
    return _Shape(Kind.TEXT if core is str else Kind.JSON)


def _list_shape(core: Any, listed: Sequence[EventType], event_types: Sequence[EventType]) -> _Shape:
    element, _ = _core((get_args(core) or (str,))[0])
    if isinstance(element, type) and issubclass(element, BaseModel):
        columns = tuple((name, info.title or _spoken(name)) for name, info in element.model_fields.items())
        return _Shape(Kind.ROWS, _groups_of(event_types), columns)
    words = _words(element)
    if words:
        return _Shape(Kind.CHECKBOXES, (Group("", words),))
    return _Shape(Kind.CHECKBOXES, _groups_of(listed)) if listed else _Shape(Kind.LINES)


def _core(annotation: Any) -> tuple[Any, bool]:
    """The type behind Annotated and `| None`, and whether None is allowed."""
    if get_origin(annotation) is Annotated:
        return _core(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _core(members[0])[0], len(get_args(annotation)) > 1
    return annotation, False


def _words(core: Any) -> tuple[Option, ...]:
    if get_origin(core) is Literal:
        return tuple(Option(str(value), str(value) or "none") for value in get_args(core))
    if isinstance(core, type) and issubclass(core, Enum):
        return tuple(Option(str(item.value), _spoken(str(item.value))) for item in core)
    return ()


def _groups_of(event_types: Sequence[EventType]) -> tuple[Group, ...]:
    titles = dict.fromkeys(item.group for item in event_types)
    return tuple(
        Group(title, tuple(Option(item.name, item.label) for item in event_types if item.group == title))
        for title in titles
    )


def _form_field(look: Look, info: FieldInfo) -> forms.Field:
    label, help_text = info.title or "", info.description or ""
    attrs = {"placeholder": look.placeholder} if look.placeholder else {}
    match look.kind:
        case Kind.SWITCH:
            return forms.BooleanField(required=False, label=label, help_text=help_text)
        case Kind.CHECKBOXES | Kind.LINES:
            return PlainField(required=False, label=label, help_text=help_text, widget=ListWidget)
        case Kind.ROWS:
            widget = RowsWidget([name for name, _ in look.columns])
            return PlainField(required=False, label=label, help_text=help_text, widget=widget)
        case Kind.JSON:
            return JSONObjectField(required=False, label=label, help_text=help_text, widget=forms.Textarea)
        case Kind.SECRET:
            password = forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})
            return forms.CharField(required=False, label=label, help_text=help_text, widget=password)
        case _:
            return forms.CharField(required=False, label=label, help_text=help_text, widget=forms.TextInput(attrs))


def _placeholder(kind: Kind, info: FieldInfo) -> str:
    example = next(iter(info.examples or ()), None)
    if example is None or kind in (Kind.SWITCH, Kind.CHOICE, Kind.CHECKBOXES, Kind.ROWS):
        return ""
    if kind is Kind.LINES:
        return "\n".join(str(item) for item in example) if isinstance(example, list | tuple) else str(example)
    return json.dumps(example) if kind is Kind.JSON else str(example)


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _initial(look: Look, value: Any) -> Any:
    if value is None:
        return [] if look.kind in (Kind.CHECKBOXES, Kind.LINES, Kind.ROWS) else None
    if look.kind is Kind.ROWS:
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    if look.kind in (Kind.CHECKBOXES, Kind.LINES):
        return [_as_text(item) for item in value]
    if look.kind is Kind.SWITCH:
        return value
    if look.kind is Kind.JSON:
        return value or None  # an empty field stands for an empty object as well
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()
