"""The filter backend of the REST API. Unknown query parameters are errors."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

from providers.filters import Filter, FilterSet, InvalidFilters
from providers.rest.pagination import PARAMETERS


class StrictFilterBackend(BaseFilterBackend):
    """Applies the filters that the view's `filters_of` names for its action.

    An unknown parameter is an error: ignoring a misspelt filter would return every row.
    """

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        """Return the rows that match. Raises ValidationError for unknown parameters and invalid values."""
        filters: FilterSet = view.filters_of.get(view.action) or FilterSet()
        known = {*filters.for_api, *PARAMETERS}
        unknown = sorted(set(request.query_params) - known)
        if unknown:
            message = f"This filter does not exist. The filters are {', '.join(sorted(known))}."
            raise ValidationError({name: [ErrorDetail(message, code="unknown")] for name in unknown})
        try:
            return filters.narrow(queryset, request.query_params)
        except InvalidFilters as error:
            raise ValidationError(
                {
                    name: [ErrorDetail(str(item.messages[0]), code=item.error_list[0].code or "invalid")]
                    for name, item in error.errors.items()
                }
            ) from None

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return the filters as OpenAPI parameters."""
        filters: FilterSet = view.filters_of.get(view.action) or FilterSet()
        return [_parameter(item) for item in filters.for_api.values()]


def read_flag_parameter(request: Request, name: str) -> bool:
    """Return the only parameter of a request that is not a list; false if it is absent.

    Raises REST framework's ValidationError for a value other than true or false, and for unknown parameters.
    """
    query = request.query_params
    errors = {other: [ErrorDetail("This parameter does not exist.", code="unknown")] for other in set(query) - {name}}
    values = query.getlist(name, ["false"])
    if values not in (["true"], ["false"]):
        errors[name] = [ErrorDetail("Give true or false, once.", code="invalid")]
    if errors:
        raise ValidationError(errors)
    return bool(values == ["true"])


def _parameter(item: Filter) -> dict[str, Any]:
    schema = dict(item.schema() if callable(item.schema) else item.schema or {})
    parameter = {"name": item.name, "in": "query", "required": False, "description": item.help_text, "schema": schema}
    if item.repeatable:
        parameter |= {
            "description": f"{item.help_text} Repeatable: any of the values matches.".strip(),
            "schema": {"type": "array", "items": schema, "minItems": 1},
            "style": "form",
            "explode": True,
        }
    return parameter
