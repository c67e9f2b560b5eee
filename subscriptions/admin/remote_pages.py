"""Pages of the remote subscriptions of an account: list, import, deleting an orphan, ignoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, reverse

from providers.contract.base import RemoteSubscription
from providers.contract.errors import InvalidInput, ProviderError
from providers.contract.registry import UnknownProvider
from providers.dashboard.base import PageAdmin, actor_of
from providers.models import ProviderAccount
from subscriptions.lifecycle.accounts import AccountBeingDeleted
from subscriptions.lifecycle.public_url import is_confirmed
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.action_runner import outcome
from subscriptions.reconciliation.reconciler import reconcile_soon
from subscriptions.remote import adoption, inventory, orphans
from subscriptions.remote.adoption import AlreadyManaged, BeingDeleted
from subscriptions.remote.inventory import InventoryItem, Kind
from subscriptions.remote.orphans import NotAnOrphan

MAX_PER_GROUP = 100  # remote subscriptions shown
REFUSALS = (AlreadyManaged, BeingDeleted, NotAnOrphan, AccountBeingDeleted, ProviderError)


@dataclass(frozen=True, slots=True)
class Group:
    """Remote subscriptions of one kind, as many as a page shows."""

    title: str
    explanation: str
    items: Sequence[InventoryItem]
    hidden: int
    folded: bool = False


class RemoteSubscriptionPages(PageAdmin[ProviderAccount]):
    """The pages below an account's `discover/`. Each one calls the provider."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of these pages."""
        return [
            self.extra_url("<int:pk>/discover/", self.discover_view, "discover"),
            self.extra_url("<int:pk>/discover/import/", self.import_view, "import"),
            self.extra_url("<int:pk>/discover/remove/", self.remove_view, "remove_orphan"),
            self.extra_url("<int:pk>/discover/ignore/", self.ignore_view, "ignore"),
            *super().get_urls(),
        ]

    def discover_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show all remote subscriptions of the account."""
        row = self._row(request, pk, "view")
        context: dict[str, Any] = {"row": row, "confirmed": is_confirmed(), **_permissions(request)}
        try:
            items = inventory.list_remotes(row)
        except ProviderError as error:
            context["error"] = error.message
        else:
            context |= {"groups": _groups(items), "count": len(items)}
        return self.render(
            request, "accounts/remote_subscriptions.html", f"Remote subscriptions of {row}", context, parent=True
        )

    def import_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what an import does, with and without adopting (GET); import (POST)."""
        row = self._row(request, pk, "add")
        remote_id = _remote_id(request)
        if request.method == "POST":
            return self._import(request, row, remote_id)
        try:
            item = inventory.find_remote(row, remote_id)
        except ProviderError as error:
            return self._back(request, row, error.message)
        if item.kind is Kind.MANAGED:
            return self._back(request, row, f"{remote_id} already belongs to a subscription.")
        plan, problems = _adoption_plan(row, item.remote)
        context = {"row": row, "item": item, "plan": plan, "problems": problems, "back_url": self._url(row)}
        return self.render(request, "accounts/import.html", f"Import {remote_id}", context, parent=True)

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for confirmation, then delete an orphan at the provider."""
        row = self._row(request, pk, "delete")
        remote_id = _remote_id(request)
        if request.method == "POST":
            try:
                orphans.delete_orphan(row, remote_id, by=actor_of(request))
            except REFUSALS as error:
                return self._back(request, row, str(error.args[0]))
            messages.success(request, f"{remote_id} was deleted at {row.plugin.name}.")
            return HttpResponseRedirect(self._url(row))
        try:
            item = inventory.find_remote(row, remote_id)
        except ProviderError as error:
            return self._back(request, row, error.message)
        if item.kind is not Kind.ORPHANED:
            return self._back(request, row, f"{remote_id} is not an orphan, so it cannot be deleted here.")
        context = {"row": row, "item": item, "back_url": self._url(row)}
        return self.render(request, "accounts/remove_orphan.html", f"Delete {remote_id}?", context, parent=True)

    def ignore_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ignore a remote subscription, or with `undo` stop ignoring it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self._row(request, pk, "change")
        remote_id = _remote_id(request)
        try:
            if "undo" in request.POST:
                orphans.stop_ignoring(row, remote_id, by=actor_of(request))
            else:
                orphans.ignore(row, remote_id, by=actor_of(request))
        except REFUSALS as error:
            return self._back(request, row, str(error.args[0]))
        return HttpResponseRedirect(self._url(row))

    def _import(self, request: HttpRequest, row: ProviderAccount, remote_id: str) -> HttpResponse:
        name, take_over = request.POST.get("name", "").replace("\0", "").strip()[:200], "take_over" in request.POST
        try:
            imported = adoption.import_remote(row, remote_id, by=actor_of(request), name=name, take_over=take_over)
        except REFUSALS as error:
            return self._back(request, row, str(error.args[0]))
        except InvalidInput as error:
            return self._back(request, row, f"It cannot be adopted in its current state: {error}")
        reconcile_soon(imported, actor=actor_of(request))
        result = outcome(imported)
        messages.add_message(request, messages.SUCCESS if result.ok else messages.ERROR, f"Imported. {result.text}")
        return HttpResponseRedirect(reverse("admin:subscriptions_subscription_change", args=[imported.pk]))

    def _row(self, request: HttpRequest, pk: int, permission: str) -> ProviderAccount:
        """Return the account. Raises PermissionDenied without this permission (such as `add`) for subscriptions."""
        row = self.row_or_404(request, str(pk))
        if not request.user.has_perm(f"subscriptions.{permission}_subscription"):
            raise PermissionDenied
        try:
            row.plugin  # noqa: B018 - raises if the plug-in is not installed
        except UnknownProvider:
            raise PermissionDenied from None
        return row

    def _url(self, row: ProviderAccount) -> str:
        return self.page_url(row, "discover")

    def _back(self, request: HttpRequest, row: ProviderAccount, text: str) -> HttpResponse:
        """Redirect to the account's page: it makes no API call, so a failed one is not repeated immediately."""
        messages.error(request, text)
        return HttpResponseRedirect(self.page_url(row))


def _remote_id(request: HttpRequest) -> str:
    params = request.POST if request.method == "POST" else request.GET
    return str(params.get("remote_id", "")).replace("\0", "")[:200]


def _permissions(request: HttpRequest) -> dict[str, bool]:
    may = request.user.has_perm
    return {
        "may_import": may("subscriptions.add_subscription"),
        "may_remove": may("subscriptions.delete_subscription"),
        "may_ignore": may("subscriptions.change_subscription"),
    }


def _groups(inventory_items: Sequence[InventoryItem]) -> list[Group]:
    def group(title: str, explanation: str, items: list[InventoryItem], *, folded: bool = False) -> Group:
        items.sort(key=lambda item: item.remote.remote_id)
        return Group(title, explanation, items[:MAX_PER_GROUP], max(len(items) - MAX_PER_GROUP, 0), folded)

    shown = [item for item in inventory_items if not item.ignored]
    kinds = {kind: [item for item in shown if item.kind is kind] for kind in Kind}
    groups = [
        group(
            "Orphans",
            "These call this installation but belong to no subscription. Import or delete them.",
            kinds[Kind.ORPHANED],
        ),
        group(
            "Foreign",
            "Hookkeeper never changes or deletes these automatically.",
            kinds[Kind.FOREIGN],
        ),
        group("Managed", "Each belongs to a subscription.", kinds[Kind.MANAGED]),
        group(
            "Ignored",
            "Hidden from the groups above.",
            [item for item in inventory_items if item.ignored],
            folded=True,
        ),
    ]
    return [item for item in groups if item.items]


def _adoption_plan(account: ProviderAccount, remote: RemoteSubscription) -> tuple[Plan | None, Sequence[str]]:
    """Return what adopting would change at the provider, or the reasons why it is not possible."""
    if remote.config is None:
        return None, ["Its config could not be fetched."]
    try:
        return adoption.plan_adoption(account, remote), []
    except InvalidInput as error:
        return None, [f"{item.field}: {item.message}" if item.field else item.message for item in error.errors]
