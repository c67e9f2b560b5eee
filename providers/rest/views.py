"""The base of all resources of the REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from providers.filters import FilterSet
from providers.rest.serializers import NoBodySerializer


class ApiViewSet(GenericViewSet[Any]):
    """Fetches, calls one function, answers. Tokens, scopes, filters, pages and errors are REST framework's settings.

    `scope` is the first half of the scope that is needed: reading needs `<scope>:read`, all else `<scope>:write`. None:
    any token will do. `scopes_of` names actions that need others, all of them; `filters_of` those that are lists with
    filters.
    """

    http_method_names = ["get", "head", "post", "patch", "delete"]  # noqa: RUF012  # the base class has a list as well
    scope: ClassVar[str | None]
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    filters_of: ClassVar[Mapping[str, FilterSet]] = {}
    live: ClassVar[frozenset[str]] = frozenset()  # actions that fail when the provider does; for the documentation

    @property
    def by(self) -> str:
        """Who asks, for operations and history."""
        token: Any = self.request.auth
        return str(token.actor)

    def page(self, rows: Any, show: type[BaseSerializer[Any]]) -> Response:
        """One page of a list, in the usual envelope: of rows, of a sequence, or of what is `Merged`."""
        narrowed: Any = self.filter_queryset(rows)
        page = self.paginate_queryset(narrowed) or []
        return self.get_paginated_response(show(page, many=True).data)

    def find(self, rows: QuerySet[Any, Any]) -> Any:
        """The row that the path names, or 404."""
        row = rows.filter(uid=self.kwargs["id"]).first()
        if row is None:
            raise Http404
        return row

    def body(self, kind: type[BaseSerializer[Any]], **options: Any) -> Mapping[str, Any]:
        """The checked request body. Raises ValidationError."""
        serializer = kind(data=self.request.data, **options)
        serializer.is_valid(raise_exception=True)
        checked: Mapping[str, Any] = serializer.validated_data
        return checked

    def no_body(self) -> None:
        """Refuses a body with anything in it."""
        self.body(NoBodySerializer)
