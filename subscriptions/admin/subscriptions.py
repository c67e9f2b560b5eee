"""Admin pages of subscriptions: the list, the detail page, adding and editing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern

from providers.dashboard.base import actor_of
from providers.filters import row_number
from providers.models import ProviderAccount
from subscriptions.admin.accounts import plugin_of
from subscriptions.admin.action_pages import ActionPages
from subscriptions.admin.pending_changes import PendingChangesPages
from subscriptions.admin.public_url_pages import PublicUrlPages
from subscriptions.admin.related_problems import refresh_problems
from subscriptions.admin.renewal_pages import RenewalPages
from subscriptions.admin.secret_pages import SecretPages
from subscriptions.admin.subscription_detail import detail_context
from subscriptions.admin.subscription_form import CONFIG, SubscriptionForm
from subscriptions.admin.timeline_pages import timeline_page
from subscriptions.filters import SUBSCRIPTION_FILTERS
from subscriptions.lifecycle import actions, activity_log
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import State, Subscription
from subscriptions.reconciliation.action_runner import attempt

CALL_SECONDS = 10.0  # that a request may spend on API calls


@admin.register(Subscription)
class SubscriptionAdmin(ActionPages, SecretPages, PendingChangesPages, RenewalPages, PublicUrlPages):
    """Subscriptions. Every change goes through `subscriptions.lifecycle.desired_state`."""

    writable = True
    list_template = "subscriptions/list.html"
    detail_template = "subscriptions/detail.html"
    list_title = "Subscriptions"
    history_kind = activity_log.SUBSCRIPTION
    list_intro = "Webhook subscriptions managed at your providers."
    search_hint = "Search by name, remote ID or callback URL"
    filters = SUBSCRIPTION_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[Subscription]:
        """Leave out deleted subscriptions, unless the state filter asks for them."""
        rows = self.detail_rows(request).defer("account__credentials", "secrets", "remote_config", "config")
        return rows if request.GET.get("state") == State.DELETED else rows.filter(deleted_at=None)

    def detail_rows(self, request: HttpRequest) -> QuerySet[Subscription]:
        """Join the account."""
        return self.get_queryset(request).select_related("account")

    def search(self, rows: QuerySet[Subscription], text: str) -> QuerySet[Subscription]:
        """Search by name, remote ID, callback URL or ID."""
        token = text.rstrip("/").rpartition("/")[2]
        matches = Q(name__icontains=text) | Q(remote_id__icontains=text) | Q(token=token) | Q(callback_url=text)
        with suppress(ValueError):  # the text is no UUID
            matches |= Q(uid=UUID(text))
        return rows.filter(matches)

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return the bulk actions of this user, and whether there is an account to subscribe with."""
        return {
            "actions": [item for item in self.allowed_actions(request) if item[0] is not SubscriptionAction.FORGET],
            "has_accounts": ProviderAccount.objects.exists(),
            "may_add_account": request.user.has_perm("providers.add_provideraccount"),
        }

    def detail_context(self, request: HttpRequest, row: Subscription) -> dict[str, Any]:
        """Return what the detail page shows. With `?plan=now` the provider's state is fetched first."""
        return {
            **detail_context(request, row),
            "actions": self.available_actions(request, row),
            "editable": plugin_of(row.account) is not None
            and actions.is_offered(row, SubscriptionAction.EDIT)
            and self.has_change_permission(request, row),
        }

    # -- Adding and editing ----------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the form and the timeline."""
        return [
            self.extra_url("<int:pk>/edit/", self.edit_view, "edit"),
            self.extra_url("<int:pk>/timeline/", self.timeline_view, "timeline"),
            *super().get_urls(),
        ]

    def timeline_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the full timeline of a subscription."""
        return timeline_page(self, request, self.row_or_404(request, str(pk)))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the choice of the account, then the form of its provider."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        account = _account_named(request.GET.get("account", ""))
        if account is None or plugin_of(account) is None:
            context = {
                "accounts": list(ProviderAccount.objects.defer("credentials").order_by("name")[:200]),
                "may_add_account": request.user.has_perm("providers.add_provideraccount"),
            }
            return self.render(request, "subscriptions/choose_account.html", "Add a subscription", context, parent=True)
        form = SubscriptionForm(request.POST or None, account=account)
        if request.method == "POST" and form.is_valid():
            return self._saved(request, form.save(by=actor_of(request)))
        return self._form_page(request, form, f"Subscribe with {account}")

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Edit the configuration. What the provider rejected is shown at its field."""
        with self.locked(request, pk):
            row = self.row_or_404(request, str(pk))
            if not self.has_change_permission(request, row) or plugin_of(row.account) is None:
                raise PermissionDenied
            refused = actions.refusal(row, SubscriptionAction.EDIT)
            if refused:
                return self.back_to(request, row, ok=False, text=str(refused))
            form = SubscriptionForm(request.POST or None, account=row.account, subscription=row)
            saved = form.save(by=actor_of(request)) if request.method == "POST" and form.is_valid() else None
        if saved is not None:
            return self._saved(request, saved)
        if request.method != "POST":
            form.show_provider_error()
        return self._form_page(request, form, f"Edit “{row}”", row=row)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the confirmation page of the delete action."""
        row = self.row_or_404(request, object_id)
        actions_url = self.list_url() + "actions/"
        return HttpResponseRedirect(f"{actions_url}?action={SubscriptionAction.DELETE}&pk={row.pk}")

    def _form_page(
        self, request: HttpRequest, form: SubscriptionForm, title: str, row: Subscription | None = None
    ) -> HttpResponse:
        context = {
            "form": form,
            "account": form.account,
            "plugin": form.account.plugin,
            "config": form.shown(CONFIG),
            "row": row,
            "cancel_url": self.page_url(row) if row else self.list_url(),
        }
        return self.render(request, "subscriptions/form.html", title, context, parent=True)

    def _saved(self, request: HttpRequest, row: Subscription) -> HttpResponse:
        """Apply the change at the provider and show the result; an error at its field, if it has one."""
        result = attempt(row, SubscriptionAction.EDIT, by=actor_of(request), seconds=CALL_SECONDS)
        refresh_problems()
        if result.ok:
            detail = "" if result.text == row.state_reason else f" {result.text}"  # the page shows the reason anyway
            messages.success(request, f"Saved.{detail}")
            return HttpResponseRedirect(self.page_url(row))
        messages.error(request, f"Saved, but {row.account.plugin.name} rejected the change: {result.text}")
        names_field = bool((row.last_error or {}).get("field"))
        return HttpResponseRedirect(self.page_url(row, "edit" if names_field else "change"))


def _account_named(key: str) -> ProviderAccount | None:
    try:
        return ProviderAccount.objects.filter(pk=row_number(key)).first()
    except ValidationError:
        return None
