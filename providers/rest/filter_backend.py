"""The filter backend of the REST API. Unknown query parameters are errors."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from providers.rest.filters import Filters, Many, One, unknown_parameters
from providers.rest.pagination import PARAMETERS


class StrictFilterBackend(BaseFilterBackend):
    """Applies the filters that the view's `filters_of` names for its action.

    An unknown parameter is an error: ignoring a misspelt filter would return every row."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """Return the rows that match. Raise ValidationError for unknown parameters and invalid values."""
        kind: type[Filters] | None = view.filters_of.get(view.action)
        known = [*(kind.base_filters() if kind else ()), *PARAMETERS]
        unknown = unknown_parameters(request.query_params, known)
        if unknown:
            message = f"This filter does not exist. The filters are {', '.join(sorted(known))}."
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
        """Return the filters as OpenAPI parameters."""
        kind: type[Filters] | None = view.filters_of.get(view.action)
        return [_parameter(name, field) for name, field in kind.base_filters().items()] if kind else []


def _parameter(name: str, field: Many | One) -> dict[str, Any]:
    many = isinstance(field, Many)
    schema = {"type": "array", "items": field.schema, "minItems": 1} if many else field.schema
    repeat = "Repeatable: any of the values matches." if many else ""
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": f"{field.help_text} {repeat}".strip(),
        "schema": schema,
        **({"style": "form", "explode": True} if many else {}),
    }
