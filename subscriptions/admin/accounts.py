"""Admin pages of accounts: list, detail page, form, check and deletion."""

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
from providers.dashboard.schema_values import foldable, stored_values
from providers.models import AccountStatus, ProviderAccount
from subscriptions.admin.account_form import CREDENTIALS, SETTINGS, AccountForm
from subscriptions.admin.related_problems import refresh_problems, related_problems
from subscriptions.admin.remote_pages import RemoteSubscriptionPages
from subscriptions.admin.timeline_pages import latest_entries, timeline_page
from subscriptions.filters import ACCOUNT_FILTERS
from subscriptions.lifecycle import account_deletion, accounts, activity_log
from subscriptions.lifecycle.account_deletion import NotBeingDeleted
from subscriptions.models import Problem

MAX_SUBSCRIPTIONS = 25
CHECK_SECONDS = 10.0


def plugin_of(account: ProviderAccount) -> AnyProvider | None:
    """Return the account's plug-in; None if it is not installed."""
    try:
        return account.plugin
    except UnknownProvider:
        return None


@admin.register(ProviderAccount)
class AccountAdmin(RemoteSubscriptionPages):
    """Accounts. Every change goes through `subscriptions.lifecycle.desired_state`."""

    writable = True
    list_template = "accounts/list.html"
    detail_template = "accounts/detail.html"
    list_title = "Accounts"
    history_kind = activity_log.ACCOUNT
    list_intro = "Each account is one login at one provider. Credentials are encrypted and never shown again."
    search_hint = "Search by name"
    filters = ACCOUNT_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[ProviderAccount]:
        """Add the number of subscriptions; never load the credentials."""
        count = Count("subscriptions", filter=Q(subscriptions__deleted_at=None))
        return self.get_queryset(request).defer("credentials").annotate(subscription_count=count)

    def search(self, rows: QuerySet[ProviderAccount], text: str) -> QuerySet[ProviderAccount]:
        """Search by name or ID."""
        matches = Q(name__icontains=text)
        with suppress(ValueError):  # the text is no UUID
            matches |= Q(uid=UUID(text))
        return rows.filter(matches)

    def detail_context(self, request: HttpRequest, row: ProviderAccount) -> dict[str, Any]:
        """Return the settings, subscriptions, problems and timeline of an account."""
        plugin = plugin_of(row)
        settings = stored_values(plugin.settings_model if plugin else None, row.settings)
        defaults = foldable(settings)
        return {
            "plugin": plugin,
            "settings": [entry for entry in settings if entry not in defaults],
            "default_settings": defaults,
            "credential_names": sorted(name for name, value in row.credentials.items() if value),
            "subscriptions": list(row.subscriptions.exclude(deleted_at__isnull=False)[:MAX_SUBSCRIPTIONS]),
            "sees_operations": request.user.has_perm("subscriptions.view_operation"),
            "oldest_kept": row.webhook_requests.order_by("pk").values_list("received_at", flat=True).first(),
            "sees_subscriptions": request.user.has_perm("subscriptions.view_subscription"),
            "problems": related_problems(
                request,
                Problem.objects.of_account(row.pk),
                shown_texts=(row.status_reason, row.calls_paused_reason if row.calls_paused_until else ""),
            ),
            "timeline": latest_entries(row) if request.user.has_perm("subscriptions.view_subscription") else None,
            "may_subscribe": plugin is not None
            and row.removal_asked_at is None
            and request.user.has_perm("subscriptions.add_subscription"),
        }

    # -- Writing ---------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of the form, the check, the cancellation of a deletion, and the timeline."""
        return [
            self.extra_url("<int:pk>/edit/", self.edit_view, "edit"),
            self.extra_url("<int:pk>/check/", self.check_view, "check"),
            self.extra_url("<int:pk>/keep/", self.keep_view, "keep"),
            self.extra_url("<int:pk>/timeline/", self.timeline_view, "timeline"),
            *super().get_urls(),
        ]

    def timeline_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the full timeline of an account and its subscriptions."""
        if not request.user.has_perm("subscriptions.view_subscription"):
            raise PermissionDenied
        return timeline_page(self, request, self.row_or_404(request, str(pk)))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the choice of the provider, then its form."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        plugin = registry.all_providers().get(request.GET.get("provider", ""))
        if plugin is None:
            context = {"providers": list(registry.all_providers().values())}
            return self.render(request, "accounts/choose_provider.html", "Add an account", context, parent=True)
        form = AccountForm(request.POST or None, plugin=plugin)
        if request.method == "POST" and form.is_valid():
            account = form.save(by=actor_of(request))
            return self._check(request, account, "Account added.")
        return self._form_page(request, form, f"Add an account at {plugin.name}")

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Edit an account."""
        with self.locked(request, pk):
            row = self.row_or_404(request, str(pk))
            plugin = plugin_of(row)
            if not self.has_change_permission(request, row) or plugin is None:
                raise PermissionDenied
            form = AccountForm(request.POST or None, plugin=plugin, account=row)
            saved = form.save(by=actor_of(request)) if request.method == "POST" and form.is_valid() else None
        if saved is not None:
            return self._check(request, saved, "Saved.")
        return self._form_page(request, form, f"Edit “{row}”", row=row)

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Check the credentials with the provider."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row) or plugin_of(row) is None:
            raise PermissionDenied
        return self._check(request, row, "Checked.")

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for confirmation, then delete the account, on request together with its subscriptions."""
        row = self.row_or_404(request, object_id)
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        may_remove = request.user.has_perm("subscriptions.delete_subscription")
        if request.method == "POST":
            with_subscriptions = "remove_subscriptions" in request.POST
            if with_subscriptions and not may_remove:
                raise PermissionDenied
            return self._delete(request, row, with_subscriptions=with_subscriptions)
        living = list(
            account_deletion.remaining_subscriptions(row)
            .select_related("account")
            .defer("secrets")[: MAX_SUBSCRIPTIONS + 1]
        )
        context = {
            "row": row,
            "living": living[:MAX_SUBSCRIPTIONS],
            "more": len(living) > MAX_SUBSCRIPTIONS,
            "may_remove": may_remove,
            "row_url": self.page_url(row),
        }
        return self.render(request, "accounts/delete.html", f"Delete “{row}”?", context, parent=True)

    def keep_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel the deletion of an account and its subscriptions."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        try:
            account_deletion.cancel_deletion(row, by=actor_of(request))
        except NotBeingDeleted as error:
            return self.back_to(request, row, ok=False, text=str(error))
        return self.back_to(
            request,
            row,
            ok=True,
            text="The account is kept. Subscriptions whose deletion has started are still deleted.",
        )

    def _delete(self, request: HttpRequest, row: ProviderAccount, *, with_subscriptions: bool) -> HttpResponse:
        deleted = False
        if with_subscriptions and account_deletion.remaining_subscriptions(row).exists():
            account_deletion.request_deletion(row, by=actor_of(request))
            deleted = account_deletion.continue_deletion(row.pk)
            if not deleted:
                return self.back_to(
                    request,
                    row,
                    ok=True,
                    text="The subscriptions are being deleted. The account is deleted afterwards.",
                )
        try:
            if not deleted:
                accounts.delete_account(row, by=actor_of(request))
        except accounts.AccountInUse as error:
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

    def _check(self, request: HttpRequest, account: ProviderAccount, done: str) -> HttpResponse:
        """Check the account with the provider and show the result."""
        session.check(account, deadline=time.monotonic() + CHECK_SECONDS, by=actor_of(request))
        refresh_problems()
        name = account.plugin.name
        if account.status == AccountStatus.OK and account.status_reason:
            messages.warning(request, f"{done} {name} accepts the credentials, but: {account.status_reason}")
        elif account.status == AccountStatus.OK:
            messages.success(request, f"{done} {name} accepts the credentials.")
        elif account.status == AccountStatus.FAILING:
            messages.error(request, f"{done} But {name} rejected the credentials. See below.")
        else:
            messages.warning(
                request, f"{done} The credentials could not be checked with {name}: {account.status_reason}"
            )
        return HttpResponseRedirect(self.page_url(account))
