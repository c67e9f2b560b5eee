"""The navigation of the admin. Each entry is shown to users who may view its page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def _has_permission(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _navigation_item(title: str, icon: str, model: str, app: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": _has_permission(f"{app}.view_{model}"),
    }


def open_problems(request: HttpRequest) -> str:
    """Return the number of problems that need attention, for the navigation; empty if there are none."""
    # Imported here because the settings import this module, and models need the settings.
    from subscriptions.models import Problem

    if not request.user.has_perm("subscriptions.view_problem"):
        return ""
    number = Problem.objects.needing_attention().count_label()
    return "" if number == "0" else number


NAVIGATION: list[dict[str, Any]] = [
    {
        "items": [
            {"title": "Home", "icon": "home", "link": reverse_lazy("admin:index")},
            {
                **_navigation_item("Problems", "report", "problem", "subscriptions"),
                "badge": "config.dashboard.navigation.open_problems",
            },
            _navigation_item("Subscriptions", "webhook", "subscription", "subscriptions"),
            _navigation_item("Accounts", "key", "provideraccount", "providers"),
            {"title": "Providers", "icon": "hub", "link": reverse_lazy("provider-table")},
        ],
    },
    {
        "title": "Inbound",
        "separator": True,
        "items": [
            _navigation_item("Events", "bolt", "event", "events"),
            _navigation_item("Requests", "call_received", "webhookrequest", "events"),
        ],
    },
    {
        "title": "Activity",
        "separator": True,
        "items": [
            _navigation_item("Operations", "sync_alt", "operation", "subscriptions"),
            _navigation_item("Audit trail", "history", "historyentry", "providers"),
        ],
    },
    {
        "title": "Access",
        "separator": True,
        "items": [
            _navigation_item("API tokens", "vpn_key", "apitoken", "config"),
            _navigation_item("Users", "person", "user", "auth"),
            _navigation_item("Groups", "group", "group", "auth"),
            _navigation_item("Notifications", "notifications", "channel", "subscriptions"),
        ],
    },
]
