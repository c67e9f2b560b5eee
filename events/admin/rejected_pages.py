"""What a person decides about rejected and quarantined requests: allow their senders, accept one, or dismiss one."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, reverse

from events.models import WebhookRequest
from events.processing import settle
from providers.dashboard.base import PageAdmin, actor_of
from subscriptions.lifecycle import actions, ip_allowlist
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Subscription

MAX_ADDRESSES = 50  # listed on the page


class RejectedPages(PageAdmin[WebhookRequest]):
    """The pages and buttons of these decisions, mixed into the admin of requests."""

    def get_urls(self) -> list[URLPattern]:
        """Add their URLs."""
        return [
            self.extra_url("allow/<int:pk>/", self.allow_view, "allow"),
            self.extra_url("<int:pk>/accept/", self.accept_view, "accept"),
            self.extra_url("<int:pk>/dismiss/", self.dismiss_view, "dismiss"),
            *super().get_urls(),
        ]

    def allow_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the addresses whose requests a subscription blocks (GET), or allow some and release them (POST)."""
        may = ("events.change_webhookrequest", "subscriptions.change_subscription", "subscriptions.view_subscription")
        if not request.user.has_perms(may):
            raise PermissionDenied
        row = Subscription.objects.select_related("account").filter(pk=pk).first()
        if row is None:
            raise Http404("There is no such subscription.")
        refused = actions.refusal(row, SubscriptionAction.EDIT)
        if refused:
            return self.back_to_subscription(request, row, ok=False, text=str(refused))
        counts = _blocked_by_address(row)
        if request.method == "POST":
            return self._allow(request, row, [item for item in request.POST.getlist("address") if item in counts])
        context = {
            "row": row,
            "addresses": counts.items(),
            "total": sum(counts.values()),
            "only": next(iter(counts), None) if len(counts) == 1 else None,
        }
        return self.render(request, "requests/allow.html", "Allow senders and release", context, parent=True)

    def accept_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Accept a rejected request on the user's word."""
        row = self._row_to_settle(request, pk)
        if isinstance(row, HttpResponse):
            return row
        if not settle.accept(row, by=actor_of(request)):
            return self.back_to(request, row, ok=False, text="The request is not rejected any more.")
        return self.back_to(request, row, ok=True, text="Accepted on your word. This is recorded in the audit trail.")

    def dismiss_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Dismiss a rejected or quarantined request."""
        row = self._row_to_settle(request, pk)
        if isinstance(row, HttpResponse):
            return row
        settle.dismiss(row, by=actor_of(request))
        return self.back_to(request, row, ok=True, text="Dismissed. It is no longer part of a problem.")

    def back_to_subscription(self, request: HttpRequest, row: Subscription, *, ok: bool, text: str) -> HttpResponse:
        """Redirect to the subscription's page with a message."""
        messages.add_message(request, messages.SUCCESS if ok else messages.ERROR, text)
        return HttpResponseRedirect(reverse("admin:subscriptions_subscription_change", args=[row.pk]))

    def _row_to_settle(self, request: HttpRequest, pk: int) -> WebhookRequest | HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not request.user.has_perm("events.change_webhookrequest"):
            raise PermissionDenied
        return row

    def _allow(self, request: HttpRequest, row: Subscription, addresses: list[str]) -> HttpResponse:
        if not addresses:
            return self.back_to_subscription(request, row, ok=False, text="No address was selected.")
        try:
            result = settle.allow_and_release(row, addresses, by=actor_of(request))
        except ip_allowlist.InvalidNetwork as error:
            return self.back_to_subscription(request, row, ok=False, text=str(error))
        rejected = result.outcomes["rejected"]
        text = f"{result.count - rejected:,} requests released."
        if rejected:
            text += f" {rejected:,} are still rejected."
        if result.last is not None:
            text += " More are waiting: release them with the same button."
        return self.back_to_subscription(request, row, ok=bool(result.count) and not rejected, text=text)


def _blocked_by_address(row: Subscription) -> Mapping[str, int]:
    """Return the number of blocked requests by address, most first. Addresses that are unknown are left out."""
    rows = settle.blocked(row).exclude(remote_addr="").order_by().values("remote_addr").annotate(count=Count("pk"))
    return dict(rows.order_by("-count").values_list("remote_addr", "count")[:MAX_ADDRESSES])
