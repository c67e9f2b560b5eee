"""The home page: overall status, open problems, next renewals, latest activity.

Every query is bounded and served by an index.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from config.monitoring import health
from events.models import Event
from events.monitoring.request_counts import Hour, received_per_hour
from providers.models import ProviderAccount
from subscriptions.lifecycle.public_url import is_confirmed
from subscriptions.models import (
    Heartbeat,
    Managed,
    Operation,
    Problem,
    ProblemState,
    Severity,
    State,
    SubjectType,
    Subscription,
)
from subscriptions.problems import detector, remediation

CHART_HOURS = 48
MAX_ROWS = 6
MAX_EVENTS = 8
PROBLEM_STATES = (State.EXPIRED, State.MISSING, State.SUSPENDED, State.DRIFTED, State.FAILING)
DETECTION_LIMIT = timedelta(minutes=2)  # a longer time since the last problem detection is an error
STATE_ORDER = (State.ACTIVE, State.PENDING, *PROBLEM_STATES, State.DISABLED, State.MANUAL, State.DELETING)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The overall status in one line."""

    tone: str
    icon: str
    text: str
    link: str


@dataclass(frozen=True, slots=True)
class OpenProblem:
    """An open problem: its page, and the page of its next action. `phrase` names it within a sentence."""

    state: str
    label: str
    title: str
    phrase: str
    account: str  # the account's name, for a problem of a subscription
    detail: str
    since: Any
    link: str
    next_url: str
    button: str


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the home page shows to this user. Unfold calls it as DASHBOARD_CALLBACK."""
    sees = {
        "problems": request.user.has_perm("subscriptions.view_problem"),
        "subscriptions": request.user.has_perm("subscriptions.view_subscription"),
        "accounts": request.user.has_perm("providers.view_provideraccount"),
        "requests": request.user.has_perm("events.view_webhookrequest"),
        "events": request.user.has_perm("events.view_event"),
        "operations": request.user.has_perm("subscriptions.view_operation"),
    }
    problems = _open_problems() if sees["problems"] else []
    parts = {"Worker": health.heartbeat("worker"), "Scheduler": health.heartbeat("scheduler")}
    spool = health.spool()
    states = _states() if sees["subscriptions"] else []
    context.update(
        title="Home",
        sees=sees,
        moved=sees["subscriptions"] and not is_confirmed(),
        verdict=_verdict(problems, states),
        states=states,
        problems=problems,
        parts={**parts, "Spool": spool},
        renewals=_renewals() if sees["subscriptions"] else [],
        events=_latest_events() if sees["events"] else [],
        operations=_latest_operations() if sees["operations"] else [],
        sees_nothing=not any(sees.values()),
        first_steps=_first_steps(request),
        **(_chart() if sees["requests"] else {}),
    )
    return context


def _open_problems() -> list[OpenProblem]:
    """Return the problems that need attention, most severe first."""
    rows = Problem.objects.needing_attention().most_severe_first()
    return [
        _open_problem(row) for row in rows.select_related("account").defer("sample", "account__credentials")[:MAX_ROWS]
    ]


def _open_problem(row: Problem) -> OpenProblem:
    return OpenProblem(
        row.severity,
        row.get_severity_display(),
        str(row),
        _problem_title(row),
        row.account.name if row.subscription_id and row.account else "",
        row.message,
        row.opened_at,
        reverse("admin:subscriptions_problem_change", args=[row.pk]),
        remediation.link_of(row),
        remediation.button_of(row),
    )


def _problem_title(row: Problem) -> str:
    kind = row.get_kind_display()
    return kind if row.subject_type == SubjectType.INSTALLATION else f"{row.subject_name} ({kind.lower()})"


def _is_detecting_problems() -> bool:
    """Return whether problems were detected recently. A new installation, without any detection yet, counts as well."""
    detected_at = Heartbeat.objects.filter(name=detector.HEARTBEAT).values_list("at", flat=True).first()
    return detected_at is None or timezone.now() - detected_at < DETECTION_LIMIT


def _states() -> list[dict[str, Any]]:
    rows = Subscription.objects.exclude(state=State.DELETED).order_by().values("state").annotate(count=Count("pk"))
    counts = {row["state"]: row["count"] for row in rows}
    link = reverse("admin:subscriptions_subscription_changelist")
    return [
        {"state": state, "label": state.label, "count": counts[state], "link": f"{link}?state={state.value}"}
        for state in STATE_ORDER
        if counts.get(state)
    ]


def _verdict(problems: Sequence[OpenProblem], states: Sequence[dict[str, Any]]) -> Verdict:
    if not _is_detecting_problems():
        return Verdict("bad", "error", "Monitoring has stopped. Is a worker running?", "#installation")
    if problems:
        return _open_problems_verdict(problems)
    acknowledged = Problem.objects.filter(state=ProblemState.ACKNOWLEDGED).count_label()
    if acknowledged != "0":
        text = f"No open problems. {acknowledged} acknowledged."
        link = reverse("admin:subscriptions_problem_changelist") + f"?state={ProblemState.ACKNOWLEDGED.value}"
        return Verdict("quiet", "front_hand", text, link)
    total = sum(item["count"] for item in states)
    active = sum(item["count"] for item in states if item["state"] == State.ACTIVE)
    if not total:
        return Verdict("quiet", "info", "Ready. There are no subscriptions yet.", "")
    if active == total:
        text = "The subscription is active." if total == 1 else f"All {total} subscriptions are active."
        return Verdict("good", "check_circle", text, "")
    return Verdict("good", "check_circle", f"No open problems. {active} of {total} subscriptions are active.", "")


def _open_problems_verdict(problems: Sequence[OpenProblem]) -> Verdict:
    worst = problems[0]
    tone, icon = ("bad", "error") if worst.state == Severity.CRITICAL else ("warn", "warning")
    if len(problems) == 1:
        return Verdict(tone, icon, f"1 open problem: {worst.phrase}.", worst.link)
    count = Problem.objects.needing_attention().count_label()
    return Verdict(tone, icon, f"{count} open problems. Most severe: {worst.phrase}.", worst.link)


def _renewals() -> list[Subscription]:
    rows = Subscription.objects.filter(
        deleted_at=None, present=True, enabled=True, auto_renew=True, managed=Managed.API, renew_at__isnull=False
    )
    return list(rows.select_related("account").order_by("renew_at")[:MAX_ROWS])


def _latest_events() -> list[Event]:
    return list(Event.objects.select_related("subscription").defer("data").order_by("-pk")[:MAX_EVENTS])


def _latest_operations() -> list[Operation]:
    rows = Operation.objects.select_related("subscription").defer("request", "response")
    return list(rows.order_by("-pk")[:MAX_ROWS])


def _first_steps(request: HttpRequest) -> list[dict[str, Any]] | None:
    """Return the first steps; None once events were received, or if this user may not see accounts."""
    if Event.objects.exists() or not request.user.has_perm("providers.view_provideraccount"):
        return None
    account, subscription = ProviderAccount.objects.exists(), Subscription.objects.filter(deleted_at=None).exists()
    return [
        {
            "title": "Add an account",
            "text": "One login at one of the providers. It is checked immediately.",
            "done": account,
            "link": reverse("admin:providers_provideraccount_add"),
            "may": request.user.has_perm("providers.add_provideraccount"),
        },
        {
            "title": "Subscribe",
            "text": "Choose the event types. Hookkeeper registers the webhook, renews it and repairs it.",
            "done": subscription,
            "link": reverse("admin:subscriptions_subscription_add"),
            "may": account and request.user.has_perm("subscriptions.add_subscription"),
        },
        {
            "title": "Receive the first event",
            "text": "Trigger one at the provider, for example by uploading a file.",
            "done": False,
            "link": "",
            "may": False,
        },
    ]


def _chart() -> dict[str, Any]:
    """Return the requests per hour, for Chart.js."""
    hours = received_per_hour(timezone.now(), CHART_HOURS)
    total = sum(hour.count for hour in hours[-24:])
    before = sum(hour.count for hour in hours[:-24])
    return {
        "chart_data": json.dumps(_chart_data(hours)),
        "chart_options": json.dumps(CHART_OPTIONS),
        "received_day": total,
        "received_day_before": before,
        "received_any": bool(total or before),
    }


def _chart_data(hours: Sequence[Hour]) -> dict[str, Any]:
    return {
        "labels": [hour.start.strftime("%a %H:%M") for hour in hours],
        "datasets": [
            {
                "label": "Requests",
                "data": [hour.count for hour in hours],
                "backgroundColor": "var(--color-primary-500)",
                "borderRadius": 3,
                "categoryPercentage": 0.9,
                "barPercentage": 0.85,
            }
        ],
    }


_AXIS = {"ticks": {"color": "#8b95a5"}, "border": {"display": False}}
CHART_OPTIONS: dict[str, Any] = {
    "responsive": True,
    "maintainAspectRatio": False,
    "animation": False,
    "plugins": {"legend": {"display": False}},
    "scales": {
        "x": {
            **_AXIS,
            "grid": {"display": False},
            "ticks": {"color": "#8b95a5", "maxTicksLimit": 7, "maxRotation": 0, "autoSkip": True},
        },
        "y": {
            **_AXIS,
            "beginAtZero": True,
            "grid": {"display": True, "drawTicks": False},
            "ticks": {"color": "#8b95a5", "maxTicksLimit": 5, "precision": 0},
        },
    },
}
