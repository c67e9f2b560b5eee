"""Pages of pending changes: the plans of an account or of all, and applying all or selected steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.urls import URLPattern
from django.utils import timezone

from providers.conflict import Conflict
from providers.contract.errors import ProviderError
from providers.dashboard.base import PageAdmin, actor_of
from providers.filters import row_number
from providers.models import ProviderAccount
from subscriptions.admin.related_problems import refresh_problems
from subscriptions.models import Subscription
from subscriptions.planning.step_selection import Choice
from subscriptions.planning.steps import StepAction
from subscriptions.reconciliation import on_demand
from subscriptions.reconciliation.action_runner import outcome
from subscriptions.reconciliation.on_demand import AccountPlan, AccountResult

SYNC_SECONDS = 10.0  # for one account
EVERYTHING_SECONDS = 20.0
APPLY_SECONDS = 20.0
MAX_SHOWN = 150  # subscriptions with steps; the form has a few fields for each


class PendingChangesPages(PageAdmin[Subscription]):
    """The pages below `plan/`. Steps selected on the page of one subscription are applied here as well."""

    def get_urls(self) -> list[URLPattern]:
        """Add the URLs of these pages."""
        return [
            self.extra_url("plan/", self.plan_view, "plan"),
            self.extra_url("plan/apply/", self.apply_view, "apply"),
            *super().get_urls(),
        ]

    def plan_view(self, request: HttpRequest) -> HttpResponse:
        """Show the plans of an account (`?account=`) or of all. Providers are only called with `look=now`."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        account = _account(request.GET.get("account"))
        refreshed = request.GET.get("look") == "now"
        plans, hidden = _fit_on_page(_fetch_plans(account)) if refreshed else ([], 0)
        context = {
            "account": account,
            "refreshed": refreshed,
            "plans": [plan for plan in plans if plan.plans],
            "not_reached": [plan for plan in plans if plan.error],
            "count": sum(plan.count for plan in plans),
            "steps": sum(len(item.plan.steps) for plan in plans for item in plan.plans),
            "hidden": hidden,
            "seconds": int(EVERYTHING_SECONDS),
        }
        title = f"Pending changes of {account}" if account else "Pending changes"
        return self.render(request, "subscriptions/pending_changes.html", title, context, parent=True)

    def apply_view(self, request: HttpRequest) -> HttpResponse:
        """Apply the selected steps, or with `all` all steps."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        account = _account(request.POST.get("account"))
        if "all" in request.POST:
            _report_all(request, _apply_all(account, by=actor_of(request)))
            refresh_problems()
            return HttpResponseRedirect(self.plan_url(account))
        choices = _choices(request.POST)
        rows = list(self.detail_rows(request).filter(pk__in=choices))
        if not rows:
            messages.warning(request, "No step was selected.")
        self._apply(request, rows, choices)
        refresh_problems()
        if request.POST.get("back") == "subscription" and len(rows) == 1:
            return HttpResponseRedirect(f"{self.page_url(rows[0])}?plan=now#plan")
        return HttpResponseRedirect(self.plan_url(account, refresh=account is not None))

    def plan_url(self, account: ProviderAccount | None, *, refresh: bool = False) -> str:
        """Return the URL of the plans of an account or of all; with `refresh`, of freshly fetched ones."""
        query = QueryDict(mutable=True)
        if account is not None:
            query["account"] = str(account.pk)
        if refresh:
            query["look"] = "now"
        return f"{self.list_url()}plan/{f'?{query.urlencode()}' if query else ''}"

    def _apply(self, request: HttpRequest, rows: Sequence[Subscription], choices: dict[int, Choice]) -> None:
        end, applied, skipped = time.monotonic() + APPLY_SECONDS, 0, 0
        for row in rows:
            left = end - time.monotonic()
            if left <= 0:
                skipped += 1
                continue
            try:
                on_demand.apply_steps(row, choices[row.pk], by=actor_of(request), seconds=min(left, SYNC_SECONDS))
            except Conflict as error:
                messages.error(request, f"{row}: {error}")
                continue
            result = outcome(row)
            applied += result.ok
            if not result.ok:
                messages.error(request, f"{row}: {result.text}")
        if applied:
            messages.success(request, f"Applied the selected steps of {_subscriptions(applied)}.")
        if skipped:
            messages.warning(request, f"Not reached in time: {_subscriptions(skipped)}. Applied at the next sync.")


def _fetch_plans(account: ProviderAccount | None) -> list[AccountPlan]:
    if account is None:
        return list(on_demand.plan_everything(deadline=time.monotonic() + EVERYTHING_SECONDS))
    try:
        return [on_demand.plan_account(account, deadline=time.monotonic() + SYNC_SECONDS)]
    except ProviderError as error:
        return [AccountPlan(account=account, synced_at=timezone.now(), error=error.message)]


def _fit_on_page(plans: list[AccountPlan]) -> tuple[list[AccountPlan], int]:
    """Return as many plans as fit on a page, and the number of subscriptions left out."""
    room, hidden, shown = MAX_SHOWN, 0, []
    for plan in plans:
        visible = plan.plans[:room]
        room -= len(visible)
        hidden += len(plan.plans) - len(visible)
        shown.append(
            AccountPlan(
                account=plan.account, synced_at=plan.synced_at, count=plan.count, plans=visible, error=plan.error
            )
        )
    return shown, hidden


def _apply_all(account: ProviderAccount | None, *, by: str) -> list[AccountResult]:
    end = time.monotonic() + APPLY_SECONDS
    if account is None:
        return list(on_demand.apply_everything(by=by, deadline=end))
    try:
        return [on_demand.apply_account(account, by=by, deadline=end)]
    except ProviderError as error:
        return [AccountResult(account=account, synced_at=timezone.now(), error=error.message)]


def _report_all(request: HttpRequest, results: Sequence[AccountResult]) -> None:
    for result in results:
        if result.error:
            messages.error(request, f"{result.account}: {result.error}")
        for row in result.done:
            if row.last_error:
                messages.error(request, f"{row}: {outcome(row).text}")
    applied = sum(not row.last_error for result in results for row in result.done)
    left = sum(result.left for result in results)
    if applied:
        messages.success(request, f"Applied the changes of {_subscriptions(applied)}.")
    if left:
        messages.warning(request, f"Not reached in time: {_subscriptions(left)}. The worker applies the changes.")
    if not applied and not left and not any(result.error or result.done for result in results):
        messages.success(request, "No changes needed.")


def _choices(params: QueryDict) -> dict[int, Choice]:
    """Return the selected steps by subscription.

    Each `step` is `<pk>:<action>:<remote ID>`, each `version` is `<pk>:<version of the plan that was shown>`.
    """
    keys: dict[int, list[tuple[StepAction, str | None]]] = {}
    versions: dict[int, str] = {}
    try:
        for text in params.getlist("step"):
            pk, action, remote_id = text.split(":", 2)
            keys.setdefault(row_number(pk), []).append((StepAction(action), remote_id or None))
        for text in params.getlist("version"):
            pk, version = text.split(":", 1)
            versions[row_number(pk)] = version
    except (ValueError, ValidationError):
        raise Http404("This is not a step of a plan.") from None
    return {pk: Choice(chosen, versions.get(pk)) for pk, chosen in keys.items()}


def _account(key: Any) -> ProviderAccount | None:
    """Return the account with this primary key; None without a key. Raises Http404."""
    if not key:
        return None
    try:
        return ProviderAccount.objects.get(pk=row_number(str(key)))
    except (ValidationError, ProviderAccount.DoesNotExist):
        raise Http404("This account does not exist.") from None


def _subscriptions(count: int) -> str:
    return f"{count} subscription{'s' if count != 1 else ''}"
