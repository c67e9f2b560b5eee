"""Filters of lists, declared once for the REST API and the dashboard.

A `FilterSet` names the filters of one resource. The API reads them through `providers.rest.filter_backend`, the
dashboard through `providers.dashboard.list_page`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import QueryDict
from django.utils.dateparse import parse_datetime

Choices = Sequence[tuple[str, str]]
Schema = Mapping[str, Any]
Narrow = Callable[[Any, Sequence[Any]], Any]

TEXT: Schema = {"type": "string", "minLength": 1, "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}
UUID_TEXT: Schema = {"type": "string", "format": "uuid"}
TIME: Schema = {"type": "string", "format": "date-time"}

UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
WITHOUT_PLUS = re.compile(r"^(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?) (\d\d:?\d\d)$")
WITH_OFFSET = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)")


class InvalidFilters(Exception):
    """A query string has invalid filter values. `errors` has one error per filter."""

    def __init__(self, errors: Mapping[str, ValidationError]) -> None:
        self.errors = errors
        super().__init__(", ".join(errors))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One filter of a list.

    `narrow` takes the rows and the values, of which any may match. `read` converts one value from its text and raises
    Django's ValidationError.

    The API offers a filter that has a `schema`: the JSON Schema of one value, or a function that returns it.
    `default` narrows the API's list when the filter is not given.

    The dashboard offers a filter that has a `label`: as a select if it has `choices`, as a text input if it has a
    `placeholder`, as a time input if its name is `since` or `until`, else only through links. `read_in_dashboard` and
    `narrow_in_dashboard` replace `read` and `narrow` there.
    """

    name: str
    narrow: Narrow
    read: Callable[[str], Any] = str

    schema: Schema | Callable[[], Schema] | None = None
    help_text: str = ""
    repeatable: bool = True
    default: Callable[[Any], Any] | None = None

    label: str = ""
    choices: Callable[[], Choices] | None = None
    placeholder: str = ""
    unset: str = "All"  # the label of a select's empty option
    read_in_dashboard: Callable[[str], Any] | None = None
    narrow_in_dashboard: Narrow | None = None

    def apply_in_dashboard(self, rows: Any, text: str) -> Any:
        """Return the rows that match the dashboard's value. Raises ValidationError."""
        value = (self.read_in_dashboard or self.read)(text)
        return (self.narrow_in_dashboard or self.narrow)(rows, [value])


class FilterSet:
    """The filters of one resource."""

    def __init__(self, *filters: Filter) -> None:
        self.for_api = {item.name: item for item in filters if item.schema is not None}
        self.for_dashboard = tuple(item for item in filters if item.label)

    def narrow(self, rows: Any, query: QueryDict) -> Any:
        """Return the rows that match an API query string. Raises InvalidFilters."""
        values = self._read(query)
        for name, item in self.for_api.items():
            if name in values:
                rows = item.narrow(rows, values[name])
            elif item.default is not None:
                rows = item.default(rows)
        return rows

    def _read(self, query: QueryDict) -> dict[str, list[Any]]:
        values: dict[str, list[Any]] = {}
        errors: dict[str, ValidationError] = {}
        for name, item in self.for_api.items():
            texts = query.getlist(name)
            try:
                if len(texts) > 1 and not item.repeatable:
                    raise ValidationError("Give this filter only once.", code="repeated")
                if texts:
                    values[name] = [item.read(text) for text in texts]
            except ValidationError as error:
                errors[name] = error
        if errors:
            raise InvalidFilters(errors)
        return values


# -- Kinds of filters --------------------------------------------------------------------------------------------------


def text_filter(name: str, column: str, **options: Any) -> Filter:
    """Return a filter for exact texts."""
    return _column_filter(name, column, read=forms.CharField(strip=False).clean, schema=TEXT, **options)


def choice_filter(name: str, column: str, values: Choices, **options: Any) -> Filter:
    """Return a filter for the values of a closed set, given with their labels."""
    options = {"choices": lambda: values, **options}
    schema = {"type": "string", "enum": [value for value, _ in values]}
    return _column_filter(name, column, read=one_of(values), schema=schema, **options)


def flag_filter(name: str, column: str, **options: Any) -> Filter:
    """Return a filter for true or false."""
    return _column_filter(name, column, read=read_flag, schema={"type": "boolean"}, repeatable=False, **options)


def owner_filter(name: str, column: str, owners: Callable[[], QuerySet[Any, Any]], **options: Any) -> Filter:
    """Return a filter by foreign key: the API names the owners by ID, the dashboard by row number."""

    def narrow(rows: QuerySet[Any, Any], values: Sequence[Any]) -> QuerySet[Any, Any]:
        keys = [value for value in values if isinstance(value, int)]
        uids = [value for value in values if not isinstance(value, int)]
        return rows.filter(any_of(f"{column}_id", keys), belonging_to(column, owners(), uids))

    return Filter(
        name=name,
        narrow=narrow,
        **{"read": forms.RegexField(UUID).clean, "schema": UUID_TEXT, "read_in_dashboard": row_number, **options},
    )


def time_filter(name: str, narrow: Callable[[Any, datetime], Any], **options: Any) -> Filter:
    """Return a filter for one time; `narrow` takes the rows and the time."""
    return Filter(
        name=name,
        narrow=lambda rows, values: narrow(rows, values[0]),
        read=read_time,
        schema=TIME,
        repeatable=False,
        read_in_dashboard=read_typed_time,
        **options,
    )


def search_filter(columns: Sequence[str], **options: Any) -> Filter:
    """Return the filter `q` for a text that is part of any of these columns, in upper or lower case."""

    def narrow(rows: QuerySet[Any, Any], values: Sequence[Any]) -> QuerySet[Any, Any]:
        condition = Q()
        for column in columns:
            condition |= Q(**{f"{column}__icontains": values[0]})
        return rows.filter(condition)

    return Filter(name="q", narrow=narrow, read=forms.CharField().clean, schema=TEXT, repeatable=False, **options)


def _column_filter(name: str, column: str, **options: Any) -> Filter:
    return Filter(**{"name": name, "narrow": lambda rows, values: rows.filter(any_of(column, values)), **options})


# -- Reading values ----------------------------------------------------------------------------------------------------


def one_of(choices: Choices | Callable[[], Choices]) -> Callable[[str], str]:
    """Return a reader that accepts only the values of these choices."""

    def read(text: str) -> str:
        pairs = choices() if callable(choices) else choices
        value: str = forms.ChoiceField(choices=[(value, value) for value, _ in pairs]).clean(text)
        return value

    return read


def read_time(text: str) -> datetime:
    """Return an ISO 8601 time with its offset, in UTC. Raises ValidationError."""
    text = _with_plus(text)
    try:
        moment = parse_datetime(text.upper()) if WITH_OFFSET.fullmatch(text) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None  # well-formed, but not a valid time
    raise ValidationError("Give a time with its offset, such as 2026-01-02T03:04:05Z.", code="invalid")


def read_typed_time(text: str) -> datetime:
    """Return a time that a person typed or picked: UTC unless it has an offset. Raises ValidationError."""
    try:
        moment = datetime.fromisoformat(_with_plus(text))
    except ValueError:
        raise ValidationError("Give a time.", code="invalid") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _with_plus(text: str) -> str:
    """Return a time whose offset has its plus again: in a query string, a plus that is not encoded means a blank."""
    return WITHOUT_PLUS.sub(r"\1+\2", text)


def read_flag(text: str) -> bool:
    """Return `true` or `false` as a bool. Raises ValidationError."""
    if text not in ("true", "false"):
        raise ValidationError("Give true or false.", code="invalid")
    return text == "true"


def row_number(text: str) -> int:
    """Return a primary key. Raises ValidationError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValidationError("Give a row number.", code="invalid")
    return int(text)


# -- Conditions --------------------------------------------------------------------------------------------------------


def any_of(column: str, values: Sequence[Any]) -> Q:
    """Match rows that have one of the values; match every row if there are none."""
    if not values:
        return Q()
    return Q(**{column: values[0]}) if len(values) == 1 else Q(**{f"{column}__in": list(values)})


def belonging_to(column: str, owners: QuerySet[Any, Any], uids: Sequence[Any]) -> Q:
    """Match rows whose foreign key is one of `owners` with these public IDs; match every row if there are none.

    The owners are looked up first, so that the list can use the index on the foreign key.
    """
    if not uids:
        return Q()
    keys = list(owners.filter(uid__in=uids).order_by().values_list("pk", flat=True))
    return any_of(f"{column}_id", keys) if keys else Q(pk__in=())


def any_prefix(rows: QuerySet[Any, Any], column: str, prefixes: Sequence[str]) -> tuple[QuerySet[Any, Any], Q]:
    """Return the rows, annotated, with the condition that the column begins with one of these prefixes.

    The comparison is literal; LIKE ignores case on SQLite.
    """
    condition = Q()
    for length in sorted({len(prefix) for prefix in prefixes}):
        alias = f"{column}_{length}"
        rows = rows.alias(**{alias: Left(column, length)})
        condition |= Q(**{f"{alias}__in": [prefix for prefix in prefixes if len(prefix) == length]})
    return rows, condition
