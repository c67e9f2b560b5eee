"""Actions on one or many subscriptions: the confirmation page, and running them."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils import timezone

from providers.dashboard.base import PageAdmin, actor_of
from providers.filters import row_number
from subscriptions.admin import actions as dashboard_actions
from subscriptions.admin.accounts import plugin_of
from subscriptions.admin.actions import ACTION_TEXTS, ActionText
from subscriptions.admin.related_problems import refresh_problems
from subscriptions.lifecycle import actions
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Subscription
from subscriptions.reconciliation.action_runner import Outcome

MAX_ROWS = 50  # per bulk action
REMOVING = (SubscriptionAction.DELETE, SubscriptionAction.FORGET)


class ActionPages(PageAdmin[Subscription]):
    """The page `actions/`, which asks for confirmation and runs an action."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of the actions."""
        return [self.extra_url("actions/", self.actions_view, "actions"), *super().get_urls()]

    def allowed_actions(self, request: HttpRequest) -> list[tuple[SubscriptionAction, ActionText]]:
        """Return the actions that the user has the permission for, with their labels."""
        change, delete = self.has_change_permission(request), self.has_delete_permission(request)
        return [(action, text) for action, text in ACTION_TEXTS.items() if (delete if action in REMOVING else change)]

    def available_actions(self, request: HttpRequest, row: Subscription) -> list[tuple[SubscriptionAction, ActionText]]:
        """Return the allowed actions that are possible in the current state of the subscription."""
        if plugin_of(row.account) is None:
            return []
        return [item for item in self.allowed_actions(request) if actions.is_offered(row, item[0])]

    def actions_view(self, request: HttpRequest) -> HttpResponse:
        """Show what an action would do with the selected subscriptions (GET), and run it (POST)."""
        params = request.POST if request.method == "POST" else request.GET
        action = _action_named(params.get("action", ""))
        if action not in dict(self.allowed_actions(request)):
            raise PermissionDenied
        # The filters of the list, to which the person returns
        list_query = params.get("list", "")
        list_url = f"{self.list_url()}?{list_query}" if list_query else self.list_url()
        rows = self._selected(request, params.getlist("pk"))
        if not rows:
            messages.warning(request, "No subscription was selected.")
            return HttpResponseRedirect(list_url)
        if request.method == "POST":
            results = dashboard_actions.run(rows, action, by=actor_of(request), revoke="revoke" in request.POST)
            refresh_problems()
            _report(request, results, action)
            is_removed = action in REMOVING
            return HttpResponseRedirect(self.page_url(rows[0]) if len(rows) == 1 and not is_removed else list_url)
        previews = dashboard_actions.preview(rows, action, timezone.now())
        text = ACTION_TEXTS[action]
        context = {
            "action": action,
            "text": text,
            "previews": previews,
            "possible": any(not item.skipped for item in previews),
            "back_url": self.page_url(rows[0]) if len(rows) == 1 else list_url,
            "list_query": list_query,
        }
        subject = f"“{rows[0]}”" if len(rows) == 1 else f"{len(rows)} subscriptions"
        return self.render(request, "subscriptions/confirm.html", f"{text.question} {subject}?", context, parent=True)

    def _selected(self, request: HttpRequest, keys: Sequence[str]) -> list[Subscription]:
        try:
            selected = [row_number(key) for key in keys][:MAX_ROWS]
        except ValidationError:
            raise Http404("A selected subscription has an invalid ID.") from None
        return list(self.detail_rows(request).filter(pk__in=selected).order_by("-pk"))


def _action_named(name: str) -> SubscriptionAction | None:
    return SubscriptionAction(name) if name in list(SubscriptionAction) else None


def _report(request: HttpRequest, results: Sequence[Outcome], action: SubscriptionAction) -> None:
    for result in results:
        if not result.ok or len(results) == 1:
            level = messages.SUCCESS if result.ok else messages.ERROR
            is_on_page = result.text == result.row.state_reason and action is not SubscriptionAction.DELETE
            text = "done." if result.ok and len(results) == 1 and is_on_page else result.text
            messages.add_message(request, level, f"{ACTION_TEXTS[action].button}, {result.row}: {text}")
    succeeded = sum(result.ok for result in results)
    if len(results) > 1 and succeeded:
        messages.success(
            request, f"{ACTION_TEXTS[action].button}: done for {succeeded} of {len(results)} subscriptions."
        )
