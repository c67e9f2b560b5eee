"""What an account has at its provider, whoever made it: importing one, removing an orphan, ignoring one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, reverse

from providers.contract.errors import InvalidInput, ProviderError
from providers.contract.registry import UnknownProvider
from providers.dashboard.base import PageAdmin, actor_of
from providers.models import ProviderAccount
from subscriptions.lifecycle.desired_state import AccountLeaving
from subscriptions.lifecycle.public_url import address_confirmed
from subscriptions.planning.steps import Plan
from subscriptions.reconciliation.action_runner import outcome
from subscriptions.reconciliation.reconciler import reconcile_soon
from subscriptions.remote import inventory, orphans
from subscriptions.remote.inventory import AlreadyManaged, BeingRemoved, Found, Kind
from subscriptions.remote.orphans import NotOrphaned

SHOWN = 100  # of each kind
REFUSALS = (AlreadyManaged, BeingRemoved, NotOrphaned, AccountLeaving, ProviderError)


@dataclass(frozen=True, slots=True)
class Group:
    """The remote ones of one kind, as many as a page shows."""

    title: str
    explanation: str
    items: Sequence[Found]
    hidden: int
    folded: bool = False


class DiscoveryPages(PageAdmin[ProviderAccount]):
    """The pages below an account's `discover/`. Each look there is live."""

    def get_urls(self) -> list[URLPattern]:
        """The usual ones and our own."""
        return [
            self.own_url("<int:pk>/discover/", self.discover_view, "discover"),
            self.own_url("<int:pk>/discover/import/", self.import_view, "import"),
            self.own_url("<int:pk>/discover/remove/", self.remove_view, "remove_orphan"),
            self.own_url("<int:pk>/discover/ignore/", self.ignore_view, "ignore"),
            *super().get_urls(),
        ]

    def discover_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Everything that the account has there now."""
        row = self._row(request, pk, "view")
        context: dict[str, Any] = {"row": row, "confirmed": address_confirmed(), **_rights(request)}
        try:
            found = inventory.discover(row)
        except ProviderError as error:
            context["trouble"] = error.message
        else:
            context |= {"groups": _groups(found), "count": len(found)}
        return self.render(request, "accounts/discover.html", f"What {row} has at the provider", context, parent=True)

    def import_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Says what importing one means, with and without taking it over; then does it."""
        row = self._row(request, pk, "add")
        remote_id = _remote_id(request)
        if request.method == "POST":
            return self._import(request, row, remote_id)
        try:
            item = inventory.find(row, remote_id)
        except ProviderError as error:
            return self._back(request, row, error.message)
        if item.kind is Kind.MANAGED:
            return self._back(request, row, f"{remote_id} belongs to a subscription already.")
        plan, problems = _taking_over(row, item)
        context = {"row": row, "item": item, "plan": plan, "problems": problems, "back_url": self._url(row)}
        return self.render(request, "accounts/import.html", f"Import {remote_id}", context, parent=True)

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks once, then deletes an orphan at the provider."""
        row = self._row(request, pk, "delete")
        remote_id = _remote_id(request)
        if request.method == "POST":
            try:
                orphans.remove(row, remote_id, by=actor_of(request))
            except REFUSALS as error:
                return self._back(request, row, str(error.args[0]))
            messages.success(request, f"{remote_id} was removed at {row.plugin.name}.")
            return HttpResponseRedirect(self._url(row))
        try:
            item = inventory.find(row, remote_id)
        except ProviderError as error:
            return self._back(request, row, error.message)
        if item.kind is not Kind.ORPHANED:
            return self._back(request, row, f"{remote_id} is not an orphan, so it is not removed here.")
        context = {"row": row, "item": item, "back_url": self._url(row)}
        return self.render(request, "accounts/remove_orphan.html", f"Remove {remote_id}", context, parent=True)

    def ignore_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Does not show one any more, or with `undo` does so again."""
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
            made = inventory.take_in(row, remote_id, by=actor_of(request), name=name, take_over=take_over)
        except REFUSALS as error:
            return self._back(request, row, str(error.args[0]))
        except InvalidInput as error:
            return self._back(request, row, f"It cannot be taken over as it is there: {error}")
        reconcile_soon(made, actor=actor_of(request))
        result = outcome(made)
        messages.add_message(request, messages.SUCCESS if result.ok else messages.ERROR, f"Imported. {result.text}")
        return HttpResponseRedirect(reverse("admin:subscriptions_subscription_change", args=[made.pk]))

    def _row(self, request: HttpRequest, pk: int, may: str) -> ProviderAccount:
        """The account, for those who may do this with subscriptions."""
        row = self.row_or_404(request, str(pk))
        if not request.user.has_perm(f"subscriptions.{may}_subscription"):
            raise PermissionDenied
        try:
            row.plugin  # noqa: B018 - raises when the provider's folder is gone
        except UnknownProvider:
            raise PermissionDenied from None
        return row

    def _url(self, row: ProviderAccount) -> str:
        return self.page_url(row, "discover")

    def _back(self, request: HttpRequest, row: ProviderAccount, text: str) -> HttpResponse:
        """To the account's page, which makes no call: a look that has just failed is not repeated at once."""
        messages.error(request, text)
        return HttpResponseRedirect(self.page_url(row))


def _remote_id(request: HttpRequest) -> str:
    asked = request.POST if request.method == "POST" else request.GET
    return str(asked.get("remote_id", "")).replace("\0", "")[:200]


def _rights(request: HttpRequest) -> dict[str, bool]:
    may = request.user.has_perm
    return {
        "may_import": may("subscriptions.add_subscription"),
        "may_remove": may("subscriptions.delete_subscription"),
        "may_ignore": may("subscriptions.change_subscription"),
    }


def _groups(found: Sequence[Found]) -> list[Group]:
    def group(title: str, explanation: str, items: list[Found], *, folded: bool = False) -> Group:
        items.sort(key=lambda item: item.remote.remote_id)
        return Group(title, explanation, items[:SHOWN], max(len(items) - SHOWN, 0), folded)

    shown = [item for item in found if not item.ignored]
    kinds = {kind: [item for item in shown if item.kind is kind] for kind in Kind}
    groups = [
        group(
            "Orphans",
            "They call us, but no subscription here stands for them. Import them, or remove them.",
            kinds[Kind.ORPHANED],
        ),
        group(
            "Foreign",
            "Hookkeeper never changes or removes these by itself.",
            kinds[Kind.FOREIGN],
        ),
        group("Managed here", "Each belongs to a subscription.", kinds[Kind.MANAGED]),
        group("Ignored", "Nobody needs to see these again.", [item for item in found if item.ignored], folded=True),
    ]
    return [item for item in groups if item.items]


def _taking_over(account: ProviderAccount, item: Found) -> tuple[Plan | None, Sequence[str]]:
    """What it would do at the provider, or why it is not possible."""
    if item.remote.config is None:
        return None, ["Its config could not be read just now."]
    try:
        return inventory.would_take_over(account, item.remote), []
    except InvalidInput as error:
        return None, [f"{found.field}: {found.message}" if found.field else found.message for found in error.errors]
