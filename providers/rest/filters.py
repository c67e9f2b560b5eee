"""Filters of lists: what a query string may hold, and how it narrows a list. Repeating one means `or`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.db.models.functions import Left
from django.http import QueryDict
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import ErrorDetail
from rest_framework.exceptions import ValidationError as InvalidParameters
from rest_framework.request import Request

UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
WITH_OFFSET = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)")


class Many(forms.Field):
    """A filter that may be repeated; each value is checked by `each`. `schema` is that of one value, or gives it."""

    widget = forms.MultipleHiddenInput

    def __init__(
        self, each: forms.Field, *, schema: Mapping[str, Any] | Callable[[], Mapping[str, Any]], help_text: str = ""
    ) -> None:
        self.each = each
        self.schema_of_one = schema
        super().__init__(required=False, help_text=help_text)

    @property
    def schema(self) -> dict[str, Any]:
        """That of one value, for the documentation."""
        return dict(self.schema_of_one() if callable(self.schema_of_one) else self.schema_of_one)

    def clean(self, value: Any) -> list[Any]:
        """Every value, checked."""
        return [self.each.clean(item) for item in value or ()]


class One(forms.Field):
    """A filter that may be given once."""

    widget = forms.MultipleHiddenInput

    def __init__(self, each: forms.Field, *, schema: Mapping[str, Any], help_text: str = "") -> None:
        self.each = each
        self.schema = dict(schema)
        super().__init__(required=False, help_text=help_text)

    def clean(self, value: Any) -> Any:
        """The value, checked, or None."""
        if not value:
            return None
        if len(value) > 1:
            raise ValidationError("Only one is possible.", code="repeated")
        return self.each.clean(value[0])


class Moment(forms.Field):
    """An ISO 8601 time with its offset."""

    def clean(self, value: Any) -> datetime:
        """The time in UTC."""
        try:
            moment = parse_datetime(value.upper()) if WITH_OFFSET.fullmatch(value) else None
            if moment is not None and moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            moment = None  # well formed, but no such time
        raise ValidationError("Give a time with its offset, such as 2026-01-02T03:04:05Z.", code="invalid")


class TrueOrFalse(forms.Field):
    """true or false."""

    def clean(self, value: Any) -> bool:
        """The value as a bool."""
        if value not in ("true", "false"):
            raise ValidationError("Give true or false.", code="invalid")
        return bool(value == "true")


TEXT = {"type": "string", "minLength": 1, "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}
UUID_TEXT = {"type": "string", "format": "uuid"}
TIME = {"type": "string", "format": "date-time"}


def texts(help_text: str = "") -> Many:
    """Any texts."""
    return Many(forms.CharField(strip=False), schema=TEXT, help_text=help_text)


def ids(help_text: str = "") -> Many:
    """Ids as the API gives them."""
    return Many(forms.RegexField(UUID), schema=UUID_TEXT, help_text=help_text)


def choices(among: Sequence[tuple[str, Any]], help_text: str = "") -> Many:
    """Some of a closed set."""
    values = [value for value, _ in among]
    field = forms.ChoiceField(choices=[(value, value) for value in values])
    return Many(field, schema={"type": "string", "enum": values}, help_text=help_text)


def moment(help_text: str) -> One:
    """A time."""
    return One(Moment(), schema=TIME, help_text=help_text)


def text(help_text: str) -> One:
    """One text."""
    return One(forms.CharField(), schema=TEXT, help_text=help_text)


def flag(help_text: str = "") -> One:
    """true or false."""
    return One(TrueOrFalse(), schema={"type": "boolean"}, help_text=help_text)


class Filters(forms.Form):
    """The filters of one list. A subclass declares them and says in `narrow` what they do."""

    @classmethod
    def base_filters(cls) -> dict[str, Many | One]:
        """The declared filters by name."""
        return {name: field for name, field in cls.base_fields.items() if isinstance(field, Many | One)}

    def narrow(self, rows: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
        """The rows that pass."""
        raise NotImplementedError

    def chosen(self, name: str) -> Any:
        """The checked value or values of a filter; None or empty when it was not given."""
        return self.cleaned_data[name]


def unknown_parameters(query: QueryDict, known: Sequence[str]) -> list[str]:
    """The names in a query string that nothing reads."""
    return sorted(set(query) - set(known))


def flag_of(request: Request, name: str) -> bool:
    """The only parameter of a request that is no list: false unless it is `true`. Raises rest_framework's
    ValidationError for another value, or for an unknown parameter."""
    query = request.query_params
    errors = {other: [ErrorDetail("This parameter does not exist.", code="unknown")] for other in set(query) - {name}}
    values = query.getlist(name, ["false"])
    if values not in (["true"], ["false"]):
        errors[name] = [ErrorDetail("Give true or false, once.", code="invalid")]
    if errors:
        raise InvalidParameters(errors)
    return bool(values == ["true"])


def any_of(column: str, values: Sequence[Any]) -> Q:
    """One of the values, or no condition when there are none."""
    if not values:
        return Q()
    return Q(**{column: values[0]}) if len(values) == 1 else Q(**{f"{column}__in": list(values)})


def belonging_to(column: str, owners: QuerySet[Any, Any], uids: Sequence[Any]) -> Q:
    """Rows whose foreign key is one of those `owners` with these public ids. They are looked up first: so the index on
    the foreign key serves the list."""
    if not uids:
        return Q()
    keys = list(owners.filter(uid__in=uids).order_by().values_list("pk", flat=True))
    return any_of(f"{column}_id", keys) if keys else Q(pk__in=())


def any_prefix(rows: QuerySet[Any, Any], column: str, prefixes: Sequence[str]) -> tuple[QuerySet[Any, Any], Q]:
    """The condition that a text begins with one of these, and the rows prepared for it. Compared literally: LIKE would
    ignore case on SQLite."""
    condition = Q()
    for length in sorted({len(prefix) for prefix in prefixes}):
        alias = f"{column}_{length}"
        rows = rows.alias(**{alias: Left(column, length)})
        condition |= Q(**{f"{alias}__in": [prefix for prefix in prefixes if len(prefix) == length]})
    return rows, condition
