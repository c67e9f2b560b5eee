"""The base view of all resources of the REST API."""

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
    """A resource. REST framework's settings add authentication, scopes, filters, pagination and errors.

    `scope` names the area of the required scope: reading requires `<scope>:read`, anything else `<scope>:write`. With
    None, any token may call. `scopes_of` names the scopes of actions that require others, all of them. `filters_of`
    names the filters of actions that return lists.
    """

    http_method_names = ["get", "head", "post", "patch", "delete"]  # noqa: RUF012  # the base class has a list as well
    scope: ClassVar[str | None]
    scopes_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    filters_of: ClassVar[Mapping[str, FilterSet]] = {}
    live: ClassVar[frozenset[str]] = (
        frozenset()
    )  # actions that call the provider, for the documentation of their errors

    @property
    def by(self) -> str:
        """Return the actor, for operations and the audit trail."""
        token: Any = self.request.auth
        return str(token.actor)

    def page(self, rows: Any, serializer: type[BaseSerializer[Any]]) -> Response:
        """Return one page of a list: of rows, of a sequence, or of a `Merged` list."""
        narrowed: Any = self.filter_queryset(rows)
        page = self.paginate_queryset(narrowed) or []
        return self.get_paginated_response(serializer(page, many=True).data)

    def find(self, rows: QuerySet[Any, Any]) -> Any:
        """Return the row that the path names. Raises Http404."""
        row = rows.filter(uid=self.kwargs["id"]).first()
        if row is None:
            raise Http404
        return row

    def body(self, kind: type[BaseSerializer[Any]], **options: Any) -> Mapping[str, Any]:
        """Return the validated request body. Raises ValidationError."""
        serializer = kind(data=self.request.data, **options)
        serializer.is_valid(raise_exception=True)
        checked: Mapping[str, Any] = serializer.validated_data
        return checked

    def no_body(self) -> None:
        """Raise ValidationError if the request has a body with fields."""
        self.body(NoBodySerializer)
