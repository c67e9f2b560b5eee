"""What the detail page of a subscription shows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from providers.accounts.session import accounts_sharing_limit
from providers.contract.base import AnyProvider
from providers.contract.errors import LimitReached, ProviderError
from providers.dashboard.schema_values import StoredValue, foldable, stored_values
from subscriptions.admin.accounts import plugin_of
from subscriptions.admin.related_problems import SHOWN_BY_STATE, includes_kind, related_problems
from subscriptions.admin.timeline_pages import latest_entries
from subscriptions.lifecycle import actions
from subscriptions.lifecycle.actions import SubscriptionAction
from subscriptions.models import Managed, Problem, ProblemKind, Subscription
from subscriptions.planning.states import DriftPolicy
from subscriptions.planning.step_selection import plan_version
from subscriptions.reconciliation import live_plan
from subscriptions.reconciliation.dry_run import predict_plan

EVENTS_SHOWN = 10
SYNC_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One field of the configuration, and its value at the provider if that differs."""

    entry: StoredValue
    remote: Any


def detail_context(request: HttpRequest, row: Subscription) -> dict[str, Any]:
    """Return the template context of a subscription, as far as the user may see it.

    With `?plan=now` the pending changes are computed from the provider's current state, which takes an API call.
    """
    plugin = plugin_of(row.account)
    sees_events = request.user.has_perm("events.view_event")
    config, default_config = _config_rows(row, plugin)
    problems = related_problems(request, Problem.objects.of_subscription(row.pk), shown_kinds=SHOWN_BY_STATE)
    return {
        "plugin": plugin,
        "config": config,
        "default_config": default_config,
        "proof": plugin.capabilities.proof.value if plugin else "",
        "enters_secret": plugin is not None and actions.is_offered(row, SubscriptionAction.ENTER_SECRET),
        "sharing": accounts_sharing_limit(row.account) if plugin and _limit_is_reached(row) else [],
        **_plan_context(request, row),
        "sees_operations": request.user.has_perm("subscriptions.view_operation"),
        "events": list(row.events.order_by("-pk").defer("data")[:EVENTS_SHOWN]) if sees_events else None,
        "sees_requests": request.user.has_perm("events.view_webhookrequest"),
        "may_reprocess": request.user.has_perm("events.change_webhookrequest"),
        "timeline": latest_entries(row),
        "problems": problems,
        "has_silence_problem": includes_kind(problems, ProblemKind.SILENT),
        "reported": row.drift if row.drift_policy == DriftPolicy.REPORT else [],
    }


def _plan_context(request: HttpRequest, row: Subscription) -> dict[str, Any]:
    if plugin_of(row.account) is None or row.deleted_at or row.managed == Managed.MANUAL:
        return {"plan": None}
    if request.GET.get("plan") != "now":
        return {"plan": predict_plan(row, timezone.now()), "plan_at": row.observed_at}
    try:
        plan = live_plan.preview(row, deadline=time.monotonic() + SYNC_SECONDS)
    except ProviderError as error:
        return {"plan": None, "plan_error": error.message}
    return {"plan": plan, "plan_version": plan_version(plan), "plan_at": timezone.now(), "plan_is_live": True}


def _config_rows(row: Subscription, plugin: AnyProvider | None) -> tuple[list[ConfigRow], list[StoredValue]]:
    """Return the fields to show, and the defaults to fold away. Nothing is folded while there is drift."""
    drift = {change["field"]: change["before"] for change in row.drift}
    values = stored_values(plugin.config_model if plugin else None, row.config)
    defaults = [] if drift else foldable(values)
    return [ConfigRow(value, drift.get(value.name)) for value in values if value not in defaults], defaults


def _limit_is_reached(row: Subscription) -> bool:
    return bool(row.last_error) and row.last_error.get("code") == LimitReached.code
