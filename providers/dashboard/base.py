"""What all our admin pages share: lists that count nothing, pages of our own, and the model permissions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from providers.dashboard.list_page import page_of
from providers.filters import Filter

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin  # Unfold has no types; its ModelAdmin is a Django one
else:
    from unfold.admin import ModelAdmin

M = TypeVar("M", bound=Model)
View = Callable[..., HttpResponse]


def actor_of(request: HttpRequest) -> str:
    """Who acts, as history and operations name it."""
    return f"staff:{request.user.get_username()}"


class PageAdmin(ModelAdmin[M]):
    """A model whose list and detail pages are our own templates. Nothing can be added, changed or deleted unless a
    subclass is `writable`: what providers and the clock wrote is for reading."""

    list_template: str
    detail_template: str
    list_title: str
    list_intro: str = ""
    writable: bool = False
    filters: Sequence[Filter] = ()
    search_hint: str = ""  # none: no search
    history_kind: str = ""  # how the history calls such a thing

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Where people write: the model permission."""
        return self.writable and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Where people write: the model permission."""
        return self.writable and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """Where people write: the model permission."""
        return self.writable and super().has_delete_permission(request, obj)

    # -- Lists -----------------------------------------------------------------------------------------------------

    def rows(self, request: HttpRequest) -> QuerySet[M]:
        """What the list shows, with what its columns need."""
        return self.get_queryset(request)

    def search(self, rows: QuerySet[M], words: str) -> QuerySet[M]:
        """Narrows the list to what matches the words."""
        return rows

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """What the list's template needs beside the page."""
        return {}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = page_of(
            request, self.rows(request), filters=self.filters, search=self.search if self.search_hint else None
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
        """Where the detail page takes its row from."""
        return self.get_queryset(request)

    def detail_context(self, request: HttpRequest, row: M) -> dict[str, Any]:
        """What the detail page's template needs beside the row."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The detail page. It only reads; what changes things has addresses of its own."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        row = self.row_or_404(request, object_id)
        return self.render(
            request, self.detail_template, str(row), {"row": row, **self.detail_context(request, row)}, parent=True
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own log is not kept for these; ours is on the detail page."""
        return HttpResponseRedirect(self.page_url(self.row_or_404(request, object_id)))

    def row_or_404(self, request: HttpRequest, object_id: str) -> M:
        """The row, if this person may see it."""
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
        """A page within the admin. With `parent`, the list stands before its title."""
        request.current_app = self.admin_site.name  # as Django's own views do
        whole = {
            **self.admin_site.each_context(request),
            "title": self.list_title,
            "page_title": title,
            "list_url": self.list_url(),
            "list_title": self.list_title,
            "has_parent": parent,
            "may": self.permissions(request),
            **context,
        }
        return TemplateResponse(request, template, whole, status=status)

    def permissions(self, request: HttpRequest) -> dict[str, bool]:
        """What this person may do with these rows."""
        return {
            "add": self.has_add_permission(request),
            "change": self.has_change_permission(request),
            "delete": self.has_delete_permission(request),
        }

    # -- Addresses -------------------------------------------------------------------------------------------------

    def name_of(self, page: str) -> str:
        """The URL name of a page of this model."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def list_url(self) -> str:
        """Where the list is."""
        return reverse(f"{self.admin_site.name}:{self.name_of('changelist')}")

    def page_url(self, row: Model, page: str = "change") -> str:
        """Where a page of a row is."""
        return reverse(f"{self.admin_site.name}:{self.name_of(page)}", args=[row.pk])

    def url_by_uid(self, request: HttpRequest, uid: str) -> str | None:
        """Where the page is of the row with that id, if this person may see it."""
        try:
            row = self.get_queryset(request).filter(uid=UUID(uid)).first()
        except ValueError:
            return None
        return self.page_url(row) if row is not None and self.has_view_permission(request, row) else None

    def own_url(self, route: str, view: View, name: str) -> URLPattern:
        """An address of our own below the model's."""
        return path(route, self.admin_site.admin_view(view), name=self.name_of(name))

    def back_to(self, request: HttpRequest, row: Model, *, ok: bool, text: str) -> HttpResponse:
        """Returns to the row's page with a message."""
        messages.add_message(request, messages.SUCCESS if ok else messages.ERROR, text)
        return HttpResponseRedirect(self.page_url(row))


def _is_key(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 18
