"""How each field of a provider's schema is shown: its control, its options and its placeholder."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from providers.contract.capabilities import EventType
from providers.contract.schemas import AccountSettings

LIST_TYPES = (tuple, list, set, frozenset)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class FieldKind(StrEnum):
    """The control that a field is edited with."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105 - a kind of field
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"
    LINES = "lines"  # a list, one item per line
    CHECKBOXES = "checkboxes"  # a list of known values, in groups
    ROWS = "rows"  # a list of small objects
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Option:
    """One checkbox, or one entry of a select."""

    value: str
    label: str


LIST_KINDS = (FieldKind.LINES, FieldKind.CHECKBOXES, FieldKind.ROWS)


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Options below one heading."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text with `{placeholders}` that helps to fill in a field. `doubt` says what is uncertain about it."""

    template: str
    label: str
    doubt: str = ""

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The distinct names within braces."""
        return tuple(dict.fromkeys(_PLACEHOLDER.findall(self.template)))


YES_OR_NO = OptionGroup("", (Option("true", "Yes"), Option("false", "No")))


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """How one field of a schema is shown."""

    kind: FieldKind
    required: bool = False
    may_be_empty: bool = False  # a required list: none entered is sent as an empty list, which has a meaning
    optional: bool = False  # the schema allows null
    unconfirmed: bool = False
    advanced: bool = False  # shown below "More settings"
    groups: tuple[OptionGroup, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()  # name and label of each column of ROWS
    placeholder: str = ""
    templates: tuple[TextTemplate, ...] = ()

    @property
    def option_values(self) -> set[str]:
        """The values that can be picked."""
        return {option.value for group in self.groups for option in group.options}


def field_spec(name: str, info: FieldInfo, event_types: Sequence[EventType], *, secret: bool) -> FieldSpec:
    """Return how a field of a schema is shown. Fields of a `secret` schema are password inputs without examples."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    core, optional = _unwrap(info.annotation)
    shape = _shape(core, optional, event_types if _lists_events(name, extra) else (), event_types)
    has_minimum = any(getattr(item, "min_length", None) for item in info.metadata)
    may_be_empty = info.is_required() and shape.kind in LIST_KINDS and not has_minimum
    return FieldSpec(
        kind=FieldKind.SECRET if secret else shape.kind,
        required=info.is_required() and not may_be_empty,
        may_be_empty=may_be_empty,
        optional=optional,
        unconfirmed=bool(extra.get("unconfirmed")),
        advanced=not secret and _is_advanced(name, extra),
        groups=shape.groups,
        columns=shape.columns,
        # An example of a secret looks like a secret, so it would be mistaken for the stored value.
        placeholder="" if secret else _placeholder(shape.kind, info),
        templates=_templates(extra) if shape.kind is FieldKind.TEXT and not secret else (),
    )


def label_of(name: str, info: FieldInfo | None = None) -> str:
    """Return the schema's title of a field, or a label made from its name."""
    return (info and info.title) or name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class _Shape:
    kind: FieldKind
    groups: tuple[OptionGroup, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()


def _is_advanced(name: str, extra: Mapping[str, Any]) -> bool:
    return bool(extra.get("unconfirmed") or extra.get("aside")) or name in AccountSettings.model_fields


def _lists_events(name: str, extra: Mapping[str, Any]) -> bool:
    return name == "event_types" or bool(extra.get("event_types"))


def _templates(extra: Mapping[str, Any]) -> tuple[TextTemplate, ...]:
    return tuple(
        TextTemplate(item["template"], item.get("label") or item["template"], item.get("doubt", ""))
        for item in extra.get("templates", ())
    )


def _shape(core: Any, optional: bool, listed: Sequence[EventType], event_types: Sequence[EventType]) -> _Shape:
    if get_origin(core) in LIST_TYPES or core in LIST_TYPES:
        return _list_shape(core, listed, event_types)
    if core is bool:
        return _Shape(FieldKind.CHOICE, (YES_OR_NO,)) if optional else _Shape(FieldKind.SWITCH)
    options = _fixed_options(core)
    if options:
        return _Shape(FieldKind.CHOICE, (OptionGroup("", options),))
    if listed and core is str:
        return _Shape(FieldKind.CHOICE, _event_type_groups(listed))
    if core in (int, float):
        return _Shape(FieldKind.NUMBER)
    return _Shape(FieldKind.TEXT if core is str else FieldKind.JSON)


def _list_shape(core: Any, listed: Sequence[EventType], event_types: Sequence[EventType]) -> _Shape:
    element, _ = _unwrap((get_args(core) or (str,))[0])
    if isinstance(element, type) and issubclass(element, BaseModel):
        columns = tuple((name, label_of(name, info)) for name, info in element.model_fields.items())
        return _Shape(FieldKind.ROWS, _event_type_groups(event_types), columns)
    options = _fixed_options(element)
    if options:
        return _Shape(FieldKind.CHECKBOXES, (OptionGroup("", options),))
    return _Shape(FieldKind.CHECKBOXES, _event_type_groups(listed)) if listed else _Shape(FieldKind.LINES)


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Return the type behind Annotated and `| None`, and whether None is allowed."""
    if get_origin(annotation) is Annotated:
        return _unwrap(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _unwrap(members[0])[0], len(get_args(annotation)) > 1
    return annotation, False


def _fixed_options(core: Any) -> tuple[Option, ...]:
    """Return the options of a Literal or an Enum; none for other types."""
    if get_origin(core) is Literal:
        return tuple(Option(str(value), str(value) or "none") for value in get_args(core))
    if isinstance(core, type) and issubclass(core, Enum):
        return tuple(Option(str(item.value), label_of(str(item.value))) for item in core)
    return ()


def _event_type_groups(event_types: Sequence[EventType]) -> tuple[OptionGroup, ...]:
    titles = dict.fromkeys(item.group for item in event_types)
    return tuple(
        OptionGroup(title, tuple(Option(item.name, item.label) for item in event_types if item.group == title))
        for title in titles
    )


def _placeholder(kind: FieldKind, info: FieldInfo) -> str:
    example = next(iter(info.examples or ()), None)
    if example is None or kind in (FieldKind.SWITCH, FieldKind.CHOICE, FieldKind.CHECKBOXES, FieldKind.ROWS):
        return ""
    if kind is FieldKind.LINES:
        return "\n".join(str(item) for item in example) if isinstance(example, list | tuple) else str(example)
    return json.dumps(example) if kind is FieldKind.JSON else str(example)
