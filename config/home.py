"""The home page: is all well, what needs a person, what comes next. Every query is bounded and served by an index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from config import health
from events.hourly import Hour, received_per_hour
from events.models import Event, Outcome, WebhookRequest
from providers.models import AccountStatus, ProviderAccount
from subscriptions.models import Managed, Operation, State, Subscription

HOURS = 48
SHOWN = 8
COUNTED = 100  # more than that is "100+"
TROUBLED = (State.EXPIRED, State.MISSING, State.SUSPENDED, State.DRIFTED, State.FAILING)
UNDER_WAY = (State.PENDING, State.DELETING)
PATIENCE = timedelta(minutes=2)  # until something under way counts as stuck
ORDER = (State.ACTIVE, State.PENDING, *TROUBLED, State.DISABLED, State.MANUAL, State.DELETING)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one line that says how things stand."""

    tone: str
    icon: str
    text: str
    link: str


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that needs a person, and where to go about it."""

    state: str
    label: str
    what: str
    detail: str
    since: Any
    link: str
    button: str


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK: what the home page shows to this person."""
    sees = {
        "subscriptions": request.user.has_perm("subscriptions.view_subscription"),
        "accounts": request.user.has_perm("providers.view_provideraccount"),
        "requests": request.user.has_perm("events.view_webhookrequest"),
        "events": request.user.has_perm("events.view_event"),
        "operations": request.user.has_perm("subscriptions.view_operation"),
    }
    concerns, more = _concerns(sees)
    parts = {"Worker": health.heartbeat("worker"), "Scheduler": health.heartbeat("scheduler")}
    spool = health.spooled()
    states = _states() if sees["subscriptions"] else []
    context.update(
        title="Home",
        sees=sees,
        verdict=_verdict(concerns, more, parts, spool, states),
        states=states,
        concerns=concerns,
        more_concerns=more,
        parts={**parts, "Spool": spool},
        renewals=_renewals() if sees["subscriptions"] else [],
        events=_latest_events() if sees["events"] else [],
        operations=_latest_operations() if sees["operations"] else [],
        sees_nothing=not any(sees.values()),
        first_steps=_first_steps(request),
        **(_chart() if sees["requests"] else {}),
    )
    return context


def troubled() -> QuerySet[Subscription]:
    """Subscriptions that are not as they should be, or are stuck on the way there."""
    stuck = Q(state__in=UNDER_WAY, created_at__lt=timezone.now() - PATIENCE, failures__gt=0)
    return Subscription.objects.filter(Q(state__in=TROUBLED) | stuck).select_related("account").order_by("-pk")


def _concerns(sees: dict[str, bool]) -> tuple[list[Concern], bool]:
    """What needs a person, the gravest kind first, and whether there is more than is shown."""
    accounts = _failing_accounts() if sees["accounts"] else []
    rows = list(troubled()[: SHOWN + 1]) if sees["subscriptions"] else []
    requests = _waiting_requests() if sees["requests"] else []
    return [*accounts, *map(_concern, rows[:SHOWN]), *requests], len(rows) > SHOWN


def _concern(row: Subscription) -> Concern:
    return Concern(
        row.state,
        row.get_state_display(),
        str(row),
        row.state_reason,
        row.missing_since or row.last_reconciled_at,
        reverse("admin:subscriptions_subscription_change", args=[row.pk]),
        "Look at it",
    )


def _failing_accounts() -> list[Concern]:
    rows = ProviderAccount.objects.filter(status=AccountStatus.FAILING).defer("credentials")
    return [
        Concern(
            row.status,
            row.get_status_display(),
            f"Account {row}",
            row.status_reason,
            row.checked_at,
            reverse("admin:providers_provideraccount_change", args=[row.pk]),
            "Mend the account",
        )
        for row in rows[:SHOWN]
    ]


def _waiting_requests() -> list[Concern]:
    words = {
        Outcome.QUARANTINED: ("cannot be read; they wait, and nothing is lost.", "Read why"),
        Outcome.REJECTED: ("did not prove where they come from.", "Look at them"),
    }
    found: list[Concern] = []
    for outcome, (text, button) in words.items():
        rows = WebhookRequest.objects.filter(outcome=outcome).order_by("-pk")
        times = list(rows.values_list("received_at", flat=True)[: COUNTED + 1])
        if times:
            number = f"{COUNTED}+" if len(times) > COUNTED else str(len(times))
            link = reverse("admin:events_webhookrequest_changelist") + f"?outcome={outcome.value}"
            plural = "" if number == "1" else "s"
            label = f"{number} {outcome.label.lower()} request{plural}"
            found.append(Concern(outcome, outcome.label, label, f"They {text}", times[0], link, button))
    return found


def _states() -> list[dict[str, Any]]:
    rows = Subscription.objects.exclude(state=State.DELETED).order_by().values("state").annotate(count=Count("pk"))
    counts = {row["state"]: row["count"] for row in rows}
    link = reverse("admin:subscriptions_subscription_changelist")
    return [
        {"state": state, "label": state.label, "count": counts[state], "link": f"{link}?state={state.value}"}
        for state in ORDER
        if counts.get(state)
    ]


def _verdict(
    concerns: Sequence[Concern],
    more: bool,
    parts: dict[str, health.Check],
    spool: health.Check,
    states: Sequence[dict[str, Any]],
) -> Verdict:
    silent = [name for name, check in parts.items() if check.status != "ok"]
    if silent:
        names = " and ".join(name.lower() for name in silent)
        return Verdict("bad", "error", f"Nothing is being renewed: no sign of life from the {names}.", "#installation")
    if spool.status != "ok":
        return Verdict("warn", "warning", f"The spool: {spool.detail}", "#installation")
    if concerns:
        worst = concerns[0]
        count = f"{len(concerns)}{'+' if more else ''} thing{'s need' if len(concerns) > 1 else ' needs'} a person."
        label = worst.label.lower()
        first = worst.what if label in worst.what else f"{worst.what}, {label}"
        return Verdict("warn", "warning", f"{count} First: {first}.", worst.link)
    total = sum(item["count"] for item in states)
    active = sum(item["count"] for item in states if item["state"] == State.ACTIVE)
    if not total:
        return Verdict("quiet", "info", "Ready. Nothing is subscribed yet.", "")
    if active == total:
        text = "The subscription is" if total == 1 else f"All {total} subscriptions are"
        return Verdict("good", "check_circle", f"{text} alive.", "")
    return Verdict("good", "check_circle", f"All is well: {active} of {total} subscriptions are active.", "")


def _renewals() -> list[Subscription]:
    rows = Subscription.objects.filter(
        deleted_at=None, present=True, enabled=True, auto_renew=True, managed=Managed.API, renew_at__isnull=False
    )
    return list(rows.select_related("account").order_by("renew_at")[:SHOWN])


def _latest_events() -> list[Event]:
    return list(Event.objects.select_related("subscription").defer("data").order_by("-pk")[:SHOWN])


def _latest_operations() -> list[Operation]:
    rows = Operation.objects.select_related("subscription").defer("request", "response")
    return list(rows.order_by("-pk")[:SHOWN])


def _first_steps(request: HttpRequest) -> list[dict[str, Any]] | None:
    """What to do first; None once events have come in, and for who cannot see how far it is."""
    if Event.objects.exists() or not request.user.has_perm("providers.view_provideraccount"):
        return None
    account, subscription = ProviderAccount.objects.exists(), Subscription.objects.filter(deleted_at=None).exists()
    return [
        {
            "title": "Add an account",
            "text": "One login at one of the providers. It is checked at once.",
            "done": account,
            "link": reverse("admin:providers_provideraccount_add"),
            "may": request.user.has_perm("providers.add_provideraccount"),
        },
        {
            "title": "Subscribe",
            "text": "Choose what you want to hear of. Hookkeeper registers the webhook and keeps it alive.",
            "done": subscription,
            "link": reverse("admin:subscriptions_subscription_add"),
            "may": account and request.user.has_perm("subscriptions.add_subscription"),
        },
        {
            "title": "See the first event arrive",
            "text": "Do something at the provider, such as adding a file.",
            "done": False,
            "link": "",
            "may": False,
        },
    ]


def _chart() -> dict[str, Any]:
    """Requests per hour, for Chart.js."""
    hours = received_per_hour(timezone.now(), HOURS)
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
            "ticks": {"color": "#8b95a5", "maxTicksLimit": 9, "maxRotation": 0, "autoSkip": True},
        },
        "y": {
            **_AXIS,
            "beginAtZero": True,
            "grid": {"display": True, "drawTicks": False},
            "ticks": {"color": "#8b95a5", "maxTicksLimit": 5, "precision": 0},
            "title": {"display": True, "text": "Requests per hour", "color": "#8b95a5"},
        },
    },
}
