"""Accounts: their pages, adding, changing, checking and removing them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern

from providers.accounts import session
from providers.contract import registry
from providers.contract.base import AnyProvider
from providers.contract.registry import UnknownProvider
from providers.dashboard.base import actor_of
from providers.dashboard.schema_form import entries, usual_ones
from providers.models import AccountStatus, ProviderAccount
from subscriptions.admin.account_form import CREDENTIALS, SETTINGS, AccountForm
from subscriptions.admin.discovery_pages import DiscoveryPages
from subscriptions.admin.on_page import problems_on_page
from subscriptions.admin.timelines import latest, timeline_page
from subscriptions.filters import ACCOUNT_FILTERS
from subscriptions.lifecycle import account_deletion, desired_state
from subscriptions.lifecycle.account_deletion import NotLeaving
from subscriptions.models import Problem

SHOWN = 25
CHECK_SECONDS = 10.0


def plugin_of(account: ProviderAccount) -> AnyProvider | None:
    """The provider's code; None when its folder is gone."""
    try:
        return account.plugin
    except UnknownProvider:
        return None


@admin.register(ProviderAccount)
class AccountAdmin(DiscoveryPages):
    """Accounts. Whatever is changed goes through `subscriptions.lifecycle.desired_state`."""

    writable = True
    list_template = "accounts/list.html"
    detail_template = "accounts/detail.html"
    list_title = "Accounts"
    history_kind = desired_state.ACCOUNT
    list_intro = "One login at one provider each. Credentials are encrypted, and never shown again."
    search_hint = "Search by name"
    filters = ACCOUNT_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[ProviderAccount]:
        """With the number of subscriptions; never the credentials."""
        living = Count("subscriptions", filter=Q(subscriptions__deleted_at=None))
        return self.get_queryset(request).defer("credentials").annotate(subscription_count=living)

    def search(self, rows: QuerySet[ProviderAccount], words: str) -> QuerySet[ProviderAccount]:
        """By name or id."""
        found = Q(name__icontains=words)
        with suppress(ValueError):  # not everything that is searched for is an id
            found |= Q(uid=UUID(words))
        return rows.filter(found)

    def detail_context(self, request: HttpRequest, row: ProviderAccount) -> dict[str, Any]:
        """Its subscriptions, problems and timeline."""
        plugin = plugin_of(row)
        settings = entries(plugin.settings_model if plugin else None, row.settings)
        usual = usual_ones(settings)
        return {
            "plugin": plugin,
            "settings": [entry for entry in settings if entry not in usual],
            "usual_settings": usual,
            "credential_names": sorted(name for name, value in row.credentials.items() if value),
            "subscriptions": list(row.subscriptions.exclude(deleted_at__isnull=False)[:SHOWN]),
            "sees_operations": request.user.has_perm("subscriptions.view_operation"),
            "oldest_kept": row.webhook_requests.order_by("pk").values_list("received_at", flat=True).first(),
            "sees_subscriptions": request.user.has_perm("subscriptions.view_subscription"),
            "problems": problems_on_page(
                request,
                Problem.objects.of_account(row.pk),
                texts=(row.status_reason, row.calls_paused_reason if row.calls_paused_until else ""),
            ),
            "timeline": latest(row) if request.user.has_perm("subscriptions.view_subscription") else None,
            "may_subscribe": plugin is not None
            and row.removal_asked_at is None
            and request.user.has_perm("subscriptions.add_subscription"),
        }

    # -- Writing ---------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The usual ones and our own."""
        return [
            self.own_url("<int:pk>/edit/", self.edit_view, "edit"),
            self.own_url("<int:pk>/check/", self.check_view, "check"),
            self.own_url("<int:pk>/keep/", self.keep_view, "keep"),
            self.own_url("<int:pk>/timeline/", self.timeline_view, "timeline"),
            *super().get_urls(),
        ]

    def timeline_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Everything that happened to it and its subscriptions."""
        if not request.user.has_perm("subscriptions.view_subscription"):
            raise PermissionDenied
        return timeline_page(self, request, self.row_or_404(request, str(pk)))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """First the provider, then its form."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        plugin = registry.all_providers().get(request.GET.get("provider", ""))
        if plugin is None:
            context = {"providers": list(registry.all_providers().values())}
            return self.render(request, "accounts/choose.html", "Add an account", context, parent=True)
        form = AccountForm(request.POST or None, plugin=plugin)
        if request.method == "POST" and form.is_valid():
            account = form.save(by=actor_of(request))
            return self._checked(request, account, "Added.")
        return self._form_page(request, form, f"Add an account at {plugin.name}")

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Changing it."""
        row = self.row_or_404(request, str(pk))
        plugin = plugin_of(row)
        if not self.has_change_permission(request, row) or plugin is None:
            raise PermissionDenied
        form = AccountForm(request.POST or None, plugin=plugin, account=row)
        if request.method == "POST" and form.is_valid():
            return self._checked(request, form.save(by=actor_of(request)), "Saved.")
        return self._form_page(request, form, f"Change “{row}”", row=row)

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks the provider who we are."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row) or plugin_of(row) is None:
            raise PermissionDenied
        return self._checked(request, row, "Checked.")

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Asks once, then removes it; one with live subscriptions together with them, if that is wanted."""
        row = self.row_or_404(request, object_id)
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        may_remove = request.user.has_perm("subscriptions.delete_subscription")
        if request.method == "POST":
            together = "remove_subscriptions" in request.POST
            if together and not may_remove:
                raise PermissionDenied
            return self._delete(request, row, together=together)
        living = list(account_deletion.living_of(row).select_related("account").defer("secrets")[: SHOWN + 1])
        context = {
            "row": row,
            "living": living[:SHOWN],
            "more": len(living) > SHOWN,
            "may_remove": may_remove,
            "row_url": self.page_url(row),
        }
        return self.render(request, "accounts/delete.html", f"Delete “{row}”?", context, parent=True)

    def keep_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Takes back that it is deleted together with its subscriptions."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        try:
            account_deletion.stay(row, by=actor_of(request))
        except NotLeaving as error:
            return self.back_to(request, row, ok=False, text=str(error))
        return self.back_to(request, row, ok=True, text="The account is kept. What was being removed goes.")

    def _delete(self, request: HttpRequest, row: ProviderAccount, *, together: bool) -> HttpResponse:
        gone = False
        if together and account_deletion.living_of(row).exists():
            account_deletion.leave(row, by=actor_of(request))
            gone = account_deletion.go_on(row.pk)
            if not gone:
                return self.back_to(request, row, ok=True, text="Its subscriptions are being removed; then it goes.")
        try:
            if not gone:
                desired_state.delete_account(row, by=actor_of(request))
        except desired_state.AccountInUse as error:
            return self.back_to(request, row, ok=False, text=str(error))
        messages.success(request, f"The account {row} was deleted.")
        return HttpResponseRedirect(self.list_url())

    def _form_page(
        self, request: HttpRequest, form: AccountForm, title: str, row: ProviderAccount | None = None
    ) -> HttpResponse:
        context = {
            "form": form,
            "plugin": form.plugin,
            "settings": form.shown(SETTINGS),
            "credentials": form.shown(CREDENTIALS),
            "forget": {key: form[f"forget.{key}"] for key in form.stored if f"forget.{key}" in form.fields},
            "row": row,
            "cancel_url": self.page_url(row) if row else self.list_url(),
        }
        return self.render(request, "accounts/form.html", title, context, parent=True)

    def _checked(self, request: HttpRequest, account: ProviderAccount, done: str) -> HttpResponse:
        """Asks the provider and says what it said."""
        session.check(account, deadline=time.monotonic() + CHECK_SECONDS, by=actor_of(request))
        name = account.plugin.name
        if account.status == AccountStatus.OK and account.status_reason:
            messages.warning(request, f"{done} {name} accepts the credentials, but: {account.status_reason}")
        elif account.status == AccountStatus.OK:
            messages.success(request, f"{done} {name} accepts the credentials.")
        elif account.status == AccountStatus.FAILING:
            messages.error(request, f"{done} But {name} refused; what to do stands below.")
        else:
            messages.warning(request, f"{done} {name} could not be asked: {account.status_reason}")
        return HttpResponseRedirect(self.page_url(account))
