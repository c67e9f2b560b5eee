"""Subscriptions: their pages, forms, actions, and the look at their secret."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils import timezone
from django.views.decorators.cache import never_cache

from providers.accounts.session import share_the_limit
from providers.conflict import Conflict
from providers.contract.base import AnyProvider, SecretHint
from providers.contract.errors import InvalidInput, LimitReached, ProviderError
from providers.dashboard.base import actor_of
from providers.dashboard.schema_form import Entry, entries, usual_ones
from providers.filters import row_number
from providers.models import ProviderAccount
from subscriptions.admin import actions as dashboard_actions
from subscriptions.admin.accounts import plugin_of
from subscriptions.admin.actions import ACTION_TEXTS
from subscriptions.admin.address_pages import AddressPages
from subscriptions.admin.on_page import TOLD_BY_STATE, problems_on_page, shows
from subscriptions.admin.plan_pages import PlanPages
from subscriptions.admin.renewal_pages import RenewalPages
from subscriptions.admin.subscription_form import CONFIG, SubscriptionForm
from subscriptions.admin.timelines import latest, timeline_page
from subscriptions.filters import SUBSCRIPTION_FILTERS
from subscriptions.lifecycle import actions, desired_state, secrets
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Managed, Problem, ProblemKind, State, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.step_selection import plan_version
from subscriptions.reconciliation import live_plan
from subscriptions.reconciliation.action_runner import Outcome, attempt
from subscriptions.reconciliation.dry_run import foresee

EVENTS_SHOWN = 10
MOST_AT_ONCE = 50
SECONDS = 10.0  # that a request may spend at the provider
REMOVING = (SubscriptionAction.DELETE, SubscriptionAction.FORGET)


@admin.register(Subscription)
class SubscriptionAdmin(PlanPages, RenewalPages, AddressPages):
    """Subscriptions. Whatever is changed goes through `subscriptions.lifecycle.desired_state`."""

    writable = True
    list_template = "subscriptions/list.html"
    detail_template = "subscriptions/detail.html"
    list_title = "Subscriptions"
    history_kind = desired_state.SUBSCRIPTION
    list_intro = "What is registered at the providers, and kept alive there."
    search_hint = "Search by name, id at the provider or callback URL"
    filters = SUBSCRIPTION_FILTERS.for_dashboard

    def rows(self, request: HttpRequest) -> QuerySet[Subscription]:
        """Without deleted ones, unless those are asked for."""
        rows = self.detail_rows(request).defer("account__credentials", "secrets", "remote_config", "config")
        return rows if request.GET.get("state") == State.DELETED else rows.filter(deleted_at=None)

    def detail_rows(self, request: HttpRequest) -> QuerySet[Subscription]:
        """With the account."""
        return self.get_queryset(request).select_related("account")

    def search(self, rows: QuerySet[Subscription], words: str) -> QuerySet[Subscription]:
        """By name, id at the provider, callback URL, or our id."""
        token = words.rstrip("/").rpartition("/")[2]
        found = Q(name__icontains=words) | Q(remote_id__icontains=words) | Q(token=token) | Q(callback_url=words)
        with suppress(ValueError):  # not everything that is searched for is an id
            found |= Q(uid=UUID(words))
        return rows.filter(found)

    def list_context(self, request: HttpRequest) -> dict[str, Any]:
        """The bulk actions that this person may use, and whether there is anything to subscribe with."""
        return {
            "actions": [item for item in self._allowed_actions(request) if item[0] is not SubscriptionAction.FORGET],
            "has_accounts": ProviderAccount.objects.exists(),
            "may_add_account": request.user.has_perm("providers.add_provideraccount"),
        }

    def detail_context(self, request: HttpRequest, row: Subscription) -> dict[str, Any]:
        """Everything there is to know about it. With `?plan=now` the provider is looked at first."""
        plugin = plugin_of(row.account)
        sees_events = request.user.has_perm("events.view_event")
        config, usual = _config_rows(row, plugin)
        found = problems_on_page(request, Problem.objects.of_subscription(row.pk), told=TOLD_BY_STATE)
        return {
            "plugin": plugin,
            "config": config,
            "usual_config": usual,
            "proof": plugin.capabilities.proof.value if plugin else "",
            "enters_secret": plugin is not None and actions.is_offered(row, SubscriptionAction.ENTER_SECRET),
            "sharing": share_the_limit(row.account) if plugin and _has_no_room(row) else [],
            **self._plan_context(request, row),
            "actions": [
                (action, words)
                for action, words in self._allowed_actions(request)
                if plugin and actions.is_offered(row, action)
            ],
            "sees_operations": request.user.has_perm("subscriptions.view_operation"),
            "events": list(row.events.order_by("-pk").defer("data")[:EVENTS_SHOWN]) if sees_events else None,
            "sees_requests": request.user.has_perm("events.view_webhookrequest"),
            "may_reprocess": request.user.has_perm("events.change_webhookrequest"),
            "timeline": latest(row),
            "problems": found,
            "tells_silence": shows(found, ProblemKind.SILENT),
            "reported": row.drift if row.drift_policy == DriftPolicy.REPORT else [],
            "editable": plugin is not None
            and actions.is_offered(row, SubscriptionAction.EDIT)
            and self.has_change_permission(request, row),
        }

    def _plan_context(self, request: HttpRequest, row: Subscription) -> dict[str, Any]:
        if plugin_of(row.account) is None or row.deleted_at or row.managed == Managed.MANUAL:
            return {"plan": None}
        if request.GET.get("plan") != "now":
            return {"plan": foresee(row, timezone.now()), "plan_at": row.observed_at}
        try:
            plan = live_plan.preview(row, deadline=time.monotonic() + SECONDS)
        except ProviderError as error:
            return {"plan": None, "plan_error": error.message}
        return {"plan": plan, "plan_version": plan_version(plan), "plan_at": timezone.now(), "plan_is_live": True}

    # -- Writing ---------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The usual ones and our own."""
        return [
            self.own_url("actions/", self.actions_view, "actions"),
            self.own_url("<int:pk>/edit/", self.edit_view, "edit"),
            self.own_url("<int:pk>/secret/", never_cache(self.secret_view), "secret"),
            self.own_url("<int:pk>/timeline/", self.timeline_view, "timeline"),
            *super().get_urls(),
        ]

    def timeline_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Everything that happened to it."""
        return timeline_page(self, request, self.row_or_404(request, str(pk)))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """First the account, then its provider's form."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        account = _account_named(request.GET.get("account", ""))
        if account is None or plugin_of(account) is None:
            context = {
                "accounts": list(ProviderAccount.objects.defer("credentials").order_by("name")[:200]),
                "may_add_account": request.user.has_perm("providers.add_provideraccount"),
            }
            return self.render(request, "subscriptions/choose.html", "Add a subscription", context, parent=True)
        form = SubscriptionForm(request.POST or None, account=account)
        if request.method == "POST" and form.is_valid():
            return self._saved(request, form.save(by=actor_of(request)))
        return self._form_page(request, form, f"Subscribe with {account}")

    def edit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Changing what is wanted. What the provider refused stands at its field."""
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row) or plugin_of(row.account) is None:
            raise PermissionDenied
        refused = actions.refusal(row, SubscriptionAction.EDIT)
        if refused:
            return self.back_to(request, row, ok=False, text=str(refused))
        form = SubscriptionForm(request.POST or None, account=row.account, subscription=row)
        if request.method == "POST" and form.is_valid():
            return self._saved(request, form.save(by=actor_of(request)))
        if request.method != "POST":
            form.note_refusal()
        return self._form_page(request, form, f"Change “{row}”", row=row)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Deleting is an action like the others: it asks, and says what happens at the provider."""
        row = self.row_or_404(request, object_id)
        actions_url = self.list_url() + "actions/"
        return HttpResponseRedirect(f"{actions_url}?action={SubscriptionAction.DELETE}&pk={row.pk}")

    def secret_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Shows the secret once, or keeps the one that was entered; either is written down."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.row_or_404(request, str(pk))
        if not self.has_change_permission(request, row) or plugin_of(row.account) is None:
            raise PermissionDenied
        if "value" in request.POST:
            return self._enter_secret(request, row, request.POST["value"].strip())
        try:
            hint: SecretHint = secrets.reveal(row, by=actor_of(request))
        except InvalidInput as error:
            return self.back_to(request, row, ok=False, text=f"The account's settings are not complete: {error}")
        context = {"row": row, **self.detail_context(request, row), "secret": hint}
        return self.render(request, self.detail_template, str(row), context, parent=True)

    def _enter_secret(self, request: HttpRequest, row: Subscription, value: str) -> HttpResponse:
        if not value:
            return self.back_to(request, row, ok=False, text="Enter the secret as the provider showed it.")
        try:
            actions.enter_secret(row, value, by=actor_of(request))
        except Conflict as refused:
            return self.back_to(request, row, ok=False, text=str(refused))
        return self.back_to(
            request, row, ok=True, text="The secret is kept. Requests that carry its proof are accepted."
        )

    def actions_view(self, request: HttpRequest) -> HttpResponse:
        """Says what an action will do with the chosen ones (GET), and does it (POST)."""
        asked = request.POST if request.method == "POST" else request.GET
        action = _action_named(asked.get("action", ""))
        if action not in dict(self._allowed_actions(request)):
            raise PermissionDenied
        rows = self._chosen(request, asked.getlist("pk"))
        if not rows:
            messages.warning(request, "No subscription was chosen.")
            return HttpResponseRedirect(self.list_url())
        if request.method == "POST":
            results = dashboard_actions.run(rows, action, by=actor_of(request), revoke="revoke" in request.POST)
            _report(request, results, action)
            gone = action in REMOVING
            return HttpResponseRedirect(self.page_url(rows[0]) if len(rows) == 1 and not gone else self.list_url())
        prospects = dashboard_actions.prospects(rows, action, timezone.now())
        words = ACTION_TEXTS[action]
        context = {
            "action": action,
            "words": words,
            "prospects": prospects,
            "possible": any(not item.skipped for item in prospects),
            "back_url": self.page_url(rows[0]) if len(rows) == 1 else self.list_url(),
        }
        subject = f"“{rows[0]}”" if len(rows) == 1 else f"{len(rows)} subscriptions"
        return self.render(request, "subscriptions/confirm.html", f"{words.question} {subject}?", context, parent=True)

    def _chosen(self, request: HttpRequest, keys: Sequence[str]) -> list[Subscription]:
        try:
            wanted_keys = [row_number(key) for key in keys][:MOST_AT_ONCE]
        except ValidationError:
            raise Http404("A chosen subscription has no such number.") from None
        return list(self.detail_rows(request).filter(pk__in=wanted_keys).order_by("-pk"))

    def _allowed_actions(self, request: HttpRequest) -> list[tuple[SubscriptionAction, dashboard_actions.ActionText]]:
        change, delete = self.has_change_permission(request), self.has_delete_permission(request)
        return [(action, words) for action, words in ACTION_TEXTS.items() if (delete if action in REMOVING else change)]

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
        """Tells the provider, and shows what it said: at the field where there is one."""
        result = attempt(row, SubscriptionAction.EDIT, by=actor_of(request), seconds=SECONDS)
        if result.ok:
            said = "" if result.text == row.state_reason else f" {result.text}"  # its page says that below
            messages.success(request, f"Saved.{said}")
            return HttpResponseRedirect(self.page_url(row))
        messages.error(request, f"Saved here, but {row.account.plugin.name} did not take it: {result.text}")
        names_field = bool((row.last_error or {}).get("field"))
        return HttpResponseRedirect(self.page_url(row, "edit" if names_field else "change"))


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One field of the wanted config, beside what differs at the provider."""

    entry: Entry
    remote: Any


def _config_rows(row: Subscription, plugin: AnyProvider | None) -> tuple[list[ConfigRow], list[Entry]]:
    """What is to be seen, and what is as usual at both ends."""
    drift = {change["field"]: change["before"] for change in row.drift}
    config = entries(plugin.config_model if plugin else None, row.config)
    usual = [] if drift else usual_ones(config)
    return [ConfigRow(entry, drift.get(entry.name)) for entry in config if entry not in usual], usual


def _has_no_room(row: Subscription) -> bool:
    return bool(row.last_error) and row.last_error.get("code") == LimitReached.code


def _account_named(key: str) -> ProviderAccount | None:
    try:
        return ProviderAccount.objects.filter(pk=row_number(key)).first()
    except ValidationError:
        return None


def _action_named(name: str) -> SubscriptionAction | None:
    return SubscriptionAction(name) if name in list(SubscriptionAction) else None


def _report(request: HttpRequest, results: Sequence[Outcome], action: SubscriptionAction) -> None:
    for result in results:
        if not result.ok or len(results) == 1:
            level = messages.SUCCESS if result.ok else messages.ERROR
            shown = result.text == result.row.state_reason and action is not SubscriptionAction.DELETE
            text = "done." if result.ok and len(results) == 1 and shown else result.text  # its page says that below
            messages.add_message(request, level, f"{ACTION_TEXTS[action].button}, {result.row}: {text}")
    good = sum(result.ok for result in results)
    if len(results) > 1 and good:
        messages.success(request, f"{ACTION_TEXTS[action].button}: done for {good} of {len(results)} subscriptions.")
