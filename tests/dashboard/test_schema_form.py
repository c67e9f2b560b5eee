"""Forms generated from schemas, with every kind of field that a provider may declare."""

from __future__ import annotations

import re
from enum import Enum
from html import unescape
from typing import Literal

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string
from pydantic import BaseModel, Field

from providers.contract.capabilities import Action, EventType
from providers.contract.errors import InvalidInput
from providers.contract.schemas import validate
from providers.dashboard.schema_fields import FieldKind
from providers.dashboard.schema_form import SchemaForm, sentence
from providers.dashboard.schema_values import StoredValue, foldable, stored_values
from providers.sidedrawer.resources import RESOURCES
from providers.sidedrawer.schemas import SideDrawerConfig


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Watch(BaseModel):
    type: str
    filter: str | None = Field(default=None, title="Filter")


class Everything(BaseModel):
    text: str = Field(title="Text", examples=["hello"])
    maybe: str | None = None
    count: int = 3
    on: bool = True
    perhaps: bool | None = None
    method: Literal["GET", "POST"] = "GET"
    encoding: Literal["", "RAW"] = "RAW"
    color: Color | None = None
    lines: tuple[str, ...] = ()
    triggers: list[Literal["create", "delete"]] = []
    event_types: list[str] = []
    watches: tuple[Watch, ...] = ()
    extra: dict[str, str] = {}


TYPES = (
    EventType("a:*", Action.OTHER, "A", "Everything of A", wildcard=True),
    EventType("a:one", Action.CREATED, "A", "One"),
)


def form_of(text: str | None = None, values: dict[str, object] | None = None) -> SchemaForm:
    form = SchemaForm(None if text is None else QueryDict(text))
    form.add_schema("c.", Everything, values=values, event_types=TYPES)
    return form


def test_each_type_has_the_right_form_control() -> None:
    kinds = {field.name.removeprefix("c."): field.spec.kind for field in form_of().shown("c.").fields}
    assert kinds == {
        "text": FieldKind.TEXT,
        "maybe": FieldKind.TEXT,
        "count": FieldKind.NUMBER,
        "on": FieldKind.SWITCH,
        "perhaps": FieldKind.CHOICE,
        "method": FieldKind.CHOICE,
        "encoding": FieldKind.CHOICE,
        "color": FieldKind.CHOICE,
        "lines": FieldKind.LINES,
        "triggers": FieldKind.CHECKBOXES,
        "event_types": FieldKind.CHECKBOXES,
        "watches": FieldKind.ROWS,
        "extra": FieldKind.JSON,
    }


def test_typed_values_become_schema_values() -> None:
    form = form_of(
        "c.text=hi&c.count=5&c.perhaps=false&c.method=POST&c.encoding=&c.color=red&c.lines.lines=x%0D%0A%0Ay"
        "&c.triggers=create&c.event_types=a:one&c.event_types.lines=b:two"
        "&c.watches.type=a:one&c.watches.filter=&c.watches.type=&c.watches.filter="
        "&c.watches.type=odd&c.watches.filter=z&c.extra=%7B%22k%22%3A%22v%22%7D"
    )
    assert form.is_valid(), form.errors
    checked = validate(Everything, form.values("c."))
    assert checked == Everything(
        text="hi",
        count=5,
        on=False,
        perhaps=False,
        method="POST",
        encoding="",
        color=Color.RED,
        lines=("x", "y"),
        triggers=["create"],
        event_types=["a:one", "b:two"],
        watches=(Watch(type="a:one"), Watch(type="odd", filter="z")),
        extra={"k": "v"},
    )


def test_stored_values_are_shown_unchanged() -> None:
    values = {"text": "hi", "on": False, "perhaps": True, "lines": ["x"], "event_types": ["a:one", "b:two"]}
    values |= {"watches": [{"type": "odd", "filter": None}], "color": "blue", "extra": {"k": "v"}, "count": 0}
    fields = {field.name: field for field in form_of(values=values).shown("c.").fields}
    assert fields["c.lines"].lines == "x"
    assert fields["c.event_types"].others == "b:two"
    assert fields["c.watches"].rows[0] == [("type", "Type", "odd"), ("filter", "Filter", "")]
    assert len(fields["c.watches"].rows) == 2
    assert fields["c.perhaps"].value == "true"
    assert fields["c.count"].value == "0"
    assert fields["c.extra"].value == '{\n  "k": "v"\n}'
    assert fields["c.on"].value is False


@pytest.mark.slow
def test_an_unchanged_form_returns_the_defaults() -> None:
    form = form_of("c.text=hi&c.on=on&c.encoding=RAW")
    assert form.is_valid()
    assert validate(Everything, form.values("c.")) == Everything(text="hi")


@pytest.mark.slow
def test_an_emptied_field_is_sent_as_empty_where_the_schema_allows_it() -> None:
    class Proposing(BaseModel):
        days: int | None = 30
        words: tuple[str, ...] = ("a",)
        header: str = "Authorization"

    form = SchemaForm(QueryDict("c.days=&c.words.lines=&c.header="))
    form.add_schema("c.", Proposing)
    assert form.is_valid()
    assert validate(Proposing, form.values("c.")) == Proposing(days=None, words=(), header="Authorization")


def test_schema_errors_are_shown_at_their_fields() -> None:
    form = form_of("c.count=many&c.triggers=bogus&c.watches.type=&c.watches.filter=z&c.extra=%7B")
    assert not form.is_valid()
    with pytest.raises(InvalidInput) as error:
        validate(Everything, form.values("c."))
    form.add_schema_errors("c.", error.value)
    assert set(form.errors) == {"c.text", "c.count", "c.triggers", "c.watches", "c.extra"}
    assert form.errors["c.watches"] == ["Entry 1, type: This field is required."]


def test_an_error_without_a_shown_field_belongs_to_the_whole_form() -> None:
    assert form_of().locate("c.", "other.3", "No.") == (None, "other.3: No.")
    assert form_of().locate("c.", "", "No.") == (None, "No.")


def test_secrets_are_never_shown() -> None:
    form = SchemaForm()
    form.add_schema("s.", Everything, values={"text": "hidden-value"}, secret=True)
    field = form.shown("s.").fields[0]
    assert field.stored
    assert field.value is None
    assert "hidden-value" not in str(form)


def field_page(form: SchemaForm, name: str) -> str:
    field = next(field for field in form.shown("c.").fields if field.name == name)
    return render_to_string("forms/schema_field.html", {"field": field})


def test_a_field_with_templates_can_be_filled_in_from_them() -> None:
    form = SchemaForm()
    form.add_schema("c.", SideDrawerConfig)
    page = unescape(field_page(form, "c.resource"))
    assert len(RESOURCES) == 13
    assert "Fill in from a template" in page
    helper, listed = page.split("<details", 1)
    blocks = dict(
        re.findall(r'<div data-fill-template="([^"]+)" hidden>(.*?)(?=<div data-fill-template|$)', helper, re.S)
    )
    assert list(blocks) == [resource.template for resource in RESOURCES]
    for resource in RESOURCES:
        mark = " (unconfirmed)" if resource.doubt else ""
        assert f'<option value="{resource.template}">{resource.label}{mark}</option>' in helper
        names = re.findall(r'data-fill-part="(\w+)"', blocks[resource.template])
        assert names == re.findall(r"\{(\w+)\}", resource.template)
        assert ("hk-warn" in blocks[resource.template]) == bool(resource.doubt)
        assert resource.doubt in blocks[resource.template]
        entry = next(item for item in listed.split("<li>") if f">{resource.template}</code>" in item)
        assert resource.label in entry
        assert resource.doubt in entry


def test_only_the_input_of_a_field_with_templates_is_sent() -> None:
    form = SchemaForm()
    form.add_schema("c.", SideDrawerConfig, values={"resource": "tenant/t1/sidedrawer"})
    page = field_page(form, "c.resource")
    assert re.findall(r'\bname="([^"]+)"', page) == ["c.resource"]
    assert 'value="tenant/t1/sidedrawer"' in page
    assert re.search(r"<div [^>]*data-script-only hidden>", page)  # without scripts, the list is shown instead


def test_any_provider_can_declare_templates_and_they_are_escaped() -> None:
    class Filled(BaseModel):
        path: str = Field(json_schema_extra={"templates": [{"template": "a/{x}/{x}/<{y}>", "label": "A & B"}]})
        plain: str = ""

    form = SchemaForm()
    form.add_schema("c.", Filled)
    page = field_page(form, "c.path")
    assert re.findall(r'data-fill-part="(\w+)"', page) == ["x", "y"]
    assert "a/{x}/{x}/&lt;{y}&gt;" in page
    assert "A &amp; B" in page
    assert "hk-warn" not in page
    assert "data-fill" not in field_page(form, "c.plain")


class Counted(BaseModel):
    watches: list[Watch] = Field(min_length=1)


def test_an_invalid_element_is_not_also_reported_as_missing() -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(Counted, {"watches": [{"type": 3}]})
    assert [item.field for item in caught.value.errors] == ["watches.0.type"]
    with pytest.raises(InvalidInput) as caught:
        validate(Counted, {"watches": []})
    assert [item.message for item in caught.value.errors] == ["At least 1 required."]


@pytest.mark.parametrize(
    ("message", "shown"),
    [("must be a number", "Must be a number."), ("Never.", "Never."), ("such as [1]", "Such as [1]."), ("", "")],
)
def test_an_error_is_shown_as_a_sentence(message: str, shown: str) -> None:
    assert sentence(message) == shown


class Rare(BaseModel):
    often: str = Field(default="", title="Often")
    seldom: dict[str, str] = Field(default_factory=dict, title="Seldom", json_schema_extra={"aside": True})


def test_advanced_fields_are_folded_until_one_is_changed() -> None:
    form = SchemaForm()
    form.add_schema("c.", Rare)
    often, seldom = form.shown("c.").fields
    assert (often.advanced, seldom.advanced) == (False, True)
    assert not form.shown("c.").advanced_open
    form = SchemaForm()
    form.add_schema("c.", Rare, values={"seldom": {"a": "b"}})
    assert form.shown("c.").advanced_open


def test_stored_values_have_the_labels_of_the_schema() -> None:
    values = stored_values(Everything, {"count": 3, "text": "x", "gone": 1})
    assert values == [
        StoredValue("text", "Text", "x", is_default=False),
        StoredValue("count", "Count", 3, is_default=True),
        StoredValue("gone", "Gone", 1, is_default=False),
    ]
    assert stored_values(None, {"auth_header": 1}) == [StoredValue("auth_header", "Auth header", 1, is_default=False)]


def test_a_few_default_values_are_not_folded_away() -> None:
    few = stored_values(Everything, {"count": 3, "on": True})
    many = stored_values(Everything, {"count": 3, "on": True, "lines": [], "text": "x"})
    assert foldable(few) == []
    assert [entry.name for entry in foldable(many)] == ["count", "on", "lines"]


class Selection(BaseModel):
    event_types: list[str]
    watches: tuple[Watch, ...]
    at_least_one: list[str] = Field(min_length=1)


def test_a_required_list_that_may_be_empty_is_sent_as_empty() -> None:
    form = SchemaForm(QueryDict(""))
    form.add_schema("c.", Selection, event_types=TYPES)
    assert form.is_valid()
    assert form.values("c.") == {"event_types": [], "watches": []}
    assert [form.specs[f"c.{name}"].required for name in Selection.model_fields] == [False, False, True]
