"""The base class of the admin pages: lists and detail pages with our own templates, and permissions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from providers.dashboard.list_page import build_page
from providers.filters import Filter

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin  # Unfold has no types; its ModelAdmin is a Django one
else:
    from unfold.admin import ModelAdmin

M = TypeVar("M", bound=Model)
View = Callable[..., HttpResponse]


def actor_of(request: HttpRequest) -> str:
    """Return the user as the actor that audit trail and operations record."""
    return f"staff:{request.user.get_username()}"


class PageAdmin(ModelAdmin[M]):
    """A model whose list and detail pages use our own templates.

    Rows are read-only unless the subclass sets `writable`; then the model permissions apply.
    """

    list_template: str
    detail_template: str
    list_title: str
    list_intro: str = ""
    writable: bool = False
    filters: Sequence[Filter] = ()
    newest_first: bool = True  # otherwise in the order of `rows`
    search_hint: str = ""  # placeholder of the search field; empty: no search
    history_kind: str = ""  # the subject type in the audit trail

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Require `writable` and the model permission."""
        return self.writable and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Require `writable` and the model permission."""
        return self.writable and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Require `writable` and the model permission."""
        return self.writable and super().has_delete_permission(request, obj)

    # -- Lists -----------------------------------------------------------------------------------------------------

    def rows(self, request: HttpRequest) -> QuerySet[M]:
        """Return the rows of the list, with everything that its columns need."""
        return self.get_queryset(request)

    def search(self, rows: QuerySet[M], text: str) -> QuerySet[M]:
        """Return the rows that match the search text."""
        return rows

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the list template needs besides the page of rows."""
        return {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show one page of the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = build_page(
            request,
            self.rows(request),
            filters=self.filters,
            search=self.search if self.search_hint else None,
            newest_first=self.newest_first,
        )
        context = {
            "page": page,
            "search_hint": self.search_hint,
            "intro": self.list_intro,
            **self.list_context(request),
        }
        return self.render(request, self.list_template, self.list_title, context)

    # -- Pages -----------------------------------------------------------------------------------------------------

    def detail_rows(self, request: HttpRequest) -> QuerySet[M]:
        """Return the rows that have a detail page."""
        return self.get_queryset(request)

    def detail_context(self, request: HttpRequest, row: M) -> dict[str, Any]:
        """Return what the detail template needs besides the row."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the detail page. It is read-only; changes have their own URLs."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        row = self.row_or_404(request, object_id)
        return self.render(
            request, self.detail_template, str(row), {"row": row, **self.detail_context(request, row)}, parent=True
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the detail page: Django's own log is not used for these models."""
        return HttpResponseRedirect(self.page_url(self.row_or_404(request, object_id)))

    def row_or_404(self, request: HttpRequest, object_id: str) -> M:
        """Return the row. Raises Http404, or PermissionDenied if the user may not view it."""
        row = self.detail_rows(request).filter(pk=object_id).first() if _is_key(object_id) else None
        if row is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def render(
        self,
        request: HttpRequest,
        template: str,
        title: str,
        context: dict[str, Any],
        *,
        parent: bool = False,
        status: int = 200,
    ) -> TemplateResponse:
        """Render a page within the admin. With `parent`, its breadcrumb links to the list."""
        request.current_app = self.admin_site.name  # as Django's own views do
        full_context = {
            **self.admin_site.each_context(request),
            "title": self.list_title,
            "page_title": title,
            "list_url": self.list_url(),
            "list_title": self.list_title,
            "has_parent": parent,
            "may": self.permissions(request),
            **context,
        }
        return TemplateResponse(request, template, full_context, status=status)

    def permissions(self, request: HttpRequest) -> dict[str, bool]:
        """Return whether the user may add, change and delete rows."""
        return {
            "add": self.has_add_permission(request),
            "change": self.has_change_permission(request),
            "delete": self.has_delete_permission(request),
        }

    # -- URLs ------------------------------------------------------------------------------------------------------

    def name_of(self, page: str) -> str:
        """Return the URL name of a page of this model."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def list_url(self) -> str:
        """Return the URL of the list."""
        return reverse(f"{self.admin_site.name}:{self.name_of('changelist')}")

    def page_url(self, row: Model, page: str = "change") -> str:
        """Return the URL of a page of a row."""
        return reverse(f"{self.admin_site.name}:{self.name_of(page)}", args=[row.pk])

    def url_by_uid(self, request: HttpRequest, uid: str) -> str | None:
        """Return the URL of the row with this UUID; None if there is none that the user may view."""
        try:
            row = self.get_queryset(request).filter(uid=UUID(uid)).first()
        except ValueError:
            return None
        return self.page_url(row) if row is not None and self.has_view_permission(request, row) else None

    def extra_url(self, route: str, view: View, name: str) -> URLPattern:
        """Return an additional URL below the model's."""
        return path(route, self.admin_site.admin_view(view), name=self.name_of(name))

    @contextmanager
    def locked(self, request: HttpRequest, pk: int) -> Iterator[None]:
        """Run the block in a transaction that locks the row, if the request may save it.

        What the block reads is then still stored when it saves.
        """
        with transaction.atomic():
            if request.method == "POST":
                self.get_queryset(request).select_for_update(no_key=True).filter(pk=pk).values_list("pk").first()
            yield

    def back_to(self, request: HttpRequest, row: Model, *, ok: bool, text: str) -> HttpResponse:
        """Redirect to the row's page with a flash message."""
        messages.add_message(request, messages.SUCCESS if ok else messages.ERROR, text)
        return HttpResponseRedirect(self.page_url(row))


def _is_key(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 18
