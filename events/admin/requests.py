"""The dashboard's list and pages of requests, and the button that reprocesses one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern

from events.admin import outcome_text
from events.admin.body_display import body_context, parameters
from events.admin.rejected_pages import RejectedPages
from events.admin.reprocess import ReprocessPages
from events.filters import REQUEST_FILTERS
from events.models import WebhookRequest
from events.processing.reprocess import HISTORY_KIND, reprocess_request
from events.retention import purge
from providers.audit import log
from providers.dashboard.base import actor_of

MAX_EVENTS_SHOWN = 101


@admin.register(WebhookRequest)
class RequestAdmin(ReprocessPages, RejectedPages):
    """Requests, read-only. Reprocessing needs the permission to change them."""

    list_template = "requests/list.html"
    detail_template = "requests/detail.html"
    list_title = "Requests"
    history_kind = HISTORY_KIND
    list_intro = "Every call at a callback URL, stored as it was sent."
    filters = REQUEST_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[WebhookRequest]:
        """Return the requests of the list, without bodies and headers."""
        rows = self.get_queryset(request).select_related("subscription__account")
        return rows.only(
            *("method", "received_at", "remote_addr", "size", "verification", "outcome", "reason"),
            *("subscription__name", "subscription__uid", "subscription__account__name"),
            "subscription__account__provider",
        )

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return whether this user may reprocess requests, and the URL that does it for the current filters."""
        return {"may_reprocess": self.may_reprocess(request), "reprocess_url": self.reprocess_url(request)}

    def detail_rows(self, request: HttpRequest) -> QuerySet[WebhookRequest]:
        """Return requests with subscription and account, without secrets."""
        rows = self.get_queryset(request).select_related("subscription__account")
        return rows.defer("headers", "sealed_headers", "subscription__secrets", "subscription__account__credentials")

    def detail_context(self, request: HttpRequest, row: WebhookRequest) -> dict[str, Any]:
        """Return the body prepared for display, the events, and the explanation of the outcome."""
        body = bytes(row.body)
        headers = row.readable_headers()
        sees_events = request.user.has_perm("events.view_event")
        return {
            "outcome_text": outcome_text.OUTCOMES[row.outcome],
            "verification_text": outcome_text.VERIFICATIONS[row.verification],
            "events": list(row.events.order_by("pk").defer("data")[:MAX_EVENTS_SHOWN]) if sees_events else [],
            **body_context(body),
            "headers": headers,
            "parameters": parameters(row.query, headers or [], body),
            "kept_until": purge.kept_until(row),
            "reprocess": outcome_text.reprocess_label(row) if self.may_reprocess(request) else None,
            "newer": self._neighbor_url(row, newer=True),
            "older": self._neighbor_url(row, newer=False),
        }

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs that reprocess a request and download its body."""
        return [
            self.extra_url("<int:pk>/reprocess/", self.reprocess_view, "reprocess"),
            self.extra_url("<int:pk>/body/", self.body_view, "body"),
            *super().get_urls(),
        ]

    def reprocess_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reprocess one request; a rejected one is verified again first."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.may_reprocess(request) or outcome_text.reprocess_label(row) is None:
            raise PermissionDenied
        before = row.outcome
        log.record(
            actor_of(request),
            "reprocessed",
            HISTORY_KIND,
            subject_id=row.uid,
            name=f"{row.method} {row.subscription}",
            account_id=row.account_id,
        )
        try:
            row = reprocess_request(row, also_former=True)
        except WebhookRequest.DoesNotExist:
            raise Http404("The request has been deleted.") from None
        ok, text = outcome_text.reprocess_message(before, row)
        return self.back_to(request, row, ok=ok, text=text)

    def body_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Download the exact bytes of the body. The browser never renders them."""
        row = self.row_or_404(request, str(pk))
        response = HttpResponse(bytes(row.body), content_type="application/octet-stream")
        response["Content-Disposition"] = f'attachment; filename="request-{row.uid}.bin"'
        return response

    def _neighbor_url(self, row: WebhookRequest, *, newer: bool) -> str | None:
        """Return the URL of the next newer or older request of the same subscription."""
        rows = WebhookRequest.objects.filter(subscription_id=row.subscription_id).only("pk")
        if newer:
            neighbor = rows.filter(pk__gt=row.pk).order_by("pk").first()
        else:
            neighbor = rows.filter(pk__lt=row.pk).order_by("-pk").first()
        return self.page_url(neighbor) if neighbor else None
