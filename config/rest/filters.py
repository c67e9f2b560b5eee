"""Filters that refuse what they do not know."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from providers.rest.filters import Filters, Many, One, unknown_parameters
from providers.rest.pagination import PARAMETERS


class StrictFilters(BaseFilterBackend):
    """Narrows a list by what the view's `filters_of` names for its action. An unknown parameter is an error: a
    filter with a typing mistake would silently show everything."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """The rows that pass. Raises ValidationError."""
        kind: type[Filters] | None = view.filters_of.get(view.action)
        known = [*(kind.base_filters() if kind else ()), *PARAMETERS]
        unknown = unknown_parameters(request.query_params, known)
        if unknown:
            message = f"This filter does not exist. There are {', '.join(sorted(known))}."
            raise ValidationError({name: [ErrorDetail(message, code="unknown")] for name in unknown})
        if kind is None:
            return queryset
        form = kind(request.query_params)
        if not form.is_valid():
            raise ValidationError(
                {
                    name: [ErrorDetail(str(error.messages[0]), code=error.code or "invalid") for error in errors]
                    for name, errors in form.errors.as_data().items()
                }
            )
        return form.narrow(queryset)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The filters for the documentation."""
        kind: type[Filters] | None = view.filters_of.get(view.action)
        return [_parameter(name, field) for name, field in kind.base_filters().items()] if kind else []


def _parameter(name: str, field: Many | One) -> dict[str, Any]:
    many = isinstance(field, Many)
    schema = {"type": "array", "items": field.schema, "minItems": 1} if many else field.schema
    repeat = "Repeat it for `or`." if many else ""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"{field.help_text} {repeat}".strip(),
        "schema": schema,
        **({"style": "form", "explode": True} if many else {}),
    }
